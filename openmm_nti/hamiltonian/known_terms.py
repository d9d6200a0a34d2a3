"""The terms that every model of a noised fluid has without learning: both ends, and pairs."""

from __future__ import annotations

import copy
import hashlib
from typing import Self, cast

import torch
from torch import Tensor, nn

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian.geometry import Pairs, PairSearch, closer
from openmm_nti.hamiltonian.networks.base import LearnedPart
from openmm_nti.hamiltonian.networks.config import NetworkConfig
from openmm_nti.hamiltonian.own_device import on_own_device
from openmm_nti.hamiltonian.pair_energy import PairEnergy
from openmm_nti.hamiltonian.training_range import TrainingRange
from openmm_nti.hamiltonian.two_body import TwoBodyTerm
from openmm_nti.references.base import Reference
from openmm_nti.references.ideal_gas import IdealGas


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
        self.reference: Reference = IdealGas()
        self.network_config = network_config
        self.search = PairSearch()
        self.has_network = network_config is not None
        self._take(potential, network)
        double = network_config is not None and network_config.dtype == "float64"
        self.network = network.to(torch.float64 if double else torch.float32)

    def _take(self, potential: ReducedPotential, network: LearnedPart) -> None:
        """Make everything that depends on the potential and its temperature."""
        self.potential = potential
        self.end = PairEnergy(potential)
        self.two_body = TwoBodyTerm(potential)
        self.cutoff = potential.cutoff_sigma
        self.reach = max(self.cutoff, network.cutoff) if self.has_network else self.cutoff

    def bind(self, state: StatePoint) -> Self:
        """Return the model with the tables of the state's potential and temperature.

        Weights are shared with this model. If the tables are the same, this model itself is
        returned. `openmm_nti.model_files.check_model_fits` checks whether the state lies in the
        training range.
        """
        potential = state.pair_potential
        if not self.potential.differing(potential):
            return self
        bound = copy.copy(self)
        bound.__dict__["_modules"] = dict(self._modules)
        bound._take(potential, self.network)  # noqa: SLF001
        bound.two_body.to(self.two_body.mayer.device)
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

        These are vectors (3, B, N, M), index (B, N, M) and mask (B, N, M).
        """
        near = Pairs(
            near.first, near.second, near.vectors.to(self.network.noise.centres.dtype), near.r
        )
        return self.search.neighbours(near, positions.shape[0], positions.shape[1])

    def near(self, pairs: Pairs) -> Pairs:
        """Return the pairs within the cutoff of the network."""
        return closer(pairs, self.network.cutoff)

    def _in_range(self, pairs: Pairs) -> Pairs:
        """Return the pairs within the cutoff of the two-body term."""
        return closer(pairs, self.cutoff) if self.reach > self.cutoff else pairs

    def _pair_gradient(self, positions: Tensor, log_s: Tensor, pairs: Pairs) -> Tensor:
        with torch.no_grad():
            configuration = self.pair_configurations(positions, pairs)
            slope = self.two_body.derivative(pairs.r, configuration, self.two_body.rows(log_s))
            return self.search.sum_over_pairs(pairs, pairs.vectors * (slope / pairs.r), positions)

    def _pair_curvature(
        self, positions: Tensor, log_s: Tensor, pairs: Pairs
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return `_pair_gradient`, then field and divergence of `pair_field`."""
        configuration = self.pair_configurations(positions, pairs)
        rows = self.two_body.rows(log_s)
        levels = torch.arange(len(log_s), device=log_s.device)
        slope_at_cutoff = self.two_body.derivative(
            torch.full_like(log_s, self.cutoff), levels, rows
        )[configuration]
        slope = self.two_body.derivative(pairs.r, configuration, rows)
        bend = self.two_body.second_derivative(pairs.r, configuration, rows)
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
        return self.two_body.sums(pairs, self.pair_configurations(positions, pairs), rows)

    def _sum(self, positions: Tensor, pairs: Pairs, values: Tensor) -> Tensor:
        """Return the sum of the pairs' `values` (P,) over each configuration, (B,)."""
        total = torch.zeros(positions.shape[0], dtype=positions.dtype, device=positions.device)
        return total.index_add(0, self.pair_configurations(positions, pairs), values)
