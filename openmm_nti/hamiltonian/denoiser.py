r"""A score without an energy: for the denoising bound alone, which holds for any vector field.

.. math:: f(x, s) = \sum_j \nabla \Phi(r_{ij}, s) + f_{net}(x, s) - \text{mean over the atoms}

The gradient of an energy costs a second backward pass in every training step. A denoiser needs none, and what its
refinements find, the way from the noised atom to the denoised one, is its answer at once rather than an input to an
energy: per second of training its bound is far closer to the truth (docs/accuracy.md has the numbers).
It has no lambda path: no TI, no MD, no MBAR.

A refinement here is that of `network`, with vector moments in the velocity at the start and a spring to the noised
position,

.. math:: v_i \leftarrow \beta(s) \, v_i - c(s) F_i(y) - \kappa(s) (y_i - x_i), \qquad y_i \leftarrow y_i + v_i,

as in a descent on U_0(y) + |x - y|^2 / 2 s_eff^2 with learned forces F.
"""

from typing import cast

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.descriptors import (
    Descriptors,
    Edges,
    density_moments,
    initial_basis,
    normalise_descriptors,
    softened_edges,
)
from openmm_nti.hamiltonian.geometry import find_pairs
from openmm_nti.hamiltonian.network import N_GATES, AtomicMLP, NetworkConfig, step_length
from openmm_nti.hamiltonian.noise import N_NOISE_FEATURES, NoiseFeatures, effective_variance
from openmm_nti.hamiltonian.noised_fluid import NoisedFluid
from openmm_nti.state import PairPotential


class Denoiser(NoisedFluid):
    """Gradients at any noise, and no energies.

    Parameters
    ----------
    potential
        The Lennard-Jones potential of the data.
    network
        Architecture of the learned part.
    """

    def __init__(self, potential: PairPotential, network: NetworkConfig) -> None:
        super().__init__(potential, network, DenoiserNetwork(network))

    def gradient(self, positions: Tensor, box: Tensor, log_s: Tensor, create_graph: bool = False) -> Tensor:
        """Minus the score at noise ln s, (B, N, 3), kT / sigma; see `NoisedFluid.gradient`."""
        pairs = find_pairs(positions.detach(), box, self.reach)
        gradient = self._pair_gradient(positions, log_s, self._in_range(pairs))
        with torch.no_grad():
            displacement, index, mask = self.neighbourhoods(positions, pairs)
            variance = effective_variance(log_s).to(displacement.dtype)
        with torch.set_grad_enabled(create_graph):
            learned = self.network(displacement, index, mask, log_s.to(displacement.dtype), variance)
        return gradient + learned.to(gradient.dtype)


class DenoiserNetwork(nn.Module):
    """f_net for a batch of configurations; see the module's formula."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.cutoff = config.cutoff_sigma
        self.noise = NoiseFeatures()
        self.basis = nn.Parameter(initial_basis(config.cutoff_sigma, config.n_radial))
        n_refinements, n_vectors = config.n_refinements, 2 * config.n_channels
        descriptors = [Descriptors(config.n_radial, config.n_channels) for _ in range(n_refinements + 1)]
        self.descriptors = nn.ModuleList(descriptors)
        n_found = descriptors[0].n_outputs
        self.refinements = nn.ModuleList(
            Descent(config, n_found * (number + 1), n_vectors) for number in range(n_refinements)
        )
        # One more input than descriptors: how far the refinements moved the atom, in units of the noise.
        self.coefficients = AtomicMLP(n_found * (n_refinements + 1) + 1, config.width, n_vectors)
        self.shares = nn.Linear(N_NOISE_FEATURES, max(1, n_refinements))
        for layer in (self.coefficients.last, self.shares):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.coefficients.last.bias)
        nn.init.ones_(self.shares.bias)

    def forward(self, displacement: Tensor, index: Tensor, mask: Tensor, log_s: Tensor, variance: Tensor) -> Tensor:
        """Vectors (B, N, 3), 1 / sigma; arguments as for `DensityNetwork.forward`."""
        mask = mask.unsqueeze(2)
        noise, variance = self.noise(log_s), variance.reshape(-1, 1, 1)
        step = step_length(variance)
        shares = self.shares(noise).unsqueeze(-1).unsqueeze(-1)
        moved, total = torch.zeros_like(displacement[..., 0]), torch.zeros_like(displacement[..., 0])
        edges = gaussian_edges(displacement, mask, self.basis, self.cutoff)
        described, vectors = self._described(0, edges, noise)
        for number, descent in enumerate(self.refinements):
            before = moved
            moved, edges = descent(displacement, index, mask, self.basis, moved, edges, described, vectors, noise, step)
            total = total - shares[:, number] * (moved - before) / step.clamp(min=1e-9)
            found, vectors = self._described(number + 1, edges, noise)
            described = torch.cat([described, found], dim=-1)
        springs = torch.log1p(moved.square().sum(-1, keepdim=True) / (variance + 1e-4))
        coefficients = self.coefficients(torch.cat([described, springs], dim=-1), noise)
        total = total + (vectors * coefficients.unsqueeze(2)).sum(-1)
        # Of the size that a score has, and of order s_eff^2 where the noise is small.
        total = total * (0.5 * variance / ((variance + 0.01) * (variance + 0.002).sqrt()))
        return total - total.mean(1, keepdim=True)

    def _described(self, number: int, edges: Edges, noise: Tensor) -> tuple[Tensor, Tensor]:
        descriptors = cast("Descriptors", self.descriptors[number])
        found, vector, tensor = descriptors(density_moments(edges), noise)
        return torch.asinh(found), descriptors.vectors(vector, tensor)

    @torch.no_grad()
    def normalise(self, displacement: Tensor, mask: Tensor, log_s: Tensor) -> None:
        """Set the descriptors' scales on a batch of typical configurations; arguments as for `forward`."""
        edges = gaussian_edges(displacement, mask.unsqueeze(2), self.basis, self.cutoff)
        normalise_descriptors(self, edges, self.noise(log_s))


