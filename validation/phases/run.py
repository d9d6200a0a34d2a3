"""A phase diagram, from MD to phase_diagram.json, .csv and .svg."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy.integrate import quad

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import finite, provenance, write_json
from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.units import BAR_IN_KJ_MOL_NM3
from openmm_nti.fluid.virial import virials
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.reference_md.statistics import mean_of_frames
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.free_energy_curve import FreeEnergyCurve
from openmm_nti.validation.melting.full_potential import tail_of
from openmm_nti.validation.phases.branch import FEWEST
from openmm_nti.validation.phases.coexistence import QUANTITIES, Coexistence, coexistence
from openmm_nti.validation.phases.figure import draw
from openmm_nti.validation.phases.isochores import Isochore
from openmm_nti.validation.phases.isotherm import Isotherm
from openmm_nti.validation.plots.drawing import save
from openmm_nti.validation.sweep.anchor import at_temperature
from openmm_nti.validation.sweep.beside import Beside

SCHEMA = 1
NAME = "phase_diagram"
_GRID = 20_000  # points of the integral for two particles
_NEGLIGIBLE_KT = 1e-3  # error that values without any count with

_Row: TypeAlias = tuple[float, float, float, float]  # beta F_ex, excess pressure, with errors


def states_of(
    states: Sequence[StatePoint], temperatures: Sequence[float]
) -> list[list[StatePoint]]:
    """Return the state points to simulate: a list over N for each T*, all ascending.

    Raises
    ------
    ValueError
        If the state points differ in more than N, are of a mixture or a crystal, or are too few.
    """
    first = states[0]
    if first.is_mixture or first.crystal is not None:
        raise ValueError("a phase diagram is of one species, and of a fluid")
    if any(one.edges_sigma.tolist() != first.edges_sigma.tolist() for one in states):
        raise ValueError("a phase diagram is of one box: give n_particles as a list, and one box")
    numbers = sorted({one.n_particles for one in states})
    if len(numbers) < 2 * FEWEST:
        raise ValueError(
            f"n_particles = {', '.join(map(str, numbers))}: give at least {2 * FEWEST} as a list, "
            f"{FEWEST} or more of the vapour and as many of the liquid"
        )
    by_number = {one.n_particles: one for one in states}
    return [[at_temperature(by_number[n], t) for n in numbers] for t in sorted(set(temperatures))]


def phase_diagram(
    states: Sequence[Sequence[StatePoint]],
    config: ReferenceConfig,
    beside: Beside,
    execution: Execution,
    published: Sequence[Mapping[str, float]] = (),
    *,
    full: bool = False,
) -> dict[str, Any]:
    """Return what phase_diagram.json holds; the files are in the execution's folder.

    Parameters
    ----------
    states
        From `states_of`.
    config
        How the simulations run. Finished ones in `reference/` are read, others go on.
    beside
        The model and the estimator that give the free energies, kept in `model/`.
    execution
        Its folder, which must be given, takes the files.
    published
        Known points for the figure: mappings with `temperature_star`, `rho_vapour`, `rho_liquid`.
    full
        Whether to go from the simulated to the full pair potential; see `full_potential`.
    """
    if execution.directory is None:
        raise ValueError("directory = None: a phase diagram needs a folder for its simulations")
    flat = [state for row in states for state in row]
    ensembles = generate(flat, config, execution.folder("reference"))
    estimates = [_estimate(beside, one, execution.folder("model")) for one in ensembles]
    shape = (len(states), len(states[0]))
    frames = _table(ensembles, shape)
    found = _table(estimates, shape)
    columns = range(shape[1])
    isochores = [
        Isochore.of([row[n] for row in frames], [row[n] for row in found], execution)
        for n in columns
    ]
    results, phases = [], []
    for number, row in enumerate(states):
        isotherm = _isotherm(frames[number], isochores, number, full=full)
        phase = coexistence(isotherm, execution.random(NAME, row[0].temperature_star))
        phases.append(phase)
        entries = [
            _state(frames[number][n], found[number][n], isochores[n], number) for n in columns
        ]
        results.append({**_phases(phase, row[0]), "states": entries})
    first = states[0][0]
    written = finite(
        {
            "schema": SCHEMA,
            "state": first.model_dump(mode="json", exclude={"temperature_star", "n_particles"}),
            "model": beside.name,
            "method": beside.method.name,
            "potential": "full" if full else "simulated",
            "temperatures": results,
            "published": [dict(point) for point in published],
            "provenance": provenance(execution.seed),
        }
    )
    write_json(execution.directory / f"{NAME}.json", written)
    _save(states, phases, published, execution.directory)
    return dict(written)


def _estimate(beside: Beside, ensemble: Ensemble, execution: Execution) -> FreeEnergy:
    """Return the model's free energy; one without an error where the frames are of no use."""
    try:
        return beside.estimates([ensemble], execution)[0]
    except ValueError as error:
        return FreeEnergy(
            value=0.0,
            std_err=math.inf,
            method=beside.method.name,
            convention=ensemble.state.convention,
            n_particles=ensemble.state.n_particles,
            verdict=Verdict("bad", f"left out: {error}"),
        )


