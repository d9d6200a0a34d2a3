r"""The network of a denoiser: refinements whose way is the answer."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian import relaxation
from openmm_nti.hamiltonian.conditioning import N_NOISE_FEATURES
from openmm_nti.hamiltonian.networks.atomic_mlp import AtomicMLP
from openmm_nti.hamiltonian.networks.base import LearnedPart, NetworkConfig
from openmm_nti.hamiltonian.networks.density import N_GATES, step_length
from openmm_nti.hamiltonian.networks.descriptors import Descriptors, normalise_descriptors
from openmm_nti.hamiltonian.networks.edges import EdgeSums, exponents, initial_basis


class DenoiserNetwork(LearnedPart):
    """f_net for a batch of configurations; see the module's formula."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.sums = EdgeSums(config.cutoff_sigma)
        self.basis = nn.Parameter(initial_basis(config.cutoff_sigma, config.n_radial))
        n_refinements = config.n_refinements
        n_vectors = 2 * config.n_channels + relaxation.n_vectors(config.n_relaxations)
        n_scalars = relaxation.n_scalars(config.n_relaxations)
        descriptors = [
            Descriptors(config.n_radial, config.n_channels) for _ in range(n_refinements + 1)
        ]
        self.descriptors = nn.ModuleList(descriptors)
        n_found = descriptors[0].n_outputs
        self.refinements = nn.ModuleList(
            Descent(config, n_scalars + n_found * (number + 1), n_vectors)
            for number in range(n_refinements)
        )
        # One more input than descriptors: how far the refinements moved the atom, in units of the
        # noise.
        self.coefficients = AtomicMLP(
            n_scalars + n_found * (n_refinements + 1) + 1, config.width, n_vectors
        )
        self.shares = nn.Linear(N_NOISE_FEATURES, max(1, n_refinements))
        for layer in (self.coefficients.last, self.shares):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.coefficients.last.bias)
        nn.init.ones_(self.shares.bias)

    def forward(
        self,
        vectors: Tensor,
        index: Tensor,
        mask: Tensor,
        log_s: Tensor,
        variance: Tensor,
        known: Sequence[Tensor] = (),
    ) -> Tensor:
        """Vectors (B, N, 3), 1 / sigma; arguments as for `DensityNetwork.forward`.

        `known` are the vectors and scalars of `relaxation.relax`, for a network that takes them.
        """
        noise, variance = self.noise(log_s), variance.unsqueeze(-1)
        step, polynomials = step_length(variance), exponents(self.basis)
        shares = self.shares(noise)
        moved = total = torch.zeros_like(vectors[..., 0])
        moments = self.sums.moments(vectors, moved, index, mask, polynomials)
        described, pulls = self._described(0, moments, noise)
        if known:
            described, pulls = (
                torch.cat([known[1], described], dim=-1),
                torch.cat([pulls, known[0]], dim=-1),
            )
        for number, descent in enumerate(self.refinements):
            before = moved
            moved = descent(
                (vectors, index, mask), polynomials, moved, described, pulls, noise, step
            )
            total = total - shares[:, number : number + 1] * (moved - before) / step.clamp(min=1e-9)
            moments = self.sums.moments(vectors, moved, index, mask, polynomials)
            found, pulls = self._described(number + 1, moments, noise)
            described = torch.cat([described, found], dim=-1)
            if known:
                pulls = torch.cat([pulls, known[0]], dim=-1)
        springs = torch.log1p(moved.square().sum(0) / (variance + 1e-4)).unsqueeze(-1)
        coefficients = self.coefficients(torch.cat([described, springs], dim=-1), noise)
        total = total + (pulls * coefficients).sum(-1)
        # Of the size that a score has, and of order s_eff^2 where the noise is small.
        total = total * (0.5 * variance / ((variance + 0.01) * (variance + 0.002).sqrt()))
        return (total - total.mean(2, keepdim=True)).permute(1, 2, 0)

    def _described(self, number: int, moments: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        descriptors = cast("Descriptors", self.descriptors[number])
        described, vectors = descriptors(moments, noise)
        return described, vectors * descriptors.vector_scales()

    @torch.no_grad()
    def normalise(self, vectors: Tensor, index: Tensor, mask: Tensor, log_s: Tensor) -> None:
        """Set the descriptors' scales on a batch of typical configurations; arguments as for
        `forward`.
        """
        here = torch.zeros_like(vectors[..., 0])
        moments = self.sums.moments(vectors, here, index, mask, exponents(self.basis))
        normalise_descriptors(self, moments, self.noise(log_s))


class Descent(nn.Module):
    """Moves the atoms towards the structure under the noise, in steps with inertia and a spring
    back.
    """

    def __init__(self, config: NetworkConfig, n_described: int, n_vectors: int) -> None:
        super().__init__()
        self.n_radial, self.n_moves = config.n_radial, config.n_moves
        self.sums = EdgeSums(config.cutoff_sigma)
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
        edges: tuple[Tensor, Tensor, Tensor],
        polynomials: Tensor,
        moved: Tensor,
        described: Tensor,
        pulls: Tensor,
        noise: Tensor,
        step: Tensor,
    ) -> Tensor:
        """Displacements from the atoms' positions, (3, B, N); arguments as for `Refinement`.

        In addition `edges` are vectors, index and mask as for `EdgeSums.pushes`, `pulls` (3, B, N,
        n_vectors) the atoms' vector moments, and `step` (B, 1) is c(s).
        """
        vectors, index, mask = edges
        gates, shares = self.gates(described, noise).split([2 * N_GATES, pulls.shape[-1]], -1)
        radial = (self.radial(noise) * -step).reshape(-1, self.n_moves, N_GATES, self.n_radial)
        inertia, stiffness = self.inertia(noise), self.stiffness(noise)
        velocity = -step * (pulls * shares).sum(-1)
        for move in range(self.n_moves):
            if move:
                velocity = inertia[:, move : move + 1] * velocity
            push = self.sums.pushes(
                vectors, moved, index, mask, polynomials, radial[:, move], gates
            )
            velocity = velocity + push - stiffness[:, move : move + 1] * moved
            moved = moved + velocity
        return moved
