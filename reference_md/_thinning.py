"""From recorded chains to an `Ensemble` of decorrelated frames with its statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md import statistics


@dataclass(frozen=True)
class Sampling:
    """How much independent information recorded chains hold, judged by their energy.

    Attributes
    ----------
    t0
        Frames of equilibration, discarded from each chain.
    g
        Statistical inefficiency, in recorded frames.
    n_decorrelated
        Decorrelated frames in all chains together, after equilibration.
    """

    t0: int
    g: float
    n_decorrelated: int


def judge(reduced_potentials: np.ndarray) -> Sampling:
    """Equilibration and statistical inefficiency of chains of the same length. Shape (chains, n),
    kT.
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
    """At most `n_frames` decorrelated frames, evenly spaced over the equilibrated parts of all
    chains.

    Parameters
    ----------
    state
        The state point of all frames.
    frames_nm
        Recorded positions. Shape (chains, n, N, 3), nm.
    reduced_potentials
        Their energies. Shape (chains, n), kT.
    log_weights
        Logarithms of their weights in `state.convention`. Shape (chains, n).
    n_frames
        Frames wanted.
    provenance
        Facts to which the statistics are added.
    """
    sampling = judge(reduced_potentials)
    equilibrated = np.s_[:, sampling.t0 :]
    energies = reduced_potentials[equilibrated]
    kept = min(n_frames, sampling.n_decorrelated)
    indices = statistics.evenly_spaced(log_weights[equilibrated].ravel(), kept)
    chain = np.repeat(np.arange(len(energies)), energies.shape[1])
    mean, error = statistics.mean_and_error(energies.ravel()[indices], chain[indices])
    facts = {
        "n_recorded_frames": int(reduced_potentials.size),
        "equilibration_frames": sampling.t0,
        "statistical_inefficiency": round(sampling.g, 4),
        "n_decorrelated": sampling.n_decorrelated,
        "n_eff": kept,
        "frames_per_chain": np.bincount(chain[indices], minlength=len(energies)).tolist(),
        "mean_reduced_potential": [mean, error],
        "energy_drift_z": round(energy_drift(energies, sampling.g), 3),
    }
    return Ensemble(
        state,
        frames_nm[equilibrated].reshape(-1, state.n_particles, 3)[indices],
        energies.ravel()[indices],
        {
            **provenance,
            **facts,
            "warnings": [
                *provenance.get("warnings", []),
                *_doubts(sampling, kept, n_frames, facts),
            ],
        },
    )


def energy_drift(energies: np.ndarray, g: float) -> float:
    """Difference of the mean energy of the second and first halves of all chains, in its standard
    errors.
    """
    half = energies.shape[1] // 2
    spread = float(energies.std())
    if half == 0 or spread == 0:
        return 0.0
    n_eff = max(1.0, len(energies) * half / g)
    return float(
        (energies[:, -half:].mean() - energies[:, :half].mean()) / (spread * np.sqrt(2 / n_eff))
    )


def _doubts(sampling: Sampling, kept: int, wanted: int, facts: dict[str, Any]) -> list[str]:
    doubts = []
    if kept < wanted:
        doubts.append(
            f"only {kept} decorrelated frames of {wanted} wanted (statistical inefficiency "
            f"{sampling.g:.1f})"
        )
    if abs(facts["energy_drift_z"]) > 4:
        doubts.append(
            f"the energy drifts: its halves differ by {facts['energy_drift_z']:.1f} standard errors"
        )
    return doubts
