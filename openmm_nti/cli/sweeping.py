"""What the command `sweep` and the last stage of a run share: the model, and the tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import uncertain
from openmm_nti.model_files import load_denoiser, load_model
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.registry import estimator
from openmm_nti.validation.sweep.anchor import anchor_from
from openmm_nti.validation.sweep.beside import Beside, check_method
from openmm_nti.validation.sweep.run import states_of, sweep

_COLUMNS = {
    "beta_f_ex": "beta F_ex",
    "beta_u_ex": "beta U",
    "s_ex": "S_ex / k",
    "c_v_ex": "C_v,ex / k",
    "pressure_star": "p*",
}


def model_beside(
    name: str, method: str, config: RunConfig, states: Sequence[StatePoint], source: Any = None
) -> Beside:
    """Return what stands beside the data: the model called `name`, with a method and its settings.

    `source` is where to load the model from, if not by its name.

    Raises
    ------
    ValueError
        If there is no such model or method, or they do not fit together or the box.
    """
    known = check_method(estimator(method))
    load = load_model if "energy" in known.needs else load_denoiser
    model = load(source or name)
    for state in states:
        model.bind(state)
    settings = getattr(config.estimates, known.section) or known.Config()
    return Beside(name, model, known, settings)


def sweep_of_run(
    config: RunConfig, directory: RunDirectory, execution: Execution, say: Callable[[str], None]
) -> None:
    """Make the sweep that a run ends with, in its folder `sweep`.

    It is anchored at the number that the run quotes; if there is none, `say` tells so.
    """
    if config.sweep is None:
        return
    state = config.system[0]
    try:
        anchor = anchor_from(str(directory.results), state)
    except ValueError as error:
        say(f"left out: {error}")
        return
    states = states_of(state, config.sweep.temperatures(state), anchor)
    own = directory.reference / f"{state.label}.h5"
    there = directory.sweep / "reference" / own.name
    if "made_with" in Ensemble.load(own).provenance and not there.is_file():
        there.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(there) as temporary:  # the run's own frames, where MD made them
            shutil.copy(own, temporary)
    beside = None
    if config.sweep.method is not None:
        name = config.model or "the run's model"
        beside = model_beside(name, config.sweep.method, config, states, directory.model)
    sweep(states, config.reference, anchor, execution.folder("sweep"), beside)


def print_sweep(results: Mapping[str, Any], console: Console) -> None:
    """Show the table of a sweep, with that of a model if there is one, and the verdicts."""
    n = results["state"]["n_particles"]
    console.print(_table(f"N = {n}, all particles together", results["temperatures"], _COLUMNS))
    if model := results.get("model"):
        columns = {key: title for key, title in _COLUMNS.items() if key != "pressure_star"}
        title = f"the same by {model['name']}, {model['method']}"
        console.print(_table(title, model["temperatures"], columns))
        console.print(f"The model is {model['verdict']['text']}", highlight=False)
    console.print(
        f"C_v = C_v,ex + {1.5 * n:g} k with the kinetic part. {results['verdict']['text']}",
        highlight=False,
    )


def _table(title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Table:
    table = Table(title=title)
    for heading in ("T*", *columns.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        shown = (row.get(name) for name in columns)
        numbers = [uncertain(one["value"], one["std_err"]) if one else "none" for one in shown]
        numbers = [number.replace(" ± ", "\n± ") for number in numbers]  # 80 columns
        table.add_row(f"{row['temperature_star']:.5g}", *numbers)
    return table
