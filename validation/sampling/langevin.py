"""Langevin dynamics in OpenMM of many chains in the windows of the learned path.

The chains of a window are replicas in one Context; several windows take turns in it. The time step
is as long as the forces allow: a smooth Hamiltonian, far from lambda = 1, vibrates slowly. The mean
square force is kT times the mean curvature (E|grad U|^2 = E[laplacian U] holds at equilibrium), so
its root is a frequency. The step is the one asked for at lambda = 1 in units of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from openmm import unit
from torch import Tensor

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.langevin import langevin_context
from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.runtime.context import Execution

Array = NDArray[np.float64]
LONGEST_TIMESTEP_STAR = 0.05  # sigma sqrt(m / epsilon): with weak forces the friction sets the pace
_FORCE = unit.kilojoule_per_mole / unit.nanometer
_VELOCITY = unit.nanometer / unit.picosecond


@dataclass(frozen=True)
class Settings:
    """Settings of the dynamics.

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
    execution
        Its seed decides velocities and thermostat.
    """

    def __init__(
        self,
        model: LambdaHamiltonian,
        state: StatePoint,
        lambdas: Array,
        start: Tensor,
        reference: Tensor,
        settings: Settings,
        execution: Execution,
    ) -> None:
        self._state = state
        self._lambdas = lambdas
        self._shape = start.shape
        make_force = torch_force if settings.force == "torch" else python_force
        n_chains = start.shape[1]
        system = create_system(
            state, make_force(model, state, n_replicas=n_chains), n_replicas=n_chains
        )
        self._context = langevin_context(
            system,
            state,
            timestep_star=settings.timestep_star,
            friction_star=settings.friction_star,
            platform=settings.platform,
            thermostat_seed=execution.seed_of("thermostat"),
        )
        self._integrator = self._context.getIntegrator()
        strongest = self._rms_force(1.0, reference[torch.arange(n_chains) % len(reference)])
        own = np.array([self._rms_force(*pair) for pair in zip(lambdas, start, strict=True)])
        longer = np.clip(
            strongest / own.clip(min=1e-9), 1.0, LONGEST_TIMESTEP_STAR / settings.timestep_star
        )
        self.timestep_star = longer * settings.timestep_star
        self._positions = self._in_nm(start)
        # Velocities are drawn when a window is first loaded.
        self._velocities: list[Array | None] = [None] * len(start)
        self._velocity_seed = execution.seed_of("velocities")
        self._loaded: int | None = None  # the window that the Context holds

    @property
    def positions(self) -> Tensor:
        """Where the chains are, unwrapped. Shape (K, C, N, 3), sigma."""
        return torch.as_tensor(np.stack(self._positions) / self._state.sigma_nm).reshape(
            self._shape
        )

    def advance(self, n_steps: int) -> Array:
        """Make `n_steps` steps in each window; return NaN for each, (K,): nothing is rejected."""
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
        self._positions = self._in_nm(positions)
        self._loaded = None

    def _in_nm(self, positions: Tensor) -> list[Array]:
        """Return positions (K, C, N, 3), sigma, as OpenMM takes them: an array for each window."""
        return [window.reshape(-1, 3).numpy() * self._state.sigma_nm for window in positions]

    def _load(self, window: int) -> None:
        self._context.setParameter(LAMBDA, float(self._lambdas[window]))
        self._integrator.setStepSize(
            self.timestep_star[window] * self._state.time_unit_ps * unit.picosecond
        )
        self._context.setPositions(self._positions[window])
        velocities = self._velocities[window]
        if velocities is None:  # the same for all windows: the thermostat tells them apart
            self._context.setVelocitiesToTemperature(
                self._state.temperature_kelvin * unit.kelvin, self._velocity_seed
            )
        else:
            self._context.setVelocities(velocities)
        self._loaded = window

    def _rms_force(self, lam: float, positions: Tensor) -> float:
        """Return the root mean square force at `positions` (C, N, 3), sigma; kJ/mol/nm.

        The Context then holds these positions.
        """
        self._context.setParameter(LAMBDA, float(lam))
        self._context.setPositions(positions.reshape(-1, 3).numpy() * self._state.sigma_nm)
        forces = self._context.getState(forces=True).getForces(asNumpy=True).value_in_unit(_FORCE)
        return math.sqrt(float(np.square(forces).mean()))
