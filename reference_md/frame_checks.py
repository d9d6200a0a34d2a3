"""The one check of frames that somebody else may have made: whether they are this fluid.

Every door through which frames come in passes here (`from_trajectory`, and `checked` for files of
ensembles). What was measured stands in the provenance under `frame_checks`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.energy import (
    closest_pair_sigma,
    highest_pair_energy,
    reduced_potential_numpy,
    truncation_log_weights,
)
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md._findings import Findings
from openmm_nti.reference_md._motion import distinct_frames, judge_motion, judge_repeats
from openmm_nti.reference_md._rounding import judge_rounding
from openmm_nti.reference_md.configurational import (
    Temperature,
    configurational_temperature,
    curvature,
)

KEY = "frame_checks"
_WARN, _REFUSE = 3.0, 5.0  # standard errors of the configurational temperature
_MIN_INDEPENDENT = 20  # frames; with fewer, errors are too uncertain for a refusal
_TIME_STEP = 0.01  # relative; a usual time step shifts the temperature by less than this
_PAIR_ENERGY_KT = 25.0  # a pair this far above the usual closest ones occurs once in e^25 times
_OUTLIER = 8.0  # robust standard deviations of the energy, which must also exceed
_OUTLIER_KT = 25.0
_COUNTED = {"n_repeated": "repeated frames left out", "n_wild_at_start": "left out at the start"}
_START = 0.1  # share of the frames in which a wild one counts as equilibration


def checked(ensemble: Ensemble, source: str, *, accept_frames: bool = False) -> Ensemble:
    """Return an ensemble with the numbers of the check in its provenance.

    An ensemble that has them is returned as it is. Repeated frames are left out.

    Parameters
    ----------
    ensemble
        Decorrelated frames.
    source
        What messages call it, such as its file.
    accept_frames
        Whether refusals become warnings.

    Raises
    ------
    ValueError
        If the frames cannot be of the ensemble's state, and not `accept_frames`.
    """
    if KEY in ensemble.provenance:
        return ensemble
    state, findings = ensemble.state, Findings()
    distinct = _distinct(ensemble.positions_sigma, state)
    if len(distinct) < ensemble.n_frames:
        findings.numbers["n_repeated"] = ensemble.n_frames - len(distinct)
        judge_repeats(len(distinct), ensemble.n_frames, findings)
        ensemble = replace(
            ensemble,
            positions_nm=ensemble.positions_nm[distinct],
            reduced_potentials=ensemble.reduced_potentials[distinct],
        )
    positions = ensemble.positions_sigma
    wild = _wild(positions, state, ensemble.reduced_potentials, findings)
    _refuse_wild(wild, findings)
    # Undone, the weights of a plain cutoff give back the ensemble of molecular dynamics.
    log_weights = -truncation_log_weights(positions, state)
    weights = np.exp(log_weights - log_weights.max())
    found = curvature(positions, state)
    judge_temperature(configurational_temperature(found, state, weights), state, findings)
    findings.settle(source, accept=accept_frames)
    noted = [*ensemble.provenance.get("warnings", []), *findings.warnings]
    facts = {**ensemble.provenance, KEY: findings.numbers, "warnings": noted}
    return replace(ensemble, provenance=facts)


def select_frames(
    positions_sigma: np.ndarray,
    state: StatePoint,
    rounding_sigma: float,
    findings: Findings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of a trajectory's good frames, in the order of time, and their beta U.

    Repeated frames count once, and wild ones at the start are left out.

    Parameters
    ----------
    positions_sigma
        Positions, wrapped into the box. Shape (F, N, 3), sigma.
    state
        The state point that they should be of.
    rounding_sigma
        The step to which the coordinates are rounded.
    findings
        Receives numbers, warnings and refusals.
    """
    n = len(positions_sigma)
    kept = distinct_frames(positions_sigma, state)
    findings.numbers |= {"n_read": n, "n_repeated": n - len(kept)}
    if len(kept) < n:
        judge_repeats(len(kept), n, findings)
    positions = positions_sigma[kept]
    judge_motion(positions, state, rounding_sigma, findings)
    energies = reduced_potential_numpy(positions, state)
    wild = _wild(positions, state, energies, findings)
    first = int(wild[-1]) + 1 if len(wild) and wild[-1] < max(1, _START * len(kept)) else 0
    findings.numbers["n_wild_at_start"] = first
    if first:
        findings.warnings.append(
            f"{_numbers(kept[wild])} of the trajectory cannot be of the equilibrium (beta U = "
            f"{energies[wild[0]]:.4g}, median {np.median(energies):.4g}): the trajectory is read "
            f"from frame {kept[first] if first < len(kept) else n} on"
        )
        kept, positions, energies = kept[first:], positions[first:], energies[first:]
    else:
        _refuse_wild(kept[wild], findings)
    if not len(kept):
        findings.refusals.append("no frame is left: check the unit, sigma_nm and the temperature")
        return kept, energies
    found = curvature(positions, state)
    judge_temperature(configurational_temperature(found, state), state, findings)
    judge_rounding(rounding_sigma, found.laplacian, energies, state, findings)
    return kept, energies


