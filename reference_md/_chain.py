"""Chains of Langevin dynamics, in segments that make an interrupted run repeat to the bit.

Each segment starts a new OpenMM Context from the positions and velocities (float64) that the one
before left in its file, with random numbers seeded by (seed, state, chain, segment). A run that was
killed therefore continues as if it had never stopped. `LangevinMiddleIntegrator` is the scheme of
Zhang et al., J. Phys. Chem. A 123, 6056 (2019).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import unit

from openmm_nti.files import fingerprint
from openmm_nti.fluid.displacements import about_sites
from openmm_nti.fluid.energy import reduced_potential_numpy, truncation_log_weights
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.md.platforms import fastest_platform, minimize, platform_properties
from openmm_nti.reference_md.config import ReferenceConfig
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.stored import read_arrays, write_arrays

# Settings that decide how many frames there are, not which: raising them continues the same chains.
_EXTENT = {"n_frames", "n_replicas", "max_steps"}


@dataclass(frozen=True)
class Chain:
    """One chain of a reference simulation, and the number of segments that it must reach."""

    state: StatePoint
    config: ReferenceConfig
    execution: Execution
    number: int
    n_segments: int

    def __str__(self) -> str:
        return f"chain {self.number} of {self.state}"

    def path(self, segment: int) -> Path:
        """Return the file of a segment, in a folder named by everything that decides the frames.

        Raises
        ------
        ValueError
            If the execution has no folder.
        """
        if self.execution.directory is None:
            raise ValueError(
                "directory = None: reference simulations need a folder for their files"
            )
        settings = self.config.model_dump(exclude=_EXTENT)
        name = fingerprint([self.state.model_dump(), settings, self.execution.seed])
        folder = self.execution.directory / "chains" / f"{self.state.label}-{name}"
        return folder / f"chain{self.number:03d}-segment{segment:03d}.npz"

    def read(self, name: str) -> np.ndarray:
        """Return a recorded quantity of all segments, in order of time. Shape (frames, ...)."""
        paths = [self.path(segment) for segment in range(self.n_segments)]
        return np.concatenate([read_arrays(path, [name])[name] for path in paths])


def run_chain(chain: Chain) -> None:
    """Run the segments of `chain` that have no file yet.

    Each file holds `frames_nm` (F, N, 3) float32, wrapped into the box; `reduced_potentials` (F,)
    kT and `log_weights` (F,) of those frames; `temperatures_star` (F,) from the velocities;
    `positions_nm` and `velocities` (N, 3) at the end, nm and nm/ps.
    """
    for segment in range(chain.n_segments):
        path = chain.path(segment)
        if not path.exists():
            write_arrays(path, _run_segment(chain, segment))


def _run_segment(chain: Chain, segment: int) -> dict[str, Any]:
    try:
        recorded = _record(_context(chain, segment), chain)
    except openmm.OpenMMException as error:  # some platforms refuse NaN, others carry on with it
        if "NaN" not in str(error):
            raise
        raise ValueError(_ran_into_nan(chain)) from error
    if not np.isfinite(recorded["frames_nm"]).all():
        raise ValueError(_ran_into_nan(chain))
    return recorded


def _record(context: openmm.Context, chain: Chain) -> dict[str, Any]:
    state = chain.state
    config = chain.config
    frames = []
    temperatures = []
    for _ in range(config.segment_frames):
        context.getIntegrator().step(config.frame_interval)
        now = context.getState(positions=True, energy=True)
        frames.append(now.getPositions(asNumpy=True).value_in_unit(unit.nanometer))
        temperatures.append(_temperature_star(now, state))
    last = context.getState(positions=True, velocities=True)
    wrapped = wrap(np.array(frames), state)
    positions_sigma = wrapped.astype(np.float64) / state.sigma_nm
    return {
        "frames_nm": wrapped,
        "reduced_potentials": reduced_potential_numpy(positions_sigma, state),
        "log_weights": truncation_log_weights(positions_sigma, state),
        "temperatures_star": np.array(temperatures),
        "positions_nm": last.getPositions(asNumpy=True).value_in_unit(unit.nanometer),
        "velocities": last.getVelocities(asNumpy=True).value_in_unit(
            unit.nanometer / unit.picosecond
        ),
    }


def wrap(positions_nm: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return positions (F, N, 3) in the box, nm, rounded to the float32 that files keep.

    Those of a crystal are about the sites, without the drift of all atoms together.

    Raises
    ------
    ValueError
        If a crystal has melted or is another one; see `fluid.displacements`.
    """
    if state.crystal is not None:
        about = about_sites(positions_nm / state.sigma_nm, state)
        return (about * state.sigma_nm).astype(np.float32)
    box = state.edges_nm
    return (positions_nm - box * np.floor(positions_nm / box)).astype(np.float32)


def _context(chain: Chain, segment: int) -> openmm.Context:
    """Return a Context at the first step of a segment."""
    state = chain.state
    config = chain.config
    integrator = openmm.LangevinMiddleIntegrator(
        state.temperature_kelvin,
        config.friction_star / state.time_unit_ps,
        config.timestep_star * state.time_unit_ps,
    )
    seeds = [
        chain.execution.seed_of(state.label, chain.number, segment, use)
        for use in ("noise", "start", "velocity")
    ]
    integrator.setRandomNumberSeed(seeds[0])
    platform = fastest_platform(config.platform)
    context = openmm.Context(
        fluid_system(state), integrator, platform, platform_properties(platform)
    )
    if segment > 0:
        before = read_arrays(chain.path(segment - 1), ["positions_nm", "velocities"])
        context.setPositions(before["positions_nm"])
        context.setVelocities(before["velocities"])
        return context
    context.setPositions(lattice_positions_nm(state, seeds[1]))
    minimize(context, max_iterations=200)
    context.setVelocitiesToTemperature(state.temperature_kelvin, seeds[2])
    integrator.step(config.equilibration_steps)
    return context


def _temperature_star(now: openmm.State, state: StatePoint) -> float:
    kinetic = now.getKineticEnergy().value_in_unit(unit.kilojoule_per_mole)
    return float(2 * kinetic / (3 * state.n_particles * state.epsilon_kj_mol))


def _ran_into_nan(chain: Chain) -> str:
    return (
        f"the chain ran into NaN at timestep_star = {chain.config.timestep_star:g}: lower "
        "timestep_star (0.004 is usual)"
    )
