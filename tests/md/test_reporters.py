"""LambdaReporter writes what the Context holds, beside OpenMM's reporters, and goes on after a
checkpoint.
"""

import csv

import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_nti.md.fluid_system import lj_topology
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.readers import dudl, reduced_potentials
from openmm_nti.md.reporters import LambdaReporter

LAMBDAS = (0.0, 0.5, 1.0)


def make_simulation(force, state, positions):
    integrator = openmm.LangevinMiddleIntegrator(state.temperature_kelvin, 1.0, 0.002)
    integrator.setRandomNumberSeed(7)
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = app.Simulation(
        lj_topology(state), create_system(state, force), integrator, platform
    )
    simulation.context.setPositions(positions * state.sigma_nm)
    simulation.context.setParameter("lambda_nti", 0.5)
    return simulation


def read(path):
    if path.suffix == ".parquet":
        return pytest.importorskip("pyarrow.parquet").read_table(path).to_pylist()
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("make_force", [torch_force, python_force])
def test_all_lambdas_at_once_equal_one_after_the_other(
    make_force, random_model, small_state, fluid_positions
):
    context = make_simulation(
        make_force(random_model, small_state), small_state, fluid_positions[0]
    ).context
    found = reduced_potentials(context, LAMBDAS)
    assert context.getParameter("lambda_nti") == 0.5
    for value, energy in zip(LAMBDAS, found, strict=True):
        context.setParameter("lambda_nti", value)
        expected = (
            context.getState(getEnergy=True)
            .getPotentialEnergy()
            .value_in_unit(unit.kilojoule_per_mole)
        )
        assert energy == pytest.approx(expected / small_state.kt_kj_mol, rel=1e-5, abs=1e-6)


def test_lines_hold_what_the_context_holds(random_model, small_state, fluid_positions, tmp_path):
    simulation = make_simulation(
        torch_force(random_model, small_state), small_state, fluid_positions[0]
    )
    simulation.reporters.append(LambdaReporter(tmp_path / "lambda.csv", 5, lambdas=LAMBDAS))
    simulation.reporters.append(app.StateDataReporter(str(tmp_path / "state.csv"), 4, step=True))
    simulation.step(20)
    lines = read(tmp_path / "lambda.csv")
    assert [int(line["step"]) for line in lines] == [5, 10, 15, 20]
    assert float(lines[-1]["time_ps"]) == pytest.approx(0.04)
    assert float(lines[-1]["lambda_nti"]) == 0.5
    assert float(lines[-1]["dudl_kj_mol"]) == pytest.approx(dudl(simulation.context))
    found = [float(lines[-1][f"u_{value:g}"]) for value in LAMBDAS]
    np.testing.assert_allclose(found, reduced_potentials(simulation.context, LAMBDAS))


@pytest.mark.parametrize("name", ["lambda.csv", "lambda.parquet"])
def test_a_resumed_run_goes_on_with_the_file(
    name, random_model, small_state, fluid_positions, tmp_path
):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    file, force = tmp_path / name, torch_force(random_model, small_state)
    first = make_simulation(force, small_state, fluid_positions[0])
    first.reporters.append(LambdaReporter(file, 2))
    first.step(4)
    first.saveState(str(tmp_path / "state.xml"))
    first.step(4)  # lost: the run is killed after its checkpoint
    first.reporters.clear()
    second = make_simulation(
        torch_force(random_model, small_state), small_state, fluid_positions[0]
    )
    second.loadState(str(tmp_path / "state.xml"))
    second.reporters.append(LambdaReporter(file, 2, append=True))
    second.step(4)
    assert [int(line["step"]) for line in read(file)] == [2, 4, 6, 8]


def test_parquet_holds_what_csv_holds(random_model, small_state, fluid_positions, tmp_path):
    pytest.importorskip("pyarrow")
    simulation = make_simulation(
        torch_force(random_model, small_state), small_state, fluid_positions[0]
    )
    for name in ("lambda.csv", "lambda.parquet"):
        simulation.reporters.append(LambdaReporter(tmp_path / name, 2, lambdas=LAMBDAS))
    simulation.step(4)
    lines, rows = read(tmp_path / "lambda.csv"), read(tmp_path / "lambda.parquet")
    assert [{key: float(value) for key, value in line.items()} for line in lines] == rows
    simulation.reporters.append(LambdaReporter(tmp_path / "lambda.parquet", 2, append=True))
    with pytest.raises(ValueError, match="name another file"):
        simulation.step(2)


def test_parquet_without_pyarrow_is_refused(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        RuntimeError, match=r"pip install 'openmm-nti\[parquet\]', or name a .csv file"
    ):
        LambdaReporter(tmp_path / "lambda.parquet", 2)


def test_bad_input_is_named(random_model, small_state, fluid_positions, tmp_path):
    with pytest.raises(ValueError, match="reportInterval = 0 must be at least 1"):
        LambdaReporter(tmp_path / "x.csv", 0)
    (tmp_path / "other.csv").write_text("step,energy\n1,2\n")
    simulation = make_simulation(
        torch_force(random_model, small_state), small_state, fluid_positions[0]
    )
    simulation.reporters.append(LambdaReporter(tmp_path / "other.csv", 1, append=True))
    with pytest.raises(ValueError, match="name another file"):
        simulation.step(1)
    empty = make_simulation(torch_force(random_model, small_state), small_state, fluid_positions[0])
    empty.system.removeForce(0)
    with pytest.raises(ValueError, match="0 learned forces"):
        reduced_potentials(empty.context, LAMBDAS)
