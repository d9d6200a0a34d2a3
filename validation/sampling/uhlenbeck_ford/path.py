r"""The path from the ideal gas to a fluid by way of the Uhlenbeck-Ford fluid, and its System.

.. math:: U_\lambda = (2 \lambda)^3 U_{UF} \quad (\lambda \le 1/2), \qquad
          U_\lambda = (2 - 2 \lambda) U_{UF} + (2 \lambda - 1) U \quad (\lambda \ge 1/2),

with the pair energy -p kT ln(1 - exp(-(r / sigma_UF)^2)) in U_UF. It is singular at r = 0, but a
logarithm can be integrated, so that scaling it needs no soft core. Between two atoms it leaves a
density of r^(2 p), in which the core of the fluid has a finite mean: no soft core there either.

U_UF ends at 5 sigma_UF, or at half of the shortest edge, and is shifted to zero there. That is no
error: the same U_UF is the end of the first half and the start of the second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import openmm

from openmm_nti.fluid.energy import numbers_of_pairs, pair_energy, reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import bare_system, pair_force

HALF = 0.5
PARAMETERS = ("lambda_uhlenbeck_ford", "lambda_fluid")
_UF_CUTOFF = 5.0  # sigma_UF; for p = 50 the energy there is 7e-10 kT
_FEWEST = 3  # windows of each half, with both ends


@dataclass(frozen=True)
class UhlenbeckFordPath:
    """The path to the fluid of a state point.

    Attributes
    ----------
    state
        The fluid at lambda = 1.
    p
        Strength of the Uhlenbeck-Ford fluid.
    sigma
        Its range sigma_UF, in sigma of the fluid.
    """

    state: StatePoint
    p: float
    sigma: float

    @cached_property
    def middle(self) -> StatePoint:
        """The Uhlenbeck-Ford fluid at lambda = 1/2, with the fluid's mass and temperature."""
        edges = self.state.edges_sigma / self.sigma
        return StatePoint.model_validate(
            {
                "n_particles": self.state.n_particles,
                "box_sigma": edges.tolist(),
                "temperature_star": 1.0 / self.p,
                "sigma_nm": self.sigma * self.state.sigma_nm,
                "epsilon_kj_mol": self.p * self.state.kt_kj_mol,
                "mass_dalton": self.state.mass_dalton,
                "cutoff_sigma": min(_UF_CUTOFF, 0.5 * float(edges.min())),
                "convention": "shifted",
                "potential": {"type": "uhlenbeck_ford"},
            }
        )

    @cached_property
    def scaled_density(self) -> float:
        """The density x = (pi sigma_UF^2)^(3/2) N / 2 V of the literature."""
        return 0.5 * math.pi**1.5 * self.sigma**3 * self.state.density_star

    @property
    def simulated(self) -> StatePoint:
        """The fluid whose energy has the forces of MD: a plain cutoff is shifted."""
        if self.state.is_continuous:
            return self.state
        return self.state.model_copy(update={"convention": "shifted"})

    def energies(self, positions_sigma: np.ndarray) -> np.ndarray:
        """Return U_UF and U of frames (F, N, 3), sigma. Shape (F, 2), kT."""
        middle = reduced_potential_numpy(positions_sigma / self.sigma, self.middle)
        return np.stack([middle, reduced_potential_numpy(positions_sigma, self.state)], axis=1)

    def system(self, *, with_fluid: bool, with_derivatives: bool = False) -> openmm.System:
        """Return the path as an OpenMM System, with a global parameter for U_UF and one for U.

        Parameters
        ----------
        with_fluid
            Whether U is in it; for lambda up to 1/2 it is not needed.
        with_derivatives
            Whether its energy derivatives by the parameters, U_UF and U, can be asked for.
        """
        system = bare_system(self.state)
        parts = (self.middle, self.simulated) if with_fluid else (self.middle,)
        for name, part in zip(PARAMETERS, parts, strict=False):
            force = _scaled_force(part, name)
            force.addGlobalParameter(name, 0.0)
            if with_derivatives:
                force.addEnergyParameterDerivative(name)
            system.addForce(force)
        return system

    def place_windows(self, window_length: float, n_windows: int | None) -> np.ndarray:
        """Return lambdas from 0 to 1 with 1/2 among them, evenly spaced in each half, (K,).

        The spacing is by thermodynamic length in the pair approximation, as for the soft core.

        Parameters
        ----------
        window_length
            Length between neighbours.
        n_windows
            Their number instead, 5 or more; None for as many as `window_length` asks.
        """
        halves = [np.linspace(0, HALF, 201), np.linspace(HALF, 1, 201)]
        lengths = [self._lengths(grid) for grid in halves]
        counts = [max(_FEWEST, 1 + math.ceil(length[-1] / window_length)) for length in lengths]
        if n_windows is not None:
            share = lengths[0][-1] / (lengths[0][-1] + lengths[1][-1])
            first = min(max(_FEWEST, 1 + round((n_windows - 1) * share)), n_windows + 1 - _FEWEST)
            counts = [first, n_windows + 1 - first]
        placed = []
        for grid, length, count in zip(halves, lengths, counts, strict=True):
            lambdas = np.interp(np.linspace(0, length[-1], count), length, grid)
            lambdas[[0, -1]] = grid[[0, -1]]
            placed.append(lambdas)
        return np.concatenate([placed[0], placed[1][1:]])

    def _lengths(self, grid: np.ndarray) -> np.ndarray:
        """Return the pair estimate of thermodynamic length up to each lambda of `grid`."""
        r = np.linspace(0, self.state.cutoff_sigma, 2001)[1:]
        middle = pair_energy((r / self.sigma) ** 2, self.middle) / self.middle.temperature_star
        volume = self.state.volume_sigma3
        variance = np.zeros(len(grid))
        for kind, n_pairs in zip(
            self.state.pair_potential.kinds, numbers_of_pairs(self.state), strict=True
        ):
            end = kind.energy(r**2) / self.state.temperature_star
            pairs = np.stack([middle, end])
            energy, slope = (together(of(grid), pairs.T).T for of in (weights, slopes))
            integrand = np.nan_to_num(slope**2 * np.exp(-energy), posinf=0.0) * 4 * np.pi * r**2
            variance += n_pairs / volume * np.trapezoid(integrand, r)
        deviation = np.sqrt(variance)
        steps = 0.5 * (deviation[1:] + deviation[:-1]) * np.diff(grid)
        return np.concatenate([[0.0], np.cumsum(steps)])


