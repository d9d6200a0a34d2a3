"""`LJFluid` and `NeuralPath`: thin over the functions, with the right ends, and lambda where it was
asked for.
"""

import openmm
import pytest
import torch
from contexts import make_context
from openmm import unit

import openmm_nti
from openmm_nti import LJFluid, NeuralPath
from openmm_nti.md.forces import torch_force
from openmm_nti.md.plugin import why_not_torch
from openmm_nti.md.readers import dudl


def energy(context):
    return (
        context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    )


@pytest.fixture
def path(random_model, small_state):
    return NeuralPath(random_model, small_state)


@pytest.fixture
def positions(fluid_positions, small_state):
    return fluid_positions[0] * small_state.sigma_nm


def test_the_fluid_is_argon_in_its_box(small_state):
    fluid = LJFluid(small_state)
    atoms = list(fluid.topology.atoms())
    assert {atom.element.symbol for atom in atoms} == {"Ar"}
    mass = fluid.create_system().getParticleMass(0)
    assert mass.value_in_unit(unit.dalton) == pytest.approx(
        atoms[0].element.mass.value_in_unit(unit.dalton), rel=1e-4
    )
    assert fluid.positions.shape == (len(atoms), 3)
    edges = fluid.topology.getUnitCellDimensions().value_in_unit(unit.nanometer)
    assert list(edges) == pytest.approx([small_state.box_length_nm] * 3)


@pytest.mark.parametrize("implementation", ["auto", "torch", "python"])
def test_the_ends_are_lennard_jones_and_the_ideal_gas(implementation, path, positions):
    expected = energy(make_context(LJFluid(path.state).create_system(), positions))
    fluid = make_context(path.create_system(implementation=implementation), positions)
    assert fluid.getParameter("lambda_nti") == 1.0
    assert energy(fluid) == pytest.approx(expected, rel=1e-6)
    gas = make_context(path.create_system(0.0, implementation=implementation), positions)
    assert (gas.getParameter("lambda_nti"), energy(gas)) == (0.0, 0.0)


@pytest.mark.parametrize("implementation", ["torch", "python"])
def test_a_context_starts_where_it_was_asked_to(implementation, path, positions):
    asked = make_context(path.create_system(0.4, implementation=implementation), positions)
    moved = make_context(path.create_system(implementation=implementation), positions)
    moved.setParameter("lambda_nti", 0.4)
    assert energy(asked) == energy(moved)
    assert dudl(asked) == dudl(moved)


def test_the_two_body_part_starts_there_too(path, positions):
    system = LJFluid(path.state).create_system()
    system.removeForce(0)
    system.addForce(path.native_pair_force(0.4))
    context = make_context(system, positions)
    assert context.getParameter("lambda_nti") == 0.4
    assert dudl(context) != 0.0


def test_a_python_force_is_chosen_where_the_plugin_is_missing(path, monkeypatch):
    assert why_not_torch() == ""
    monkeypatch.setitem(__import__("sys").modules, "openmmtorch", None)
    assert "openmm-torch cannot be imported" in why_not_torch()
    assert isinstance(path.force(), openmm.PythonForce)
    with pytest.raises(RuntimeError, match="openmm-torch cannot be imported"):
        path.force(implementation="torch")


def test_models_come_by_name_and_bad_names_are_named(small_state):
    assert NeuralPath("lj-fluid-t1.25", small_state).model.potential == small_state.pair_potential
    with pytest.raises(ValueError, match="no model at nowhere"):
        NeuralPath("nowhere", small_state)
    with pytest.raises(
        ValueError, match="implementation = 'jax' is not known: choose auto, torch or python"
    ):
        NeuralPath("lj-fluid-t1.25", small_state).force(implementation="jax")
    with pytest.raises(AttributeError, match="has no attribute 'NeuralPaths'"):
        openmm_nti.NeuralPaths  # noqa: B018


def test_the_fusion_strategy_is_the_callers(random_model, small_state):
    theirs = [("DYNAMIC", 3)]
    before = torch.jit.set_fusion_strategy(theirs)
    try:
        torch_force(random_model, small_state, fusion=None)
        assert torch.jit.set_fusion_strategy(theirs) == theirs
        torch_force(random_model, small_state)
        assert torch.jit.set_fusion_strategy(theirs) == [("STATIC", 0)]
    finally:
        torch.jit.set_fusion_strategy(before)
