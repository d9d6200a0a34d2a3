r"""The kind `density`: a sum of atomic energies over denoised neighbourhoods.

.. math:: U_{net}(x, s) = g(s) \sum_i \left[ E(D_i, s) - E(0, s) \right], \qquad
          g(s) = \frac{s_{eff}^2}{s_{eff}^2 + s_1^2}

so it vanishes without noise and without neighbours. D_i are the invariants of `descriptors` at the
atom's own position and at refined positions y. In a refinement every atom follows learned forces
along its edges, in several moves,

.. math:: v_i \leftarrow \beta(s) \, v_i
          - c(s) \sum_j \sum_q (a_{iq} + b_{jq}) \sum_k w_{qk}(s) B_k(r_{ij}) \, \hat r_{ij},
          \qquad y_i \leftarrow y_i + v_i,

with gates a and b from the descriptors of the two atoms. This is a descent towards the structure
under the noise. For harmonic forces the exact U is the minimum of such a descent, U(x) = min_y [
U_0(y) + |x - y|^2 / 2 s_eff^2 ] + const. Its two parts, pairs at y and springs, are linear terms of
E. So a refinement is message passing with a physical meaning, and the forces stay conservative.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.conditioning import Condition
from openmm_nti.hamiltonian.networks.atomic_mlp import AtomicMLP
from openmm_nti.hamiltonian.networks.base import ONSET_SQUARED, LearnedPart, Surroundings
from openmm_nti.hamiltonian.networks.config import MomentConfig, NoRelaxations
from openmm_nti.hamiltonian.networks.descriptors import Descriptors, normalise_descriptors
from openmm_nti.hamiltonian.networks.edges import EdgeSums, exponents, initial_basis
from openmm_nti.hamiltonian.networks.refinements import (
    N_GATES,
    has_more_refinements,
    step_length,
    take_weights_with_more_refinements,
)
from openmm_nti.kernels import applies_to


class DensityConfig(MomentConfig):
    """Architecture of a `density` network."""

    kind: Literal["density"] = "density"
    n_relaxations: NoRelaxations = 0


class DensityNetwork(LearnedPart):
    """Computes the energies U_net of a batch of configurations, by the module's formula."""

    Config = DensityConfig
    summary = "invariants at refined positions; the default, and the more accurate by far"

    def __init__(self, config: DensityConfig) -> None:
        super().__init__(config)
        self.n_radial = config.n_radial
        self.n_refinements = config.n_refinements
        self.onset_squared = ONSET_SQUARED
        self.sums = EdgeSums(config.cutoff_sigma)
        # The basis is learned too: it follows the structure that the noise leaves.
        self.basis = nn.Parameter(initial_basis(config.cutoff_sigma, config.n_radial))
        self.descriptors = Descriptors(config.n_radial, config.n_channels, config.n_noise)
        n_descriptors = self.descriptors.n_outputs
        self.refinements = nn.ModuleList(
            Refinement(config, n_descriptors * (number + 1))
            for number in range(config.n_refinements)
        )
        # One more input than descriptors: how far the refinements displaced the atom, in units of
        # the noise.
        n_inputs = n_descriptors * (config.n_refinements + 1) + 1
        self.energy = AtomicMLP(n_inputs, config.width, 1, config.n_noise)
        self.pairs_and_springs = nn.Linear(config.n_noise, config.n_radial + 1, bias=False)
        nn.init.zeros_(self.pairs_and_springs.weight)

    @torch.jit.export
    def surroundings(self, vectors: Tensor, index: Tensor, mask: Tensor) -> Surroundings:
        """Return the edges and the moments at the atoms' own positions, for any noise."""
        mask = mask * self.sums.cutoff_envelope(vectors)
        moments = self.sums.moments(
            vectors, torch.zeros_like(vectors[..., 0]), index, mask, exponents(self.basis)
        )
        return Surroundings(vectors, index, mask, moments)

    @torch.jit.export
    def at_noise(self, around: Surroundings, condition: Condition) -> Tensor:
        """Return energies (B,), kT."""
        noise = self.noise_features(condition.log_s, condition.depth)
        variance = condition.variance.unsqueeze(-1)
        polynomials = exponents(self.basis)
        displacement = torch.zeros_like(around.vectors[..., 0])
        described, _ = self.descriptors(around.features, noise)
        densities = self.descriptors.total_densities(around.features)
        for refinement in self.refinements:
            displacement, densities, more = refinement(
                around, polynomials, displacement, described, noise, variance
            )
            described = torch.cat([described, more], dim=-1)
        springs = (displacement.square().sum(0) / (variance + 1e-4)).unsqueeze(-1)
        described = torch.cat([described, torch.log1p(springs)], dim=-1)
        # The last atom of each configuration has no neighbours.
        with_none = torch.cat([described, torch.zeros_like(described[:, :1])], dim=1)
        atomic = self.energy(with_none, noise)
        atomic = atomic[:, :-1] - atomic[:, -1:]
        linear = torch.cat([densities, springs.sum(1)], dim=-1)
        onset = variance / (variance + self.onset_squared)
        return (
            atomic.sum((1, 2)) + (linear * self.pairs_and_springs(noise)).sum(-1)
        ) * onset.squeeze(-1)

    @torch.jit.export
    def at_once(self, vectors: Tensor, index: Tensor, mask: Tensor, condition: Condition) -> Tensor:
        """Return what `forward` returns, in one operation where it is compiled.

        It may be differentiated once, by vectors and noise.
        """
        if self.sums.compiled and applies_to(vectors):
            energies: Tensor = torch.ops.openmm_nti.density_energies(
                vectors,
                index,
                mask,
                self.noise_features(condition.log_s, condition.depth),
                condition.variance,
                self.basis,
                self.n_refinements,
                self.weights(),
                self.sums.cutoff,
                self.sums.softening,
                self.sums.envelope_share,
                self.onset_squared,
            )
            return energies
        return self.forward(vectors, index, mask, condition)

    @torch.jit.export
    def weights(self) -> list[Tensor]:
        """Return all weights but the basis, in the order in which the compiled operation reads."""
        weights = self.descriptors.weights()
        for refinement in self.refinements:
            weights += refinement.weights()  # type: ignore[operator]
        return weights + self.energy.weights() + [self.pairs_and_springs.weight]

    @torch.no_grad()
    def normalise(self, vectors: Tensor, index: Tensor, mask: Tensor, log_s: Tensor) -> None:
        """Set the descriptors' scales on a batch of typical configurations, at ln s (B,)."""
        moments = self.surroundings(vectors, index, mask).features
        noise = self.noise_features(log_s, log_s.new_zeros(()))
        normalise_descriptors(self, moments, noise)

    @classmethod
    def may_grow(cls, smaller: DensityConfig, larger: DensityConfig) -> bool:
        """Return whether `larger` is `smaller` with as many refinements or more."""
        return has_more_refinements(smaller, larger)

    def take_weights(self, smaller: nn.Module) -> None:
        """Take the weights of a network with as many refinements or fewer."""
        take_weights_with_more_refinements(self, smaller, n_new_inputs=0)


