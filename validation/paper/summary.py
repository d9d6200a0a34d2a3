"""The outputs of the reproduction, from the files of its tasks: figures, tables and paper.md."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nti.files import read_json, write_text
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.validation.analysis.observables import FreeEnergyCurve
from openmm_nti.validation.paper import curves, figures, table
from openmm_nti.validation.paper.curves import REFERENCE, MethodCurve
from openmm_nti.validation.paper.expenses import expense_rows, training_seconds
from openmm_nti.validation.paper.words import markdown
from openmm_nti.validation.paper.work import Work, read_estimates

_ORDER = (  # of the figures in paper.md
    "fig3_radial_distributions",
    "fig4_number_distributions",
    "fig5_chemical_potential",
    "fig5_density",
    "fig6_free_energy",
    "brackets",
    "open_box",
    "toy",
)


@dataclass
class Results:
    """What is on disk, in order of N."""

    free_energies: dict[int, dict[str, FreeEnergy]]
    chemical_potentials: dict[int, list[FreeEnergy]]
    refused: list[tuple[str, int, str]]
    facts: dict[str, dict[float, dict[str, Any]]]
    chain: FreeEnergy | None
    cpu_seconds: float


def read_results(work: Work) -> Results:
    """Return what the files of all tasks hold."""
    free: dict[int, dict[str, FreeEnergy]] = defaultdict(dict)
    mu: dict[int, list[FreeEnergy]] = defaultdict(list)
    refused: list[tuple[str, int, str]] = []
    facts: dict[str, dict[float, dict[str, Any]]] = defaultdict(dict)
    spent = 0.0
    chain: FreeEnergy | None = None
    for path in sorted((work.directory / "tasks").glob("*.json")):
        content = read_json(path)
        spent += content.get("cpu_seconds", 0.0)
        if content["kind"] == "chain":
            (chain,) = read_estimates(path)
            continue
        if content["refused"]:
            refused.append((content["kind"], int(content["at"]), content["refused"]))
        facts[content["kind"]][content["at"]] = content["facts"]
        for estimate in read_estimates(path):
            if estimate.quantity == "beta_f_ex":
                free[estimate.n_particles][estimate.method] = estimate
            else:
                mu[estimate.n_particles].append(estimate)
    chain = (
        chain
        if chain is not None and math.isfinite(chain.std_err) and chain.n_particles > 2
        else None
    )
    for estimate in chain_on_grid(chain, work):
        free[estimate.n_particles]["bar_chain"] = estimate
    return Results(
        dict(sorted(free.items())), dict(sorted(mu.items())), refused, dict(facts), chain, spent
    )


def chain_on_grid(chain: FreeEnergy | None, work: Work) -> list[FreeEnergy]:
    """Return beta F_ex of the insertion chain at each N of the grid that it reaches."""
    if chain is None:
        return []
    curve = FreeEnergyCurve.from_chain(chain, work.preset.box_length_sigma)
    errors = np.sqrt(np.diag(curve.covariance))
    wanted = [n for n in work.preset.grid if n <= chain.n_particles]
    return [
        FreeEnergy(
            float(curve.beta_f_ex[n - 2]), float(errors[n - 2]), "bar_chain", chain.convention, n
        )
        for n in wanted
    ]


def write_outputs(work: Work) -> Path:
    """Draw and tabulate what is there, and return paper.md."""
    results = read_results(work)
    fitted = curves.fitted_curves(
        results.free_energies, results.chain, work.preset.box_length_sigma
    )
    facts = derived_facts(work, results, fitted)
    table.write_table(work.directory, rows(work, results, fitted), facts)
    drawn = draw(work, results, fitted)
    page = work.directory / "paper.md"
    write_text(page, markdown(work, facts, drawn))
    return page


def rows(work: Work, results: Results, fitted: dict[str, MethodCurve]) -> list[dict[str, Any]]:
    """Return all rows of the table."""
    found = []
    for n, estimates in results.free_energies.items():
        found += table.free_energy_rows(estimates, work.state(n).density_star)
    for n, potentials in results.chemical_potentials.items():
        found += table.chemical_potential_rows(
            potentials, work.state(n).density_star, fitted.get(REFERENCE)
        )
    return found + [
        table.refused_row(kind, n, work.state(n).density_star, reason)
        for kind, n, reason in results.refused
        if n in work.preset.grid
    ]


def derived_facts(work: Work, results: Results, fitted: dict[str, MethodCurve]) -> dict[str, Any]:
    """Return the numbers that are of no single N, for table.json."""
    reference = fitted.get(REFERENCE)
    by_curve = {}
    for name, curve in fitted.items():
        place, error = curves.density_of_minimum(curve, work.execution.random("minimum"))
        facts: dict[str, Any] = {
            "degree": curve.fit.degree,
            "chi_squared": curve.fit.chi_squared,
            "n_degrees_of_freedom": curve.fit.n_degrees_of_freedom,
            "largest_n": int(curve.n[-1]),
            "density_of_smallest_beta_mu_ex": [place, error],
        }
        if reference is not None and name != REFERENCE:
            facts["rms_beta_mu_ex_from_reference"] = curves.rms_deviation(curve, reference)
        by_curve[name] = facts
    open_boxes = {}
    for value, found in results.facts.get("gcmc", {}).items():
        expected = {name: curves.mean_number(curve, value) for name, curve in fitted.items()}
        open_boxes[f"{value:g}"] = {**found, "from_free_energies": expected}
    return {
        "provenance": read_json(work.directory / "paper.json"),
        "cpu_seconds_of_tasks": results.cpu_seconds,
        "curves": by_curve,
        "radial_distributions": {
            f"{n:g}": facts for n, facts in sorted(results.facts.get("gr", {}).items())
        },
        "open_boxes": open_boxes,
        "toy": next(iter(results.facts.get("toy", {}).values()), {}),
        "costs": expense_rows(work, results.facts),
        "training_cpu_seconds": training_seconds(work.model),
    }


def draw(work: Work, results: Results, fitted: dict[str, MethodCurve]) -> list[str]:
    """Draw every figure that there are numbers for, and return the files' names."""
    folder = work.directory / "figures"
    drawn = []
    with figures.style():
        for name, function in (
            *_figures_of_curves(work, results, fitted),
            *_figures_of_comparisons(work, results, fitted),
        ):
            function(folder / f"{name}.svg")
            drawn.append(name)
    return sorted(drawn, key=_ORDER.index)