class Descent(nn.Module):
    """Moves the atoms towards the structure under the noise, in steps with inertia and a spring back."""

    def __init__(self, config: NetworkConfig, n_described: int, n_vectors: int) -> None:
        super().__init__()
        self.n_radial, self.n_moves, self.cutoff = config.n_radial, config.n_moves, config.cutoff_sigma
        self.gates = AtomicMLP(n_described, config.width // 2, 2 * N_GATES + n_vectors)
        self.radial = nn.Linear(N_NOISE_FEATURES, config.n_moves * N_GATES * config.n_radial)
        self.inertia = nn.Linear(N_NOISE_FEATURES, config.n_moves)
        self.stiffness = nn.Linear(N_NOISE_FEATURES, config.n_moves)
        for layer in (self.gates.last, self.inertia, self.stiffness):  # no atom moves at first
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.radial.bias, std=0.3)

    def forward(
        self,
        displacement: Tensor,
        index: Tensor,
        mask: Tensor,
        basis: Tensor,
        moved: Tensor,
        edges: Edges,
        described: Tensor,
        vectors: Tensor,
        noise: Tensor,
        step: Tensor,
    ) -> tuple[Tensor, Edges]:
        """Displacements (B, N, 3) from the atoms' positions, and the edges there; arguments as for `Refinement`.

        In addition `vectors` (B, N, 3, n_vectors) are the atoms' vector moments, and `step` (B, 1, 1) is c(s).
        """
        n_batch, n_atoms, n_neighbours = index.shape
        own, sent, pulls = self.gates(described, noise).split([N_GATES, N_GATES, vectors.shape[-1]], -1)
        flat_index = index.reshape(-1)
        sent = sent.reshape(-1, N_GATES).index_select(0, flat_index).reshape(n_batch, n_atoms, n_neighbours, N_GATES)
        gates = own.unsqueeze(-1) + sent.transpose(2, 3)
        radial = self.radial(noise).reshape(n_batch, 1, self.n_moves, N_GATES, self.n_radial)
        radial = radial.expand(-1, n_atoms, -1, -1, -1).reshape(-1, self.n_moves, N_GATES, self.n_radial)
        inertia = self.inertia(noise).unsqueeze(-1).unsqueeze(-1)
        stiffness = self.stiffness(noise).unsqueeze(-1).unsqueeze(-1)
        velocity = -step * (vectors * pulls.unsqueeze(2)).sum(-1)
        for move in range(self.n_moves):
            gaussians, direction, envelope = edges
            forces = torch.bmm(radial[:, move], gaussians.reshape(-1, self.n_radial, n_neighbours))
            pull = (forces.reshape(gates.shape) * gates).sum(2, keepdim=True) * envelope
            if move:
                velocity = inertia[:, move] * velocity
            velocity = velocity - step * (pull * direction).sum(-1) - stiffness[:, move] * moved
            moved = moved + velocity
            there = moved.reshape(-1, 3).index_select(0, flat_index).reshape(n_batch, n_atoms, n_neighbours, 3)
            shifted = displacement + there.transpose(2, 3) - moved.unsqueeze(-1)
            edges = gaussian_edges(shifted, mask, basis, self.cutoff)
        return moved, edges


def gaussian_edges(displacement: Tensor, mask: Tensor, basis: Tensor, cutoff: float) -> Edges:
    """`edges_at` with a backward pass of a third of the time, which cannot be differentiated again."""
    r, direction, envelope = softened_edges(displacement, mask, cutoff)
    return _Gaussians.apply(r, basis), direction, envelope


class _Gaussians(torch.autograd.Function):
    """exp(-a_k (r - c_k)^2), (B, N, K, M), from r (B, N, 1, M) and basis (2, K, 1): c and ln a."""

    @staticmethod
    def forward(ctx, r: Tensor, basis: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        gaussians = (r - basis[0]).square_().mul_(-basis[1].exp()).exp_()
        ctx.save_for_backward(r, basis, gaussians)
        return gaussians

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        # All of it from h = grad * B_k: dr = -2 a (r - c) h, dc = 2 a (r - c) h, d ln a = -a (r - c)^2 h, summed.
        r, basis, gaussians = ctx.saved_tensors
        n_radial, n_neighbours = gaussians.shape[2], gaussians.shape[3]
        centres, sharpness = basis[0], basis[1].exp()
        h = (grad * gaussians).reshape(-1, n_radial, n_neighbours)
        over_k = torch.matmul(torch.cat([sharpness, sharpness * centres], dim=1).t(), h)
        r = r.reshape(-1, n_neighbours)
        grad_r = 2.0 * (over_k[:, 1] - r * over_k[:, 0])
        powers = torch.stack([torch.ones_like(r), r, r * r], dim=-1)
        sums = torch.bmm(h, powers).sum(0)
        first = sums[:, 1:2] - centres * sums[:, :1]
        second = sums[:, 2:] - 2.0 * centres * sums[:, 1:2] + centres * centres * sums[:, :1]
        return grad_r.reshape(grad.shape[0], grad.shape[1], 1, -1), torch.stack(
            [2.0 * sharpness * first, -sharpness * second]
        )
