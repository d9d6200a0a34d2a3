"""The whole reproduction: what to compute for which figure, in which order, and how long it takes.

Reference data first, then the insertion chain, then independent tasks over worker processes, then
figures and table from what is on disk. Whatever is finished is skipped, so running again goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from openmm_nti.files import finite, provenance, read_json, write_json
from openmm_nti.model_files import weights_fingerprint
from openmm_nti.reference_md import generate
from openmm_nti.validation.estimators import bar_chain
from openmm_nti.validation.estimators.registry import estimator
from openmm_nti.validation.pace import measure, reference_seconds
from openmm_nti.validation.paper.expenses import forecast_seconds
from openmm_nti.validation.paper.jobs import estimators_of, run_task
from openmm_nti.validation.paper.summary import write_outputs
from openmm_nti.validation.paper.work import PaperTask, Work

_CURVES = {"bound", "neural_ti", "path_bar", "mbar_neural", "softcore", "chain"}
TARGETS = {
    "fig3": {"neural_ti", "gr"},
    "fig4": _CURVES,
    "fig5": _CURVES | {"widom", "eos"},
    "fig6": _CURVES | {"eos"},
    "toy": {"toy"},
    "gcmc": _CURVES | {"gcmc"},
}
_AFTER = {"gr"}  # tasks that read what others wrote, and the reference data


@dataclass(frozen=True)
class Plan:
    """What is left to do, and the forecast of its CPU seconds."""

    kinds: set[str]
    reference_n: list[int]
    tasks: list[PaperTask]
    seconds: float


def run(
    work: Work, only: Iterable[str] = (), say: Callable[[str], None] = lambda _text: None
) -> Path:
    """Compute, draw and tabulate; return the summary, paper.md.

    Parameters
    ----------
    work
        Preset, model, seed and directory, of which a directory belongs to one of each; and how many
        processes share the work.
    only
        Names in `TARGETS`; by default all.
    say
        Receives a line before each stage, the first of them with the forecast.

    Raises
    ------
    ValueError
        If a target is unknown, or the directory holds another reproduction.
    TaskError
        If a simulation fails.
    """
    claim(work)
    todo = plan(work, only)
    execution = work.execution
    say(forecast(todo.seconds, execution.workers))
    if todo.reference_n:
        say(f"reference data at {len(todo.reference_n)} N")
        states = [work.state(n) for n in todo.reference_n]
        generate(states, work.preset.reference, execution.folder("reference"))
    if "chain" in todo.kinds:
        insertion_chain(work)
    for after in (False, True):
        tasks = [task for task in todo.tasks if (task.kind in _AFTER) == after]
        if tasks:
            execution.run(run_task, tasks, "estimates")
    return write_outputs(work)


def forecast(cpu_seconds: float, n_processes: int) -> str:
    """Return the time that is left, in words."""
    minutes = cpu_seconds / n_processes / 60
    shown = f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
    return (
        f"about {shown} with {n_processes} worker(s): {cpu_seconds / 60:.0f} CPU minutes; finished "
        "pieces are kept"
    )


def claim(work: Work) -> None:
    """Write down whose directory this is, or refuse one of another preset, model or seed.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    path = work.directory / "paper.json"
    identity = {
        "preset": work.preset.model_dump(mode="json"),
        "model": weights_fingerprint(work.hamiltonian),
        "denoiser": weights_fingerprint(work.denoiser),
        "seed": work.execution.seed,
    }
    if not path.is_file():
        others = sorted(one.name for one in work.directory.glob("[!.]*"))
        if others:
            raise ValueError(
                f"{work.directory} holds other files ({others[0]}): name another --output"
            )
        write_json(
            path,
            {**identity, "model_name": work.model, "provenance": provenance(work.execution.seed)},
        )
        return
    stored = read_json(path)
    differing = [name for name, value in identity.items() if stored.get(name) != value]
    if differing:
        raise ValueError(
            f"{work.directory} holds a reproduction with another "
            f"{' and another '.join(differing)}: "
            "name another --output, or repeat the options it was started with (see its paper.json)"
        )


def plan(work: Work, only: Iterable[str] = ()) -> Plan:
    """Return what the targets need and is not on disk yet; the longest tasks first."""
    names = list(only) or list(TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        raise ValueError(f"--only {', '.join(unknown)}: choose from {', '.join(TARGETS)}")
    kinds = set().union(*(TARGETS[name] for name in names))
    tasks = [task for task in all_tasks(work, kinds) if not task.path.is_file()]
    reference_n = sorted({task.n for task in tasks if _needs_data(task.kind)})
    missing = [
        n
        for n in reference_n
        if not (work.directory / "reference" / f"{work.state(n).label}.h5").is_file()
    ]
    chain_n = work.preset.chain_n
    chain_is_left = "chain" in kinds and not work.path("chain", chain_n).is_file()
    if not (tasks or chain_is_left):
        return Plan(kinds, reference_n, [], 0.0)
    pace = measure(work.state(work.preset.grid[-1]), work.hamiltonian)
    costs = {task: forecast_seconds(task, pace) for task in tasks}
    tasks.sort(key=lambda task: costs[task], reverse=True)
    chain = estimator("bar_chain")
    seconds = [
        *costs.values(),
        *(reference_seconds(work.preset.reference, n, pace) for n in missing),
        chain.seconds(work.preset.chain, chain_n, pace) if chain_is_left else 0.0,
    ]
    return Plan(kinds, reference_n, tasks, sum(seconds))


def _needs_data(kind: str) -> bool:
    return kind in _AFTER or any("data" in known.needs for known in estimators_of(kind))


def all_tasks(work: Work, kinds: set[str]) -> list[PaperTask]:
    """Return every task of the kinds, done or not.

    Without curves to draw, `neural_ti` is needed only where g(r) takes its samples.
    """
    preset = work.preset
    at: dict[str, tuple[float, ...]] = {
        "bound": preset.grid,
        "neural_ti": preset.grid if "bound" in kinds else preset.figure_n,
        "path_bar": tuple(n for n in preset.grid if n <= preset.paths_largest_n),
        "mbar_neural": preset.windows_n,
        "softcore": preset.softcore_n,
        "widom": preset.grid,
        "eos": preset.grid,
        "gcmc": preset.gcmc_beta_mu_paper,
        "toy": (1,),
        "gr": preset.figure_n,
    }
    return [
        PaperTask(kind, value, work)
        for kind, values in at.items()
        if kind in kinds
        for value in values
    ]


def insertion_chain(work: Work) -> None:
    """Write the chain up to `chain_n`, or to where insertions begin to fail, as one estimate."""
    path = work.path("chain", work.preset.chain_n)
    if path.is_file():
        return
    state = work.state(work.preset.chain_n)
    files = bar_chain.sample(state, work.preset.chain, work.execution.folder("work"))
    bootstrap = work.execution.child("chain bootstrap")
    estimate = bar_chain.estimate_chain(files, state, bootstrap)
    failing = estimate.diagnostics["first_n_where_insertion_fails"]
    if failing is not None and failing >= 2:
        estimate = bar_chain.estimate_chain(files[:failing], work.state(failing), bootstrap)
    facts = {"first_n_where_insertion_fails": failing}
    write_json(path, finite({"kind": "chain", "estimates": [estimate.to_dict()], "facts": facts}))
