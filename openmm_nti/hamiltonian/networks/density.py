r"""The learned part of the path: a sum of atomic energies over denoised neighbourhoods.

.. math:: U_{net}(x, s) = g(s) \sum_i \left[ E(D_i, s) - E(0, s) \right], \qquad
          g(s) = \frac{s_{eff}^2}{s_{eff}^2 + s_1^2}

so that it vanishes without noise and without neighbours. D_i are the invariants of `descriptors` at
the atom's own position and at refined positions y: a refinement lets every atom follow learned
forces along its edges, several moves in a row,

.. math:: v_i \leftarrow \beta(s) \, v_i - c(s) \sum_j \sum_q (a_{iq} + b_{jq}) \sum_k w_{qk}(s) B_k(r_{ij})
          \, \hat r_{ij}, \qquad y_i \leftarrow y_i + v_i,

with gates a and b from what the two atoms see. It amounts to descending towards the structure under
the noise: for harmonic forces the exact U is such a minimum, U(x) = min_y [ U_0(y) + |x - y|^2 / 2
s_eff^2 ] + const, whose two parts, pairs at y and springs, E has as linear terms. It is message
passing with a physical meaning, and it stays conservative.
"""

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.conditioning import N_NOISE_FEATURES
from openmm_nti.hamiltonian.networks.atomic_mlp import AtomicMLP
from openmm_nti.hamiltonian.networks.base import LearnedPart, NetworkConfig
from openmm_nti.hamiltonian.networks.descriptors import (
    Descriptors,
    Surroundings,
    normalise_descriptors,
)
from openmm_nti.hamiltonian.networks.edges import EdgeSums, exponents, initial_basis

ONSET_SQUARED = 0.01  # s_1^2, sigma^2
N_GATES = 4  # q


