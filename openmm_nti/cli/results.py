"""results.json (docs/results_schema.md) and the table at the end of a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.files import finite, read_json, write_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy

SCHEMA = 1
_CIRCUMSTANCES = ("command", "date_utc", "git_hash", "machine")
_SYMBOLS = {"beta_f_ex": "beta F_ex", "beta_mu_ex": "beta mu_ex"}


def write_estimate(path: Path, estimate: FreeEnergy) -> None:
    """Write one estimate as JSON."""
    write_json(path, finite(estimate.to_dict()))


def read_estimates(directory: RunDirectory, state: StatePoint) -> list[FreeEnergy]:
    """All estimates at `state` that are on disk, by name of the method."""
    contents = [read_json(path) for path in sorted(directory.estimates(state).glob("*.json"))]
    return [
        FreeEnergy.from_dict({**item, "std_err": _infinite_if_none(item["std_err"])})
        for item in contents
    ]


def _infinite_if_none(value: float | None) -> float:
    return math.inf if value is None else value


def write_results(directory: RunDirectory, config: RunConfig) -> None:
    """Write results.json from the estimates on disk."""
    points = [_state_point(directory, state) for state in config.system]
    results = {
        "schema": SCHEMA,
        "state_points": points,
        "provenance": read_json(directory.provenance),
    }
    write_json(directory.results, finite(results))


def print_table(directory: RunDirectory, config: RunConfig, console: Console) -> None:
    """Show every estimate of the run, a section for each state point, within 80 columns: errors are
    never cut off.
    """
    table = Table(title="Estimates in kT")
    for heading in ("quantity", "method", "convention"):
        table.add_column(heading, no_wrap=True)
    table.add_column("value +- std_err", justify="right", no_wrap=True)
    for state in config.system:
        table.add_row(
            f"[bold]N = {state.n_particles}", f"[bold]L = {state.box_length_sigma:.5g} sigma"
        )
        for estimate in read_estimates(directory, state):
            table.add_row(
                _SYMBOLS[estimate.quantity],
                estimate.method,
                estimate.convention,
                f"{estimate.value:.3f} +- {estimate.std_err:.3f}",
            )
        table.add_section()
    console.print(table)


def _state_point(directory: RunDirectory, state: StatePoint) -> dict[str, Any]:
    point: dict[str, Any] = {
        "n_particles": state.n_particles,
        "box_length_sigma": state.box_length_sigma,
        "temperature_star": state.temperature_star,
        "convention": state.convention,
        "beta_f_ex": {},
        "beta_mu_ex": {},
        "diagnostics": _diagnostics(directory, state),
    }
    for estimate in read_estimates(directory, state):
        point[estimate.quantity][estimate.method] = {
            "value": estimate.value,
            "std_err": estimate.std_err,
            "method": estimate.method,
            "convention": estimate.convention,
            "diagnostics": estimate.to_dict()["diagnostics"],
        }
    return point


def _diagnostics(directory: RunDirectory, state: StatePoint) -> dict[str, Any]:
    ensemble = directory.ensemble(state)
    # When and from where a stage ran is in the files themselves: a resumed run ends in the same
    # results.json.
    reference = {
        key: value for key, value in ensemble.provenance.items() if key not in _CIRCUMSTANCES
    }
    return {
        "density_star": state.density_star,
        "state": state.model_dump(mode="json"),
        "reference_frames": ensemble.n_frames,
        "reference_mean_energy_kt": float(ensemble.reduced_potentials.mean()),
        "reference": reference,
    }
