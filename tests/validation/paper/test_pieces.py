"""The pieces of the paper: its table, curves of a gas that is known, the toy, and its costs."""

import csv
import json
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from openmm_nti import save_model
from openmm_nti.files import read_json
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.model_files import DENOISER_FOLDER
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.paper import curves, table, toy
from openmm_nti.validation.paper.expenses import (
    expense_lines,
    forecast_seconds,
    training_seconds,
)
from openmm_nti.validation.paper.jobs import KINDS, run_task, subset
from openmm_nti.validation.paper.presets import FULL, QUICK
from openmm_nti.validation.paper.run import forecast
from openmm_nti.validation.paper.work import PaperTask, Work

PACE = Pace(gradient_seconds=(0.0, 1e-4), md_seconds=(5e-5, 1e-6))  # a core of 2020


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


def test_a_method_that_fails_leaves_its_reason(tmp_path, work, monkeypatch):
    def fail(_task):
        raise ValueError("no overlap at all")

    monkeypatch.setitem(KINDS, "softcore", fail)
    task = PaperTask("softcore", 6, replace(work, execution=Execution(1, directory=tmp_path)))
    run_task(task)
    content = json.loads(task.path.read_text())
    assert content["refused"] == "no overlap at all"
    assert content["estimates"] == []
    row = table.refused_row("softcore", 6, 0.02, content["refused"])
    assert row["applies"] is False
    assert "no overlap" in row["note"]


def test_widom_is_flagged_in_a_dense_fluid_and_bounds_where_they_are_violated():
    widom = FreeEnergy(3.0, 0.1, "widom", "switched", 190, "beta_mu_ex", Verdict("good", "good"))
    (row,) = table.chemical_potential_rows([widom], 0.88, None)
    assert (row["applies"], row["level"]) == (False, "bad")
    exact = FreeEnergy(-10.0, 0.1, "mbar_softcore", "switched", 40, verdict=Verdict("good", "good"))
    bound = FreeEnergy(-9.0, 0.1, "neural_ti_bound", "switched", 40)
    paths = FreeEnergy(
        -3.0, 0.1, "path_bar", "switched", 40, verdict=Verdict("bad", "unreliable: overlap")
    )
    inside = FreeEnergy(
        -10.1, 0.1, "eos", "switched", 40, verdict=Verdict("bad", "unreliable: inside the dome")
    )
    estimates = {one.method: one for one in (exact, bound, paths, inside)}
    rows = {row["method"]: row for row in table.free_energy_rows(estimates, 0.19)}
    assert rows["mbar_softcore"]["level"] == "warn"  # nothing exact confirms it
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


def test_presets_are_consistent_and_quick_is_forecast_within_half_an_hour_on_two_cores():
    for preset in (QUICK, FULL):
        assert set(preset.figure_n) | set(preset.windows_n) <= set(preset.grid)
        assert all(low < high for low, high in pairwise(preset.grid))
    pieces = [
        PaperTask(kind, n, Work(QUICK, "lj-fluid-t1.25", Execution()))
        for kind in ("bound",)
        for n in QUICK.grid
    ]
    assert sum(forecast_seconds(piece, PACE) for piece in pieces) < 1000
    assert "minutes" in forecast(600, 2)
    assert "hours" in forecast(60_000, 2)


def test_the_csv_of_the_table_reads_back_whatever_the_notes_hold(tmp_path):
    notes = ['it says "do not use", twice', "two\nlines", "plain", ""]
    rows = [
        {"n_particles": n, "value": 1.23456789, "std_err": math.inf, "note": note}
        for n, note in enumerate(notes)
    ]
    table.write_table(tmp_path, rows, {})
    with (tmp_path / "table.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["note"] for row in read] == notes
    assert [row["value"] for row in read] == ["1.23457"] * len(notes)
    assert {row["std_err"] for row in read} == {""}
    assert [row["note"] for row in read_json(tmp_path / "table.json")["rows"]] == notes
