"""`openmm-nti paper` at tiny sizes: every file, resuming, flags; the toy; curves of a gas that is
known.
"""

import csv
import json
import math
import shutil
from itertools import pairwise

import numpy as np
import pytest
from typer.testing import CliRunner

from openmm_nti import LambdaHamiltonian, NetworkConfig, StatePoint, save_model
from openmm_nti.cli import app
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.model_files import DENOISER_FOLDER
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.paper import curves, presets, table, toy
from openmm_nti.validation.paper.expenses import expense_lines, foreseen_seconds, training_seconds
from openmm_nti.validation.paper.jobs import KINDS, PaperTask, Work, run_task, subset
from openmm_nti.validation.paper.presets import FULL, QUICK, PaperPreset
from openmm_nti.validation.paper.run import TARGETS, all_tasks, forecast, plan, run

TINY = PaperPreset(
    name="tiny",
    grid=(2, 3, 4, 6),
    figure_n=(4, 6),
    paths_largest_n=4,
    windows_n=(4,),
    softcore_n=(6,),
    softcore_subsets=(3, 5),
    chain_n=6,
    n_insertions=50,
    gcmc_beta_mu_paper=(-32.5, -31.2),
    beta_mu_paper=(-31.5, -26.0),
    reference={
        "n_frames": 40,
        "n_replicas": 2,
        "equilibration_steps": 100,
        "frame_interval": 20,
        "segment_frames": 20,
        "max_steps": 800,
        "platform": "Reference",
    },
    bound={"n_levels": 4, "n_pairs": 8, "n_tethered": 0},
    neural_ti={"n_samples": 8, "n_steps": 10},
    paths={"n_paths": 8, "n_steps": 10},
    windows={
        "n_windows": 3,
        "n_chains": 4,
        "n_frames": 4,
        "steps_between": 2,
        "equilibration_steps": 2,
        "pilot_frames": 4,
        "platform": "Reference",
        "force": "python",
    },
    softcore={
        "n_windows": 7,
        "n_chains": 2,
        "n_frames": 10,
        "steps_between": 10,
        "equilibration": 40,
        "platform": "Reference",
    },
    chain={
        "n_walkers": 16,
        "n_frames": 4,
        "n_insertions": 100,
        "equilibration_sweeps": 20,
        "sweeps_between": 4,
    },
    gcmc={"n_walkers": 32, "equilibration_steps": 100, "n_frames": 60, "steps_between": 10},
    toy={"n_steps": 150, "n_samples": 200, "n_lambdas": 12, "n_moves": 60},
)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    state = StatePoint(n_particles=4, box_length_sigma=6.0, temperature_star=1.25)
    model = save_model(
        LambdaHamiltonian(state.pair_potential), folder / "model", trained_on=[state]
    )
    return Work(TINY, str(model), 1, folder / "run")


@pytest.fixture(scope="module")
def finished(work):
    said = []
    with np.errstate(all="ignore"):
        run(work, progress=False, say=said.append)
    assert "about" in said[0]
    assert "worker" in said[0]
    return work


@pytest.fixture(scope="module")
def facts(finished):
    return json.loads((finished.directory / "table.json").read_text())


def test_every_task_wrote_its_file_and_nothing_is_left_to_do(finished):
    tasks = all_tasks(finished, set().union(*TARGETS.values()))
    assert {task.kind for task in tasks} >= {
        "bound",
        "neural_ti",
        "path_bar",
        "mbar_neural",
        "softcore",
        "gr",
        "toy",
    }
    assert all(task.path.is_file() for task in tasks)
    assert plan(finished).tasks == []
    assert plan(finished).seconds == 0


def test_the_table_holds_each_method_with_error_residual_and_flag(facts, finished):
    rows = facts["rows"]
    methods = {
        row["method"] for row in rows if row["n_particles"] == 6 and row["quantity"] == "beta_f_ex"
    }
    assert methods >= {
        "neural_ti_bound",
        "neural_ti",
        "bar_chain",
        "mbar_softcore",
        "ti_softcore_3",
        "ti_softcore_5",
    }
    exact = {row["n_particles"]: row for row in rows if row["method"] == "bar_chain"}
    assert sorted(exact) == [2, 3, 4, 6]
    assert abs(exact[2]["value"] - (-0.0296)) < max(
        4 * exact[2]["std_err"], 0.01
    )  # quadrature, switched
    for row in rows:
        assert row["convention"] in {"switched", "full", None}
        assert row["level"] in {"good", "warn", "bad"}
        assert row["note"] or row["quantity"] == "beta_mu_ex"
    with (finished.directory / "table.csv").open() as file:
        assert len(list(csv.reader(file))) == len(rows) + 1


def test_figures_have_their_numbers_and_the_summary_names_them(finished):
    page = (finished.directory / "paper.md").read_text()
    names = {path.stem for path in (finished.directory / "figures").glob("*.svg")}
    assert names >= {
        "fig3_radial_distributions",
        "fig4_number_distributions",
        "fig5_chemical_potential",
    }
    assert names >= {"fig5_density", "fig6_free_energy", "open_box", "toy"}
    for name in names:
        assert f"figures/{name}.svg" in page
        assert (finished.directory / "figures" / f"{name}.csv").is_file()
    assert "ln 3" in page
    assert "git" in page


