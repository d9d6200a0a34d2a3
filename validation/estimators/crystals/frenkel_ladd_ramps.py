r"""Free energy of a crystal by fast ramps from and to the Einstein crystal, and BAR.

As `frenkel_ladd`, with ramps in place of windows (M. de Koning, A. Antonelli, Phys. Rev. E 53, 465
(1996); R. Freitas, M. Asta, M. de Koning, Comput. Mater. Sci. 112, 333 (2016)). A ramp changes
lambda in small stages at fixed positions, with Langevin dynamics in between. So the works of both
directions obey Crooks' relation at any speed. Forward ramps start from exact samples of the
Einstein crystal, reverse ones from a crystal that has been equilibrated for each. Lambda follows

.. math:: \lambda(\tau) = \tau^5 (70 \tau^4 - 315 \tau^3 + 540 \tau^2 - 420 \tau + 126),

which is slow at both ends. The crystal as a whole moves independently of all else, and its share of
the springs' energy is left out of the works.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import openmm
import torch
from numpy.typing import NDArray
from openmm import unit
from pydantic import Field

from openmm_nti.fluid.displacements import displacements
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.md.langevin import langevin_context
from openmm_nti.md.platforms import PlatformName
from openmm_nti.references.einstein_crystal import EinsteinCrystal
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.works import Works
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.crystals.crystal_path_bar import (
    CrystalPathDiagnostics,
    from_works,
)
from openmm_nti.validation.estimators.crystals.einstein_path import (
    PAIRS,
    SPRINGS,
    spring_constant,
    switched_system,
)
from openmm_nti.validation.estimators.crystals.lattice_modes import variance_of
from openmm_nti.validation.estimators.path_weights import PathBar
from openmm_nti.validation.pace import Pace

Array = NDArray[np.float64]
FILE = "frenkel_ladd_ramps.npz"
_STEPS_OF_STAGE = 5  # at each lambda
_RAMPS_OF_TASK = 4


class RampsConfig(Settings):
    """How ramps between Einstein crystal and crystal are made."""

    variance: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Mean square displacement of a coordinate in the Einstein crystal, in sigma^2; "
        "by default that of an atom between others at rest.",
    )
    n_ramps: int = Field(default=16, ge=4, le=1_000_000, description="Ramps in each direction.")
    ramp_steps: int = Field(default=4000, ge=20, le=100_000_000, description="MD steps of a ramp.")
    equilibration: int = Field(
        default=800, ge=0, le=1_000_000_000, description="MD steps of the crystal before a ramp."
    )
    timestep_star: float = Field(
        default=0.004, gt=0, le=0.02, description="MD time step, in sigma sqrt(m / epsilon)."
    )
    friction_star: float = Field(
        default=5.0, gt=0, le=1000, description="Langevin friction, in the inverse of that time."
    )
    platform: PlatformName | None = Field(
        default=None, description="OpenMM platform; by default the fastest that works."
    )

    @property
    def lambdas(self) -> Array:
        """The stages of a forward ramp, from 0 to 1."""
        tau = np.linspace(0, 1, max(4, self.ramp_steps // _STEPS_OF_STAGE) + 1)
        found = tau**5 * (70 * tau**4 - 315 * tau**3 + 540 * tau**2 - 420 * tau + 126)
        found[-1] = 1.0
        return np.asarray(found)


@takes_execution
def sample(state: StatePoint, config: RampsConfig, execution: Execution) -> Works:
    """Return the works of the ramps, in -ln Z_rel.

    Parameters
    ----------
    state
        A crystal.
    config
        How ramps are made.
    execution
        Its seed decides all of them; finished ones are kept in its folder.

    Raises
    ------
    ValueError
        If the state is a fluid, its energy jumps at the cutoff, or the lattice is unstable.
    TaskError
        If a simulation fails, or the crystal melts in it.
    """
    if not state.is_continuous:
        raise ValueError(
            f"convention = {state.convention}: ramps need an energy without jumps, for MD does not "
            "feel them; use switched, shifted or force_shifted"
        )
    variance = variance_of(state, config.variance)
    firsts = range(0, config.n_ramps, _RAMPS_OF_TASK)
    items = [
        (way, first, min(_RAMPS_OF_TASK, config.n_ramps - first))
        for way in ("forward", "reverse")
        for first in firsts
    ]
    found = execution.map_stored(
        partial(_ramps, state, variance, config, execution),
        items,
        name="frenkel_ladd_ramps",
        inputs=[state, variance, config],
        description="Frenkel-Ladd ramps",
        labels=[f"{way} ramps {first} of {state}" for way, first, _ in items],
    )
    works = [part["works"] for part in found]
    from_einstein, from_crystal = (
        np.concatenate(works[start : start + len(firsts)]) for start in (0, len(firsts))
    )
    # In `Works`, reverse paths start from what is known, and forward ones from the crystal.
    known = EinsteinCrystal(state, variance).minus_log_z_rel
    return Works(state, known - from_crystal, known + from_einstein)


def _ramps(
    state: StatePoint,
    variance: float,
    config: RampsConfig,
    execution: Execution,
    item: tuple[str, int, int],
) -> dict[str, Array]:
    """Return the works of some ramps in one direction, kT."""
    way, first, count = item
    own = execution.child("ramps", way, first)
    lambdas = config.lambdas if way == "forward" else config.lambdas[::-1]
    context = langevin_context(
        switched_system(state, variance),
        state,
        timestep_star=config.timestep_star,
        friction_star=config.friction_star,
        platform=config.platform,
        thermostat_seed=own.seed,
    )
    if way == "forward":
        drawn = EinsteinCrystal(state, variance).sample(
            count, state.n_particles, box_of(state), own.torch_random("starts")
        )
        starts = drawn.numpy() * state.sigma_nm
    else:
        starts = np.repeat(lattice_positions_nm(state, seed=0)[None], count, axis=0)
    works = []
    for number, start in enumerate(starts):
        context.setPositions(start)
        _set_lambda(context, float(lambdas[0]), state, variance)
        context.setVelocitiesToTemperature(
            state.temperature_kelvin, own.seed_of("velocities", number)
        )
        if way == "reverse":
            context.getIntegrator().step(config.equilibration)
        works.append(_work(context, state, variance, lambdas))
    return {"works": np.array(works)}


def _work(context: openmm.Context, state: StatePoint, variance: float, lambdas: Array) -> float:
    """Return the work of a ramp along `lambdas` from the positions in a Context, kT."""
    einstein, work = EinsteinCrystal(state, variance), 0.0
    for stage, change in enumerate(np.diff(lambdas)):
        if stage:
            context.getIntegrator().step(_STEPS_OF_STAGE)
        found = context.getState(positions=True, parameterDerivatives=True)
        positions = found.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        # Of displacements without their mean.
        springs = float(einstein.energy(torch.as_tensor(positions / state.sigma_nm)[None])[0])
        pairs = found.getEnergyParameterDerivatives()[PAIRS] / state.kt_kj_mol
        work += float(change) * (pairs - springs)
        _set_lambda(context, float(lambdas[stage + 1]), state, variance)
    now = context.getState(positions=True).getPositions(asNumpy=True)
    displacements(now.value_in_unit(unit.nanometer)[None] / state.sigma_nm, state)  # a check
    return work


def _set_lambda(
    context: openmm.Context, coupling: float, state: StatePoint, variance: float
) -> None:
    context.setParameter(PAIRS, coupling)
    context.setParameter(SPRINGS, (1 - coupling) * spring_constant(state, variance))


class FrenkelLaddRamps(PathBar):
    """BAR between ramps from the Einstein crystal and ramps to it."""

    name = "frenkel_ladd_ramps"
    section = "frenkel_ladd_ramps"
    phase = "crystal"
    Config = RampsConfig  # type: ignore[assignment]
    Diagnostics = CrystalPathDiagnostics
    needs = frozenset()
    files = (FILE,)
    in_runs = False
    summary = "BAR between fast ramps from an Einstein crystal and to it; no network"
    order = 132
    preference = 16

    def estimate(self, job: Job, config: RampsConfig) -> FreeEnergy:  # type: ignore[override]
        """Return beta F_ex by BAR."""
        works = sample(job.state, config, job.execution)
        return from_works(works, self.name, FILE, job.execution)

    def seconds(self, config: RampsConfig, n: int, pace: Pace) -> float:  # type: ignore[override]
        """Return the time of the MD."""
        steps = config.n_ramps * (2 * config.ramp_steps + config.equilibration)
        return steps * pace.md_step(n)

    def evaluations(self, config: RampsConfig, found: FreeEnergy) -> int:  # type: ignore[override]
        """Return how many energies with forces the ramps took."""
        del found
        return config.n_ramps * (2 * config.ramp_steps + config.equilibration)


ESTIMATORS = (FrenkelLaddRamps(),)
