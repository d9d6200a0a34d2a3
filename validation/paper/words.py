"""paper.md: what the figures and the table say, in words a reader can check."""

from __future__ import annotations

from typing import Any

from openmm_nti.free_energy import uncertain
from openmm_nti.validation.paper.expenses import expense_lines
from openmm_nti.validation.paper.work import Work


def markdown(work: Work, facts: dict[str, Any], drawn: list[str]) -> str:
    """Return paper.md."""
    lines = [
        "# The paper with numbers",
        "",
        (
            f"Model `{work.model}`, preset `{work.preset.name}`, seed {work.execution.seed}. L = "
            f"{work.preset.box_length_sigma:g} σ."
        ),
        (
            "Energies in kT, ± one standard error. Every free energy: [table.csv](table.csv), "
            "[table.json](table.json)."
        ),
        "",
        *_toy_lines(facts["toy"]),
        *_curve_lines(facts["curves"]),
        *_radial_lines(facts["radial_distributions"]),
        *_open_box_lines(facts["open_boxes"]),
        *expense_lines(facts["costs"], facts["training_cpu_seconds"]),
    ]
    for name in drawn:
        lines += [f"![{name}](figures/{name}.svg)", "", f"[Data](figures/{name}.csv)", ""]
    origin = facts["provenance"]["provenance"]
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    lines += [
        (
            f"Started {origin['date_utc']} by `{origin['command']}` on {origin['machine']}, git "
            f"{origin['git_hash']}."
        ),
        f"Versions: {versions}.",
        (
            "CPU minutes of the estimates, without reference data and chain: "
            f"{facts['cpu_seconds_of_tasks'] / 60:.1f}."
        ),
    ]
    return "\n".join(lines) + "\n"


def _toy_lines(toy: dict[str, Any]) -> list[str]:
    if not toy:
        return []
    return [
        f"Two Gaussians, ln 3 = {toy['log_z']:.4f}:",
        f"{uncertain(toy['exact'], toy['exact_err'])} from samples of the learned energy itself,",
        (
            f"{uncertain(toy['noised'], toy['noised_err'])} from noised samples, "
            "which are as good as the score."
        ),
        "",
    ]


def _curve_lines(found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    lines = [
        (
            "| curve | up to N | degree | χ² / dof | ρ* of smallest βμ_ex | RMS of βμ_ex from "
            "reference, from ρ* = 0.1 |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        deviation = one.get("rms_beta_mu_ex_from_reference")
        shown = (
            ""
            if deviation is None
            else "{:.3f} (errors alone: {:.3f}), to ρ* = {:.2f}".format(*deviation)
        )
        quality = f"{one['chi_squared']:.1f} / {one['n_degrees_of_freedom']}"
        place = uncertain(*one["density_of_smallest_beta_mu_ex"])
        lines.append(
            f"| {name} | {one['largest_n']} | {one['degree']} | {quality} | {place} | {shown} |"
        )
    return [*lines, ""]


def _radial_lines(found: dict[str, Any]) -> list[str]:
    rows_of_n = [
        f"| {n} | {one['density_star']:.2f} | {one['rms']:.3f} | "
        f"{one['rms_expected_of_noise']:.3f} | "
        f"{uncertain(one['energy_difference_kt'], one['energy_difference_err'])} |"
        for n, one in found.items()
        if one
    ]
    if not rows_of_n:
        return []
    head = (
        "| N | ρ* | RMS of g(r), 0.8–3 σ | RMS that noise alone gives | mean energy per particle, "
        "samples − data |"
    )
    return [head, "|---|---|---|---|---|", *rows_of_n, ""]


def _open_box_lines(found: dict[str, Any]) -> list[str]:
    if not found:
        return []
    lines = []
    for value, one in found.items():
        expected = "; ".join(
            f"{name} {uncertain(*number)}"
            for name, number in one.get("from_free_energies", {}).items()
            if number
        )
        monte_carlo = uncertain(one["mean_number"], one["std_err"])
        lines.append(
            f"Open box at βμ = {value} (paper's axis): ⟨N⟩ = {monte_carlo} by Monte Carlo; "
            f"{expected}."
        )
    return [*lines, ""]
