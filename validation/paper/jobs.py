"""The pieces of the calculation: each a task that writes its own JSON, and arrays beside it.

A task's kind is the name of a method or of a section of estimates, as in the registry, or one of
`KINDS`, which need more. A task that is done is skipped.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import numpy as np

from openmm_nti.files import finite, write_json
from openmm_nti.runtime.stored import read_arrays, write_arrays
from openmm_nti.validation.analysis import window_estimates
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.estimators import eos, neural_ti, softcore
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.estimators.registry import all_estimators, sections
from openmm_nti.validation.paper import comparisons
from openmm_nti.validation.paper.work import Found, PaperTask

_NOISE = (DeprecationWarning, FutureWarning)  # of libraries: nothing a reader of numbers must know


def run_task(task: PaperTask) -> None:
    """Compute and write `task.path`, unless it is there."""
    if task.path.is_file():
        return
    started = time.process_time()
    found, refused = Found(), None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = KINDS.get(task.kind, estimates)(task)
        except (ValueError, RuntimeError) as error:
            refused = str(error)
    if found.arrays:
        write_arrays(task.path.with_suffix(".npz"), found.arrays)
    content = {
        "kind": task.kind,
        "at": task.at,
        "estimates": [estimate.to_dict() for estimate in found.estimates],
        "facts": found.facts,
        "refused": refused,
        "warnings": sorted(
            {str(warning.message) for warning in caught if not issubclass(warning.category, _NOISE)}
        ),
        "cpu_seconds": round(time.process_time() - started, 2),
    }
    write_json(task.path, finite(content))


def estimators_of(kind: str) -> list[Estimator]:
    """Return the estimators that a kind of task makes from the same samples; none for others."""
    known = sections()
    if kind in known:
        return known[kind]
    found = all_estimators().get(kind)
    return known[found.section] if found is not None else []


def estimates(task: PaperTask) -> Found:
    """Make all estimates of a section that serve the state point."""
    work = task.work
    state = work.state(task.n)
    of_section = estimators_of(task.kind)
    needs = frozenset().union(*(known.needs for known in of_section))
    trained = work.hamiltonian if "energy" in needs else work.denoiser
    job = Job(
        state,
        work.ensemble(task.n) if "data" in needs else None,
        trained if needs & {"model", "energy"} else None,
        task.execution,
        denoiser=work.denoiser if "denoiser" in needs else None,
    )
    config = work.preset.settings(of_section[0].section)
    return Found(
        [known.estimate(job, config) for known in of_section if known.applies(config, state)]
    )


def _neural_ti(task: PaperTask) -> Found:
    """Estimate by reverse diffusion, and keep its samples for g(r)."""
    found = estimates(task)
    names = ("lambdas", "dudl_mean", "positions_sigma")
    folder = task.execution.directory
    found.arrays = read_arrays(folder / neural_ti.FILE, names) if folder else {}
    return found


def _softcore(task: PaperTask) -> Found:
    """Estimate from all windows, and by TI from some of them as if no others had been simulated."""
    preset, state = task.work.preset, task.work.state(task.n)
    execution = task.execution.folder("softcore")
    data = softcore.sample(state, preset.softcore, execution)
    found = [
        window_estimates.estimate_mbar(data, state, method="mbar_softcore", execution=execution)
    ]
    trapezoids = {}
    for count in preset.softcore_subsets:
        if count <= data.n_windows:
            some = subset(data, count)
            method = f"ti_softcore_{count}"
            found.append(
                window_estimates.estimate_ti(some, state, method=method, execution=execution)
            )
            trapezoids[str(count)] = float(np.trapezoid(some.dudl.mean(axis=1), some.lambdas))
    return Found(found, {"trapezoid": trapezoids})


def subset(data: WindowData, count: int) -> WindowData:
    """Return `count` of the windows, evenly chosen by their numbers, with both ends."""
    kept = np.rint(np.linspace(0, data.n_windows - 1, count)).astype(int)
    return WindowData(data.lambdas[kept], data.u_kln[kept][:, :, kept], data.dudl[kept], data.chain)


def _eos(task: PaperTask) -> Found:
    """Estimate the free energy and the chemical potential by the equation of state."""
    found = estimates(task)
    return Found([*found.estimates, eos.chemical_potential(task.work.state(task.n))])


KINDS: dict[str, Callable[[PaperTask], Found]] = {
    "neural_ti": _neural_ti,
    "softcore": _softcore,
    "eos": _eos,
    "gcmc": comparisons.open_box,
    "toy": comparisons.two_gaussians,
    "gr": comparisons.radial_distributions,
}
