"""The file results.json (docs/results_schema.md), and the tables of a run and of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.files import finite, read_json, write_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy, minus, uncertain
from openmm_nti.model_files import CARD_FILE, read_card
from openmm_nti.validation.report import judge
from openmm_nti.validation.report.learned import learned

SCHEMA = 1
_CIRCUMSTANCES = ("command", "date_utc", "git_hash", "machine")
_OF_THE_POINT = ("n_particles", "quantity")  # not repeated in each of its estimates
_SYMBOLS = {"beta_f_ex": "beta F_ex", "beta_mu_ex": "beta mu_ex"}
_SWEPT = {
    "beta_f_ex": "beta F_ex",
    "beta_u_ex": "beta U",
    "s_ex": "S_ex / k",
    "c_v_ex": "C_v,ex / k",
    "pressure_star": "p*",
}
_COEXISTENCE = {
    "rho_fluid": "ρ*\nfluid",
    "rho_crystal": "ρ*\ncrystal",
    "pressure_star": "p σ³/ε",
    "beta_mu": "βμ\nΛ = σ",
}
_PHASES = {
    "rho_vapour": "rho*\nvapour",
    "rho_liquid": "rho*\nliquid",
    "beta_mu_ex_vapour": "beta mu_ex\nvapour",
    "beta_mu_ex_liquid": "beta mu_ex\nliquid",
    "pressure_star": "p*",
}


def write_estimate(path: Path, estimate: FreeEnergy) -> None:
    """Write one estimate as JSON, with a checksum of all that it says."""
    write_json(path, finite(estimate.to_dict()))


def read_estimates(run: RunDirectory, state: StatePoint) -> list[FreeEnergy]:
    """Return all estimates at `state` that are on disk, in the order of the methods' names."""
    paths = sorted(run.estimates(state).glob("*.json"))
    return [read_estimate(path) for path in paths]


def read_estimate(path: Path) -> FreeEnergy:
    """Return what `write_estimate` wrote; ValueError if it has changed since."""
    fields = read_json(path)
    if isinstance(fields, dict):
        with suppress(KeyError, TypeError, ValueError):
            estimate = FreeEnergy.from_dict(fields)
            of = f".{estimate.species}" if estimate.species is not None else ""
            if estimate.quantity in _SYMBOLS and path.stem == f"{estimate.method}{of}":
                return estimate
    raise ValueError(f"{path} is damaged, or of another method: delete it and --resume the run")


def write_results(run: RunDirectory, config: RunConfig) -> None:
    """Write results.json from the estimates on disk."""
    write_json(run.results, results_of(run, config))


def results_of(run: RunDirectory, config: RunConfig) -> Any:
    """Return what results.json holds, from the estimates on disk."""
    points = [_state_point(run, state) for state in config.system]
    results = {
        "schema": SCHEMA,
        "state_points": points,
        "provenance": _provenance(run),
    }
    return finite(results)


def _provenance(run: RunDirectory) -> dict[str, Any]:
    facts = read_json(run.provenance)
    if isinstance(facts, dict):
        return facts
    raise ValueError(f"{run.provenance} is damaged, it holds no keys: delete it and --resume")


def print_table(run: RunDirectory, config: RunConfig, console: Console) -> None:
    """Show every estimate of the run, what was learned, and the numbers to quote.

    It takes 60 columns. In fewer, names are broken over lines and numbers are not.
    """
    table = Table(title="Estimates in kT")
    for heading in ("quantity", "method"):
        table.add_column(heading, overflow="fold")
    table.add_column("value ± std_err", justify="right", no_wrap=True)
    quotes = []
    for state in config.system:
        estimates = read_estimates(run, state)
        table.add_row(
            f"[bold]N = {state.n_particles}",
            f"[bold]L = {state.box_text} sigma",
            f"[bold]{state.convention}",
        )
        for estimate in estimates:
            table.add_row(
                _SYMBOLS[estimate.quantity],
                estimate.label,
                f"{minus(f'{estimate.value:.3f}')} ± {estimate.std_err:.3f}",
            )
        table.add_section()
        quotes.append(f"N = {state.n_particles}: {_quote(estimates)}")
    console.print(table)
    for line in (*_learned(run, config), *quotes):
        console.print(line, highlight=False)