def test_costs_are_scaled_to_one_error(facts, finished):
    rows = {(row["n_particles"], row["method"]): row for row in facts["costs"]}
    assert {method for _, method in rows} >= {"neural_ti_bound", "neural_ti", "mbar_softcore"}
    for (_, method), row in rows.items():
        if row["std_err"] is not None:
            assert row["cpu_seconds_scaled"] == pytest.approx(
                row["cpu_seconds"] * (row["std_err"] / 0.3) ** 2
            )
        assert row["evaluations"] > 0
        assert (row["reference_steps"] > 0) == (
            method in {"neural_ti_bound", "path_bar", "mbar_neural"}
        )
    assert "CPU s for ± 0.3 kT" in (finished.directory / "paper.md").read_text()


def test_the_cost_of_training_is_that_of_what_a_method_rests_on(work, tmp_path):
    """The denoiser's for bounds and path weights, the energy's for the others, none for soft
    cores.
    """
    model = work.hamiltonian
    save_model(model, tmp_path, training={"seconds": 50.0, "processes": 2})
    assert set(training_seconds(str(tmp_path)).values()) == {100.0}
    save_model(
        model, tmp_path / DENOISER_FOLDER, training={"seconds": 50.0, "core_seconds": 3000.0}
    )
    cost = training_seconds(str(tmp_path))
    assert (cost["mbar_neural"], cost["path_bar"], cost.get("mbar_softcore")) == (
        100.0,
        3000.0,
        None,
    )
    row = {
        "n_particles": 2,
        "value": 0.0,
        "std_err": 0.3,
        "cpu_seconds": 7.0,
        "evaluations": 5,
        "reference_steps": 0,
    }
    row |= {"cpu_seconds_scaled": 7.0, "evaluations_scaled": 5}
    lines = expense_lines([row | {"method": name} for name in ("path_bar", "mbar_softcore")], cost)
    assert [line.split(" | ")[6] for line in lines[2:4]] == ["3,007", "7"]


def test_radial_distributions_come_with_the_noise_they_have(facts):
    for one in facts["radial_distributions"].values():
        assert one["rms"] > 0
        assert one["rms_expected_of_noise"] > 0
        assert math.isfinite(one["energy_difference_kt"])


def test_grand_canonical_monte_carlo_agrees_with_p_of_n(facts):
    for found in facts["open_boxes"].values():
        expected, error = found["from_free_energies"]["reference"]
        assert abs(found["mean_number"] - expected) < 3 * math.hypot(found["std_err"], error)


def test_another_seed_is_refused_in_the_same_directory(finished):
    with pytest.raises(ValueError, match="another seed"):
        run(Work(TINY, finished.model, 2, finished.directory), progress=False)


def test_another_denoiser_is_refused_in_the_same_directory(finished, tmp_path):
    shutil.copytree(finished.model, tmp_path / "model")
    other = LambdaHamiltonian(finished.hamiltonian.potential, NetworkConfig(width=8))
    save_model(other, tmp_path / "model" / DENOISER_FOLDER)
    with pytest.raises(ValueError, match="another denoiser"):
        run(Work(TINY, str(tmp_path / "model"), 1, finished.directory), progress=False)


def test_unknown_targets_are_refused(work):
    with pytest.raises(ValueError, match="fig3, fig4"):
        plan(work, ["fig9"])


def test_fig3_alone_needs_the_samples_of_its_own_n_only(tmp_path, work):
    fresh = Work(TINY, work.model, 1, tmp_path)
    todo = plan(fresh, ["fig3"])
    assert {(task.kind, task.n) for task in todo.tasks} == {
        (k, n) for k in ("gr", "neural_ti") for n in (4, 6)
    }
    assert todo.reference_n == [4, 6]


def test_a_method_that_fails_leaves_its_reason(tmp_path, work, monkeypatch):
    def fail(_task):
        raise ValueError("no overlap at all")

    monkeypatch.setitem(KINDS, "softcore", fail)
    task = PaperTask("softcore", 6, Work(TINY, work.model, 1, tmp_path))
    run_task(task)
    content = json.loads(task.path.read_text())
    assert content["refused"] == "no overlap at all"
    assert content["estimates"] == []
    row = table.refused_row("softcore", 6, 0.02, content["refused"])
    assert row["applies"] is False
    assert "no overlap" in row["note"]


