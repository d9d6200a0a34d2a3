r"""Excess chemical potential by coupling one particle to the fluid through soft-core windows, then
MBAR.

In a System of N + 1 particles the last one sees the N others through the soft core of `softcore`,

    U_lambda(x) = beta U_LJ(x_1, ..., x_N) + sum_{i <= N} u_lambda(|x_i - x_{N+1}|),

from a ghost at lambda = 0 to one of N + 1 equal particles at lambda = 1. Hence F(1) - F(0) is

    beta mu_ex(N) = beta F_ex(N + 1) - beta F_ex(N),

which is what `widom` estimates, also in the dense fluid where insertion finds no room. All windows
differ in the last particle's energy alone, so MBAR needs nothing else. The soft core is that of
Beutler et al. (see `softcore`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from pydantic import Field

from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.md.fluid_system import fluid_system, leave_out
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed, run_tasks
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.estimators import softcore
from openmm_nti.validation.sampling.softcore_fluid import soft_force, soft_pair


class DecouplingConfig(softcore.SoftcoreConfig):
    """How the windows of one soft particle are sampled."""

    n_windows: int | None = Field(
        default=12, ge=3, description="Windows; empty: as many as window_length asks."
    )
    n_frames: int = Field(default=100, ge=2, description="Frames kept of each chain.")
    equilibration: int = Field(
        default=4000,
        ge=0,
        description="MD steps before the first frame, from a lattice; lambda grows in the first "
        "half.",
    )


@dataclass(frozen=True)
class _Window:
    """One task: everything that decides the samples of one window, and where they go."""

    state: StatePoint  # of the N + 1 particles
    config: DecouplingConfig
    lambdas: np.ndarray
    index: int
    seed: int
    path: Path

    def __str__(self) -> str:
        return f"one particle at lambda = {self.lambdas[self.index]:.4f} in {self.state}"


def estimate(
    state: StatePoint,
    config: DecouplingConfig,
    *,
    seed: int,
    directory: Path,
    workers: int = 1,
    progress: bool = True,
) -> FreeEnergy:
    """Excess chemical potential beta mu_ex(N) of the N particles of `state`, as `mu_decoupling`.

    Arguments as in `sample`.
    """
    data = sample(state, config, seed=seed, directory=directory, workers=workers, progress=progress)
    return from_windows(data, state, seed=seed)


def from_windows(data: WindowData, state: StatePoint, *, seed: int) -> FreeEnergy:
    """The estimate from the samples of all windows."""
    found = estimate_mbar(data, state, method="mu_decoupling", seed=derive_seed(seed, "bootstrap"))
    return FreeEnergy.from_dict({**found.to_dict(), "quantity": "beta_mu_ex"})


def sample(
    state: StatePoint,
    config: DecouplingConfig,
    *,
    seed: int,
    directory: Path,
    workers: int = 1,
    progress: bool = True,
) -> WindowData:
    """Sample all windows; those in `directory` are not run again.

    Parameters
    ----------
    state
        N particles, their box, temperature and pair potential, which must be `switched`.
    config
        How to sample.
    seed
        Equal seeds give equal samples on one platform.
    directory
        Where the windows are kept.
    workers
        Number of processes.
    progress
        Show a progress bar.

    Returns
    -------
    WindowData
        Energies of the last particle, kT.

    Raises
    ------
    ValueError
        If the convention is `truncated`: forces do not feel the jump at the cutoff, and this does
        not reweight it.
    """
    if not state.is_continuous:
        raise ValueError(
            f"convention = {state.convention}: mu_decoupling needs switched; use bar_chain or widom"
        )
    more = state.model_copy(update={"n_particles": state.n_particles + 1})
    lambdas = softcore.window_lambdas(more, config, n_pairs=state.n_particles)
    name = fingerprint(["decoupling", more.model_dump(), config.model_dump(), seed])
    windows = [
        _Window(
            more,
            config,
            lambdas,
            k,
            derive_seed(seed, "decoupling", k),
            directory / f"{name}_{k:03d}.npz",
        )
        for k in range(len(lambdas))
    ]
    sampled = run_tasks(
        _sample_window, windows, workers=workers, description="one soft particle", progress=progress
    )
    u_kln, dudl = (np.stack(arrays) for arrays in zip(*sampled, strict=True))
    return WindowData(lambdas, u_kln, dudl, np.repeat(np.arange(config.n_chains), config.n_frames))


def coupling_system(state: StatePoint) -> openmm.System:
    """`state`'s particles in OpenMM, the last of which is coupled to the others by
    `lambda_softcore`.
    """
    system, last = fluid_system(state), state.n_particles - 1
    leave_out(system.getForce(0), last, state.n_particles)
    force = soft_force(state)
    force.addInteractionGroup([last], range(last))
    system.addForce(force)
    return system


def last_particle_energy(
    positions_sigma: np.ndarray, state: StatePoint, lambdas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Energy of the last particle with all others and its lambda derivative, in float64.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped or not. Shape (F, N, 3), sigma.
    lambdas
        Shape (K,).

    Returns
    -------
    energy, slope
        Shape (F, K), kT.
    """
    separation = positions_sigma[:, :-1] - positions_sigma[:, -1:]
    separation = nearest_image(separation, state.box_length_sigma)
    energy, slope = soft_pair((separation**2).sum(axis=-1), state, lambdas)
    return energy.sum(axis=-1).T, slope.sum(axis=-1).T


def _sample_window(window: _Window) -> tuple[np.ndarray, np.ndarray]:
    """Energies at all lambdas (n, K) and dU/dlambda (n,) of one window, kT; from its file when that
    is there.
    """
    if window.path.exists():
        loaded = read_arrays(window.path, ["u", "dudl"])
        return loaded["u"], loaded["dudl"]
    chains = [
        _sample_chain(window, derive_seed(window.seed, chain))
        for chain in range(window.config.n_chains)
    ]
    energy, slope = last_particle_energy(np.concatenate(chains), window.state, window.lambdas)
    dudl = slope[:, window.index]
    with atomic_path(window.path) as temporary:
        np.savez(temporary, u=energy, dudl=dudl)
    return energy, dudl


def _sample_chain(window: _Window, seed: int) -> np.ndarray:
    """Frames (F, N + 1, 3), sigma, of one chain that starts from a lattice with the last particle a
    ghost.
    """
    state, config = window.state, window.config
    context = softcore.make_context(coupling_system(state), state, config, seed)
    context.setPositions(lattice_positions_nm(state, seed))
    frames = np.empty((config.n_frames, state.n_particles, 3))
    try:
        softcore.raise_coupling(context, float(window.lambdas[window.index]), config.equilibration)
        for frame in frames:
            context.getIntegrator().step(config.steps_between)
            positions = context.getState(positions=True).getPositions(asNumpy=True)
            frame[:] = positions.value_in_unit(unit.nanometer) / state.sigma_nm
    except openmm.OpenMMException as error:
        raise RuntimeError(
            f"{error} Where it is NaN, lower timestep_star = {config.timestep_star:g}"
        ) from error
    if not np.isfinite(frames).all():
        raise RuntimeError(
            f"the simulation blew up: lower timestep_star = {config.timestep_star:g}"
        )
    return frames
