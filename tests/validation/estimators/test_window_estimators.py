"""Estimators from windows as objects: whose samples they take, and what they say of a result."""

import math
from dataclasses import replace

import numpy as np
import pytest
from exact import exact_ensemble
from matplotlib.figure import Figure as Canvas

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.estimators import bar_chain, decoupling, neural_windows, softcore
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.sampling import window_parts
from openmm_nti.validation.sampling.windows import WindowsConfig

PAIR = StatePoint(
    n_particles=2, box_length_sigma=3, temperature_star=0.8, cutoff_sigma=1.5, switch_sigma=1.2
)
WINDOWS = WindowsConfig(
    engine="torch",
    n_windows=4,
    n_chains=8,
    n_frames=4,
    steps_between=5,
    equilibration_steps=10,
    pilot_frames=4,
)
SOFT = softcore.SoftcoreConfig(
    n_windows=4, n_chains=8, n_frames=6, steps_between=10, equilibration=40, platform="Reference"
)
ONE_SOFT = decoupling.DecouplingConfig(**SOFT.model_dump())
CHAIN = bar_chain.BarChainConfig(
    n_walkers=8, n_frames=2, n_insertions=100, equilibration_sweeps=5, sweeps_between=2
)
MBAR, BAR, TI = neural_windows.ESTIMATORS
CASES = [(MBAR, WINDOWS), (BAR, WINDOWS), (TI, WINDOWS)]
CASES += [(softcore.ESTIMATORS[0], SOFT), (decoupling.ESTIMATORS[0], ONE_SOFT)]
PACE = Pace((0.0, 1e-4), (1e-5, 1e-6))


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    execution = Execution(seed=3, directory=tmp_path_factory.mktemp("state"))
    model = LambdaHamiltonian(PAIR.pair_potential)
    return Job(PAIR, exact_ensemble(PAIR, 200), model, execution)


def elsewhere(job, path, **changes):
    return replace(job, execution=replace(job.execution, directory=path, **changes))


@pytest.mark.parametrize(("known", "config"), [CASES[0], *CASES[3:]])
def test_another_calculations_file_is_not_taken_up(known, config, job, tmp_path):
    """The file with the plain name is what a run of another seed left there."""
    first = known.estimate(elsewhere(job, tmp_path), config)
    path = tmp_path / f"{known.path_name}_windows.npz"
    old = WindowData.load(path)
    other = known.estimate(elsewhere(job, tmp_path, seed=4), config)
    alone = known.estimate(elsewhere(job, tmp_path / "alone", seed=4), config)
    assert other.value == alone.value != first.value
    assert not np.array_equal(WindowData.load(path).u_kln, old.u_kln)
    assert known.estimate(elsewhere(job, tmp_path), config) == first
    np.testing.assert_array_equal(WindowData.load(path).u_kln, old.u_kln)


def test_other_data_and_another_model_are_sampled_anew(job, tmp_path):
    here = elsewhere(job, tmp_path)
    first = MBAR.estimate(here, WINDOWS)
    other_data = replace(here, data=exact_ensemble(PAIR, 200, seed=1))
    assert MBAR.estimate(other_data, WINDOWS).value != first.value
    longer = WINDOWS.model_copy(update={"steps_between": 6})
    assert MBAR.estimate(here, longer).value != first.value


def test_three_estimators_share_their_samples(job, tmp_path, monkeypatch):
    run, simulated = window_parts._simulated, []
    monkeypatch.setattr(
        window_parts, "_simulated", lambda part: simulated.extend(part.windows) or run(part)
    )
    here = elsewhere(job, tmp_path)
    found = [known.estimate(here, WINDOWS) for known in (MBAR, BAR, TI)]
    assert sorted(simulated) == list(range(WINDOWS.n_windows))
    assert [one.method for one in found] == ["mbar_neural", "bar_neural", "ti_neural_md"]
    spread = max(one.value for one in found) - min(one.value for one in found)
    assert spread < 4 * math.hypot(*(one.std_err for one in found))


def test_the_convergence_series_belongs_to_the_samples(job, tmp_path):
    """It is written again for other samples, and chains of one frame leave none."""
    path = tmp_path / "softcore_convergence.npz"
    known = softcore.ESTIMATORS[0]
    found = known.estimate(elsewhere(job, tmp_path), SOFT)
    with np.load(path) as file:
        assert file["forward"][-1] == file["backward"][-1] == pytest.approx(found.value)
    known.keep_convergence(
        WindowData.load(tmp_path / "softcore_windows.npz").select(np.arange(8) * SOFT.n_frames),
        PAIR,
        elsewhere(job, tmp_path).execution,
    )
    assert not path.exists()


@pytest.mark.parametrize(("known", "config"), CASES)
def test_what_an_estimator_says_of_its_result(known, config, job):
    result = known.estimate(job, config)
    assert result.quantity == known.quantity
    assert isinstance(result.diagnostics, known.Diagnostics)
    assert known.overlap(result, {}).level == "good"
    assert known.converged(result).text.split(":")[0] in ("yes", "hardly")
    read = FreeEnergy.from_dict(result.to_dict())
    assert known.overlap(read, {}) == known.overlap(result, {})
    assert known.converged(read) == known.converged(result)
    assert known.converged(replace(result, std_err=math.inf)).level == "bad"
    names = [figure.name for figure in known.figures(read, job.execution.directory)]
    expected = {
        "bar_neural": [],
        "ti_neural_md": ["dudl"],
        "mu_decoupling": ["overlap_mu_decoupling"],
    }
    both = [f"overlap_{known.name}", f"convergence_{known.name}"]
    assert names == expected.get(known.name, both)
    for figure in known.figures(result, job.execution.directory):
        figure.draw(Canvas().add_subplot())
        assert {len(row) for row in figure.rows} == {len(figure.header)}
    steps = known.evaluations(config, result)
    assert steps > 100
    assert 0 < known.seconds(config, 20, PACE) < known.seconds(config, 40, PACE)
    twice = Pace((0.0, 2e-4), (2e-5, 2e-6))
    assert known.seconds(config, 20, twice) == pytest.approx(2 * known.seconds(config, 20, PACE))


def test_the_chain_is_shared_by_state_points_in_one_box(job, tmp_path):
    known = bar_chain.ESTIMATORS[0]
    trio = PAIR.model_copy(update={"n_particles": 3})
    short = known.estimate(elsewhere(job, tmp_path / "N2"), CHAIN)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "bar_chain").iterdir()}
    assert len(files) == 2
    longer = known.estimate(replace(elsewhere(job, tmp_path / "N3"), state=trio), CHAIN)
    assert longer.diagnostics["beta_mu_ex"][:1] == short.diagnostics["beta_mu_ex"]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    (figure,) = known.figures(longer, tmp_path)
    figure.draw(Canvas().add_subplot())
    assert [row[0] for row in figure.rows] == [1, 2]
    assert known.overlap(longer, {}).level == "good"
    assert known.seconds(CHAIN, 40, PACE) > 2 * known.seconds(CHAIN, 20, PACE) > 0


def test_estimators_without_data_or_model_say_what_is_missing(job):
    with pytest.raises(ValueError, match="needs reference data"):
        MBAR.estimate(replace(job, data=None), WINDOWS)
    with pytest.raises(ValueError, match="needs a model"):
        MBAR.estimate(replace(job, trained=None), WINDOWS)
