"""Frames that repeat others, and particles that do not move."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial import KDTree

from openmm_nti.fluid.displacements import displacements, without_drift
from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md._findings import Findings

_FROZEN_SIGMA = 0.1  # rms displacement over a whole trajectory
_FROZEN_CRYSTAL_SIGMA = 0.005
_WIDEST_SIGMA = 1.5  # spacing of a crystal
_STAYS = 0.3  # rms displacement of a crystal's atoms, in units of the spacing of the particles
# Largest differences of fingerprints, about 40 times the rms displacement in sigma.
_STANDS_STILL = 0.004  # from the frame before
_COMES_BACK = 0.2  # rounding to 0.001 nm gives 0.1; the nearest of 8000 frames are 0.33 apart
_HAS_LEFT = 2 * _COMES_BACK
_FRAMES_AT_ONCE = 500
_ATOMS = 21  # of a crystal
_HIGH = 99  # stands for a number of waves that depends on the edge


def distinct_frames(positions_sigma: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the indices of frames that repeat no earlier one, and differ from the one before.

    A frame repeats an earlier one if the particles had moved away between the two. Copies are known
    even if they are in another order, rounded, shifted, turned, mirrored, or number the particles
    otherwise.
    """
    parts = range(0, len(positions_sigma), _FRAMES_AT_ONCE)
    prints = np.concatenate(
        [_fingerprints(positions_sigma[i : i + _FRAMES_AT_ONCE], state) for i in parts]
    )
    tree = KDTree(prints)
    repeats = np.zeros(len(prints), dtype=bool)
    last = np.full(prints.shape[1], np.inf)
    for number, found in enumerate(prints):
        if repeats[number]:
            continue
        if np.abs(found - last).max() < _STANDS_STILL:
            repeats[number] = True
            continue
        last = found
        near = np.array(tree.query_ball_point(found, _COMES_BACK, p=np.inf))
        if near.max() > number:
            left = _leaves(prints[number : near.max()])
            repeats[near[near > number + left]] = True
    return np.flatnonzero(~repeats)


def _leaves(prints: np.ndarray) -> int:
    """Return the index of the first frame that is far from frame 0, their number if none is."""
    for number, found in enumerate(prints):
        if np.abs(found - prints[0]).max() > _HAS_LEFT:
            return number
    return len(prints)


def _fingerprints(positions: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return what distinguishes frames: structure factors, (F, 63), or displacements of a crystal.

    Structure factors stay the same if all particles are shifted, wrapped, renumbered, or turned or
    mirrored onto the same cube: those of one star of wave vectors are in the order of their size.
    Along unequal edges wave vectors have as many waves, at lengths of their own. In a crystal they
    hardly fluctuate; displacements of its first atoms do, counted in their root mean square.
    """
    if state.crystal is not None:
        moved = displacements(positions, state)[:, :_ATOMS].reshape(len(positions), -1)
        return np.asarray(moved / max(moved.std(), 1e-6))
    # Wave numbers near the second peak, where structure factors are about 1 at any density.
    edges = state.edges_sigma[:, None, None]
    phases = 2 * np.pi / edges * np.moveaxis(positions, 2, 0)
    turned = {number: np.exp(1j * number * phases) for number in (-2, -1, 0, 1, 2)}
    turned[_HIGH] = np.exp(1j * np.round(2 * edges) * phases)
    stars = []
    for first, second in ((0, 0), (1, 0), (1, 1), (2, 0), (2, 1)):
        signs = itertools.product({first, -first}, {second, -second})
        waves = {wave for rest in signs for wave in itertools.permutations((_HIGH, *rest))}
        amplitudes = [(turned[x][0] * turned[y][1] * turned[z][2]).sum(axis=1) for x, y, z in waves]
        stars.append(np.sort(np.abs(amplitudes) ** 2, axis=0))
    return np.concatenate(stars).T / positions.shape[1]


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
    moved = nearest_image(positions - positions[0], state.edges_sigma)
    distances = np.sqrt((moved**2).sum(axis=-1))
    rms = float(np.sqrt((distances**2).mean(axis=1)).max())
    findings.numbers["largest_rms_displacement_sigma"] = rms
    if len(positions) < 2:
        return
    still = int((distances.max(axis=0) <= 2 * rounding_sigma).sum())
    frozen = _FROZEN_SIGMA if state.crystal is None else _FROZEN_CRYSTAL_SIGMA
    if not rms >= frozen:
        findings.refusals.append(
            f"the particles move by {rms:.2g} sigma over the whole trajectory, less than "
            f"{frozen:g}: it is frozen or far too short; simulate longer"
        )
    elif state.crystal is None and _stays(positions, state):
        findings.refusals.append(
            f"the particles stay within {_STAYS:g} of their spacing from where they began: the "
            "trajectory is of a crystal, or far too short; for a crystal, give `crystal` in "
            "`system`, or use `openmm-nti analyze --crystal`"
        )
    elif still > 1 and len(positions) > 2:  # with one atom held the fluid is the same
        findings.refusals.append(
            f"{still} particles never move: simulate without fixed or restrained particles"
        )


def _stays(positions: np.ndarray, state: StatePoint) -> bool:
    """Return whether the particles of a fluid do not leave their places but for a common drift."""
    moved = without_drift(positions[1:], positions[0], state.edges_sigma)
    spacing = min((state.volume_sigma3 / state.n_particles) ** (1 / 3), _WIDEST_SIGMA)
    return bool(np.sqrt((moved**2).sum(axis=-1).mean(axis=1)).max() < _STAYS * spacing)
