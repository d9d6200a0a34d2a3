"""Fluid and crystal in equilibrium, from MD to coexistence.json, .csv and .svg."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import finite, provenance, write_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.units import BAR_IN_KJ_MOL_NM3
from openmm_nti.free_energy import Verdict
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.estimators.registry import estimator
from openmm_nti.validation.melting.figure import draw
from openmm_nti.validation.melting.line_figure import draw_line
from openmm_nti.validation.melting.row import Row, row_of
from openmm_nti.validation.melting.states import (
    PHASES,
    PhaseName,
    check_states,
    phase_of,
    with_free_energies,
)
from openmm_nti.validation.melting.surface import Surface
from openmm_nti.validation.melting.tangent import QUANTITIES, Coexistence, coexistence, nothing
from openmm_nti.validation.plots.drawing import save
from openmm_nti.validation.sweep.anchor import at_temperature

SCHEMA = 2
NAME = "coexistence"


@dataclass(frozen=True)
class Method:
    """An estimator with its settings, and the model that it takes, if any."""

    known: Estimator
    settings: Any
    trained: NoisedFluid | None = None
    denoiser: NoisedFluid | None = None

    @classmethod
    def of(cls, name: str, model: str | None, settings_of: Callable[[Estimator], Any]) -> Method:
        """Return the method `name` with the model called `model`.

        Raises
        ------
        ValueError
            If there is no such method or model, or the method gives no beta F_ex, or a bound.
        """
        known = estimator(name)
        if known.quantity != "beta_f_ex" or known.kind == "bound":
            raise ValueError(f"{name} gives no beta F_ex to compare: take an exact method")
        if not known.needs_model:
            return cls(known, settings_of(known))
        if model is None:
            raise ValueError(f"{name} needs a model: give --model, or the key `model` in CONFIG")
        return cls(known, settings_of(known), *known.load(model))


def melting(
    states: Sequence[StatePoint],
    config: ReferenceConfig,
    methods: Mapping[PhaseName, Method],
    execution: Execution,
    *,
    full: bool = True,
    everywhere: bool = False,
    published: Sequence[Mapping[str, float]] = (),
) -> dict[str, Any]:
    """Return what coexistence.json holds; the files are in the execution's folder.

    Parameters
    ----------
    states
        Fluids and crystals, at one temperature or several; see `check_states`.
    config
        How the simulations run. Finished ones in `reference/` are read, others go on.
    methods
        What gives the free energy of each phase, kept in `estimates/`.
    execution
        Its folder, which must be given, takes the files.
    full
        Whether to go from the simulated to the full pair potential; see `full_potential`.
    everywhere
        Whether every state point has a free energy, or only that in the middle of each phase.
    published
        Known points for the figure of a line: mappings with `temperature_star`, `rho_fluid`,
        `rho_crystal` and `pressure_star`, NaN where unknown.
    """
    if execution.directory is None:
        raise ValueError("directory = None: a coexistence needs a folder for its simulations")
    check_states(states)
    ensembles = generate(states, config, execution.folder("reference"))
    chosen = with_free_energies(states, everywhere=everywhere)
    rows = []
    for ensemble in sorted(ensembles, key=_order):
        state = ensemble.state
        found = None
        if state in chosen:
            method = methods[phase_of(state)]
            folder = execution.folder("estimates", state.label)
            job = Job(state, ensemble, method.trained, folder, denoiser=method.denoiser)
            found = method.known.estimate(job, method.settings)
        rows.append(row_of(ensemble, found, full=full))
    surfaces, line = _equilibrium(rows, execution.random(NAME))
    results = _results(rows, line, methods, full=full)
    results["published"] = [dict(point) for point in published]
    written = finite({**results, "provenance": provenance(execution.seed)})
    write_json(execution.directory / f"{NAME}.json", written)
    place = execution.directory / f"{NAME}.svg"
    if len(line) == 1:
        ((temperature, both),) = line.items()
        curves = {phase: one.at(temperature) for phase, one in surfaces.items()}
        save(draw(curves, both, temperature), place, _columns_of_states(rows))
    else:
        save(draw_line(surfaces, line, published), place, _columns_of_line(line))
    return dict(written)


def _order(ensemble: Ensemble) -> tuple[float, float]:
    return ensemble.state.temperature_star, ensemble.state.density_star


def _equilibrium(
    rows: Sequence[Row], rng: np.random.Generator
) -> tuple[dict[PhaseName, Surface], dict[float, Coexistence]]:
    """Return the surfaces of the phases that have one, and by T* where both coexist."""
    surfaces: dict[PhaseName, Surface] = {}
    temperatures = sorted({row.state.temperature_star for row in rows})
    for phase in PHASES:
        own = [row for row in rows if row.phase == phase]
        known = [row.known for row in own if row.known and math.isfinite(row.known.std_err)]
        slopes = [row.slopes for row in own if math.isfinite(row.slopes.pressure_err)]
        try:
            surfaces[phase] = Surface.fit(known, slopes)
        except ValueError as error:
            none = nothing(f"the {phase}: {error}; simulate longer")
            return surfaces, dict.fromkeys(temperatures, none)
    verdicts = [Verdict(**row.facts["verdict"]) for row in rows if "verdict" in row.facts]
    worse = [one for level in ("bad", "warn") for one in verdicts if one.level == level]
    line = {}
    for temperature in temperatures:
        fluid, crystal = (surfaces[phase].at(temperature) for phase in PHASES)
        both = coexistence(fluid, crystal, temperature, rng)
        if worse and both.verdict.level == "good":
            both = both._replace(verdict=worse[0])
        line[temperature] = both
    return surfaces, line


def _results(
    rows: Sequence[Row],
    line: Mapping[float, Coexistence],
    methods: Mapping[PhaseName, Method],
    *,
    full: bool,
) -> dict[str, Any]:
    first = rows[0].state
    bar = first.epsilon_kj_mol / first.sigma_nm**3 / BAR_IN_KJ_MOL_NM3
    return {
        "schema": SCHEMA,
        "convention": "full" if full else first.convention,
        "methods": {phase: methods[phase].known.name for phase in PHASES},
        "temperatures": [
            {
                "temperature_star": temperature,
                "temperature_kelvin": at_temperature(first, temperature).temperature_kelvin,
                **_numbers(both, bar),
                "verdict": {"level": both.verdict.level, "text": both.verdict.text},
            }
            for temperature, both in line.items()
        ],
        "states": [row.to_dict() for row in rows],
    }


def _numbers(both: Coexistence, bar: float) -> dict[str, Any]:
    """Return the quantities that are known, and the pressure in bar."""
    found = {
        name: {"value": both.values[name], "std_err": both.errors[name]}
        for name in QUANTITIES
        if math.isfinite(both.values[name])
    }
    if "pressure_star" in found:
        found["pressure_bar"] = {key: value * bar for key, value in found["pressure_star"].items()}
    return found


def _columns_of_states(rows: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return the table beside the figure of one temperature; NaN where there is no free energy."""
    none = (math.nan, math.nan)
    a = np.array([row.known[2:] if row.known else none for row in rows])
    return {
        "is_crystal": np.array([float(row.phase == "crystal") for row in rows]),
        "density_star": np.array([row.state.density_star for row in rows]),
        "pressure_star": np.array([row.slopes.pressure for row in rows]),
        "pressure_star_std_err": np.array([row.slopes.pressure_err for row in rows]),
        "beta_a_per_particle": a[:, 0],
        "beta_a_per_particle_std_err": a[:, 1],
    }


def _columns_of_line(line: Mapping[float, Coexistence]) -> dict[str, np.ndarray]:
    """Return the table of the melting line; NaN where nothing was found."""
    columns = {"temperature_star": np.array(list(line))}
    for name in QUANTITIES:
        columns[name] = np.array([both.values[name] for both in line.values()])
        columns[f"{name}_std_err"] = np.array([both.errors[name] for both in line.values()])
    return columns
