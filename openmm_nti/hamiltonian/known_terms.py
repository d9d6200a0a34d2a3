"""The terms that every model of a noised fluid has without learning: both ends, and pairs."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian.conditioning import Condition
from openmm_nti.hamiltonian.geometry import Pairs, PairSearch, box_of, closer, selected
from openmm_nti.hamiltonian.length_scale import LengthScale, lengths_of
from openmm_nti.hamiltonian.networks.atom_traits import AtomTraits, depths_of
from openmm_nti.hamiltonian.networks.base import LearnedPart
from openmm_nti.hamiltonian.networks.config import NetworkConfig
from openmm_nti.hamiltonian.own_device import on_own_device
from openmm_nti.hamiltonian.pair_energy import PairEnergy
from openmm_nti.hamiltonian.pair_kinds import PairKinds
from openmm_nti.hamiltonian.training_range import TrainingRange
from openmm_nti.hamiltonian.two_body import TwoBodyTerm
from openmm_nti.references.base import Reference
from openmm_nti.references.ideal_gas import IdealGas
from openmm_nti.references.noise import effective_variance, log_noise_max

_LOG_NOISE_ROUNDING = 1e-6


class NoisedFluid(nn.Module):
    """A model of the noised fluid: the known terms, and a network for the rest.

    The subclass decides whether the network gives energies or gradients.

    Parameters
    ----------
    potential
        The pair potential at lambda = 1, with its cutoff and temperature.
    network_config
        Architecture of the learned part, and its precision; None leaves the two-body path alone.
    network
        The learned part.

    Attributes
    ----------
    end
        Energies and forces of the interacting end, lambda = 1.
    reference
        The reference system at lambda = 0.
    trained_on, training_range
        State points of the training data, if the model comes from a file, and the range that they
        cover. Neither is part of a TorchForce.
    highest_log_noise
        Largest ln s that the network is given, in its own unit of length. It is that of the largest
        box of the training; a larger box has noise of which the network knows nothing.
    """

    def __init__(
        self,
        potential: ReducedPotential,
        network_config: NetworkConfig | None,
        network: LearnedPart,
    ) -> None:
        super().__init__()
        self.trained_on: tuple[StatePoint, ...] = ()
        self.training_range = TrainingRange.of(potential, ())
        self.highest_log_noise = math.inf
        self.reference: Reference = IdealGas()
        self.network_config = network_config
        self.search = PairSearch()
        self.has_network = network_config is not None
        self.home_length = lengths_of(potential)[0]
        self.home_depth = depths_of(potential)[0]
        self._take(potential, network, None)
        double = network_config is not None and network_config.dtype == "float64"
        self.network = network.to(torch.float64 if double else torch.float32)

    def _take(
        self, potential: ReducedPotential, network: LearnedPart, numbers: tuple[int, ...] | None
    ) -> None:
        """Make everything that depends on the potential, its temperature and the composition."""
        self.potential = potential
        self.pair_kinds = PairKinds(potential.n_species, numbers)
        self.end = PairEnergy(potential, self.pair_kinds)
        self.two_body = TwoBodyTerm(potential)
        self.cutoff = potential.cutoff_sigma
        self.scale = LengthScale(potential, self.home_length, numbers)
        self.traits = AtomTraits(potential, self.home_depth, numbers)
        self.reach = self.cutoff
        if self.has_network:
            self.reach = max(self.cutoff, network.cutoff * self.scale.longest)

    def take_home(self, length: float, depth: float) -> None:
        """Let the network see the fluid as one trained for a pair of this length and depth.

        See `LengthScale` and `AtomTraits`; sigma and kT.
        """
        self.home_length = length
        self.home_depth = depth
        device = self.two_body.mayer.device
        self._take(self.potential, self.network, self.pair_kinds.numbers)
        self.to(device)

    def take_range(self, trained_on: Sequence[StatePoint], training_range: TrainingRange) -> None:
        """Take the states of the training, and what they cover."""
        self.trained_on = tuple(trained_on)
        self.training_range = training_range
        found = []
        for state in self.trained_on:
            scale = LengthScale(state.pair_potential, self.home_length, _numbers_of(state))
            found.append(float(log_noise_max(box_of(state))) - scale.log_length)
        # A little more: rounding must not count as larger.
        self.highest_log_noise = max(found, default=math.inf) + _LOG_NOISE_ROUNDING

    def bind(self, state: StatePoint) -> Self:
        """Return the model with the tables of the state's potential, temperature and composition.

        Weights are shared with this model. If the tables are the same, this model itself is
        returned. `training_range.check_model_fits` tells whether the state lies in the training
        range.

        Raises
        ------
        ValueError
            If the box is too small for the distances that the network sees.
        """
        potential = state.pair_potential
        numbers = _numbers_of(state)
        if not self.potential.differing(potential) and self.pair_kinds.is_of(numbers):
            return self
        bound = copy.copy(self)
        bound.__dict__["_modules"] = dict(self._modules)
        bound._take(potential, self.network, numbers)  # noqa: SLF001
        half = 0.5 * state.shortest_edge_sigma
        if bound.reach > half * (1 + 1e-9):
            raise ValueError(
                f"the model's network sees pairs up to {bound.reach:.4g} sigma in this fluid, and "
                f"half the box is {half:.4g} sigma: enlarge the box, or "
                "train a network of a shorter cutoff_sigma"
            )
        for part in (bound.pair_kinds, bound.scale, bound.traits, bound.two_body):
            part.to(self.two_body.mayer.device)
        return bound.train(self.training)

    @on_own_device
    def __call__(self, *arguments: Tensor) -> Tensor:
        """Return what `forward` returns; positions may lie on another device."""
        return cast("Tensor", super().__call__(*arguments))

    def fingerprint(self) -> str:
        """Return a short hash of everything that decides the model's numbers.

        Equal models have equal hashes.
        """
        network = self.network_config.model_dump_json() if self.network_config else "none"
        name = type(self).__name__
        digest = hashlib.sha256(f"{name}{self.potential.model_dump_json()}{network}".encode())
        if self.scale.differs:
            digest.update(f"{self.home_length!r}".encode())
        if self.network_config is not None and self.network_config.knows_depth:
            digest.update(f"{self.home_depth!r}".encode())
        digest.update(f"{self.highest_log_noise!r}".encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def gradient(
        self, positions: Tensor, box: Tensor, log_s: Tensor, create_graph: bool = False
    ) -> Tensor:
        """Return the model's gradient, which is minus the score, (B, N, 3), kT / sigma.

        Parameters
        ----------
        positions
            Positions of the atoms, (B, N, 3), sigma; unwrapped positions are fine.
        box
            Edges of the box, (3,), sigma.
        log_s
            Noise levels ln s, with s in sigma, (B,).
        create_graph
            Whether the learned part stays differentiable by its weights.
        """
        raise NotImplementedError

    @on_own_device
    def pair_energy(self, positions: Tensor, box: Tensor, log_s: Tensor) -> Tensor:
        """Return the sum of the two-body term over all pairs, (B,), kT.

        Arguments are those of `gradient`.
        """
        pairs = self.search.pairs(positions, box, self.cutoff)
        return self._table_sum(positions, pairs, self.two_body.rows(log_s))

    @on_own_device
    def pair_gradient(self, positions: Tensor, box: Tensor, log_s: Tensor) -> Tensor:
        """Return the gradient of `pair_energy`, (B, N, 3), kT / sigma, without autograd."""
        return self._pair_gradient(
            positions, log_s, self.search.pairs(positions.detach(), box, self.cutoff)
        )

    @on_own_device
    def pair_field(self, positions: Tensor, box: Tensor, log_s: Tensor) -> tuple[Tensor, Tensor]:
        """Return a continuous field close to the gradient of `pair_energy`, and its divergence.

        The field is (B, N, 3) in kT / sigma, its divergence (B,) in kT / sigma^2. The two-body term
        ends at the cutoff with a small force, and fields for partial integration may not jump. So
        the force at the cutoff is subtracted from the slope along every pair.
        """
        pairs = self.search.pairs(positions.detach(), box, self.cutoff)
        return self._pair_curvature(positions, log_s, pairs)[1:]

    def neighbourhoods(self, positions: Tensor, near: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """Return the pairs `near` as the network takes them; see `PairSearch.neighbours`.

        These are vectors (3, B, N, M), index (B, N, M) and mask (B, N, M). Vectors are in the
        lengths of their kinds of pairs; see `LengthScale`.
        """
        vectors = near.vectors.to(self.network.noise.centres.dtype)
        vectors = self.scale.shortened(vectors, self.pair_kinds.of(near, positions.shape[1]))
        near = Pairs(near.first, near.second, vectors, near.r)
        return self.search.neighbours(near, positions.shape[0], positions.shape[1])

    def near(self, pairs: Pairs, n_atoms: int) -> Pairs:
        """Return the pairs within the cutoff of the network, among `n_atoms` atoms."""
        if not self.scale.several:
            return closer(pairs, self.network.cutoff * self.scale.longest)
        kind = self.pair_kinds.of(pairs, n_atoms)
        return selected(pairs, pairs.r < self.network.cutoff * self.scale.of_kinds[kind])

    def condition(self, log_s: Tensor) -> Condition:
        """Return the noise levels ln s (B,) as the network takes them."""
        dtype = self.network.noise.centres.dtype
        log_s = log_s.clamp(max=self.highest_log_noise + self.scale.log_length)
        variance = effective_variance(log_s)
        if self.scale.differs:
            log_s = log_s - self.scale.log_length
            variance = variance / self.scale.length**2
        traits = self.traits
        depth, atoms = traits.depth.to(dtype), traits.of_atoms.to(dtype)
        return Condition(log_s.to(dtype), variance.to(dtype), depth, atoms)

    def _in_range(self, pairs: Pairs) -> Pairs:
        """Return the pairs within the cutoff of the two-body term."""
        return closer(pairs, self.cutoff) if self.reach > self.cutoff else pairs

    def _pair_gradient(self, positions: Tensor, log_s: Tensor, pairs: Pairs) -> Tensor:
        with torch.no_grad():
            row = self.pair_kinds.rows(pairs, positions.shape[1])
            slope = self.two_body.derivative(pairs.r, row, self.two_body.rows(log_s))
            return self.search.sum_over_pairs(pairs, pairs.vectors * (slope / pairs.r), positions)

    def _pair_curvature(
        self, positions: Tensor, log_s: Tensor, pairs: Pairs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return `_pair_gradient`, then field and divergence of `pair_field`."""
        row = self.pair_kinds.rows(pairs, positions.shape[1])
        rows = self.two_body.rows(log_s)
        all_rows = torch.arange(rows.shape[1], device=log_s.device)
        at_cutoff = torch.full_like(all_rows, self.cutoff, dtype=log_s.dtype)
        slope_at_cutoff = self.two_body.derivative(at_cutoff, all_rows, rows)[row]
        slope = self.two_body.derivative(pairs.r, row, rows)
        bend = self.two_body.second_derivative(pairs.r, row, rows)
        gradient, jump = (
            self.search.sum_over_pairs(pairs, pairs.vectors * (force / pairs.r), positions)
            for force in (slope, slope_at_cutoff)
        )
        contributions = 2.0 * (bend + 2.0 * (slope - slope_at_cutoff) / pairs.r)
        divergence = self._sum(positions, pairs, contributions)
        return gradient, gradient - jump, divergence

    def pair_configurations(self, positions: Tensor, pairs: Pairs) -> Tensor:
        """Return the configuration of the batch to which each pair belongs, (P,)."""
        return torch.div(pairs.first, positions.shape[1], rounding_mode="floor")

    def _table_sum(self, positions: Tensor, pairs: Pairs, rows: Tensor) -> Tensor:
        """Return the sum over pairs of the tabulated `rows` (4, B, n_r - 1), (B,), kT."""
        return self.two_body.sums(pairs, self.pair_kinds.rows(pairs, positions.shape[1]), rows)

    def _sum(self, positions: Tensor, pairs: Pairs, values: Tensor) -> Tensor:
        """Return the sum of the pairs' `values` (P,) over each configuration, (B,)."""
        total = torch.zeros(positions.shape[0], dtype=positions.dtype, device=positions.device)
        return total.index_add(0, self.pair_configurations(positions, pairs), values)


def _numbers_of(state: StatePoint) -> tuple[int, ...] | None:
    """Return the number of atoms of each species of a mixture; None for one species."""
    return tuple(state.composition.values()) if state.is_mixture else None
