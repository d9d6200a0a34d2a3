"""`Row`: what frames and an estimate say at a state point, of the full potential at infinite N."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.virial import pressure_star, virials
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.reference_md.statistics import mean_of_frames
from openmm_nti.validation.melting.finite_size import ToInfinity, to_infinite_size
from openmm_nti.validation.melting.full_potential import Tail, tail_of
from openmm_nti.validation.melting.states import PhaseName, phase_of
from openmm_nti.validation.melting.surface import Known, Slopes

_NO_TAIL = Tail(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class Row(NamedTuple):
    """What is known at one state point: pressure, energy, and a free energy where there is one."""

    state: StatePoint
    slopes: Slopes
    known: Known | None
    facts: dict[str, Any]

    @property
    def phase(self) -> PhaseName:
        """`fluid` or `crystal`."""
        return phase_of(self.state)

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON takes it."""
        md = self.slopes
        return {
            "phase": self.phase,
            "n_particles": self.state.n_particles,
            "temperature_star": self.state.temperature_star,
            "density_star": self.state.density_star,
            "pressure_star": {"value": md.pressure, "std_err": md.pressure_err},
            "energy_star": {"value": md.energy, "std_err": md.energy_err},
            **({"a": {"value": self.known.a, "std_err": self.known.std_err}} if self.known else {}),
            **self.facts,
        }


def row_of(ensemble: Ensemble, found: FreeEnergy | None, *, full: bool) -> Row:
    """Return what the frames of a state point say, and its free energy if one was `found`.

    `full` is whether to go from the simulated to the full pair potential; see `full_potential`.
    """
    state, independent, n = ensemble.state, ensemble.n_independent, ensemble.state.n_particles
    temperature, density = state.temperature_star, state.density_star
    virial = virials(ensemble.positions_sigma, state)
    energies = ensemble.reduced_potentials * temperature
    mean_virial, virial_err = mean_of_frames(virial, independent)
    energy, energy_err = mean_of_frames(energies, independent)
    pressure = pressure_star(mean_virial, temperature, state)
    pressure_err = virial_err / (3 * state.volume_sigma3)
    facts: dict[str, Any] = {
        "pressure_as_simulated": {"value": pressure, "std_err": pressure_err},
        "n_frames": ensemble.n_frames,
        "n_independent": independent,
        "warnings": ensemble.provenance.get("warnings", []),
    }
    tail, size = _NO_TAIL, ToInfinity()
    if full:
        tail = tail_of(ensemble.positions_sigma, virial, state)
        facts["tail"] = tail._asdict()
    if state.crystal is not None:
        size = to_infinite_size(state)
        facts["to_infinite_size"] = size._asdict()
    own = pressure_err * energy_err
    pressure_err = math.hypot(pressure_err, tail.pressure_err)
    energy_err = math.hypot(energy_err, tail.energy_err)
    # What the tail adds to the errors, pressure and energy do not share.
    both = pressure_err * energy_err
    shared = own / both if 0 < both < math.inf else 0.0
    slopes = Slopes(
        density,
        temperature,
        pressure + tail.pressure + density**2 * temperature * size.by_density,
        pressure_err,
        (energy + tail.energy) / n + size.by_beta,
        energy_err / n,
        shared * _correlation(virial, energies),
    )
    if found is None:
        return Row(state, slopes, None, facts)
    helmholtz = _helmholtz(found, state)
    known = Known(
        density,
        temperature,
        helmholtz + tail.beta_f / n + size.a,
        math.hypot(found.std_err, tail.beta_f_err) / n,
    )
    text = f"{found.method}: {found.verdict.text}"
    facts |= {
        "beta_f_ex": {"value": found.value, "std_err": found.std_err},
        "beta_a_per_particle": helmholtz,
        "verdict": {"level": found.verdict.level, "text": text},
    }
    return Row(state, slopes, known, facts)


def _helmholtz(found: FreeEnergy, state: StatePoint) -> float:
    """Return beta A / N from a beta F_ex; of a fluid, with the ideal gas of infinite N."""
    n = state.n_particles
    if state.crystal is None:
        return found.value / n + math.log(state.density_star) - 1
    return (found.value + math.lgamma(n + 1)) / n - math.log(state.volume_sigma3)


def _correlation(virial: np.ndarray, energies: np.ndarray) -> float:
    """Return the correlation of two quantities of the frames, 0 where one is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = float(np.corrcoef(virial, energies)[0, 1])
    return found if math.isfinite(found) else 0.0
