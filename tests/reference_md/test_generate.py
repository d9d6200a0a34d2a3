"""Reference ensembles: right energies, exact resumption, honest warnings."""

import logging

import numpy as np
import pytest
from pydantic import ValidationError

from openmm_nti import Ensemble, StatePoint
from openmm_nti.fluid.energy import pair_energy, reduced_potential_numpy
from openmm_nti.reference_md import ReferenceConfig, _chain, generate
from openmm_nti.reference_md._thinning import energy_drift
from openmm_nti.reference_md.generate import temperature_warnings
from openmm_nti.runtime.tasks import TaskError

FEW = StatePoint(n_particles=8, box_length_sigma=6, temperature_star=1.25)
QUICK = ReferenceConfig(
    n_frames=30,
    n_replicas=2,
    equilibration_steps=50,
    frame_interval=20,
    segment_frames=10,
    max_steps=600,
    platform="CPU",
)


def run(directory, states=(FEW,), config=QUICK, seed=1, workers=1):
    return generate(states, config, seed=seed, directory=directory, workers=workers, progress=False)


def assert_same_frames(one, other):
    np.testing.assert_array_equal(one.positions_nm, other.positions_nm)
    np.testing.assert_array_equal(one.reduced_potentials, other.reduced_potentials)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return run(tmp_path_factory.mktemp("undisturbed"))[0]


@pytest.mark.parametrize("convention", ["switched", "truncated"])
def test_mean_energy_of_two_particles_is_the_quadrature(convention, tmp_path):
    """A short cutoff makes the conventions differ by far more than the error: also a test of the
    weights.
    """
    state = StatePoint(
        n_particles=2,
        box_length_sigma=2.6,
        cutoff_sigma=1.3,
        switch_sigma=1.25,
        temperature_star=1.0,
        convention=convention,
    )
    config = ReferenceConfig(
        n_frames=1500,
        equilibration_steps=500,
        frame_interval=50,
        max_steps=10_000,
        platform="Reference",
    )
    energies = run(tmp_path, [state], config)[0].reduced_potentials
    grid = (np.arange(160) + 0.5) / 160 * 1.3
    r2 = (grid**2)[:, None, None] + (grid**2)[:, None] + grid**2
    energy = pair_energy(r2, state)
    weight = np.exp(-energy)
    mean = (energy[weight > 0] * weight[weight > 0]).sum() / weight.sum()
    assert abs(energies.mean() - mean) < 4 * energies.std() / np.sqrt(len(energies))
    assert len(energies) > 150


def test_several_state_points_in_one_call(tmp_path):
    states = [FEW, StatePoint(n_particles=30, box_length_sigma=6, temperature_star=1.25)]
    ensembles = run(tmp_path, states)
    assert [ensemble.state for ensemble in ensembles] == states
    for ensemble in ensembles:
        expected = reduced_potential_numpy(ensemble.positions_sigma, ensemble.state)
        np.testing.assert_allclose(ensemble.reduced_potentials, expected, rtol=1e-12)
        assert ensemble.positions_sigma.min() >= 0
        assert ensemble.positions_sigma.max() < 6.00001
        assert_same_frames(Ensemble.load(tmp_path / f"{ensemble.state.label}.h5"), ensemble)


def test_provenance_says_what_a_reader_needs(undisturbed):
    facts = undisturbed.provenance
    assert undisturbed.n_frames == facts["n_eff"] == sum(facts["frames_per_chain"])
    assert facts["statistical_inefficiency"] >= 1
    assert facts["seed"] == 1
    assert facts["platform"] == "CPU"
    assert facts["config"]["n_frames"] == 30
    mean, error = facts["temperature_star"]
    assert abs(mean - 1.25) < 6 * error + 0.05


