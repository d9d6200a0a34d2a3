r"""The kind `denoiser`: a score from the displacements that refinements find.

The formula is in `openmm_nti.hamiltonian.denoiser`.
"""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from openmm_nti.hamiltonian import relaxation
from openmm_nti.hamiltonian.conditioning import Condition
from openmm_nti.hamiltonian.networks.atom_traits import N_TRAITS
from openmm_nti.hamiltonian.networks.atomic_mlp import AtomicMLP
from openmm_nti.hamiltonian.networks.base import LearnedPart, Surroundings
from openmm_nti.hamiltonian.networks.config import MomentConfig
from openmm_nti.hamiltonian.networks.descriptors import Descriptors, normalise_descriptors
from openmm_nti.hamiltonian.networks.edges import EdgeSums, exponents, initial_basis
from openmm_nti.hamiltonian.networks.refinements import (
    N_GATES,
    has_more_refinements,
    step_length,
    take_weights_with_more_refinements,
)


class DenoiserConfig(MomentConfig):
    """Architecture of a `denoiser` network."""

    kind: Literal["denoiser"] = "denoiser"
    n_relaxations: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Steps of relaxation by two-body forces that the network takes as input.",
    )


class DenoiserNetwork(LearnedPart):
    """Computes the gradients f_net for a batch of configurations."""

    Config = DenoiserConfig
    summary = "a score without an energy, for neural_ti_bound alone"
    gives_energy = False

    def __init__(self, config: DenoiserConfig) -> None:
        super().__init__(config)
        self.n_relaxations = config.n_relaxations
        self.sums = EdgeSums(config.cutoff_sigma)
        self.basis = nn.Parameter(initial_basis(config.cutoff_sigma, config.n_radial))
        n_refinements = config.n_refinements
        n_vectors = 2 * config.n_channels + relaxation.n_vectors(config.n_relaxations)
        n_scalars = relaxation.n_scalars(config.n_relaxations)
        descriptors = [
            Descriptors(config.n_radial, config.n_channels, config.n_noise)
            for _ in range(n_refinements + 1)
        ]
        self.descriptors = nn.ModuleList(descriptors)
        n_descriptors = descriptors[0].n_outputs
        if config.conditioned:  # moments once more, where neighbours count by their depth
            self.by_depth = Descriptors(config.n_radial, config.n_channels, config.n_noise)
            n_vectors += 2 * config.n_channels
            n_scalars += N_TRAITS + n_descriptors
        self.refinements = nn.ModuleList(
            Descent(config, n_scalars + n_descriptors * (number + 1), n_vectors)
            for number in range(n_refinements)
        )
        # One more input than descriptors: how far the refinements displaced the atom, in units of
        # the noise.
        n_inputs = n_scalars + n_descriptors * (n_refinements + 1) + 1
        self.coefficients = AtomicMLP(n_inputs, config.width, n_vectors, config.n_noise)
        self.shares = nn.Linear(config.n_noise, max(1, n_refinements))
        for layer in (self.coefficients.last, self.shares):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.coefficients.last.bias)
        nn.init.ones_(self.shares.bias)

    def forward(
        self,
        vectors: Tensor,
        index: Tensor,
        mask: Tensor,
        condition: Condition,
        known: Sequence[Tensor] = (),
    ) -> Tensor:
        """Return `at_noise` of `surroundings`."""
        return self.at_noise(self.surroundings(vectors, index, mask), condition, known)

    def surroundings(self, vectors: Tensor, index: Tensor, mask: Tensor) -> Surroundings:
        """Return the edges alone: a score is never needed at several noise levels."""
        no_features = vectors[..., :0]
        return Surroundings(vectors, index, mask, no_features)

    def at_noise(
        self, around: Surroundings, condition: Condition, known: Sequence[Tensor] = ()
    ) -> Tensor:
        """Return gradients (B, N, 3), 1 / sigma.

        Parameters
        ----------
        around, condition
            Edges of the atoms, and noise levels.
        known
            Vectors and scalars from `relaxation.relax`, if the network takes them.
        """
        noise = self.noise_features(condition.log_s, condition.depth)
        variance = condition.variance.unsqueeze(-1)
        step = step_length(variance)
        polynomials = exponents(self.basis)
        shares = self.shares(noise)
        displacement = total = torch.zeros_like(around.vectors[..., 0])
        moments = self._moments(around, displacement, polynomials)
        described, pulls = self._described(0, moments, noise)
        scalars, others = self._known(around, condition, polynomials, noise, known)
        described = torch.cat([*scalars, described], dim=-1)
        pulls = torch.cat([pulls, *others], dim=-1)
        for number, descent in enumerate(self.refinements):
            before = displacement
            displacement = descent(around, polynomials, displacement, described, pulls, noise, step)
            share = shares[:, number : number + 1]
            total = total - share * (displacement - before) / step.clamp(min=1e-9)
            moments = self._moments(around, displacement, polynomials)
            more, pulls = self._described(number + 1, moments, noise)
            described = torch.cat([described, more], dim=-1)
            pulls = torch.cat([pulls, *others], dim=-1)
        springs = torch.log1p(displacement.square().sum(0) / (variance + 1e-4)).unsqueeze(-1)
        coefficients = self.coefficients(torch.cat([described, springs], dim=-1), noise)
        total = total + (pulls * coefficients).sum(-1)
        # This has the size of a score, and is of order s_eff^2 where the noise is small.
        total = total * (0.5 * variance / ((variance + 0.01) * (variance + 0.002).sqrt()))
        return (total - total.mean(2, keepdim=True)).permute(1, 2, 0)

    def _moments(self, around: Surroundings, displacement: Tensor, polynomials: Tensor) -> Tensor:
        return self.sums.moments(
            around.vectors, displacement, around.index, around.mask, polynomials
        )

    def _known(
        self,
        around: Surroundings,
        condition: Condition,
        polynomials: Tensor,
        noise: Tensor,
        relaxed: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return the inputs that no refinement changes: scalars and vectors of the atoms.

        These are traits, moments of neighbours by their depth, and what relaxations found.
        """
        scalars, vectors = list(relaxed[1:]), list(relaxed[:1])
        if self.conditioned:
            shape = around.index.shape[:2]
            traits = condition.atoms.to(noise.dtype)
            if len(traits):
                traits = traits.expand(shape[0], -1, -1)
                weights = traits[..., 0].reshape(-1)[around.index] * around.mask
                still = torch.zeros_like(around.vectors[..., 0])
                moments = self.sums.moments(
                    around.vectors, still, around.index, weights, polynomials
                )
                described, moved = self.by_depth(moments, noise)
                moved = moved * self.by_depth.vector_scales()
            else:  # one species: all traits are zero
                traits = noise.new_zeros(*shape, N_TRAITS)
                described = noise.new_zeros(*shape, self.by_depth.n_outputs)
                moved = noise.new_zeros(3, *shape, 2 * self.by_depth.n_channels)
            scalars = [traits, described, *scalars]
            vectors = [*vectors, moved]
        return scalars, vectors

    def _described(self, number: int, moments: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        descriptors = cast("Descriptors", self.descriptors[number])
        described, vectors = descriptors(moments, noise)
        return described, vectors * descriptors.vector_scales()

    @torch.no_grad()
    def normalise(self, vectors: Tensor, index: Tensor, mask: Tensor, log_s: Tensor) -> None:
        """Set the descriptors' scales on a batch of typical configurations, at ln s (B,)."""
        around = self.surroundings(vectors, index, mask)
        moments = self._moments(around, torch.zeros_like(vectors[..., 0]), exponents(self.basis))
        noise = self.noise_features(log_s, log_s.new_zeros(()))
        normalise_descriptors(self, moments, noise)

    @classmethod
    def may_grow(cls, smaller: DenoiserConfig, larger: DenoiserConfig) -> bool:
        """Return whether `larger` has more refinements, or inputs where there were none."""
        return has_more_refinements(smaller, larger)

    def take_weights(self, smaller: nn.Module) -> None:
        """Take the weights of a network with fewer refinements, or without some of the inputs."""
        before = cast("DenoiserNetwork", smaller)
        n_new_inputs = self._n_scalars() - before._n_scalars()  # noqa: SLF001
        take_weights_with_more_refinements(self, smaller, n_new_inputs)

    def _n_scalars(self) -> int:
        of_depth = N_TRAITS + self.by_depth.n_outputs if self.conditioned else 0
        return relaxation.n_scalars(self.n_relaxations) + of_depth


class Descent(nn.Module):
    """Displaces the atoms towards the structure under the noise.

    The displacements have inertia, and a spring pulls back.
    """

    def __init__(self, config: DenoiserConfig, n_described: int, n_vectors: int) -> None:
        super().__init__()
        self.n_radial = config.n_radial
        self.n_moves = config.n_moves
        self.sums = EdgeSums(config.cutoff_sigma)
        n_noise, n_gates = config.n_noise, 2 * N_GATES + n_vectors
        self.gates = AtomicMLP(n_described, config.width // 2, n_gates, n_noise)
        self.radial = nn.Linear(n_noise, config.n_moves * N_GATES * config.n_radial)
        self.inertia = nn.Linear(n_noise, config.n_moves)
        self.stiffness = nn.Linear(n_noise, config.n_moves)
        for layer in (self.gates.last, self.inertia, self.stiffness):  # no displacement at first
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.radial.bias, std=0.3)

    def forward(
        self,
        around: Surroundings,
        polynomials: Tensor,
        displacement: Tensor,
        described: Tensor,
        pulls: Tensor,
        noise: Tensor,
        step: Tensor,
    ) -> Tensor:
        """Return new displacements from the atoms' positions, (3, B, N), sigma.

        Parameters
        ----------
        around
            Edges at the atoms' own positions.
        polynomials
            From `exponents`, (K, 3).
        displacement
            Displacements so far, (3, B, N).
        described, pulls
            The atoms' descriptors (B, N, n_described) and vector moments (3, B, N, n_vectors).
        noise, step
            Noise features (B, n_noise), and c(s), (B, 1).
        """
        vectors, index, mask, _ = around
        gates, shares = self.gates(described, noise).split([2 * N_GATES, pulls.shape[-1]], -1)
        radial = (self.radial(noise) * -step).reshape(-1, self.n_moves, N_GATES, self.n_radial)
        inertia = self.inertia(noise)
        stiffness = self.stiffness(noise)
        velocity = -step * (pulls * shares).sum(-1)
        for move in range(self.n_moves):
            if move:
                velocity = inertia[:, move : move + 1] * velocity
            messages = self.sums.radial_messages(
                vectors, displacement, index, mask, polynomials, radial[:, move], gates
            )
            velocity = velocity + messages - stiffness[:, move : move + 1] * displacement
            displacement = displacement + velocity
        return displacement


NETWORKS = (DenoiserNetwork,)
