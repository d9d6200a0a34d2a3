r"""`LambdaHamiltonian`: the path from the ideal gas to the fluid, a sum of physical terms.

.. math:: U(x, \lambda) = \sum_{i<j} \Phi(r_{ij}, s) + C(\lambda)
          + \Big(1 - \frac{s^2}{s_{max}^2}\Big) \, U_{net}(x, s),
          \qquad s = s(\lambda),

in kT. Both ends are exact whatever the network: U(x, 1) is the energy of the fluid and U(x, 0) = 0,
hence beta F_ex = beta F(1) - beta F(0) needs no constant (Mate, Fleuret, Bereau, arXiv 2406.02313).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.hamiltonian.geometry import Pairs
from openmm_nti.hamiltonian.known_terms import NoisedFluid
from openmm_nti.hamiltonian.networks.base import repeated
from openmm_nti.hamiltonian.networks.config import NetworkConfig
from openmm_nti.hamiltonian.networks.registry import build_network
from openmm_nti.hamiltonian.own_device import on_own_device
from openmm_nti.references.coupling import checked_couplings
from openmm_nti.references.noise import log_noise

_ATOMS_PER_CHUNK = 4800


class Curvature(NamedTuple):
    """First and second derivatives of the two parts of U, for a batch of configurations."""

    pairs: Pairs  # pairs of the two-body part
    two_body_gradient: Tensor  # (B, N, 3), kT / sigma
    learned_gradient: Tensor  # (B, N, 3), kT / sigma
    two_body_field: Tensor  # (B, N, 3), kT / sigma; see `NoisedFluid.pair_field`
    two_body_divergence: Tensor  # divergence of the field, (B,), kT / sigma^2
    learned_along_probes: Tensor  # mean of probe . H . probe, (B,), kT / sigma^2


class LambdaHamiltonian(NoisedFluid):
    """Computes reduced energies U(x, lambda) of a batch of configurations; scriptable.

    Parameters
    ----------
    potential
        The pair potential at lambda = 1, with its cutoff and temperature.
    network
        Architecture of the learned part; None leaves the two-body path alone.
    """

    def __init__(self, potential: ReducedPotential, network: NetworkConfig | None = None) -> None:
        # TorchScript needs the network's type even where it is off.
        super().__init__(
            potential,
            network,
            build_network(
                network or NetworkConfig(n_radial=4, n_channels=2, width=8), gives_energy=True
            ),
        )
        self.atoms_per_chunk = _ATOMS_PER_CHUNK

    def forward(self, positions: Tensor, box: Tensor, lam: Tensor) -> Tensor:
        """Return the reduced energies, (B,), kT, float64.

        Parameters
        ----------
        positions
            Positions of the atoms, (B, N, 3), sigma; unwrapped positions are fine.
        box
            Edges of the box, (3,), sigma.
        lam
            Coupling, 0 ideal gas to 1 interacting fluid, (B,).
        """
        positions = positions.double()
        box = box.double()
        lam = lam.double()
        log_s = log_noise(lam, box)
        pairs = self.search.pairs(positions, box, self.reach)
        in_range = self._in_range(pairs)
        rows, free_energy = self.two_body.rows_and_free_energy(log_s, box.prod())
        energy = self._table_sum(positions, in_range, rows)
        energy = energy + self._gauge(positions.shape[1], box, lam, free_energy)
        if self.has_network:
            near = self.near(pairs, positions.shape[1])
            once = torch.jit.is_scripting()  # type: ignore[attr-defined]
            energy = energy + self._learned(positions, box, log_s, near, once)
        # One look for both: a look at a tensor's value waits for the device.
        inside = (lam >= 0.0) & (lam < 1.0)
        if not bool(inside.all()):
            at_end = lam == 1.0
            if not torch.jit.is_scripting():  # type: ignore[attr-defined]
                checked_couplings(lam.detach().cpu().numpy(), "lam")
            # The table has the potential to 1e-5 kT, and lambda = 1 must have it to the last bit.
            # The table's first row does not depend on lambda, so dU/dlambda stays as it is. (A
            # detached ln s would not do: TorchForce drops the detach.)
            first_rows = self.two_body.end_rows(positions.shape[0])
            exact = self.end.sums(in_range, positions.shape[0], positions.shape[1])
            correction = exact - self._table_sum(positions, in_range, first_rows)
            energy = energy + torch.where(at_end, correction, torch.zeros_like(correction))
        return energy

    @torch.jit.export
    def energies_at(self, positions: Tensor, box: Tensor, lam: Tensor) -> Tensor:
        """Return the reduced energies of all configurations at all couplings, (B, K), kT.

        They are the numbers of `forward`, float64 and without gradient. What does not depend on
        lambda, such as pairs and neighbours, is computed once.

        Parameters
        ----------
        positions
            Positions of the atoms, (B, N, 3), sigma.
        box
            Edges of the box, (3,), sigma.
        lam
            Couplings, (K,).
        """
        here, there = positions.device, self.two_body.mayer.device
        with torch.no_grad():
            positions = positions.double().to(there)
            box = box.double().to(there)
            lam = lam.double().to(there)
            if not torch.jit.is_scripting():  # type: ignore[attr-defined]
                checked_couplings(lam.cpu().numpy(), "lam")
            log_s = log_noise(lam, box)
            pairs = self.search.pairs(positions, box, self.reach)
            in_range = self._in_range(pairs)
            n_atoms = positions.shape[1]
            row = self.pair_kinds.rows(in_range, n_atoms)
            rows, free_energy = self.two_body.rows_and_free_energy(log_s, box.prod())
            energy = self.two_body.sums_at(in_range.r, row, positions.shape[0], rows)
            kind = self.pair_kinds.of(in_range, n_atoms)
            exact = self._sum(positions, in_range, self.end(in_range.r * in_range.r, kind))
            energy = torch.where(lam == 1.0, exact.unsqueeze(-1), energy) + self._gauge(
                positions.shape[1], box, lam, free_energy
            )
            if self.has_network:
                # The network contributes nothing at both ends.
                inside = torch.nonzero((lam > 0.0) & (lam < 1.0)).squeeze(-1)
                if inside.shape[0] > 0:
                    near = self.near(pairs, n_atoms)
                    learned = self._learned_at(positions, box, log_s[inside], near)
                    energy = energy.index_add(1, inside, learned)
            return energy.to(here)

    @on_own_device
    def network_energy(self, positions: Tensor, box: Tensor, log_s: Tensor) -> Tensor:
        """Return the learned part with its end factor, (B,), kT; arguments as for `pair_energy`."""
        pairs = self.search.pairs(positions, box, self.network.cutoff * self.scale.longest)
        return self._learned(positions, box, log_s, self.near(pairs, positions.shape[1]))

    @on_own_device
    def gradient(
        self, positions: Tensor, box: Tensor, log_s: Tensor, create_graph: bool = False
    ) -> Tensor:
        """Return the gradient of U at noise ln s, which is minus the score; see `NoisedFluid`.

        The shape is (B, N, 3), the unit kT / sigma. The two-body part is analytic and stays out of
        the graph. With `create_graph` the network's part can be differentiated by its weights.
        """
        pairs = self.search.pairs(positions.detach(), box, self.reach)
        gradient = self._pair_gradient(positions, log_s, self._in_range(pairs))
        if not self.has_network:
            return gradient
        near = self.near(pairs, positions.shape[1])
        vectors = near.vectors.to(self.network.noise.centres.dtype).requires_grad_(True)
        near = near._replace(vectors=vectors)
        with torch.enable_grad():
            learned = self._learned(positions, box, log_s, near, once=not create_graph).sum()
            (pull,) = torch.autograd.grad(learned, vectors, create_graph=create_graph)
            return gradient + self.search.sum_over_pairs(near, pull, positions)

    @on_own_device
    def curvature(self, positions: Tensor, box: Tensor, log_s: Tensor, probes: Tensor) -> Curvature:
        """Return the gradient of U, and second derivatives of its two parts.

        Of the two-body part it is the divergence of a field; of the learned part, the second
        derivative along `probes`.

        Parameters
        ----------
        positions, box, log_s
            As for `gradient`.
        probes
            Directions in the space of all coordinates, (P, B, N, 3). For components of random sign,
            the mean of probe . H . probe is the trace of the learned part's Hessian H (Hutchinson).
        """
        pairs = self.search.pairs(positions.detach(), box, self.reach)
        in_range = self._in_range(pairs)
        two_body, field, divergence = self._pair_curvature(positions, log_s, in_range)
        learned = torch.zeros_like(two_body)
        along = torch.zeros_like(divergence)
        if self.has_network:
            near = self.near(pairs, positions.shape[1])
            vectors = near.vectors.to(self.network.noise.centres.dtype).requires_grad_(True)
            with torch.enable_grad():
                energy = self._learned(positions, box, log_s, near._replace(vectors=vectors)).sum()
                (pull,) = torch.autograd.grad(energy, vectors, create_graph=True)
            for probe in probes.reshape(probes.shape[0], -1, 3):
                displacement = (probe[near.second] - probe[near.first]).t().to(vectors.dtype)
                (product,) = torch.autograd.grad(pull, vectors, displacement, retain_graph=True)
                along = along + self._sum(
                    positions, near, (product * displacement).sum(0).to(positions.dtype)
                )
            learned = self.search.sum_over_pairs(near, pull.detach(), positions)
        return Curvature(in_range, two_body, learned, field, divergence, along / probes.shape[0])

    def _learned(
        self, positions: Tensor, box: Tensor, log_s: Tensor, near: Pairs, once: bool = False
    ) -> Tensor:
        """Return the learned part; with `once` it has one derivative, and none by weights."""
        vectors, index, mask = self.neighbourhoods(positions, near)
        condition = self.condition(log_s)
        if once:
            learned = self.network.at_once(vectors, index, mask, condition)
        else:
            learned = self.network(vectors, index, mask, condition)
        return learned.to(positions.dtype) * _end_factor(log_s, box)

    def _learned_at(self, positions: Tensor, box: Tensor, log_s: Tensor, near: Pairs) -> Tensor:
        """Return the learned part at several noise levels (K,), (B, K), kT."""
        vectors, index, mask = self.neighbourhoods(positions, near)
        around = self.network.surroundings(vectors, index, mask)
        n_batch = positions.shape[0]
        columns: list[Tensor] = []
        # Many levels at a time: calls of small operations cost more than memory does.
        for level in log_s.split(max(1, self.atoms_per_chunk // (n_batch * positions.shape[1]))):
            repeated_level = level.repeat_interleave(n_batch)
            copies = repeated(around, level.shape[0])
            energies = self.network.at_noise(copies, self.condition(repeated_level))
            columns.append(energies.reshape(-1, n_batch).t())
        return torch.cat(columns, dim=1).to(positions.dtype) * _end_factor(log_s, box)

    def _gauge(self, n_particles: int, box: Tensor, lam: Tensor, free_energy: Tensor) -> Tensor:
        """Return C(lambda), which makes the free energy of pairs linear in lambda, (B,), kT.

        `free_energy` is that of two particles at `lam`, (B, n_kinds).
        """
        step = free_energy - lam.unsqueeze(1) * self.two_body.free_energy_at_end(box.prod())
        return -(self.pair_kinds.n_pairs(n_particles) * step).sum(1)


def _end_factor(log_s: Tensor, box: Tensor) -> Tensor:
    """Return the factor 1 - s^2 / s_max^2 that removes the learned part at lambda = 0, (B,).

    There it is the expm1 of an exact zero, so this end is the ideal gas to the last bit.
    """
    return -torch.expm1(2.0 * (log_s - log_noise(torch.zeros_like(log_s), box)))
