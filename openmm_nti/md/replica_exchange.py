r"""Hamiltonian replica exchange along lambda, in one Context on plain OpenMM.

Every lambda has a walker. In each iteration every walker runs MD at its lambda, and its reduced
potentials at all lambdas are evaluated in one batch. Then walkers at neighbouring lambdas swap
places with the Metropolis probability

.. math:: p = \min(1, \exp[-u_i(x_j) - u_j(x_i) + u_i(x_i) + u_j(x_j)]).

Odd iterations try the pairs (0, 1), (2, 3), ... and even ones the pairs (1, 2), (3, 4), ...; the
result is the matrix u_kln that MBAR takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm
from numpy.typing import NDArray

from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.md.readers import check_sampling, reduced_potentials
from openmm_nti.references.coupling import checked_couplings

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exchange:
    """The result of a replica exchange.

    Attributes
    ----------
    u_kln
        Reduced potential of the n-th frame at lambda k, evaluated at lambda l. Shape (K, K,
        n_iterations), kT.
    walkers
        Number of the walker at each lambda. Shape (n_iterations, K).
    acceptance
        Share of accepted swaps between lambdas k and k + 1. Shape (K - 1,).
    """

    u_kln: Array
    walkers: NDArray[np.int64]
    acceptance: Array


class ReplicaExchange:
    """Runs Hamiltonian replica exchange, with one walker after the other in one Context.

    Parameters
    ----------
    context
        Context with one learned force and a thermostat at the model's temperature. All walkers
        start from its positions, unless `set_positions` gives them others.
    lambdas
        Values of lambda in [0, 1], in order, (K,).
    seed
        Random seed for the swaps and for velocities.

    Raises
    ------
    ValueError
        If the lambdas are unfit, the Context does not hold one learned force, or its thermostat is
        not at the model's temperature; see `system_checks.check_thermostat`.
    """

    def __init__(self, context: openmm.Context, lambdas: Array, *, seed: int) -> None:
        self.lambdas = checked_couplings(lambdas, "lambdas")
        if self.lambdas.ndim != 1 or self.lambdas.size < 2 or np.any(np.diff(self.lambdas) == 0.0):
            raise ValueError(
                f"lambdas = {self.lambdas.tolist()}: give two different couplings or more, in order"
            )
        check_sampling(context)
        self._context = context
        self._random = np.random.default_rng(seed)
        start = context.getState(getPositions=True, getVelocities=True)
        self._states: list[openmm.State] = [start] * self.lambdas.size
        self._walkers = np.arange(self.lambdas.size)
        self._iteration = 0

    def set_positions(self, positions: list[Array]) -> None:
        """Give each walker positions (N, 3) in nm, such as noised frames, and new velocities."""
        temperature = check_sampling(self._context)
        for number, start in enumerate(positions):
            self._context.setPositions(start)
            self._context.setVelocitiesToTemperature(
                temperature, int(self._random.integers(1, 2**31))
            )
            self._states[number] = self._context.getState(getPositions=True, getVelocities=True)

    def run(self, n_iterations: int, steps: int) -> Exchange:
        """Run all walkers for `n_iterations` times `steps` steps, each followed by swaps."""
        check_sampling(self._context)
        k = self.lambdas.size
        u_kln = np.empty((k, k, n_iterations))
        walkers = np.empty((n_iterations, k), dtype=np.int64)
        tried = np.zeros(k - 1)
        accepted = np.zeros(k - 1)
        for iteration in range(n_iterations):
            for number, value in enumerate(self.lambdas):
                self._propagate(number, float(value), steps)
                u_kln[number, :, iteration] = reduced_potentials(self._context, self.lambdas)
            walkers[iteration] = self._walkers
            for pair in range(self._iteration % 2, k - 1, 2):
                tried[pair] += 1
                accepted[pair] += self._swap(pair, u_kln[:, :, iteration])
            self._iteration += 1
        return Exchange(u_kln, walkers, accepted / np.maximum(tried, 1))

    def _propagate(self, number: int, value: float, steps: int) -> None:
        """Run the walker number `number` for `steps` steps at lambda = `value`."""
        state = self._states[number]
        self._context.setParameter(LAMBDA, value)
        self._context.setPositions(state.getPositions(asNumpy=True))
        self._context.setVelocities(state.getVelocities(asNumpy=True))
        self._context.getIntegrator().step(steps)
        self._states[number] = self._context.getState(getPositions=True, getVelocities=True)

    def _swap(self, pair: int, u_kl: Array) -> bool:
        """Try to swap the walkers at lambdas `pair` and `pair` + 1; return whether they did."""
        low = pair
        high = pair + 1
        exponent = u_kl[low, low] + u_kl[high, high] - u_kl[low, high] - u_kl[high, low]
        if not np.log(self._random.random()) < exponent:  # NaN is no reason to swap
            return False
        self._states[low], self._states[high] = self._states[high], self._states[low]
        self._walkers[[low, high]] = self._walkers[[high, low]]
        return True
