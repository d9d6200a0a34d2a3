"""Fluid and crystal in equilibrium, from MD to coexistence.json, .csv and .svg."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import finite, provenance, write_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.units import BAR_IN_KJ_MOL_NM3
from openmm_nti.fluid.virial import pressure_star, virials
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.reference_md.statistics import mean_of_frames
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.estimators.registry import estimator
from openmm_nti.validation.melting.equation import Equation
from openmm_nti.validation.melting.figure import draw
from openmm_nti.validation.melting.finite_size import to_infinite_size
from openmm_nti.validation.melting.full_potential import tail_of
from openmm_nti.validation.melting.states import (
    PHASES,
    PhaseName,
    check_states,
    phase_of,
    with_free_energies,
)
from openmm_nti.validation.melting.tangent import QUANTITIES, Coexistence, coexistence, nothing
from openmm_nti.validation.plots.drawing import save

SCHEMA = 1
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


class _Row(NamedTuple):
    """What is known at one state point: pressure, and a = beta A / N where there is an estimate."""

    state: StatePoint
    pressure: tuple[float, float]
    a: tuple[float, float] | None
    facts: dict[str, Any]

    @property
    def phase(self) -> PhaseName:
        return phase_of(self.state)


def melting(
    states: Sequence[StatePoint],
    config: ReferenceConfig,
    methods: Mapping[PhaseName, Method],
    execution: Execution,
    *,
    full: bool = True,
    everywhere: bool = False,
) -> dict[str, Any]:
    """Return what coexistence.json holds; the files are in the execution's folder.

    Parameters
    ----------
    states
        Fluids and crystals at one temperature; see `check_states`.
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
    """
    if execution.directory is None:
        raise ValueError("directory = None: a coexistence needs a folder for its simulations")
    check_states(states)
    ensembles = generate(states, config, execution.folder("reference"))
    chosen = with_free_energies(states, everywhere=everywhere)
    rows = []
    for ensemble in sorted(ensembles, key=lambda one: one.state.density_star):
        state = ensemble.state
        found = None
        if state in chosen:
            method = methods[phase_of(state)]
            folder = execution.folder("estimates", state.label)
            job = Job(state, ensemble, method.trained, folder, denoiser=method.denoiser)
            found = method.known.estimate(job, method.settings)
        rows.append(_row(ensemble, found, full=full))
    temperature = states[0].temperature_star
    curves, both = _equilibrium(rows, temperature, execution.random(NAME))
    written = finite(_results(rows, both, methods, full=full))
    written["provenance"] = provenance(execution.seed)
    write_json(execution.directory / f"{NAME}.json", written)
    axes = draw(curves, both, temperature)
    save(axes, execution.directory / f"{NAME}.svg", _columns(rows))
    return dict(written)


def _row(ensemble: Ensemble, found: FreeEnergy | None, *, full: bool) -> _Row:
    state, independent = ensemble.state, ensemble.n_independent
    virial = virials(ensemble.positions_sigma, state)
    mean, error = mean_of_frames(virial, independent)
    pressure = pressure_star(mean, state.temperature_star, state)
    pressure_err = error / (3 * state.volume_sigma3)
    facts: dict[str, Any] = {
        "pressure_as_simulated": {"value": pressure, "std_err": pressure_err},
        "n_frames": ensemble.n_frames,
        "n_independent": independent,
        "warnings": ensemble.provenance.get("warnings", []),
    }
    beta_f, beta_f_err = 0.0, 0.0
    if full:
        tail = tail_of(ensemble.positions_sigma, virial, state)
        pressure += tail.pressure
        pressure_err = math.hypot(pressure_err, tail.pressure_err)
        beta_f, beta_f_err = tail.beta_f, tail.beta_f_err
        facts["tail"] = tail._asdict()
    a = None
    if found is not None:
        n = state.n_particles
        value, more = _infinite(found, state)
        a = (value + beta_f / n, math.hypot(found.std_err, beta_f_err) / n)
        facts |= more | {
            "beta_f_ex": {"value": found.value, "std_err": found.std_err},
            "verdict": {
                "level": found.verdict.level,
                "text": f"{found.method}: {found.verdict.text}",
            },
        }
    return _Row(state, (pressure, pressure_err), a, facts)


def _infinite(found: FreeEnergy, state: StatePoint) -> tuple[float, dict[str, Any]]:
    """Return a = beta A / N of infinite N from a beta F_ex, and how it follows."""
    n = state.n_particles
    if state.crystal is None:
        return found.value / n + math.log(state.density_star) - 1, {}
    helmholtz = (found.value + math.lgamma(n + 1)) / n - math.log(state.volume_sigma3)
    correction, source = to_infinite_size(state)
    return helmholtz + correction, {
        "beta_a_per_particle": helmholtz,
        "to_infinite_size": {"value": correction, "source": source},
    }


def _equilibrium(
    rows: Sequence[_Row], temperature_star: float, rng: np.random.Generator
) -> tuple[dict[str, Equation], Coexistence]:
    """Return the equations of the phases that have one, and where both coexist."""
    curves: dict[str, Equation] = {}
    for phase in PHASES:
        own = [row for row in rows if row.phase == phase]
        known = [(row.state.density_star, *row.a) for row in own if row.a]
        slopes = [(row.state.density_star, *row.pressure) for row in own]
        try:
            curves[phase] = Equation.fit(_finite(known), _finite(slopes), temperature_star)
        except ValueError as error:
            return curves, nothing(f"the {phase}: {error}; simulate longer")
    both = coexistence(curves["fluid"], curves["crystal"], temperature_star, rng)
    verdicts = [Verdict(**row.facts["verdict"]) for row in rows if "verdict" in row.facts]
    worse = [one for level in ("bad", "warn") for one in verdicts if one.level == level]
    if worse and both.verdict.level == "good":
        both = both._replace(verdict=worse[0])
    return curves, both


def _finite(rows: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Return the rows whose last number, an error, is finite."""
    return [row for row in rows if math.isfinite(row[2])]


