"""A sweep over temperatures, from MD to sweep.json, sweep.csv and sweep.svg."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import finite, provenance, write_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.units import BAR_IN_KJ_MOL_NM3
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.reference_md.statistics import mean_of_frames
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.plots.drawing import save
from openmm_nti.validation.sweep.anchor import at_temperature
from openmm_nti.validation.sweep.beside import Beside, slopes
from openmm_nti.validation.sweep.figure import draw
from openmm_nti.validation.sweep.thermodynamics import (
    QUANTITIES,
    Anchor,
    Frames,
    Thermodynamics,
    thermodynamics,
)

SCHEMA = 1
_CURVE_POINTS = 41


def states_of(state: StatePoint, temperatures: Sequence[float], anchor: Anchor) -> list[StatePoint]:
    """Return the state points to simulate, ascending in T*: all temperatures and the anchor's.

    Temperatures that differ by rounding are one. ValueError if fewer than two are left.
    """
    found: list[float] = []
    for temperature in sorted([*temperatures, anchor.temperature_star]):
        if not found or not np.isclose(temperature, found[-1], rtol=1e-6, atol=0):
            found.append(temperature)
    if len(found) < 2:
        raise ValueError(
            f"temperatures = {found} with the anchor at T* = {anchor.temperature_star:g}: give at "
            "least one other"
        )
    return [at_temperature(state, temperature) for temperature in found]


def sweep(
    states: Sequence[StatePoint],
    config: ReferenceConfig,
    anchor: Anchor,
    execution: Execution,
    beside: Beside | None = None,
) -> dict[str, Any]:
    """Return what sweep.json holds; the three files are in the execution's folder, which must be.

    Finished simulations in its `reference/` are read, and interrupted ones go on. So do the
    estimates of a model `beside` the data, in its `model/`.
    """
    if execution.directory is None:
        raise ValueError("directory = None: a sweep needs a folder for its simulations")
    ensembles = generate(states, config, execution.folder("reference"))
    frames = Frames.of(
        states[0],
        [(e.state.temperature_star, e.positions_sigma, e.n_independent) for e in ensembles],
    )
    lowest, highest = frames.temperatures[[0, -1]]
    curve_at = 1 / np.linspace(1 / lowest, 1 / highest, _CURVE_POINTS)
    every = np.concatenate([frames.temperatures, curve_at])
    found = thermodynamics(frames, anchor, every, execution.random("sweep"))
    estimates = beside.estimates(ensembles, execution.folder("model")) if beside else []
    learned = slopes(estimates, found) if beside else None
    _write_curve(found, learned, states, execution.directory)
    table = found.part(slice(0, len(states)))
    results = finite(
        {
            "schema": SCHEMA,
            "state": states[0].model_dump(mode="json", exclude={"temperature_star"}),
            "anchor": {
                "temperature_star": anchor.temperature_star,
                "value": anchor.value,
                "std_err": anchor.std_err,
                "source": anchor.source,
            },
            "temperatures": [
                {**row, **_of_simulation(ensemble, frames, number), **_in_real_units(row, ensemble)}
                for number, (row, ensemble) in enumerate(zip(table.rows(), ensembles, strict=True))
            ],
            "neighbour_overlap": found.overlap.tolist(),
            "verdict": {"level": found.verdict.level, "text": found.verdict.text},
            **(_of_model(beside, learned, estimates) if beside and learned else {}),
            "provenance": provenance(execution.seed),
        }
    )
    write_json(execution.directory / "sweep.json", results)
    return dict(results)


def _of_model(
    beside: Beside, learned: Thermodynamics, estimates: Sequence[FreeEnergy]
) -> dict[str, Any]:
    """Return what the model says at each temperature."""
    rows = learned.part(slice(0, len(estimates))).rows()
    return {
        "model": {
            "name": beside.name,
            "method": beside.method.name,
            "temperatures": [
                {**row, "verdict": {"level": one.verdict.level, "text": one.verdict.text}}
                for row, one in zip(rows, estimates, strict=True)
            ],
            "verdict": {"level": learned.verdict.level, "text": learned.verdict.text},
        }
    }


def _of_simulation(ensemble: Ensemble, frames: Frames, number: int) -> dict[str, Any]:
    """Return what the simulation at one temperature says by itself."""
    temperature = ensemble.state.temperature_star
    mean, error = mean_of_frames(frames.energies[number] / temperature, ensemble.n_independent)
    return {
        "beta_u_ex_alone": {"value": mean, "std_err": error},
        "n_frames": ensemble.n_frames,
        "n_independent": ensemble.n_independent,
        "warnings": ensemble.provenance.get("warnings", []),
    }


def _in_real_units(row: dict[str, Any], ensemble: Ensemble) -> dict[str, Any]:
    """Return the temperature in K and the pressure in bar."""
    state = ensemble.state
    unit = state.epsilon_kj_mol / state.sigma_nm**3 / BAR_IN_KJ_MOL_NM3
    pressure = {key: value * unit for key, value in row.get("pressure_star", {}).items()}
    return {"temperature_kelvin": state.temperature_kelvin} | (
        {"pressure_bar": pressure} if pressure else {}
    )


def _write_curve(
    found: Thermodynamics,
    learned: Thermodynamics | None,
    states: Sequence[StatePoint],
    directory: Path,
) -> None:
    """Draw the data, and the model where there is one: first at the states, then between them."""
    between = slice(len(states), None)
    columns = {"temperature_star": found.temperatures[between]}
    shown = {"": found} if learned is None else {"": found, "model_": learned}
    for start, one in shown.items():
        for name in QUANTITIES:
            value, error = one.values[name][between], one.errors[name][between]
            columns |= {f"{start}{name}": value, f"{start}{name}_std_err": error}
    save(draw(found, learned, states), directory / "sweep.svg", columns)