class DensityNetwork(LearnedPart):
    """U_net for a batch of configurations; see the module's formula."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.n_radial = config.n_radial
        self.onset_squared = ONSET_SQUARED
        self.sums = EdgeSums(config.cutoff_sigma)
        # Learned too: they follow the structure that the noise leaves.
        self.basis = nn.Parameter(initial_basis(config.cutoff_sigma, config.n_radial))
        self.descriptors = Descriptors(config.n_radial, config.n_channels)
        n_found = self.descriptors.n_outputs
        self.refinements = nn.ModuleList(
            Refinement(config, n_found * (number + 1)) for number in range(config.n_refinements)
        )
        # One more input than descriptors: how far the refinements moved the atom, in units of the
        # noise.
        self.energy = AtomicMLP(n_found * (config.n_refinements + 1) + 1, config.width, 1)
        self.pairs_and_springs = nn.Linear(N_NOISE_FEATURES, config.n_radial + 1, bias=False)
        nn.init.zeros_(self.pairs_and_springs.weight)

    def forward(
        self, vectors: Tensor, index: Tensor, mask: Tensor, log_s: Tensor, variance: Tensor
    ) -> Tensor:
        """Energies (B,), kT.

        Parameters
        ----------
        vectors
            Minimum-image vectors to the neighbours, (3, B, N, M), sigma.
        index
            Neighbours as indices into the (B * N) atoms, (B, N, M).
        mask
            (B, N, M), 1 for a neighbour.
        log_s, variance
            ln s and s_eff^2 in sigma^2, (B,).
        """
        return self.at_noise(self.surroundings(vectors, index, mask), log_s, variance)

    @torch.jit.export
    def surroundings(self, vectors: Tensor, index: Tensor, mask: Tensor) -> Surroundings:
        """What does not depend on the noise; arguments as for `forward`."""
        mask = mask * self.sums.fading(vectors)
        moments = self.sums.moments(
            vectors, torch.zeros_like(vectors[..., 0]), index, mask, exponents(self.basis)
        )
        return Surroundings(vectors, index, mask, moments)

    @torch.jit.export
    def at_noise(self, around: Surroundings, log_s: Tensor, variance: Tensor) -> Tensor:
        """Energies (B,), kT, of `surroundings` at ln s and s_eff^2, (B,)."""
        noise, variance = self.noise(log_s), variance.unsqueeze(-1)
        polynomials = exponents(self.basis)
        moved = torch.zeros_like(around.vectors[..., 0])
        described, _ = self.descriptors(around.moments, noise)
        densities = self.descriptors.total_densities(around.moments)
        for refinement in self.refinements:
            moved, densities, found = refinement(
                around, polynomials, moved, described, noise, variance
            )
            described = torch.cat([described, found], dim=-1)
        springs = (moved.square().sum(0) / (variance + 1e-4)).unsqueeze(-1)
        described = torch.cat([described, torch.log1p(springs)], dim=-1)
        # The last atom of each has no neighbours.
        with_none = torch.cat([described, torch.zeros_like(described[:, :1])], dim=1)
        atomic = self.energy(with_none, noise)
        atomic = atomic[:, :-1] - atomic[:, -1:]
        linear = torch.cat([densities, springs.sum(1)], dim=-1)
        onset = variance / (variance + self.onset_squared)
        return (
            atomic.sum((1, 2)) + (linear * self.pairs_and_springs(noise)).sum(-1)
        ) * onset.squeeze(-1)

    @torch.no_grad()
    def normalise(self, vectors: Tensor, index: Tensor, mask: Tensor, log_s: Tensor) -> None:
        """Set the descriptors' scales on a batch of typical configurations; arguments as for
        `forward`.
        """
        normalise_descriptors(
            self, self.surroundings(vectors, index, mask).moments, self.noise(log_s)
        )


class Refinement(nn.Module):
    """Moves the atoms along gated radial forces, and takes descriptors where they arrive."""

    def __init__(self, config: NetworkConfig, n_described: int) -> None:
        super().__init__()
        self.n_radial, self.n_moves, self.n_gates = config.n_radial, config.n_moves, N_GATES
        self.sums = EdgeSums(config.cutoff_sigma)
        self.descriptors = Descriptors(config.n_radial, config.n_channels)
        self.gates = AtomicMLP(n_described, config.width // 2, 2 * N_GATES)
        nn.init.zeros_(self.gates.last.weight)  # no atom moves at first
        nn.init.zeros_(self.gates.last.bias)
        self.radial = nn.Linear(N_NOISE_FEATURES, N_GATES * config.n_radial)
        nn.init.normal_(self.radial.bias, std=0.3)
        self.inertia = nn.Linear(N_NOISE_FEATURES, config.n_moves)
        nn.init.zeros_(self.inertia.weight)
        nn.init.zeros_(self.inertia.bias)

    def forward(
        self,
        around: Surroundings,
        polynomials: Tensor,
        moved: Tensor,
        described: Tensor,
        noise: Tensor,
        variance: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Where the atoms have moved to, relative to their positions, (3, B, N).

        And, there, the sums of their densities (B, K) and their descriptors (B, N, n_outputs).

        Parameters
        ----------
        around
            Edges at the atoms' own positions.
        polynomials
            From `exponents`, (K, 3).
        moved
            Displacements so far, (3, B, N).
        described
            Descriptors so far, (B, N, n_described).
        noise, variance
            Noise features (B, n_noise), and s_eff^2 in sigma^2, (B, 1).
        """
        vectors, index, mask, _ = around
        gates = self.gates(described, noise)
        radial = (self.radial(noise) * -step_length(variance)).reshape(
            -1, self.n_gates, self.n_radial
        )
        inertia = self.inertia(noise)
        velocity = torch.zeros_like(moved)
        for move in range(self.n_moves):
            push = self.sums.pushes(vectors, moved, index, mask, polynomials, radial, gates)
            velocity = (
                push if move == 0 else torch.addcmul(push, inertia[:, move : move + 1], velocity)
            )
            moved = moved + velocity
        moments = self.sums.moments(vectors, moved, index, mask, polynomials)
        return moved, self.descriptors.total_densities(moments), self.descriptors(moments, noise)[0]


def step_length(variance: Tensor) -> Tensor:
    """c(s) of a move, sigma^2, in the shape of `variance`, which is s_eff^2."""
    return 8.0 * variance / (1.0 + 60.0 * variance)
