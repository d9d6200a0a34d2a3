"""The import of a user's own trajectory as a reference ensemble."""

from __future__ import annotations

from pathlib import Path

import mdtraj
import numpy as np

from openmm_nti.ensemble import Ensemble, check_positions
from openmm_nti.files import provenance
from openmm_nti.fluid.energy import (
    closest_pair_sigma,
    reduced_potential_numpy,
    truncation_log_weights,
)
from openmm_nti.fluid.state import StatePoint
from openmm_nti.reference_md._chain import wrap
from openmm_nti.reference_md._thinning import thin

_BOX_TOLERANCE = 1e-4  # relative; PDB and DCD round the box
_CLOSEST_SIGMA = 0.7  # u(0.7 sigma) is 250 epsilon: no equilibrium frame comes this close


def from_trajectory(
    trajectory: str | Path, topology: str | Path | None, state: StatePoint, *, seed: int = 0
) -> Ensemble:
    """Read, check, equilibrate and thin a trajectory of molecular dynamics at constant N, V and T.

    Parameters
    ----------
    trajectory
        Path of the trajectory, in any format that mdtraj reads, with the unit cell of each frame.
        All of it is read into memory.
    topology
        Path of a file from which mdtraj reads the particles; None for formats that contain them,
        such as HDF5 and PDB.
    state
        The state point that was simulated. In the convention `truncated`, frames have the weights
        of `truncation_log_weights`.
    seed
        Random seed to record in the provenance.

    Raises
    ------
    ValueError
        If the file cannot be read, has another number of particles, NaN, no unit cell, a cell that
        changes or is not the cube of `state`, or particles closer than in any equilibrium frame.
    """
    loaded = _load(Path(trajectory), topology)
    try:
        check_positions(loaded.xyz, state)
        _check_cell(loaded, state)
        frames_nm = wrap(loaded.xyz.astype(np.float64), state)
        positions_sigma = frames_nm.astype(np.float64) / state.sigma_nm
        _check_distances(positions_sigma, state)
    except ValueError as error:
        raise ValueError(f"{trajectory}: {error}") from error
    facts = {**provenance(seed), "trajectory": Path(trajectory).name}
    return thin(
        state,
        frames_nm[np.newaxis],
        reduced_potential_numpy(positions_sigma, state)[np.newaxis],
        truncation_log_weights(positions_sigma, state)[np.newaxis],
        n_frames=len(frames_nm),
        provenance=facts,
    )


def _load(trajectory: Path, topology: str | Path | None) -> mdtraj.Trajectory:
    for path in (trajectory, *(() if topology is None else (Path(topology),))):
        if not path.exists():
            raise ValueError(
                f"{path} does not exist: give the path of a trajectory and its topology"
            )
    try:
        return mdtraj.load(str(trajectory), **({} if topology is None else {"top": str(topology)}))
    except Exception as error:  # each format raises its own kinds for a damaged file
        # HDF5 puts its stack before the reason.
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ValueError(
            f"{trajectory} cannot be read ({reason[0]}): check that it is whole and that the "
            "topology belongs to it"
        ) from error


def _check_cell(loaded: mdtraj.Trajectory, state: StatePoint) -> None:
    if loaded.unitcell_lengths is None:
        raise ValueError("the trajectory has no unit cell: save it with its periodic box")
    if not np.allclose(loaded.unitcell_angles, 90, atol=1e-3):
        raise ValueError("the unit cell is not rectangular: simulate in a cubic box")
    lengths = loaded.unitcell_lengths
    box = state.box_length_nm
    worst = float(lengths.flat[np.argmax(np.abs(lengths - box))])
    if abs(worst / box - 1) > _BOX_TOLERANCE:
        raise ValueError(
            f"the unit cell has an edge of {worst:g} nm, but the box of the state point is {box:g} "
            f"nm ({state.box_length_sigma:g} x sigma_nm = {state.sigma_nm:g}): the run must be at "
            "constant volume in a cubic box; set box_length_nm and sigma_nm to those of the run, "
            "and mind that mdtraj reads DCD in angstrom"
        )


def _check_distances(positions_sigma: np.ndarray, state: StatePoint) -> None:
    closest = closest_pair_sigma(positions_sigma, state)
    if closest.min() < _CLOSEST_SIGMA:
        raise ValueError(
            f"two particles of frame {closest.argmin()} are {closest.min():.3g} sigma apart, "
            f"closer than {_CLOSEST_SIGMA:g}: check sigma_nm = {state.sigma_nm:g}, the unit of the "
            "positions and the topology"
        )
