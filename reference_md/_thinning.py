"""Thinning: from recorded chains to an `Ensemble` of decorrelated frames, with statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md import statistics

_LARGEST_DRIFT = 4  # standard errors


@dataclass(frozen=True)
class Sampling:
    """The number of decorrelated frames in recorded chains, judged by the energy.

    Attributes
    ----------
    t0
        Number of frames of equilibration, which are discarded from each chain.
    g
        Statistical inefficiency, in recorded frames.
    n_decorrelated
        Number of decorrelated frames in all chains together, after equilibration.
    """

    t0: int
    g: float
    n_decorrelated: int


def judge(reduced_potentials: np.ndarray) -> Sampling:
    """Return equilibration and statistical inefficiency of chains of equal length.

    Parameters
    ----------
    reduced_potentials
        Energies of the frames. Shape (chains, n), kT.
    """
    t0 = statistics.equilibration(reduced_potentials)
    equilibrated = reduced_potentials[:, t0:]
    g = statistics.statistical_inefficiency(equilibrated)
    return Sampling(t0, g, max(1, int(equilibrated.size / g)))


def thin(
    state: StatePoint,
    frames_nm: np.ndarray,
    reduced_potentials: np.ndarray,
    log_weights: np.ndarray,
    *,
    n_frames: int,
    provenance: dict[str, Any],
) -> Ensemble:
    """Return at most `n_frames` decorrelated frames of chains, without their equilibration.

    They are evenly spaced in accumulated weight.

    Parameters
    ----------
    state
        The state point of all frames.
    frames_nm
        Recorded positions. Shape (chains, n, N, 3), nm.
    reduced_potentials
        Energies of these frames. Shape (chains, n), kT.
    log_weights
        Logarithms of the frames' weights in `state.convention`. Shape (chains, n).
    n_frames
        Largest number of frames to return.
    provenance
        Facts about the data, to which the statistics are added.
    """
    sampling = judge(reduced_potentials)
    equilibrated = np.s_[:, sampling.t0 :]
    energies = reduced_potentials[equilibrated]
    kept = min(n_frames, sampling.n_decorrelated)
    indices = statistics.evenly_spaced(log_weights[equilibrated].ravel(), kept)
    chain = np.repeat(np.arange(len(energies)), energies.shape[1])
    chosen = energies.ravel()[indices]
    independent = n_independent(kept, energies.size / kept, sampling.g)
    mean, error = statistics.mean_of_frames(chosen, independent)
    if len(energies) >= statistics.MIN_CHAINS:
        mean, error = statistics.mean_and_error(chosen, chain[indices])
    facts = {
        "n_recorded_frames": int(reduced_potentials.size),
        "equilibration_frames": sampling.t0,
        "statistical_inefficiency": round(sampling.g, 4),
        "n_decorrelated": sampling.n_decorrelated,
        "n_eff": kept,
        "n_independent": round(independent, 2),
        "frames_per_chain": np.bincount(chain[indices], minlength=len(energies)).tolist(),
        "mean_reduced_potential": [mean, error if math.isfinite(error) else None],
        "energy_drift_z": energy_drift(energies, sampling.g),
    }
    return Ensemble(
        state,
        frames_nm[equilibrated].reshape(-1, state.n_particles, 3)[indices],
        chosen,
        {
            **provenance,
            **facts,
            "warnings": [
                *provenance.get("warnings", []),
                *_warnings(sampling, kept, n_frames, facts["energy_drift_z"]),
                *_no_error(error),
            ],
        },
    )


def n_independent(n_kept: int, spacing: float, g: float) -> float:
    """Return for how many independent samples `n_kept` evenly thinned ones count.

    Samples g apart still have a correlation of about exp(-2), that of a process whose memory fades
    exponentially. Kept samples then count for three quarters of their number.

    Parameters
    ----------
    n_kept
        Number of samples kept.
    spacing
        Their distance, in samples.
    g
        Statistical inefficiency of the samples.
    """
    left = ((g - 1) / (g + 1)) ** spacing
    return n_kept * (1 - left) / (1 + left)


def energy_drift(energies: np.ndarray, g: float) -> float | None:
    """Return the change of mean energy from first to second half, in standard errors.

    None means that it is unknown: chains of a single frame, constant energies, or NaN.

    Parameters
    ----------
    energies
        Energies of all chains. Shape (chains, n), kT.
    g
        Statistical inefficiency.
    """
    half = energies.shape[1] // 2
    spread = float(energies.std())
    if not (half > 0 and spread > 0 and math.isfinite(spread)):
        return None
    n_eff = max(1.0, len(energies) * half / g)
    change = energies[:, -half:].mean() - energies[:, :half].mean()
    return round(float(change / (spread * np.sqrt(2 / n_eff))), 3)


def _no_error(error: float) -> list[str]:
    if math.isfinite(error):
        return []
    return ["too short to know its error: record at least ten times as many frames"]


def _warnings(sampling: Sampling, kept: int, wanted: int, drift: float | None) -> list[str]:
    warnings = []
    if kept < wanted:
        warnings.append(
            f"only {kept} decorrelated frames of {wanted} wanted (statistical inefficiency "
            f"{sampling.g:.1f})"
        )
    if drift is None:
        warnings.append("whether the energy drifts is unknown: it does not vary, or frames are few")
    elif not abs(drift) <= _LARGEST_DRIFT:
        warnings.append(f"the energy drifts: its halves differ by {drift:.1f} standard errors")
    return warnings