def summary(facts: dict[str, Any]) -> str:
    """Return a line on what the check found, from the provenance of an ensemble."""
    numbers = facts.get(KEY)
    if not numbers:
        return "the frames are unchecked"
    value, error = numbers.get("configurational_temperature_star") or (None, None)
    temperature = "unknown" if value is None else f"{value:.4g}"
    if error is not None:
        temperature += f" ± {error:.2g}"
    parts = [f"T* = {temperature} by the forces"]
    parts.append(f"closest pair {numbers['closest_pair_sigma']:.3g} sigma")
    for name, text in _COUNTED.items():
        if numbers.get(name):
            parts.append(f"{numbers[name]} {text}")
    accepted = len(numbers.get("kept_in_spite_of", ()))
    if accepted:
        parts.append(f"KEPT in spite of {accepted} refusal{'s' if accepted > 1 else ''}")
    return ", ".join(parts)


def _distinct(positions: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the indices of frames that are no copies, in the order of time.

    In the convention `truncated` frames are drawn by weight, in their order: one is there again,
    next to itself, as often as its weight explains.
    """
    distinct = distinct_frames(positions, state)
    if state.is_continuous:
        return distinct
    log_weights = truncation_log_weights(positions[distinct], state)
    # At most one frame was drawn for each that was recorded, of which these are those drawn.
    shares = np.exp(log_weights - log_weights.max())
    explained = np.ceil(shares * (1 / shares).mean())
    kept = []
    for first, most in zip(distinct, explained, strict=True):
        frame = first
        while frame < len(positions) and frame - first < most:
            if not np.array_equal(positions[frame], positions[first]):
                break
            kept.append(frame)
            frame += 1
    return np.array(kept, dtype=int)


def judge_temperature(found: Temperature, state: StatePoint, findings: Findings) -> None:
    """Compare the configurational temperature with that of `state`.

    Parameters
    ----------
    found
        The temperature that the frames tell.
    state
        The expected one.
    findings
        Receives numbers, warnings and refusals.
    """
    findings.numbers |= found.to_dict()
    expected = state.temperature_star
    if found.value is None or not math.isfinite(found.value):
        findings.warnings.append(
            "the frames tell no configurational temperature: no particles are near each other"
        )
        return
    if found.z is None or found.std_err is None:
        findings.warnings.append(
            f"the frames are too few to check their temperature (T* = {found.value:.3g}, error "
            f"unknown, expected {expected:g})"
        )
        return
    reason = (
        f"the forces between the particles say T* = {found.value:.4g} ± {found.std_err:.2g}, "
        f"{abs(found.z):.1f} errors from temperature_star = {expected:g}: set the temperature, "
        "sigma_nm, epsilon_kj_mol and cutoff of the simulation, or lower its time step"
    )
    beyond_time_step = abs(found.value / expected - 1) > _TIME_STEP
    if abs(found.z) > _REFUSE and beyond_time_step and found.n_independent >= _MIN_INDEPENDENT:
        findings.refusals.append(reason)
    elif not abs(found.z) <= _WARN:
        findings.warnings.append(reason)


def _wild(
    positions: np.ndarray, state: StatePoint, energies: np.ndarray, findings: Findings
) -> np.ndarray:
    """Return the indices of frames that no equilibrium would show."""
    closest = closest_pair_sigma(positions, state)
    highest = highest_pair_energy(positions, state) / state.temperature_star
    finite = np.where(np.isfinite(energies), energies, np.inf)
    middle = float(np.median(finite))
    scale = 1.4826 * float(np.median(np.abs(finite - middle))) if math.isfinite(middle) else 0.0
    beyond = np.abs(finite - middle) if math.isfinite(middle) else np.full(len(finite), np.inf)
    outlying = ~(beyond <= max(_OUTLIER * scale, _OUTLIER_KT))
    findings.numbers |= {
        "closest_pair_sigma": float(closest.min()),
        "largest_energy_deviation_kt": float(beyond.max()) if np.isfinite(beyond).all() else None,
        "robust_energy_spread_kt": scale,
    }
    # Crowded soft particles always have a pair at some 20 kT; where all pairs overlap, none counts.
    usual = min(max(float(np.median(highest)), 0.0), _PAIR_ENERGY_KT)
    return np.flatnonzero(~(highest <= usual + _PAIR_ENERGY_KT) | outlying)


def _refuse_wild(wild: np.ndarray, findings: Findings) -> None:
    if len(wild):
        findings.refusals.append(
            f"{_numbers(wild)} cannot be of the equilibrium (closest pair "
            f"{findings.numbers['closest_pair_sigma']:.3g} sigma, or an energy far from all "
            "others): check sigma_nm, the unit of the positions and the topology, or cut them out"
        )


def _numbers(frames: Sequence[int] | np.ndarray) -> str:
    shown = ", ".join(str(int(frame)) for frame in frames[:4])
    many = f", ... ({len(frames)} frames)" if len(frames) > 4 else ""
    return f"frame{'s' if len(frames) > 1 else ''} {shown}{many}"
