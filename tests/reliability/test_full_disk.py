"""A full disk: every writer says so with the name of the file, and leaves no part of it."""

import errno
import shutil
import subprocess

import numpy as np
import pytest
import torch
from models import make_random_model

from openmm_nti import Ensemble, StatePoint, files, save_model
from openmm_nti.cli.safety.failures import explained
from openmm_nti.files import atomic_path, write_json, write_text
from openmm_nti.runtime.stored import write_arrays
from openmm_nti.training.checkpoint import save_checkpoint

STATE = StatePoint(n_particles=6, box_length_sigma=6.0, temperature_star=1.25)
BIG = np.random.default_rng(1).uniform(size=(2000, 6, 3))  # about 300 kB


def frames(path):
    Ensemble(STATE, BIG, BIG[:, 0, 0], {"seed": 1}).save(path)


def weights(path):
    model = make_random_model(STATE)
    model.register_buffer("ballast", torch.tensor(BIG))
    save_model(model, path.parent, trained_on=[STATE], seed=1)


def checkpoint(path):
    model = make_random_model(STATE)
    average = {"ballast": torch.tensor(BIG)}
    optimiser = torch.optim.Adam(model.parameters())
    save_checkpoint(path, model, average, optimiser, step=1, seconds=1.0, inputs="x")


WRITERS = {
    "frames.h5": frames,
    "model.safetensors": weights,
    "checkpoint.safetensors": checkpoint,
    "works.npz": lambda path: write_arrays(path, {"x": BIG}),
    "metrics.jsonl": lambda path: write_text(path, "x" * 300_000),
    "results.json": lambda path: write_json(path, {"big": BIG.tolist()}),
}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own with 128 kB, where one can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no `mount`")
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("free_kb", [0, 72])
@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_says_that_the_disk_is_full(small_disk, name, free_kb):
    folder = small_disk / "run"
    folder.mkdir()
    (small_disk / "filler").write_bytes(bytes(1024 * (128 - free_kb)))
    with pytest.raises(OSError, match="No space left") as caught:
        WRITERS[name](folder / name)
    assert list(folder.iterdir()) == []
    assert caught.value.errno == errno.ENOSPC
    status, line = explained(caught.value)
    assert (status, line.count("\n")) == (1, 0)
    assert line.startswith(f"no space left on the disk at {folder / name}: free some, then run")


def test_another_failure_stays_what_it_is(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "x") as path:
        path.write_text(str(1 / 0))
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_a_library_is_one_of_the_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_why_full", lambda _folder: errno.EDQUOT)
    with pytest.raises(OSError, match="quota") as caught, atomic_path(tmp_path / "x.h5"):
        raise RuntimeError("Problems creating the Array.")
    assert caught.value.filename == str(tmp_path / "x.h5")
    assert explained(caught.value)[1].startswith("no space left on the disk at ")
