"""Frames that repeat others, and particles that do not move."""

from __future__ import annotations

import hashlib

import numpy as np

from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md._findings import Findings

_FROZEN_SIGMA = 0.05  # rms displacement over a whole trajectory
_SAME_SIGMA = 1e-4  # rms displacement between frames that are the same one


def distinct_frames(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the indices of frames that repeat no earlier one, and differ from the one before."""
    seen: set[bytes] = set()
    kept: list[int] = []
    for number, frame in enumerate(positions_sigma):
        key = hashlib.sha256(np.asarray(frame, dtype=np.float32).tobytes()).digest()
        same = kept and _rms(frame, positions_sigma[kept[-1]], state) < _SAME_SIGMA
        if key not in seen and not same:
            kept.append(number)
        seen.add(key)
    return np.array(kept, dtype=int)


def _rms(frame: np.ndarray, other: np.ndarray, state: StatePoint) -> float:
    moved = nearest_image(frame - other, state.box_length_sigma)
    return float(np.sqrt((moved**2).sum(axis=-1).mean()))


def judge_repeats(n_distinct: int, n: int, findings: Findings) -> None:
    fact = f"{n - n_distinct} of {n} frames repeat others"
    if n_distinct < 2 or 2 * n_distinct < n:
        findings.refusals.append(
            f"{fact}, which leaves {n_distinct}: the simulation stood still, or the file was "
            "joined from copies; give a trajectory that moves"
        )
    else:
        findings.warnings.append(
            f"{fact} and are left out (a restart that overlaps, or a file joined to itself); save "
            "rejected Monte Carlo moves less often"
        )


def judge_motion(
    positions: np.ndarray, state: StatePoint, rounding_sigma: float, findings: Findings
) -> None:
    moved = nearest_image(positions - positions[0], state.box_length_sigma)
    distances = np.sqrt((moved**2).sum(axis=-1))
    rms = float(np.sqrt((distances**2).mean(axis=1)).max())
    findings.numbers["largest_rms_displacement_sigma"] = rms
    if len(positions) < 2:
        return
    still = int((distances.max(axis=0) <= 2 * rounding_sigma).sum())
    if not rms >= _FROZEN_SIGMA:
        findings.refusals.append(
            f"the particles move by {rms:.2g} sigma over the whole trajectory, less than "
            f"{_FROZEN_SIGMA:g}: it is frozen or far too short; simulate longer"
        )
    elif still > 1 and len(positions) > 2:  # with one atom held the fluid is the same
        findings.refusals.append(
            f"{still} particles never move: simulate without fixed or restrained particles"
        )