def _learned(run: RunDirectory, config: RunConfig) -> list[str]:
    """Return what the run's own training brought; nothing where the model came from elsewhere."""
    if config.model is not None or not (run.model / CARD_FILE).is_file():
        return []
    return list(learned(read_card(run.model)["training"]))


def _quote(estimates: list[FreeEnergy]) -> str:
    """Return a sentence with the beta F_ex to quote, and what confirms it."""
    of_f = {known.method: known for known in estimates if known.quantity == "beta_f_ex"}
    quote = judge.quote(of_f)
    if quote is None:
        return "no exact estimate with an error bar yet."
    best = quote.estimate
    shown = uncertain(best.value, best.std_err)
    per_atom = best.diagnostics.get("beta_a_per_particle")
    a = "" if per_atom is None else uncertain(per_atom, best.std_err / best.n_particles)
    also = f" (beta A / N = {a} for Lambda = sigma)" if a else ""
    return (
        f"quote beta F_ex = {shown} kT{also}. Of the exact estimates, {best.method} has the "
        f"smallest honest error. {quote.check.text}"
    )


def _state_point(run: RunDirectory, state: StatePoint) -> dict[str, Any]:
    point: dict[str, Any] = {
        "n_particles": state.n_particles,
        "box_length_sigma": state.box_length_sigma,
        "temperature_star": state.temperature_star,
        "convention": state.convention,
        "beta_f_ex": {},
        "beta_mu_ex": {},
        "diagnostics": _diagnostics(run, state),
    }
    for estimate in read_estimates(run, state):
        fields = estimate.to_dict()
        entry = {key: value for key, value in fields.items() if key not in _OF_THE_POINT}
        point[estimate.quantity][estimate.label] = entry
    return point


def _diagnostics(run: RunDirectory, state: StatePoint) -> dict[str, Any]:
    ensemble = run.ensemble(state)
    # The files themselves say when and where a stage ran. It is left out here, so that a resumed
    # run gives the same results.json.
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


def print_sweep(results: Mapping[str, Any], console: Console) -> None:
    """Show the table of a sweep, with that of a model if there is one, and the verdicts."""
    n = results["state"]["n_particles"]
    title = f"N = {n}, all particles together"
    console.print(_by_temperature(title, results["temperatures"], _SWEPT))
    if model := results.get("model"):
        columns = {key: title for key, title in _SWEPT.items() if key != "pressure_star"}
        title = f"the same by {model['name']}, {model['method']}"
        console.print(_by_temperature(title, model["temperatures"], columns))
        console.print(f"The model is {model['verdict']['text']}", highlight=False)
    console.print(
        f"C_v = C_v,ex + {1.5 * n:g} k with the kinetic part. {results['verdict']['text']}",
        highlight=False,
    )


def _by_temperature(
    title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]
) -> Table:
    table = Table(title=title)
    for heading in ("T*", *columns.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        shown = (row.get(name) for name in columns)
        numbers = [uncertain(one["value"], one["std_err"]) if one else "none" for one in shown]
        numbers = [number.replace(" ± ", "\n± ") for number in numbers]  # 80 columns
        table.add_row(f"{row['temperature_star']:.5g}", *numbers)
    return table


def print_phases(results: Mapping[str, Any], console: Console) -> None:
    """Show the table of a phase diagram, and the verdicts."""
    title = "Vapour and liquid, in units of sigma, epsilon and kT"
    console.print(_by_temperature(title, results["temperatures"], _PHASES))
    _print_verdicts(results["temperatures"], console)


def print_coexistence(results: Mapping[str, Any], console: Console) -> None:
    """Show what is known of a fluid and its crystal, where they coexist, and the verdicts."""
    table = Table(title="Fluid and crystal")
    for heading in ("phase", "N", "T*", "ρ*", "p*", "βA/N, Λ = σ"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results["states"]:
        known = (row.get(name) for name in ("pressure_star", "a"))
        numbers = [uncertain(one["value"], one["std_err"]) if one else "" for one in known]
        place = (f"{row[name]:.4g}" for name in ("temperature_star", "density_star"))
        table.add_row(row["phase"], str(row["n_particles"]), *place, *numbers)
    console.print(table)
    title = f"Coexistence, {results['convention']} potential"
    console.print(_by_temperature(title, results["temperatures"], _COEXISTENCE))
    _print_verdicts(results["temperatures"], console)


def _print_verdicts(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    for row in rows:
        console.print(
            f"T* = {row['temperature_star']:g}: {row['verdict']['text']}", highlight=False
        )
