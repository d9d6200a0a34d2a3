"""`openmm-nti paper` at tiny sizes: every file, resuming, flags."""

import csv
import math
import shutil
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from openmm_nti import LambdaHamiltonian, NetworkConfig, save_model
from openmm_nti.cli import app
from openmm_nti.model_files import DENOISER_FOLDER
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.paper import presets
from openmm_nti.validation.paper.run import TARGETS, all_tasks, plan, run


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
        assert row["level"] in {"none", "good", "warn", "bad"}
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
        run(replace(finished, execution=Execution(2, directory=finished.directory)))


def test_a_folder_of_other_files_is_refused(finished, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds other files \(notes.txt\): name another"):
        run(replace(finished, execution=Execution(1, directory=tmp_path)))


def test_another_denoiser_is_refused_in_the_same_directory(finished, tmp_path):
    shutil.copytree(finished.model, tmp_path / "model")
    other = LambdaHamiltonian(finished.hamiltonian.potential, NetworkConfig(width=8))
    save_model(other, tmp_path / "model" / DENOISER_FOLDER)
    with pytest.raises(ValueError, match="another denoiser"):
        run(replace(finished, model=str(tmp_path / "model")))


def test_unknown_targets_are_refused(work):
    with pytest.raises(ValueError, match="fig3, fig4"):
        plan(work, ["fig9"])


def test_fig3_alone_needs_the_samples_of_its_own_n_only(tmp_path, work):
    fresh = replace(work, execution=Execution(1, directory=tmp_path))
    todo = plan(fresh, ["fig3"])
    assert {(task.kind, task.n) for task in todo.tasks} == {
        (k, n) for k in ("gr", "neural_ti") for n in (4, 6)
    }
    assert todo.reference_n == [4, 6]


def test_the_command_runs_a_target_and_says_where_the_numbers_are(tmp_path, monkeypatch, work):
    monkeypatch.setattr(presets, "QUICK", work.preset)
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
