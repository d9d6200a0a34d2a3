"""Langevin dynamics in OpenMM of many chains in the windows of the learned path.

The chains of a window are replicas in one Context; several windows take turns in it. The time step
is as long as the forces allow: a smooth Hamiltonian, far from lambda = 1, vibrates slowly. The mean
square force is kT times the mean curvature, so the root of it is a frequency (E|grad U|^2 =
E[laplacian U] holds at equilibrium), and the step is the one asked for at lambda = 1 in units of
it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import openmm
import torch
from numpy.typing import NDArray
from openmm import unit
from torch import Tensor

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.md.platforms import fastest_platform, platform_properties
from openmm_nti.runtime.tasks import derive_seed

Array = NDArray[np.float64]
LONGEST_TIMESTEP_STAR = 0.05  # sigma sqrt(m / epsilon): with weak forces the friction sets the pace
_FORCE = unit.kilojoule_per_mole / unit.nanometer
_VELOCITY = unit.nanometer / unit.picosecond


@dataclass(frozen=True)
class Settings:
    """Of the dynamics.

    Attributes
    ----------
    timestep_star, friction_star
        Time step at lambda = 1, in sigma sqrt(m / epsilon), and friction, in the inverse of that.
    force, platform
        TorchForce or PythonForce; the OpenMM platform, None for the fastest.
    """

    timestep_star: float
    friction_star: float
    force: Literal["torch", "python"]
    platform: str | None


class Chains:
    """C chains in each of K windows.

    Attributes
    ----------
    timestep_star
        Time step of each window, sigma sqrt(m / epsilon). Shape (K,).

    Parameters
    ----------
    model, state
        The Hamiltonian, and the system it acts on.
    lambdas
        The windows, (K,).
    start
        Where the chains begin, (K, C, N, 3), sigma.
    reference
        Frames of the fluid at lambda = 1, (R, N, 3), sigma, whose forces `timestep_star` of the
        settings is for.
    settings
        Of the dynamics.
    seed
        Of velocities and thermostat.
    """

    def __init__(
        self,
        model: LambdaHamiltonian,
        state: StatePoint,
        lambdas: Array,
        start: Tensor,
        reference: Tensor,
        settings: Settings,
        *,
        seed: int,
    ) -> None:
        self._state, self._lambdas, self._shape = state, lambdas, start.shape
        make_force = torch_force if settings.force == "torch" else python_force
        n_chains = start.shape[1]
        system = create_system(
            state, make_force(model, state, n_replicas=n_chains), n_replicas=n_chains
        )
        self._integrator = openmm.LangevinMiddleIntegrator(
            state.temperature_kelvin * unit.kelvin,
            settings.friction_star / state.time_unit_ps / unit.picosecond,
            settings.timestep_star * state.time_unit_ps * unit.picosecond,
        )
        self._integrator.setRandomNumberSeed(derive_seed(seed, "thermostat"))
        fastest = fastest_platform(settings.platform)
        self._context = openmm.Context(
            system, self._integrator, fastest, platform_properties(fastest)
        )
        strongest = self._rms_force(1.0, reference[torch.arange(n_chains) % len(reference)])
        own = np.array([self._rms_force(lam, one) for lam, one in zip(lambdas, start, strict=True)])
        longer = np.clip(
            strongest / own.clip(min=1e-9), 1.0, LONGEST_TIMESTEP_STAR / settings.timestep_star
        )
        self.timestep_star = longer * settings.timestep_star
        self._positions = [one.reshape(-1, 3).numpy() * state.sigma_nm for one in start]  # nm
        self._velocities: list[Array | None] = [None] * len(
            start
        )  # drawn when a window is first loaded
        self._seed = derive_seed(seed, "velocities")
        self._loaded: int | None = None  # the window that the Context holds

    @property
    def positions(self) -> Tensor:
        """Where the chains are, unwrapped. Shape (K, C, N, 3), sigma."""
        return torch.as_tensor(np.stack(self._positions) / self._state.sigma_nm).reshape(
            self._shape
        )

    def advance(self, n_steps: int) -> Array:
        """Make `n_steps` steps in each window; NaN for each, since nothing is accepted or rejected.
        Shape (K,).
        """
        for window in range(len(self._lambdas)):
            if self._loaded != window:
                self._load(window)
            self._integrator.step(n_steps)
            now = self._context.getState(positions=True, velocities=True)
            self._positions[window] = now.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
            self._velocities[window] = now.getVelocities(asNumpy=True).value_in_unit(_VELOCITY)
        return np.full(len(self._lambdas), np.nan)

    def place(self, positions: Tensor) -> None:
        """Go on from `positions`, (K, C, N, 3), sigma."""
        self._positions = [one.reshape(-1, 3).numpy() * self._state.sigma_nm for one in positions]
        self._loaded = None

    def _load(self, window: int) -> None:
        self._context.setParameter(LAMBDA, float(self._lambdas[window]))
        self._integrator.setStepSize(
            self.timestep_star[window] * self._state.time_unit_ps * unit.picosecond
        )
        self._context.setPositions(self._positions[window])
        velocities = self._velocities[window]
        if velocities is None:  # the same for all windows: the thermostat tells them apart
            self._context.setVelocitiesToTemperature(
                self._state.temperature_kelvin * unit.kelvin, self._seed
            )
        else:
            self._context.setVelocities(velocities)
        self._loaded = window

    def _rms_force(self, lam: float, positions: Tensor) -> float:
        """Root mean square of the forces at `positions` (C, N, 3), sigma, which the Context then
        holds; kJ/mol/nm.
        """
        self._context.setParameter(LAMBDA, float(lam))
        self._context.setPositions(positions.reshape(-1, 3).numpy() * self._state.sigma_nm)
        forces = self._context.getState(forces=True).getForces(asNumpy=True).value_in_unit(_FORCE)
        return math.sqrt(float(np.square(forces).mean()))
