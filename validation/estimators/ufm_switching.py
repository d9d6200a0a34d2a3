r"""Excess free energy by way of the Uhlenbeck-Ford fluid, as LAMMPS and calphy do for liquids.

Windows lie on the path of `sampling.uhlenbeck_ford` from the ideal gas to the Uhlenbeck-Ford fluid
and on to the fluid, and MBAR joins all of them. Where others take the free energy of the
Uhlenbeck-Ford fluid from its equation of state (R. Paula Leite, R. Freitas, R. Azevedo, M. de
Koning, J. Chem. Phys. 145, 194101 (2016)), here it is measured at the same N.

Fast ramps between the two fluids both ways (R. Paula Leite, M. de Koning, Comput. Mater. Sci. 159,
316 (2019)), joined by Bennett's acceptance ratio, give the second half once more.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import openmm
from pydantic import Field

from openmm_nti.fluid.energy import truncation_log_weights
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.md.platforms import description_of_fastest
from openmm_nti.reference_md.statistics import evenly_spaced
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.window_data import WindowData, platform_of
from openmm_nti.validation.analysis.window_diagnostics import GOOD_OVERLAP, WindowDiagnostics
from openmm_nti.validation.analysis.window_estimates import estimate_mbar
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.neural_windows import WindowEstimator, n_evaluations
from openmm_nti.validation.estimators.softcore import (
    SoftcoreConfig,
    chain_context,
    expected_windows,
)
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.sampling.uhlenbeck_ford.path import (
    HALF,
    UhlenbeckFordPath,
    slopes,
    together,
    weights,
)
from openmm_nti.validation.sampling.uhlenbeck_ford.ramps import (
    Ramps,
    positions_sigma,
    raise_lambda,
    ramp_facts,
    sample_ramps,
)

_MOST_APART = 4.0  # errors between ramps and windows
_STEP, _ENERGY = 4.0, 0.1  # in steps of MD of the fluid; the energy per particle


class UfmSwitchingConfig(SoftcoreConfig):
    """How the windows and ramps by way of the Uhlenbeck-Ford fluid are sampled."""

    n_windows: int | None = Field(
        default=None, ge=5, le=10_000, description="Windows; empty: as many as window_length asks."
    )
    window_length: float = Field(
        default=1.0,
        gt=0,
        le=2,
        description="Thermodynamic length between neighbouring windows, in the pair estimate.",
    )
    p: float = Field(
        default=50.0, ge=15, le=1000, description="Strength p of the Uhlenbeck-Ford fluid."
    )
    sigma_uf: float = Field(
        default=0.5, gt=0.05, le=2, description="Its range sigma_UF, in sigma of the fluid."
    )
    n_ramps: int | None = Field(
        default=32,
        ge=8,
        le=100_000,
        description="Ramps in each direction between the two fluids, as a check; null for none.",
    )
    ramp_steps: int = Field(default=1000, ge=10, le=100_000_000, description="MD steps of a ramp.")


class UfmDiagnostics(WindowDiagnostics):
    """Facts beside an estimate by way of the Uhlenbeck-Ford fluid.

    Attributes
    ----------
    uhlenbeck_ford
        The fluid in the middle: p, sigma_UF in sigma, its scaled density x, and its beta F_ex with
        the standard error.
    ramps
        Bennett's acceptance ratio of the ramps from there to the fluid: value, error, overlap,
        `windows` (the same by MBAR) with its error, and how many errors both are apart.
    """

    uhlenbeck_ford: dict[str, Any] | None = None
    ramps: dict[str, Any] | None = None


@takes_execution
def sample(
    state: StatePoint, config: UfmSwitchingConfig, execution: Execution
) -> tuple[WindowData, dict[str, np.ndarray]]:
    """Return samples of all windows, and frames at lambda = 1/2 and 1 from which ramps start.

    Each finished window is a file, so that an interrupted run goes on where it stopped. `execution`
    decides the samples by its seed and keeps the files in `ufm_windows/` of its folder.
    """
    path = UhlenbeckFordPath(state, config.p, config.sigma_uf)
    lambdas = path.place_windows(config.window_length, config.n_windows)
    # Windows know nothing of the ramps: these may be changed later.
    windows_alone = config.model_copy(update={"n_ramps": None, "ramp_steps": 10})
    found = execution.map_stored(
        partial(_sample_window, path, windows_alone, execution),
        [float(coupling) for coupling in lambdas],
        name="ufm_windows",
        inputs=[state, windows_alone, lambdas],
        description="Uhlenbeck-Ford windows",
        labels=[f"Uhlenbeck-Ford window lambda = {x:.4f} of {state}" for x in lambdas],
    )
    energies = np.stack([window["energies"] for window in found])
    data = WindowData(
        lambdas,
        np.stack([together(weights(lambdas), own) for own in energies]),
        np.stack(
            [together(slopes(lambdas[k : k + 1]), own)[:, 0] for k, own in enumerate(energies)]
        ),
        np.repeat(np.arange(config.n_chains), config.n_frames),
        platform=platform_of(found),
    )
    middle = int(np.flatnonzero(lambdas == HALF)[0])
    return data, {"forward": found[middle]["frames"], "reverse": found[-1]["frames"]}


def _sample_window(
    path: UhlenbeckFordPath, config: UfmSwitchingConfig, execution: Execution, coupling: float
) -> dict[str, np.ndarray]:
    """Return U_UF and U of the frames of a window (n, 2), kT; frames where ramps start as well."""
    own = execution.child("ufm", f"{coupling:.12g}")
    seeds = map(own.child, range(config.n_chains))
    try:
        chains = [_sample_chain(path, config, coupling, seed) for seed in seeds]
    except openmm.OpenMMException as error:
        raise RuntimeError(
            f"{error} Where it is NaN, lower timestep_star = {config.timestep_star:g}"
        ) from error
    frames = np.concatenate(chains)
    found = {
        "energies": path.energies(frames),
        "platform": np.array([description_of_fastest(config.platform)]),
    }
    return {**found, "frames": frames} if coupling in (HALF, 1.0) else found


def _sample_chain(
    path: UhlenbeckFordPath, config: UfmSwitchingConfig, coupling: float, execution: Execution
) -> np.ndarray:
    """Return frames of a chain from random positions, which are exact at lambda = 0."""
    shape = (config.n_frames, path.state.n_particles, 3)
    random = np.random.default_rng(execution.seed).uniform(0, path.state.edges_sigma, shape)
    if coupling == 0:
        return random
    system = path.system(with_fluid=coupling > HALF)
    context = chain_context(system, path.state, config, execution)
    context.setPositions(random[0] * path.state.sigma_nm)
    raise_lambda(context, coupling, config.equilibration)
    frames = np.empty(shape)
    for frame in frames:
        context.getIntegrator().step(config.steps_between)
        frame[:] = positions_sigma(context, path)
    share = weights(np.array(coupling))[1]
    return frames[evenly_spaced(share * truncation_log_weights(frames, path.state), len(frames))]


def from_samples(
    data: WindowData,
    works: dict[str, np.ndarray] | None,
    path: UhlenbeckFordPath,
    execution: Execution,
) -> FreeEnergy:
    """Return beta F_ex from the samples of all windows.

    `works` are those of the ramps, `forward` and `reverse`, (n,), kT; None without ramps.
    """
    mbar = partial(estimate_mbar, state=path.state, method="ufm_switching", execution=execution)
    found = mbar(data)
    first, second = (mbar(half, test_drift=False) for half in _halves(data))
    middle = {
        "p": path.p,
        "sigma": path.sigma,
        "x": path.scaled_density,
        "beta_f_ex": first.value,
        "std_err": first.std_err,
    }
    facts = {**dict(found.diagnostics.items()), "uhlenbeck_ford": middle}
    verdict = found.verdict
    if works is not None:
        facts["ramps"] = ramp_facts(works, second, execution.random("ufm_ramps"))
        verdict = _judged(verdict, facts["ramps"])
    return replace(found, verdict=verdict, diagnostics=UfmDiagnostics(**facts))


def _halves(data: WindowData) -> list[WindowData]:
    """Return the windows up to lambda = 1/2 and those from there on, each from 0 to 1."""
    middle = int(np.flatnonzero(data.lambdas == HALF)[0])
    return [
        WindowData(
            (data.lambdas[part] - data.lambdas[part][0]) / HALF,
            data.u_kln[part, :, part],
            data.dudl[part] * HALF,
            data.chain,
        )
        for part in (slice(0, middle + 1), slice(middle, None))
    ]


def _judged(verdict: Verdict, ramps: dict[str, Any]) -> Verdict:
    """Return a good verdict only where ramps that overlap agree with the windows."""
    if verdict.level != "good" or not ramps["overlap"] >= GOOD_OVERLAP:
        return verdict
    apart = f"ramps are {ramps['errors_apart']:.1f} errors from the windows"
    caution = f"{apart}: raise equilibration, n_frames and ramp_steps"
    agree = ramps["errors_apart"] <= _MOST_APART
    return Verdict.good_if(agree, verdict.text, Verdict("warn", caution))


class UfmSwitching(WindowEstimator):
    """MBAR over windows by way of the Uhlenbeck-Ford fluid, checked by ramps."""

    name = "ufm_switching"
    section = "ufm_switching"
    path_name = "ufm"
    files = ("ufm_windows.npz", "ufm_convergence.npz")
    Config = UfmSwitchingConfig
    Diagnostics = UfmDiagnostics
    summary = "MBAR by way of the Uhlenbeck-Ford fluid, with ramps both ways; uses no network"
    order = 120
    preference = 50

    def sample(self, job: Job, config: UfmSwitchingConfig) -> WindowData:
        """Return the samples of all windows."""
        return sample(job.state, config, job.execution)[0]

    def estimate(self, job: Job, config: UfmSwitchingConfig) -> FreeEnergy:
        """Return beta F_ex by MBAR over all windows, with the ramps beside it."""
        state, execution = job.state, job.execution
        data, starts = sample(state, config, execution)
        path = UhlenbeckFordPath(state, config.p, config.sigma_uf)
        if execution.directory is not None:
            data.save(execution.directory / f"{self.path_name}_windows.npz")
        works = None
        if config.n_ramps:
            dynamics = config.model_dump(include={"timestep_star", "friction_star", "platform"})
            between = data.lambdas[data.lambdas >= HALF]
            ramps = Ramps(path, between, config.n_ramps, config.ramp_steps, dynamics)
            works = sample_ramps(ramps, starts, execution)
        found = from_samples(data, works, path, execution)
        self.keep_convergence(data, state, execution)
        return found

    def seconds(self, config: UfmSwitchingConfig, n: int, pace: Pace) -> float:
        """Return the time of the MD, of energies of all frames, and of the ramps."""
        count = expected_windows(config, n)
        frames = count * config.n_chains * config.n_frames
        steps = count * config.n_chains * config.equilibration + frames * config.steps_between
        steps += 2 * (config.n_ramps or 0) * config.ramp_steps
        return (_STEP * steps + _ENERGY * frames * n) * pace.md_step(n)

    def evaluations(self, config: UfmSwitchingConfig, found: FreeEnergy) -> int:
        """Return how many energies with forces the samples and the ramps took."""
        ramps = 2 * (config.n_ramps or 0) * config.ramp_steps
        steps = (config.equilibration, config.steps_between)
        return ramps + n_evaluations(found, *steps, first_is_drawn=True)


ESTIMATORS = (UfmSwitching(),)