def _figures_of_curves(
    work: Work, results: Results, fitted: dict[str, MethodCurve]
) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """Yield names and drawing functions of what free energies show."""
    if fitted:
        points: dict[str, list[tuple[float, FreeEnergy]]] = defaultdict(list)
        for n, found in results.chemical_potentials.items():
            for estimate in found:
                points[estimate.method].append((work.state(n).density_star, estimate))
        potentials = work.preset.beta_mu_paper
        yield (
            "fig4_number_distributions",
            partial(figures.number_distributions, fitted, potentials),
        )
        yield "fig5_chemical_potential", partial(figures.chemical_potentials, fitted, points)
        yield "fig5_density", partial(figures.mean_densities, fitted)
    if results.free_energies:
        yield "fig6_free_energy", partial(figures.free_energies, results.free_energies)
    if any("path_bracket" in found for found in results.free_energies.values()):
        yield "brackets", partial(figures.brackets, results.free_energies)


def _figures_of_comparisons(
    work: Work, results: Results, fitted: dict[str, MethodCurve]
) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """Yield names and drawing functions of structures, open boxes and the toy."""
    names = ("r", "g_data", "err_data", "g_samples", "err_samples")
    radial = {
        int(n): read_arrays(path, names)
        for n in sorted(results.facts.get("gr", {}))
        if (path := work.path("gr", f"{n:g}").with_suffix(".npz")).is_file()
    }
    if radial:
        yield "fig3_radial_distributions", partial(figures.radial_distributions, radial)
    boxes = {
        value: read_arrays(work.path("gcmc", f"{value:g}").with_suffix(".npz"), ("p",))["p"]
        for value in results.facts.get("gcmc", {})
    }
    if boxes:
        yield "open_box", partial(figures.open_box, boxes, fitted.get(REFERENCE))
    toy = work.path("toy", 1).with_suffix(".npz")
    if toy.is_file():
        arrays = read_arrays(toy, ("lambdas", "slope_noised", "slope_exact"))
        yield "toy", partial(figures.toy_profile, arrays)