@pytest.mark.parametrize("finished_segments", [0, 1, 3])
def test_a_killed_run_resumes_to_the_same_bits(
    finished_segments, undisturbed, tmp_path, monkeypatch
):
    original, count = _chain._run_segment, 0

    def killed(*arguments):
        nonlocal count
        if count == finished_segments:
            raise KeyboardInterrupt
        count += 1
        return original(*arguments)

    monkeypatch.setattr(_chain, "_run_segment", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    assert len(list(tmp_path.rglob("*.npz"))) == finished_segments
    monkeypatch.setattr(_chain, "_run_segment", original)
    assert_same_frames(run(tmp_path)[0], undisturbed)


def test_workers_do_not_change_the_frames(tmp_path):
    short = QUICK.model_copy(update={"max_steps": 400})
    alone, together = (
        run(tmp_path / str(workers), config=short, workers=workers)[0] for workers in (1, 2)
    )
    assert_same_frames(alone, together)


def test_seeds_do(undisturbed, tmp_path):
    assert not np.array_equal(run(tmp_path, seed=2)[0].positions_nm, undisturbed.positions_nm)


def test_a_finished_ensemble_is_read_not_made(tmp_path, monkeypatch):
    first = run(tmp_path)[0]
    monkeypatch.setattr(_chain, "_run_segment", None)
    assert_same_frames(run(tmp_path)[0], first)
    (tmp_path / f"{FEW.label}.h5").unlink()
    assert_same_frames(run(tmp_path)[0], first)  # from the recorded chains


def test_more_frames_continue_the_same_chains(tmp_path, monkeypatch):
    first = run(tmp_path)[0]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    (tmp_path / f"{FEW.label}.h5").unlink()
    more = run(tmp_path, config=QUICK.model_copy(update={"n_frames": 60, "max_steps": 2000}))[0]
    assert more.n_frames > 2 * first.n_frames
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert len(list(tmp_path.rglob("*.npz"))) > len(before)


def test_other_settings_in_the_same_directory_are_refused(tmp_path):
    run(tmp_path)
    with pytest.raises(
        ValueError, match=r"N8_.*\.h5 was made with another seed or other settings: choose another"
    ):
        run(tmp_path, seed=2)


def test_too_few_frames_are_a_warning(tmp_path, caplog):
    config = QUICK.model_copy(update={"n_frames": 1000, "max_steps": 400})
    with caplog.at_level(logging.WARNING):
        ensemble = run(tmp_path, config=config)[0]
    assert ensemble.n_frames < 1000
    warnings = " / ".join(ensemble.provenance["warnings"])
    assert f"only {ensemble.n_frames} decorrelated frames of 1000 wanted" in warnings
    assert "too few to know their temperature" in warnings
    assert "N8_L6_T1.25_switched: only" in caplog.text


def test_a_damaged_segment_is_named(tmp_path):
    run(tmp_path)
    (tmp_path / f"{FEW.label}.h5").unlink()
    victim = next(iter(tmp_path.rglob("chain001-segment001.npz")))
    victim.write_bytes(victim.read_bytes()[:200])
    with pytest.raises(
        ValueError, match=r"chain001-segment001\.npz is truncated or not whole.*: delete it"
    ):
        run(tmp_path)


@pytest.mark.parametrize("platform", ["CPU", "Reference"])
def test_a_simulation_that_blows_up_says_why(platform, tmp_path):
    wild = QUICK.model_copy(
        update={"timestep_star": 1e6, "friction_star": 1e-9, "platform": platform}
    )
    with pytest.raises(
        TaskError, match="chain 0 of N = 8.* ran into NaN at timestep_star = 1e.06: lower"
    ):
        run(tmp_path, config=wild)


def test_a_repeated_state_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="N8_L6_T1.25_switched, N8_L6_T1.25_switched: each label must occur once"
    ):
        run(tmp_path, [FEW, FEW])


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(
        ValidationError, match="max_steps = 100 is below one segment of 10000 steps"
    ):
        ReferenceConfig(max_steps=100)
    with pytest.raises(ValidationError, match="n_framse\n.*not permitted"):
        ReferenceConfig(n_framse=10)


@pytest.mark.parametrize(
    ("mean", "error"), [(np.nan, 0.01), (1.25, np.nan), (1.25, np.inf), (1.4, 0.01)]
)
def test_a_wrong_or_unknown_temperature_is_a_warning(mean, error):
    assert temperature_warnings(1.26, 0.01, FEW) == []
    advice = "raise max_steps" if error == np.inf else "lower timestep_star"
    assert advice in temperature_warnings(mean, error, FEW)[0]


@pytest.mark.parametrize("energies", [np.full((2, 8), np.nan), np.ones((2, 8)), np.ones((2, 1))])
def test_a_drift_that_cannot_be_known_is_none(energies):
    assert energy_drift(energies, 1.0) is None
    assert energy_drift(np.arange(40.0).reshape(1, 40), 1.0) > 4


def test_no_folder_is_refused():
    with pytest.raises(ValueError, match="directory = None: reference ensembles need a folder"):
        generate([FEW], QUICK, seed=1)