def two_particles(state: StatePoint, *, full: bool = False) -> float:
    """Return the exact beta F_ex of two particles in the box of `state`, kT.

    `full` takes the pair potential without its cutoff, of which an infinite volume holds the tail.
    """
    r = np.linspace(0.0, state.cutoff_sigma, _GRID + 1)[1:]
    pair = state.pair_potential.pair
    energy = pair.energy_numpy(r**2) if full else pair_energy(r**2, state)
    mayer = np.expm1(-energy / state.temperature_star) * 4 * math.pi * r**2
    integral = float(np.trapezoid(mayer, r))
    if full:
        integral += quad(_mayer_of_tail, 0.0, 1 / state.cutoff_sigma, args=(state,))[0]
    return -math.log1p(integral / state.volume_sigma3)


def _mayer_of_tail(x: float, state: StatePoint) -> float:
    """Return the integrand of the Mayer function beyond the cutoff, over x = 1 / distance."""
    if x == 0.0:
        return 0.0
    energy = float(state.pair_potential.pair.energy_numpy(np.array([x**-2]))[0])
    return math.expm1(-energy / state.temperature_star) * 4 * math.pi / x**4


def _table(items: Sequence[Any], shape: tuple[int, int]) -> list[list[Any]]:
    return [list(items[i * shape[1] : (i + 1) * shape[1]]) for i in range(shape[0])]


def _isotherm(
    frames: Sequence[Ensemble], isochores: Sequence[Isochore], number: int, *, full: bool
) -> Isotherm:
    """Return what is known at one temperature, with the exact value of two particles."""
    state = frames[0].state
    known = {2: (two_particles(state, full=full), 0.0, math.nan, math.nan)}
    for one, ensemble in zip(isochores, frames, strict=True):
        value, error = float(one.values[number]), float(one.errors[number])
        if one.n_particles > 2 and math.isfinite(value) and math.isfinite(error):
            known[one.n_particles] = (value, error, math.nan, math.nan)
            if state.is_continuous:  # or there is no pressure
                of_frames = virials(ensemble.positions_sigma, ensemble.state)
                row = (value, error, *_excess_pressure(ensemble, of_frames))
                row = _of_full_potential(row, ensemble, of_frames) if full else row
                known[one.n_particles] = row
    numbers = sorted(known)
    values, errors, pressures, p_errors = np.array([known[n] for n in numbers]).T
    covariance = np.diag(np.maximum(errors, _NEGLIGIBLE_KT) ** 2)
    curve = FreeEnergyCurve(np.array(numbers), values, covariance, state.box_length_sigma)
    return Isotherm(curve, pressures, p_errors)


