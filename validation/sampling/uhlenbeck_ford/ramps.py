r"""Nonequilibrium ramps between the Uhlenbeck-Ford fluid and the fluid, and chains of windows.

A ramp changes lambda in small stages at fixed positions, with Langevin dynamics in between, which
keeps the distribution of each lambda. So the works of both directions obey Crooks' relation at any
speed (G. E. Crooks, J. Stat. Phys. 90, 1481 (1998)), and Bennett's equation holds for them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import openmm
from openmm import unit

from openmm_nti.fluid.energy import truncation_log_weights
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.md.langevin import langevin_context
from openmm_nti.md.platforms import minimize
from openmm_nti.reference_md.statistics import is_constant
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.walker_bar import bootstrap, solve
from openmm_nti.validation.sampling.uhlenbeck_ford.path import (
    HALF,
    PARAMETERS,
    UhlenbeckFordPath,
    set_lambda,
    weights,
)

_STAGES = 20  # of the growth of a window
_MINIMISATION = 100
_STEPS_OF_STAGE = 5  # of a ramp, at each lambda
_RAMPS_OF_TASK = 8


def raise_lambda(context: openmm.Context, coupling: float, n_steps: int) -> None:
    """Bring random positions to `coupling` in stages during half of the steps, then relax there.

    Random positions hold atoms almost in one place: minimisation moves them apart once. Where cores
    of the fluid come next, above lambda = 1/2, the Uhlenbeck-Ford fluid is at full strength first:
    while it grows, atoms are hot and come so close that no time step would do.
    """
    integrator = context.getIntegrator()
    start = HALF if coupling > HALF else 0.0
    set_lambda(context, start or coupling / _STAGES)
    minimize(context, max_iterations=_MINIMISATION)
    seed = integrator.getRandomNumberSeed()
    context.setVelocitiesToTemperature(integrator.getTemperature(), seed)
    for stage in range(1, _STAGES + 1):
        set_lambda(context, start + (coupling - start) * stage / _STAGES)
        integrator.step(n_steps // (2 * _STAGES))
    integrator.step(n_steps - _STAGES * (n_steps // (2 * _STAGES)))


def positions_sigma(context: openmm.Context, path: UhlenbeckFordPath) -> np.ndarray:
    """Return the positions in a Context, (N, 3), sigma; RuntimeError unless they are finite."""
    positions = context.getState(positions=True).getPositions(asNumpy=True)
    positions = positions.value_in_unit(unit.nanometer) / path.state.sigma_nm
    if not np.isfinite(positions).all():
        raise RuntimeError("the simulation blew up: lower timestep_star")
    return np.asarray(positions)


@dataclass(frozen=True)
class Ramps:
    """How ramps are made.

    Attributes
    ----------
    path
        The path.
    lambdas
        Windows from 1/2 to 1; a ramp passes between neighbours in equal times.
    number
        Ramps in each direction.
    n_steps
        MD steps of a ramp.
    dynamics
        Settings of `langevin_context`.
    """

    path: UhlenbeckFordPath
    lambdas: np.ndarray
    number: int
    n_steps: int
    dynamics: dict[str, Any]

    @property
    def stages(self) -> np.ndarray:
        """The lambdas of a ramp, from 1/2 to 1."""
        n_stages = max(2, math.ceil(self.n_steps / _STEPS_OF_STAGE))
        places = np.linspace(0, len(self.lambdas) - 1, n_stages + 1)
        return np.interp(places, np.arange(len(self.lambdas)), self.lambdas)


def sample_ramps(
    ramps: Ramps, starts: dict[str, np.ndarray], execution: Execution
) -> dict[str, np.ndarray]:
    """Return the works of `forward` and `reverse` ramps, (n,) each, kT.

    Parameters
    ----------
    ramps
        How they are made.
    starts
        Frames at lambda = 1/2 (`forward`) and 1 (`reverse`), (F, N, 3), sigma. The ramps start from
        as many of them as there are ramps, evenly spread.
    execution
        Its seed decides the thermostats. Finished works are kept in `ufm_ramps/` of its folder.
    """
    items = []
    for direction, frames in starts.items():
        chosen = np.linspace(0, len(frames) - 1, min(ramps.number, len(frames))).astype(int)
        parts = [chosen[i : i + _RAMPS_OF_TASK] for i in range(0, len(chosen), _RAMPS_OF_TASK)]
        items += [(direction, int(part[0]), frames[part]) for part in parts]
    found = execution.map_stored(
        partial(_run, ramps, execution),
        items,
        name="ufm_ramps",
        inputs=[ramps, starts],
        description="Uhlenbeck-Ford ramps",
    )
    works = list(zip(items, (part["works"] for part in found), strict=True))
    return {
        direction: np.concatenate([own for item, own in works if item[0] == direction])
        for direction in starts
    }


def ramp_facts(
    works: dict[str, np.ndarray], windows: FreeEnergy, rng: np.random.Generator
) -> dict[str, Any]:
    """Return what the ramps give, and how far that is from what the windows between them give.

    Parameters
    ----------
    works
        Of `forward` and `reverse` ramps, (n,) each, kT.
    windows
        The same free energy from windows.
    rng
        Random numbers of the bootstrap.

    Raises
    ------
    ValueError
        If a work is not finite, or all of one direction are equal.
    """
    step = solve(works["forward"][:, None], -works["reverse"][:, None])
    for direction, own in works.items():
        if is_constant(own):
            raise ValueError(f"all {direction} ramps have the same work: nothing was sampled")
    n = len(works["forward"])
    error = float(bootstrap([step], rng).std(ddof=1)) * math.sqrt(n / (n - 1))
    return {
        "n_ramps": n,
        "value": step.value,
        "std_err": error,
        "overlap": step.overlap,
        "mean_work_lost": 0.5 * float(works["forward"].mean() + works["reverse"].mean()),
        "windows": windows.value,
        "windows_std_err": windows.std_err,
        "errors_apart": abs(step.value - windows.value) / math.hypot(error, windows.std_err),
    }


def _run(
    ramps: Ramps, execution: Execution, item: tuple[str, int, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the works of some ramps in one direction, kT."""
    direction, number, frames = item
    along = ramps.stages if direction == "forward" else ramps.stages[::-1]
    context = langevin_context(
        ramps.path.system(with_fluid=True, with_derivatives=True),
        ramps.path.state,
        **ramps.dynamics,
        thermostat_seed=execution.seed_of("ufm_ramps", direction, number),
    )
    works = []
    for place, start in enumerate(frames):
        context.setPositions(start * ramps.path.state.sigma_nm)
        set_lambda(context, float(along[0]))
        velocity_seed = execution.seed_of("velocities", direction, number + place)
        context.setVelocitiesToTemperature(ramps.path.state.temperature_kelvin, velocity_seed)
        works.append(_work(context, ramps.path, along))
    return {"works": np.array(works)}


def _work(context: openmm.Context, path: UhlenbeckFordPath, lambdas: np.ndarray) -> float:
    """Return the work of a ramp along `lambdas` from the positions in a Context, kT."""
    forward = lambdas[0] == HALF
    work = 0.0 if forward else -_jump(context, path)
    for stage, change in enumerate(np.diff(weights(lambdas), axis=0)):
        if stage:
            context.getIntegrator().step(_STEPS_OF_STAGE)
        found = context.getState(parameterDerivatives=True).getEnergyParameterDerivatives()
        work += float(change @ [found[name] for name in PARAMETERS]) / path.state.kt_kj_mol
        set_lambda(context, float(lambdas[stage + 1]))
    return work + _jump(context, path) if forward else work


def _jump(context: openmm.Context, path: UhlenbeckFordPath) -> float:
    """Return U of the state minus U of the potential that MD feels, at lambda = 1, kT."""
    return -float(truncation_log_weights(positions_sigma(context, path)[None], path.state)[0])
