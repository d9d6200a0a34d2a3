"""No file that is read runs code: a pickle lies in every place of every type of file."""

import os
import pickle
import shutil
import sys
import warnings
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import tables

from openmm_nti import files
from openmm_nti.cli import run_config
from openmm_nti.ensemble import Ensemble
from openmm_nti.reference_md.trajectory import from_trajectory
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.validation.analysis.window_data import WindowData

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # where this file is run by itself
from stored_files import KINDS, content, write_all

STATE_NAME, PROVENANCE_NAME = "openmm_nti_state", "openmm_nti_provenance"
NODES = (
    "/",
    "/coordinates",
    "/cell_lengths",
    "/cell_angles",
    "/time",
    "/topology",
    "/reduced_potentials",
    "/more",
)
NAMES = ("x", "TITLE", "FILTERS", STATE_NAME, PROVENANCE_NAME, "conventions")
TRAJECTORIES = (
    ".h5",
    ".hdf5",
    ".lh5",
    ".npy",
    ".npz",
    ".pkl",
    ".pickle",
    ".dcd",
    ".xtc",
    ".trr",
    ".nc",
    ".ncdf",
    ".netcdf",
    ".mdcrd",
    ".binpos",
    ".xyz",
    ".gro",
    ".pdb",
    ".arc",
    ".lammpstrj",
    ".gsd",
    ".dtr",
    ".stk",
    ".mol2",
    ".rst7",
    ".ncrst",
    ".hoomdxml",
)


class Payload:
    """Makes the folder `mark` when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def hostile_hdf5(folder, mark):
    """Yield a name for each hostile HDF5 file in turn, which lies at ensemble.h5."""
    path = folder / "ensemble.h5"
    original = path.read_bytes()
    places = [(node, name, 0) for node in NODES for name in NAMES]
    places += [("/", "x", protocol) for protocol in (1, 2, 3, 4, 5)]
    for node, name, protocol in places:
        path.write_bytes(original)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with tables.open_file(str(path), "a") as file:
                if node == "/more":
                    file.create_group("/", "more")
                value = np.bytes_(pickle.dumps(Payload(mark), protocol))
                file.get_node(node)._v_attrs._g_setattr(file.get_node(node), name, value)
        yield f"attribute {name} of {node}, protocol {protocol}"
    for name in ("coordinates", "reduced_potentials", "topology", "cell_lengths"):
        path.write_bytes(original)
        with tables.open_file(str(path), "a") as file:
            file.remove_node("/", name)
            file.create_vlarray("/", name, tables.ObjectAtom()).append(Payload(mark))
        yield f"objects as {name}"
    path.write_bytes(original)


def probes(folder, mark):
    """Yield a name and a function that reads, for each hostile file in turn."""
    state = Ensemble.load(folder / "ensemble.h5").state
    for name in hostile_hdf5(folder, mark):
        # An attacker knows how to write the checksum too.
        files.seal(folder / "ensemble.h5")
        yield f"ensemble: {name}", lambda: Ensemble.load(folder / "ensemble.h5")
        yield f"trajectory: {name}", lambda: from_trajectory(folder / "ensemble.h5", None, state)
    program = pickle.dumps(Payload(mark))
    objects = np.empty(1, dtype=object)
    objects[0] = Payload(mark)
    for reader in (WindowData.load, read_arrays):
        for name in ("lambdas", "u_kln", "dudl", "chain", "exchange"):
            with np.load(folder / "windows.npz") as stored:
                arrays = dict(stored)
            np.savez(folder / "bad.npz", **{**arrays, name: objects})
            yield f"npz: {name}", lambda reader=reader: reader(folder / "bad.npz")
        (folder / "bad.npz").write_bytes(program)
        yield "npz: a pickle", lambda reader=reader: reader(folder / "bad.npz")
        with (folder / "bad.npz").open("wb") as file:
            np.save(file, objects)
        yield "npz: objects as npy", lambda reader=reader: reader(folder / "bad.npz")
    for kind, name in KINDS.items():
        path = folder / name
        original = path.read_bytes()
        path.write_bytes(program)
        yield f"{kind}: a pickle", lambda kind=kind, path=path: content(kind, path)
        path.write_bytes(original)
    for call in (
        f"!!python/object/apply:os.mkdir [{mark}]",
        f"!!python/object/new:os.mkdir [{mark}]",
        f"!!python/name:os.mkdir {mark}",
    ):
        (folder / "bad.yaml").write_text(f"seed: {call}\n")
        yield f"yaml: {call[:24]}", lambda: run_config.load_config(folder / "bad.yaml", [])
        yield f"--set {call[:24]}", lambda call=call: run_config.apply_setting({}, f"seed={call}")
    pdb = folder / "top.pdb"
    mdtraj.load(str(folder / "ensemble.h5"))[0].save_pdb(str(pdb))
    for suffix in TRAJECTORIES:
        bad = folder / f"trajectory{suffix}"
        bad.write_bytes(program)
        yield f"{suffix}: a pickle", lambda bad=bad: from_trajectory(bad, pdb, state)
        bad.unlink()
        with bad.open("wb") as file:
            np.save(file, objects)
        yield f"{suffix}: objects as npy", lambda bad=bad: from_trajectory(bad, pdb, state)
        bad.unlink()


def run_probes(folder, every=1):
    """Return how many probes there were, which of them ran code, and which were mute."""
    write_all(folder)
    mark = folder / "ran"
    n_probes, ran, unclear = 0, [], []
    for number, (name, read) in enumerate(probes(folder, mark)):
        if number % every:
            continue
        n_probes += 1
        if mark.exists():
            raise RuntimeError(f"{name}: writing the probe ran it")
        try:
            read()
        except (ValueError, TypeError) as error:  # an ensemble may be read without its attributes
            if "\n" in str(error) and not isinstance(error, run_config.ConfigError):
                unclear.append(f"{name}: {type(error).__name__} {str(error)[:80]!r}")
        except Exception as error:  # noqa: BLE001
            unclear.append(f"{name}: {type(error).__name__} {str(error)[:80]!r}")
        if mark.exists():
            ran.append(name)
            shutil.rmtree(mark)
    return n_probes, ran, unclear


def test_the_payload_works(tmp_path):
    """Otherwise the other tests would say nothing."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # mdtraj's
@pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_no_file_runs_code(every, tmp_path):
    n_probes, ran, unclear = run_probes(tmp_path, every)
    assert n_probes >= (60 if every == 1 else 15)
    assert not ran
    assert not unclear
