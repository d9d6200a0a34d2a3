"""`Ensemble`: equilibrium configurations of one state point, as one file that mdtraj reads.

The file is HDF5 in mdtraj's layout (positions as float32 in nm, the box, a topology with the
names of the species) with three additions: the float64 array `/reduced_potentials` and, as JSON
attributes of the root, the state point and the provenance. A state point that is too long for an
attribute, with thousands of sites or a long table, is an array of bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from openmm_nti.files import atomic_path, is_sealed, seal
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hdf5 import DamagedError, MissingError, read_hdf5

if TYPE_CHECKING:
    import mdtraj

_STATE = "openmm_nti_state"
_PROVENANCE = "openmm_nti_provenance"
_SEALED = "openmm_nti_sealed"
_LONGEST_ATTRIBUTE = 60_000  # characters; HDF5 has none of 64 KB
_BOX_TOLERANCE = 1e-5  # relative; the box is stored as float32


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Equilibrium configurations with their energies and their history.

    Attributes
    ----------
    state
        The state point that all frames belong to.
    positions_nm
        Positions. Shape (F, N, 3), float64, nm. A saved file keeps them as float32.
    reduced_potentials
        beta U_LJ of each frame in `state.convention`. Shape (F,), float64, kT.
    provenance
        JSON-ready facts on how the frames were made (seed, versions, statistics, warnings).

    Raises
    ------
    ValueError
        If a shape does not fit the state point, or a number is not finite.
    """

    state: StatePoint
    positions_nm: np.ndarray
    reduced_potentials: np.ndarray
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions_nm", np.asarray(self.positions_nm, dtype=np.float64))
        object.__setattr__(
            self, "reduced_potentials", np.asarray(self.reduced_potentials, dtype=np.float64)
        )
        check_positions(self.positions_nm, self.state)
        if self.reduced_potentials.shape != (self.n_frames,):
            raise ValueError(
                f"reduced_potentials has shape {self.reduced_potentials.shape} for {self.n_frames} "
                "frames: "
                "give one energy for each frame"
            )
        if not np.isfinite(self.reduced_potentials).all():
            raise ValueError(
                "reduced_potentials holds NaN or infinity: remove frames with overlapping particles"
            )

    @property
    def n_frames(self) -> int:
        """Number of frames F."""
        return len(self.positions_nm)

    @property
    def n_independent(self) -> float:
        """For how many independent frames they count: fewer where thinning left correlation.

        Errors are by this number. It is `n_frames` where the provenance does not tell.
        """
        told, of = (self.provenance.get(name) for name in ("n_independent", "n_eff"))
        if not (isinstance(told, int | float) and isinstance(of, int | float) and 0 < told < of):
            return float(self.n_frames)
        return self.n_frames * told / of

    @property
    def positions_sigma(self) -> np.ndarray:
        """Positions. Shape (F, N, 3), float64, sigma."""
        return self.positions_nm / self.state.sigma_nm

    def fingerprint(self) -> str:
        """Return a short hash: the same for equal ensembles, also after saving and loading."""
        digest = hashlib.sha256(self.state.model_dump_json().encode())
        digest.update(self.positions_nm.astype(np.float32).tobytes())
        digest.update(self.reduced_potentials.tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | Path) -> None:
        """Write the ensemble to `path` (.h5), atomically."""
        import mdtraj
        import tables

        trajectory = mdtraj.Trajectory(
            self.positions_nm,
            _topology(self.state),
            unitcell_lengths=np.tile(self.state.edges_nm, (self.n_frames, 1)),
            unitcell_angles=np.full((self.n_frames, 3), 90.0),
        )
        with atomic_path(path) as temporary:
            trajectory.save_hdf5(str(temporary))
            with tables.open_file(str(temporary), "a") as file:
                file.create_array("/", "reduced_potentials", self.reduced_potentials)
                state = self.state.model_dump_json()
                if len(state) > _LONGEST_ATTRIBUTE:
                    file.create_array("/", _STATE, np.frombuffer(state.encode(), np.uint8))
                else:
                    file.set_node_attr("/", _STATE, state)
                file.set_node_attr("/", _PROVENANCE, json.dumps(self.provenance))
                file.set_node_attr("/", _SEALED, "sha256")
            seal(temporary)

    @classmethod
    def load(cls, path: str | Path) -> Ensemble:
        """Read an ensemble that `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated, was not written by this package, or holds NaN, another box or
            another N than its state point says.
        """
        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(
                f"there is no ensemble at {path}: make it with `openmm-nti generate`"
            )
        content = _read(path)
        try:
            state = StatePoint.model_validate_json(content[_STATE])
            _check_box(content["cell_lengths"], state)
            return cls(
                state,
                content["coordinates"],
                content["reduced_potentials"],
                json.loads(content[_PROVENANCE]),
            )
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise ValueError(
                f"{path}: its state point is not valid ({reason}): generate it again"
            ) from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def check_positions(positions_nm: np.ndarray, state: StatePoint) -> None:
    """Refuse positions that cannot be frames of `state`.

    Parameters
    ----------
    positions_nm
        Positions. Shape (F, N, 3), nm.

    Raises
    ------
    ValueError
        For a wrong shape, no frames, another number of particles, or NaN.
    """
    if positions_nm.ndim != 3 or positions_nm.shape[2] != 3 or not len(positions_nm):
        raise ValueError(
            f"positions have shape {positions_nm.shape}: expected (frames, particles, 3), 1 frame "
            "or more"
        )
    if positions_nm.shape[1] != state.n_particles:
        raise ValueError(
            f"positions hold {positions_nm.shape[1]} particles, but the state point has "
            "n_particles = "
            f"{state.n_particles}: change n_particles or select the particles of the fluid"
        )
    bad = np.flatnonzero(~np.isfinite(positions_nm).all(axis=(1, 2)))
    if len(bad):
        raise ValueError(
            f"positions hold NaN or infinity in {len(bad)} of {len(positions_nm)} frames (first: "
            f"frame {bad[0]}): "
            "remove those frames, or lower the time step of the simulation that made them"
        )