def _of_full_potential(row: _Row, ensemble: Ensemble, of_frames: np.ndarray) -> _Row:
    """Return beta F_ex and the excess pressure of the full potential, with errors."""
    value, error, pressure, p_error = row
    tail = tail_of(ensemble.positions_sigma, of_frames, ensemble.state)
    t = ensemble.state.temperature_star
    return (
        value + tail.beta_f,
        math.hypot(error, tail.beta_f_err),
        pressure + tail.pressure / t,
        math.hypot(p_error, tail.pressure_err / t),
    )


def _excess_pressure(ensemble: Ensemble, of_frames: np.ndarray) -> tuple[float, float]:
    """Return beta p - N / V and its error, sigma^-3, from the virials W of the frames, (F,)."""
    state = ensemble.state
    share = 3 * state.volume_sigma3 * state.temperature_star
    return mean_of_frames(of_frames / share, ensemble.n_independent, ensemble.reduced_potentials)


def _phases(found: Coexistence, state: StatePoint) -> dict[str, Any]:
    """Return the binodal at one temperature as an entry of the results."""
    t = state.temperature_star
    entry: dict[str, Any] = {
        "temperature_star": t,
        "temperature_kelvin": state.temperature_kelvin,
    }
    values = {name: (found.values[name], found.errors[name]) for name in QUANTITIES}
    bar = state.epsilon_kj_mol / state.sigma_nm**3 / BAR_IN_KJ_MOL_NM3
    pressure = values["beta_p"]
    values["pressure_star"] = (t * pressure[0], t * pressure[1])
    values["pressure_bar"] = (t * bar * pressure[0], t * bar * pressure[1])
    for name, (value, error) in values.items():
        if math.isfinite(value):
            entry[name] = {"value": value, "std_err": error}
    peaks = {
        name: {"n_particles": peak.numbers.tolist(), "log_p": peak.log_p.tolist()}
        for name, peak in (("vapour", found.vapour), ("liquid", found.liquid))
    }
    return entry | {
        "used": list(found.used),
        "peaks": peaks,
        "verdict": {"level": found.verdict.level, "text": found.verdict.text},
    }


def _state(
    ensemble: Ensemble, estimate: FreeEnergy, isochore: Isochore, number: int
) -> dict[str, Any]:
    """Return one simulation and its free energy as an entry of the results."""
    energy = mean_of_frames(ensemble.reduced_potentials, ensemble.n_independent)
    value, error = float(isochore.values[number]), float(isochore.errors[number])
    own = {
        "beta_u_ex": {"value": energy[0], "std_err": energy[1]},
        "s_ex": {"value": energy[0] - value, "std_err": math.hypot(energy[1], error)},
    }
    return {
        "n_particles": ensemble.state.n_particles,
        "density_star": ensemble.state.density_star,
        "beta_f_ex": {"value": value, "std_err": error},
        "model_beta_f_ex": {"value": estimate.value, "std_err": estimate.std_err},
        **(isochore.rows()[number] or own),
        "n_frames": ensemble.n_frames,
        "n_independent": ensemble.n_independent,
        "warnings": ensemble.provenance.get("warnings", []),
        "verdict": {"level": estimate.verdict.level, "text": estimate.verdict.text},
    }


def _save(
    states: Sequence[Sequence[StatePoint]],
    phases: Sequence[Coexistence],
    published: Sequence[Mapping[str, float]],
    directory: Path,
) -> None:
    """Draw the binodal, and write its numbers beside it."""
    temperatures = [row[0].temperature_star for row in states]
    columns = {"temperature_star": np.array(temperatures)}
    for name in QUANTITIES:
        columns[name] = np.array([phase.values[name] for phase in phases])
        columns[f"{name}_std_err"] = np.array([phase.errors[name] for phase in phases])
    save(draw(states, phases, published), directory / f"{NAME}.svg", columns)
