"""`Execution`: seeds of parts, and stored arrays that only equal inputs take up again."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import exact_ensemble
from models import make_random_model

from openmm_nti import Ensemble, LambdaHamiltonian, StatePoint
from openmm_nti.runtime import stored
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.runtime.stored import fingerprint
from openmm_nti.runtime.tasks import TaskError, derive_seed
from openmm_nti.validation.estimators.path_weights import PathConfig

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)


def square(number):
    return {"square": np.array(number**2)}


def fails_at(bad, number):
    if number == bad:
        message = "no luck"
        raise ValueError(message)
    return square(number)


@takes_execution
def describe(name, execution):
    return name, execution


# --- Seeds and folders.


def test_parts_have_seeds_of_their_own():
    execution = Execution(seed=3)
    assert execution.seed_of("bound", "N40") == derive_seed(3, "bound", "N40")
    assert execution.child("bound", "N40").seed == execution.seed_of("bound", "N40")
    seeds = {execution.child(name, k).seed for name in ("a", "b") for k in range(50)}
    assert len(seeds) == 100
    assert Execution(seed=4).seed_of("bound") != execution.seed_of("bound")


def test_random_numbers_are_those_of_the_seed():
    execution = Execution(seed=3)
    seed = execution.seed_of("noise")
    assert execution.random("noise").random() == np.random.default_rng(seed).random()
    ours = torch.rand(4, generator=execution.torch_random("noise"))
    assert (ours == torch.rand(4, generator=torch.Generator().manual_seed(seed))).all()


def test_a_part_has_a_folder_below(tmp_path):
    execution = Execution(seed=3, workers=2, directory=tmp_path, progress=True)
    part = execution.child("windows", 4)
    assert part.directory == tmp_path / "windows" / "4"
    assert (part.workers, part.progress) == (2, True)
    assert execution.folder("windows").seed == 3
    assert Execution().child("windows").directory is None


@pytest.mark.parametrize(("name", "value"), [("seed", -1), ("workers", 0)])
def test_unusable_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value} must be"):
        Execution(**{name: value})


# --- Stored arrays.


@pytest.fixture(scope="module")
def inputs():
    data = exact_ensemble(PAIR, 12)
    return {"model": make_random_model(PAIR), "data": data, "config": PathConfig(), "edition": 1}


def other_inputs(inputs):
    """The inputs with one thing changed, by what that is."""
    data = inputs["data"]
    moved = data.positions_nm.copy()
    moved[3, 1, 2] += 1e-3
    turned = data.positions_nm[:, :, ::-1]  # with the same sum
    energies = data.reduced_potentials + 1e-9
    weights = make_random_model(PAIR)
    with torch.no_grad():
        next(weights.network.parameters()).view(-1)[0] += 1e-3
    state = PAIR.model_copy(update={"sigma_nm": 0.34})
    return {
        "weights": inputs | {"model": weights},
        "network": inputs | {"model": LambdaHamiltonian(PAIR.pair_potential)},
        "positions": inputs | {"data": replace(data, positions_nm=moved)},
        "order of axes": inputs | {"data": replace(data, positions_nm=turned)},
        "energies": inputs | {"data": replace(data, reduced_potentials=energies)},
        "state": inputs | {"data": replace(data, state=state)},
        "config": inputs | {"config": PathConfig(n_paths=65)},
        "edition": inputs | {"edition": 2},
    }


def test_equal_inputs_take_up_what_is_stored(inputs, tmp_path):
    execution = Execution(seed=1, directory=tmp_path)
    first = execution.stored("numbers", inputs, lambda: {"x": np.arange(3)})
    copy = {**inputs, "model": make_random_model(PAIR), "config": PathConfig()}
    again = execution.stored("numbers", copy, lambda: pytest.fail("computed again"))
    assert (again["x"] == first["x"]).all()
    assert len(list(tmp_path.iterdir())) == 1


def test_an_ensemble_is_the_same_after_saving_and_loading(inputs, tmp_path):
    inputs["data"].save(tmp_path / "data.h5")
    assert Ensemble.load(tmp_path / "data.h5").fingerprint() == inputs["data"].fingerprint()


def test_anything_else_does_not(inputs, tmp_path):
    execution = Execution(seed=1, directory=tmp_path)
    execution.stored("numbers", inputs, lambda: {"x": np.zeros(1)})
    changed = other_inputs(inputs)
    for number, (what, other) in enumerate(changed.items(), 1):
        found = execution.stored("numbers", other, lambda n=number: {"x": np.array([n])})
        assert found["x"] == number, f"another {what} took up an old file"
    found = replace(execution, seed=2).stored("numbers", inputs, lambda: {"x": np.array([99])})
    assert found["x"] == 99
    assert len(list(tmp_path.iterdir())) == len(changed) + 2


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    execution = Execution()
    assert execution.stored("x", [], lambda: {"x": 1.0})["x"] == 1.0
    found = execution.map_stored(square, [2, 3], name="x", inputs=[], description="squares")
    assert [float(one["square"]) for one in found] == [4.0, 9.0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_finished_items_are_not_computed_again(workers, tmp_path):
    execution = Execution(seed=1, workers=workers, directory=tmp_path)
    order = {"name": "squares", "inputs": ["v1"], "description": "squares"}
    with pytest.raises(TaskError, match="squares: task squares 2 failed: no luck"):
        Execution(seed=1, directory=tmp_path).map_stored(partial(fails_at, 2), [0, 1, 2], **order)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "squares").iterdir()}
    assert len(kept) == 2
    found = execution.map_stored(square, [0, 1, 2], **order)
    assert [int(one["square"]) for one in found] == [0, 1, 4]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items())
    alone = Execution(seed=1, directory=tmp_path)
    others = alone.map_stored(square, [5, 6, 7], **{**order, "inputs": ["v2"]})
    assert [int(one["square"]) for one in others] == [25, 36, 49]


def test_a_file_that_was_being_written_is_never_used(tmp_path, monkeypatch):
    execution = Execution(seed=1, directory=tmp_path)

    def killed_half_way(path, **arrays):
        Path(path).write_bytes(b"PK half of a file")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stored.np, "savez", killed_half_way)
        with pytest.raises(KeyboardInterrupt):
            execution.stored("numbers", [], lambda: {"x": np.zeros(1)})
    assert list(tmp_path.glob("numbers*")) == []
    # what a process that dies leaves behind
    leftover = tmp_path / f".numbers-{stored.mark('numbers', 1, [])}.1@machine.partial.npz"
    leftover.write_bytes(b"PK half of a file")
    assert execution.stored("numbers", [], lambda: {"x": np.ones(1)})["x"] == 1


def test_a_damaged_file_is_named(tmp_path):
    execution = Execution(seed=1, directory=tmp_path)
    execution.stored("numbers", [], lambda: {"x": np.zeros(100)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match="truncated or not whole.*delete it and run again"):
        execution.stored("numbers", [], lambda: {"x": np.zeros(100)})


# --- Fingerprints.


@dataclass(frozen=True)
class Settings:
    a: int
    b: np.ndarray


def test_fingerprints_tell_contents_apart():
    values = [
        1,
        1.5,
        "1",
        None,
        True,
        [1, 2],
        [2, 1],
        {"a": 1},
        np.zeros(2),
        np.zeros(2, dtype=np.float32),
        np.zeros((2, 1)),
        PAIR,
        PathConfig(),
        Settings(1, np.zeros(2)),
        Settings(1, np.ones(2)),
    ]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint(Settings(1, np.zeros(2))) == fingerprint(Settings(1, np.zeros(2)))


@pytest.mark.parametrize("unknown", [object(), torch.zeros(2), lambda: None, {"a": object()}])
def test_what_cannot_be_told_apart_has_no_fingerprint(unknown):
    with pytest.raises(TypeError, match="has no fingerprint"):
        fingerprint(unknown)


# --- Keywords in place of an execution.


def test_keywords_make_an_execution(tmp_path):
    assert describe("x", seed=4, workers=2, directory=str(tmp_path), progress=True) == (
        "x",
        Execution(4, 2, tmp_path, True),
    )
    assert describe("x") == ("x", Execution())
    given = Execution(seed=7)
    assert describe("x", given)[1] is describe("x", execution=given)[1] is given


def test_keywords_beside_an_execution_are_refused():
    with pytest.raises(TypeError, match="either `execution` or seed, not both"):
        describe("x", Execution(), seed=1)
    with pytest.raises(TypeError, match="either `execution` or workers, not both"):
        describe("x", execution=Execution(), workers=2)