def _topology(state: StatePoint) -> mdtraj.Topology:
    """Return a residue for each atom: argon for one species, or the names of a mixture's."""
    import mdtraj

    topology = mdtraj.Topology()
    chain = topology.add_chain()
    names = list(state.composition) if state.is_mixture else ["Ar"]
    for species in state.species_of_particles:
        name = names[species]
        try:
            element = mdtraj.element.get_by_symbol(name)
        except KeyError:
            element = mdtraj.element.virtual
        topology.add_atom(name, element, topology.add_residue(name.upper(), chain))
    return topology


def _read(path: Path) -> dict[str, Any]:
    """Return all parts of the file by name; ValueError for any damage."""
    arrays = ["coordinates", "cell_lengths", "reduced_potentials"]
    try:
        content = read_hdf5(
            path,
            arrays,
            texts=[_PROVENANCE],
            optional=[_STATE],
            optional_texts=[_STATE, _SEALED],
        )
        if _STATE not in content:
            raise MissingError(f"{path} has no {_STATE}")
        if isinstance(content[_STATE], np.ndarray):
            content[_STATE] = content[_STATE].tobytes().decode(errors="replace")
        if _SEALED in content and not is_sealed(path):
            raise DamagedError(f"{path} was changed by another program")
        return content
    except MissingError as error:
        raise ValueError(
            f"{path} was not written by openmm_nti: read a trajectory of your own with "
            "`openmm-nti generate --trajectory FILE --topology FILE`"
        ) from error
    except DamagedError as error:
        raise ValueError(f"{error}: delete it and generate it again") from error


def _check_box(cell_lengths_nm: np.ndarray, state: StatePoint) -> None:
    off = np.abs(cell_lengths_nm / state.edges_nm - 1)
    frame, axis = np.unravel_index(np.argmax(off), off.shape)  # a NaN, if there is one
    if not off[frame, axis] < _BOX_TOLERANCE:
        raise ValueError(
            f"a frame's box is {cell_lengths_nm[frame, axis]:g} nm, but the state point's is "
            f"{state.edges_nm[axis]:g} nm: one ensemble is one constant box; generate it again"
        )