def _scaled_force(part: StatePoint, parameter: str) -> openmm.CustomNonbondedForce:
    """Return the pair potentials of a fluid times a global parameter."""
    return pair_force(part, lambda pair: f"{parameter}*u; u = {pair.openmm_expression()}")


def weights(lambdas: np.ndarray) -> np.ndarray:
    """Return the weights of U_UF and U at each lambda, (K, 2)."""
    first, second = np.minimum(2 * lambdas, 1), np.maximum(2 * lambdas - 1, 0)
    return np.stack([np.where(lambdas < HALF, first**3, 1 - second), second], axis=-1)


def slopes(lambdas: np.ndarray) -> np.ndarray:
    """Return the lambda derivatives of `weights`; at 1/2 those of the second half, (K, 2)."""
    second = np.where(lambdas < HALF, 0.0, 2.0)
    return np.stack([np.where(lambdas < HALF, 24 * lambdas**2, -2.0), second], axis=-1)


def together(factors: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Return sums (F, K) of energies (F, 2) with factors (K, 2); 0 times infinity counts 0."""
    with np.errstate(invalid="ignore"):
        terms = energies[:, None] * factors
    return np.asarray(np.where(factors == 0, 0.0, terms).sum(axis=-1))


def set_lambda(context: openmm.Context, coupling: float) -> None:
    """Give a Context of `UhlenbeckFordPath.system` a lambda."""
    known = context.getParameters()
    for name, weight in zip(PARAMETERS, weights(np.array(coupling)), strict=True):
        if name in known:
            context.setParameter(name, float(weight))