def _results(
    rows: Sequence[_Row],
    both: Coexistence,
    methods: Mapping[PhaseName, Method],
    *,
    full: bool,
) -> dict[str, Any]:
    first = rows[0].state
    found: dict[str, Any] = {
        name: {"value": both.values[name], "std_err": both.errors[name]}
        for name in QUANTITIES
        if math.isfinite(both.values[name])
    }
    if "pressure_star" in found:
        bar = first.epsilon_kj_mol / first.sigma_nm**3 / BAR_IN_KJ_MOL_NM3
        found["pressure_bar"] = {key: value * bar for key, value in found["pressure_star"].items()}
    return {
        "schema": SCHEMA,
        "temperature_star": first.temperature_star,
        "convention": "full" if full else first.convention,
        "methods": {phase: methods[phase].known.name for phase in PHASES},
        **found,
        "verdict": {"level": both.verdict.level, "text": both.verdict.text},
        "states": [
            {
                "phase": row.phase,
                "n_particles": row.state.n_particles,
                "density_star": row.state.density_star,
                "pressure_star": {"value": row.pressure[0], "std_err": row.pressure[1]},
                **({"a": {"value": row.a[0], "std_err": row.a[1]}} if row.a else {}),
                **row.facts,
            }
            for row in rows
        ],
    }


def _columns(rows: Sequence[_Row]) -> dict[str, np.ndarray]:
    """Return the table that stands beside the figure; NaN where there is no free energy."""
    a = np.array([row.a or (math.nan, math.nan) for row in rows])
    return {
        "is_crystal": np.array([float(row.phase == "crystal") for row in rows]),
        "density_star": np.array([row.state.density_star for row in rows]),
        "pressure_star": np.array([row.pressure[0] for row in rows]),
        "pressure_star_std_err": np.array([row.pressure[1] for row in rows]),
        "beta_a_per_particle": a[:, 0],
        "beta_a_per_particle_std_err": a[:, 1],
    }