def test_widom_is_flagged_in_a_dense_fluid_and_bounds_where_they_are_violated():
    widom = FreeEnergy(3.0, 0.1, "widom", "switched", 190, "beta_mu_ex", {"verdict": "good"})
    (row,) = table.chemical_potential_rows([widom], 0.88, None)
    assert (row["applies"], row["level"]) == (False, "bad")
    exact = FreeEnergy(-10.0, 0.1, "mbar_softcore", "switched", 40, diagnostics={"verdict": "good"})
    bound = FreeEnergy(-9.0, 0.1, "neural_ti_bound", "switched", 40)
    paths = FreeEnergy(
        -3.0, 0.1, "path_bar", "switched", 40, diagnostics={"verdict": "unreliable: overlap"}
    )
    inside = FreeEnergy(
        -10.1, 0.1, "eos", "switched", 40, diagnostics={"verdict": "unreliable: inside the dome"}
    )
    estimates = {one.method: one for one in (exact, bound, paths, inside)}
    rows = {row["method"]: row for row in table.free_energy_rows(estimates, 0.19)}
    assert rows["mbar_softcore"]["level"] == "good"
    assert rows["neural_ti_bound"]["level"] == "bad"
    assert rows["neural_ti_bound"]["residual"] == pytest.approx(1.0)
    assert [rows[name]["applies"] for name in ("path_bar", "eos")] == [False, False]


def test_the_toy_finds_ln_3_and_its_score_is_good_enough_to_see_it():
    found = toy.run(toy.ToyConfig(n_steps=300, n_samples=300, n_lambdas=16), seed=1)
    assert abs(found.exact - math.log(3)) < 3 * found.exact_err < 0.15
    assert abs(found.noised - math.log(3)) < 0.25


def test_a_subset_of_windows_keeps_both_ends():
    k, n = 9, 4
    data = WindowData(np.linspace(0, 1, k), np.zeros((k, n, k)), np.zeros((k, n)), np.arange(n))
    some = subset(data, 5)
    np.testing.assert_allclose(some.lambdas, [0, 0.25, 0.5, 0.75, 1])
    assert some.u_kln.shape == (5, n, 5)


def test_curves_of_a_virial_gas_find_its_chemical_potential():
    volume, virial = 216.0, 1.0
    estimates = {
        n: {
            m: FreeEnergy(virial * n * (n - 1) / volume, 0.01, m, "switched", n)
            for m in ("mbar_neural", "neural_ti")
        }
        for n in (2, 50, 100, 150, 200)
    }
    fitted = curves.fitted_curves(estimates, None, 6.0)
    assert list(fitted) == ["reference", "neural_ti", "mbar_neural"]
    n, value, _ = fitted["neural_ti"].chemical_potential()
    np.testing.assert_allclose(value, 2 * virial * n / volume, atol=1e-6)
    deviation, noise, last = curves.rms_deviation(fitted["neural_ti"], fitted["reference"])
    assert deviation < 1e-6 < noise
    assert last == pytest.approx(0.9, abs=0.01)
    assert (
        curves.p_of_n(fitted["reference"], -20.0) is None
    )  # a reservoir that fills more than 200 places
    number, _ = curves.mean_number(fitted["reference"], -28.5)
    assert 6 < number < 6.6  # 216 exp(-28.5 + 25.013 - 2 number / 216)


def test_the_reference_takes_up_where_the_chain_ends():
    facts = {
        "beta_mu_ex": [-1.0, -1.0],
        "beta_mu_ex_std_err": [0.1, 0.1],
        "neighbour_correlation": [0.0],
    }
    chain = FreeEnergy(-2.0, 0.15, "bar_chain", "switched", 3, diagnostics=facts)
    worse = FreeEnergy(-9.0, 0.5, "mbar_softcore", "switched", 10)
    better = FreeEnergy(-9.2, 0.2, "mbar_neural", "switched", 10)
    found = curves.reference_curve(
        {10: {"mbar_softcore": worse, "mbar_neural": better}, 2: {}}, chain, 6.0
    )
    assert found.n_particles.tolist() == [2, 3, 10]
    assert found.beta_f_ex.tolist() == [-1.0, -2.0, -9.2]


def test_presets_are_consistent_and_quick_is_foreseen_within_half_an_hour_on_two_cores():
    for preset in (QUICK, FULL):
        assert set(preset.figure_n) | set(preset.windows_n) <= set(preset.grid)
        assert all(low < high for low, high in pairwise(preset.grid))
    pieces = [
        PaperTask(kind, n, Work(QUICK, "lj-fluid-t1.25", 1, None))
        for kind in ("bound",)
        for n in QUICK.grid
    ]
    assert sum(foreseen_seconds(piece, 1.0) for piece in pieces) < 1000
    assert "minutes" in forecast(600, 2)
    assert "hours" in forecast(60_000, 2)


def test_the_command_runs_a_target_and_says_where_the_numbers_are(tmp_path, monkeypatch, work):
    monkeypatch.setattr(presets, "QUICK", TINY)
    output = tmp_path / "toy"
    arguments = [
        "paper",
        "--output",
        str(output),
        "--quick",
        "--only",
        "toy",
        "--model",
        work.model,
        "--workers",
        "1",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "paper.md" in result.output
    assert (output / "figures" / "toy.svg").is_file()
    assert CliRunner().invoke(app, [*arguments[:-4], "--only", "fig9"]).exit_code == 2
