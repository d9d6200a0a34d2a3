"""What WindowData accepts, refuses and keeps on disk."""

import numpy as np
import pytest

from openmm_nti.validation.analysis import window_bootstrap
from openmm_nti.validation.analysis.window_data import WindowData


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "lambdas": np.array([0.0, 0.4, 1.0]),
        "u_kln": rng.normal(size=(3, 6, 3)),
        "dudl": rng.normal(size=(3, 6)),
        "chain": np.repeat([0, 1], 3),
    }


def test_a_file_gives_back_every_number(arrays, tmp_path):
    arrays["u_kln"][0, 2, 2] = np.inf
    WindowData(**arrays).save(tmp_path / "w.npz")
    loaded = WindowData.load(tmp_path / "w.npz")
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(loaded, name), array)
    assert (loaded.n_windows, loaded.n_samples, loaded.n_chains) == (3, 6, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


def test_what_is_known_of_the_moves_is_kept_too(arrays, tmp_path):
    moves = {
        "acceptance": np.array([np.nan, 0.8, 0.29]),
        "timestep_star": np.array([np.nan, 0.1, 0.02]),
    }
    WindowData(**arrays, **moves).save(tmp_path / "w.npz")
    loaded = WindowData.load(tmp_path / "w.npz")
    for name, array in moves.items():
        np.testing.assert_array_equal(getattr(loaded, name), array)
    assert loaded.move_diagnostics == {
        "acceptance": [None, 0.8, 0.29],
        "timestep_star": [None, 0.1, 0.02],
    }
    assert "29% at lambda 1" in loaded.few_accepted
    assert WindowData(**arrays).move_diagnostics == {}
    for acceptance in (None, np.full(3, np.nan), np.array([np.nan, 0.8, 0.31])):
        assert not WindowData(**arrays, acceptance=acceptance).few_accepted
    with pytest.raises(ValueError, match="acceptance has shape"):
        WindowData(**arrays, acceptance=np.array([0.8, 0.8]))


def test_a_truncated_file_is_refused_with_the_next_step(arrays, tmp_path):
    path = tmp_path / "w.npz"
    WindowData(**arrays).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="truncated.*run again"):
        WindowData.load(path)
    with pytest.raises(FileNotFoundError):
        WindowData.load(tmp_path / "absent.npz")


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("lambdas", 2, 0.9, "exactly 0 to exactly 1"),
        ("lambdas", 1, 1.5, "must ascend"),
        ("u_kln", (1, 0, 1), np.inf, "at its own lambda"),
        ("u_kln", (1, 0, 2), np.nan, "NaN or -infinity"),
        ("u_kln", (1, 0, 2), -np.inf, "NaN or -infinity"),
        ("dudl", (2, 5), np.nan, "dudl holds NaN"),
    ],
)
def test_bad_numbers_are_refused(arrays, name, index, value, message):
    arrays[name][index] = value
    with pytest.raises(ValueError, match=message):
        WindowData(**arrays)


def test_shapes_that_disagree_are_refused(arrays):
    arrays["dudl"] = arrays["dudl"][:, :-1]
    with pytest.raises(ValueError, match=r"dudl has shape \(3, 5\), expected \(3, 6\)"):
        WindowData(**arrays)


@pytest.mark.parametrize(("n_chains", "units"), [(8, 8), (4, 16)])
def test_what_is_drawn_are_chains_or_blocks_where_these_are_few(n_chains, units):
    samples = np.zeros((2, 80, 2))
    chain = np.repeat(np.arange(n_chains), 80 // n_chains)
    data = WindowData(np.array([0.0, 1.0]), samples, samples[:, :, 0], chain)
    assert window_bootstrap._n_units(data, np.array([5, 2])) == units


def test_a_window_is_frozen_where_all_its_samples_are_one():
    rng = np.random.default_rng(4)
    u_kln, dudl = rng.normal(size=(3, 40, 3)), rng.normal(size=(3, 40))
    dudl[0] = -2.7  # alone it is no sign: a Hamiltonian may begin with a constant slope
    data = WindowData(np.array([0.0, 0.5, 1.0]), u_kln, dudl, np.arange(40))
    assert not data.frozen_windows.size
    dudl[1], u_kln[1] = dudl[1, :1], u_kln[1, :1]
    frozen = WindowData(np.array([0.0, 0.5, 1.0]), u_kln, dudl, np.arange(40))
    assert frozen.frozen_windows.tolist() == [1]
