r"""Hamiltonian replica exchange along lambda, in one Context on plain OpenMM.

Every lambda has a walker. In each iteration all walkers run MD at their lambda, their reduced
potentials at every lambda are taken in one batched evaluation, and neighbours trade places by the
Metropolis rule

.. math:: p = \min(1, \exp[-u_i(x_j) - u_j(x_i) + u_i(x_i) + u_j(x_j)])

for the pairs (0, 1), (2, 3), ... and (1, 2), (3, 4), ... by turns. What is collected is MBAR's
u_kln by lambda.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm
from numpy.typing import NDArray

from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.md.readers import reduced_potentials

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Exchange:
    """What a replica exchange collected.

    Attributes
    ----------
    u_kln
        Reduced potential of the n-th frame at lambda k, evaluated at lambda l. Shape (K, K,
        n_iterations), kT.
    walkers
        Which walker was at each lambda. Shape (n_iterations, K).
    acceptance
        Share of accepted trades between neighbours k and k + 1. Shape (K - 1,).
    """

    u_kln: Array
    walkers: NDArray[np.int64]
    acceptance: Array


class ReplicaExchange:
    """Walkers at every lambda, which take turns in one Context.

    Parameters
    ----------
    context
        With one learned force and a thermostat at the model's temperature; its positions start all
        walkers, unless `set_positions` is called.
    lambdas
        Couplings, in order, (K,).
    seed
        Decides the trades.
    """

    def __init__(self, context: openmm.Context, lambdas: Array, *, seed: int) -> None:
        self.lambdas = np.asarray(lambdas, dtype=np.float64)
        if self.lambdas.size < 2 or np.any(np.diff(self.lambdas) == 0.0):
            raise ValueError(
                f"lambdas = {self.lambdas.tolist()}: give two different couplings or more, in order"
            )
        self._context = context
        self._random = np.random.default_rng(seed)
        start = context.getState(getPositions=True, getVelocities=True)
        self._states: list[openmm.State] = [start] * self.lambdas.size
        self._walkers = np.arange(self.lambdas.size)
        self._turn = 0

    def set_positions(self, positions: list[Array]) -> None:
        """Give each walker positions (N, 3) of its own, in nm, such as noised frames; velocities
        are drawn anew.
        """
        temperature = self._context.getIntegrator().getTemperature()
        for number, each in enumerate(positions):
            self._context.setPositions(each)
            self._context.setVelocitiesToTemperature(
                temperature, int(self._random.integers(1, 2**31))
            )
            self._states[number] = self._context.getState(getPositions=True, getVelocities=True)

    def run(self, n_iterations: int, steps: int) -> Exchange:
        """`n_iterations` rounds of `steps` integrator steps at every lambda, each followed by
        trades.
        """
        k = self.lambdas.size
        u_kln, walkers = np.empty((k, k, n_iterations)), np.empty((n_iterations, k), dtype=np.int64)
        tried, accepted = np.zeros(k - 1), np.zeros(k - 1)
        for iteration in range(n_iterations):
            for number, value in enumerate(self.lambdas):
                self._propagate(number, float(value), steps)
                u_kln[number, :, iteration] = reduced_potentials(self._context, self.lambdas)
            walkers[iteration] = self._walkers
            for pair in range(self._turn % 2, k - 1, 2):
                tried[pair] += 1
                accepted[pair] += self._trade(pair, u_kln[:, :, iteration])
            self._turn += 1
        return Exchange(u_kln, walkers, accepted / np.maximum(tried, 1))

    def _propagate(self, number: int, value: float, steps: int) -> None:
        state = self._states[number]
        self._context.setParameter(LAMBDA, value)
        self._context.setPositions(state.getPositions(asNumpy=True))
        self._context.setVelocities(state.getVelocities(asNumpy=True))
        self._context.getIntegrator().step(steps)
        self._states[number] = self._context.getState(getPositions=True, getVelocities=True)

    def _trade(self, pair: int, u_kl: Array) -> bool:
        """Trade the walkers at lambdas `pair` and `pair` + 1, or not."""
        low, high = pair, pair + 1
        exponent = u_kl[low, low] + u_kl[high, high] - u_kl[low, high] - u_kl[high, low]
        if np.log(self._random.random()) >= exponent:
            return False
        self._states[low], self._states[high] = self._states[high], self._states[low]
        self._walkers[[low, high]] = self._walkers[[high, low]]
        return True