class Refinement(nn.Module):
    """Displaces the atoms along gated radial forces, and takes descriptors at the end points."""

    def __init__(self, config: DensityConfig, n_described: int) -> None:
        super().__init__()
        self.n_radial = config.n_radial
        self.n_moves = config.n_moves
        self.n_gates = N_GATES
        self.sums = EdgeSums(config.cutoff_sigma)
        self.descriptors = Descriptors(config.n_radial, config.n_channels, config.n_noise)
        self.gates = AtomicMLP(n_described, config.width // 2, 2 * N_GATES, config.n_noise)
        nn.init.zeros_(self.gates.last.weight)  # no displacement at first
        nn.init.zeros_(self.gates.last.bias)
        self.radial = nn.Linear(config.n_noise, N_GATES * config.n_radial)
        nn.init.normal_(self.radial.bias, std=0.3)
        self.inertia = nn.Linear(config.n_noise, config.n_moves)
        nn.init.zeros_(self.inertia.weight)
        nn.init.zeros_(self.inertia.bias)

    @torch.jit.export
    def weights(self) -> list[Tensor]:
        """Return all weights, in the order in which the compiled operation reads them."""
        of_moves = [
            self.radial.weight,
            self.radial.bias,
            self.inertia.weight,
            self.inertia.bias,
        ]
        return self.gates.weights() + of_moves + self.descriptors.weights()

    def forward(
        self,
        around: Surroundings,
        polynomials: Tensor,
        displacement: Tensor,
        described: Tensor,
        noise: Tensor,
        variance: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return new displacements, and the total densities and descriptors at these positions.

        Displacements are (3, B, N), densities (B, K), descriptors (B, N, n_outputs).

        Parameters
        ----------
        around
            Edges at the atoms' own positions.
        polynomials
            From `exponents`, (K, 3).
        displacement
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
        velocity = torch.zeros_like(displacement)
        for move in range(self.n_moves):
            messages = self.sums.radial_messages(
                vectors, displacement, index, mask, polynomials, radial, gates
            )
            if move == 0:
                velocity = messages
            else:
                velocity = torch.addcmul(messages, inertia[:, move : move + 1], velocity)
            displacement = displacement + velocity
        moments = self.sums.moments(vectors, displacement, index, mask, polynomials)
        densities = self.descriptors.total_densities(moments)
        return displacement, densities, self.descriptors(moments, noise)[0]


NETWORKS = (DensityNetwork,)
