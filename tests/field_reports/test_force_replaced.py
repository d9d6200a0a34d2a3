"""Numbers of the force that the Context has now, whatever was read of it before."""

import copy
import functools
import gc
import operator
import weakref

import numpy as np
import openmm
import pytest
import torch
from contexts import energy_and_forces, make_context
from models import make_random_model

from openmm_nti import create_system, dudl, torch_force
from openmm_nti.md.forces import python_force
from openmm_nti.md.readers import reduced_potentials

BY_CLASS = functools.partial(openmm.Context.reinitialize, preserveState=True)
BY_OBJECT = operator.methodcaller("reinitialize", preserveState=True)


@pytest.fixture
def context(small_state, random_model, fluid_positions, request):
    force = request.param(random_model, small_state)
    context = make_context(
        create_system(small_state, force), fluid_positions[0] * small_state.sigma_nm
    )
    context.setParameter("lambda_nti", 0.5)
    return context


def scaled(model, factor):
    other = copy.deepcopy(model)
    for parameter in other.parameters():
        parameter.mul_(factor)
    return other


def replace(context, force):
    context.getSystem().removeForce(0)
    context.getSystem().addForce(force)


def slope_and_potential(context):
    return dudl(context), reduced_potentials(context, [0.5])[0]


def assert_of_the_context(found, context, state):
    energy, _ = energy_and_forces(context)
    assert found[1] == pytest.approx(energy / state.kt_kj_mol, rel=1e-5)
    fresh = make_context(context.getSystem(), context.getState(getPositions=True).getPositions())
    fresh.setParameter("lambda_nti", 0.5)
    assert found == pytest.approx(slope_and_potential(fresh))


@pytest.mark.parametrize(
    ("context", "make_other", "reinitialize"),
    [
        (python_force, python_force, BY_CLASS),
        pytest.param(python_force, python_force, None, marks=pytest.mark.slow),
        pytest.param(torch_force, torch_force, BY_OBJECT, marks=pytest.mark.slow),
        pytest.param(torch_force, torch_force, BY_CLASS, marks=pytest.mark.slow),
        pytest.param(python_force, torch_force, None, marks=pytest.mark.slow),
    ],
    indirect=["context"],
)
def test_after_reinitialize_the_new_force_is_read(
    context, make_other, reinitialize, random_model, small_state, fluid_positions
):
    before = slope_and_potential(context)
    replace(context, make_other(scaled(random_model, 1.05), small_state))
    if reinitialize:
        reinitialize(context)
    else:
        context.reinitialize()
        context.setPositions(fluid_positions[0] * small_state.sigma_nm)
        context.setParameter("lambda_nti", 0.5)
    found = slope_and_potential(context)
    assert abs(found[1] - before[1]) > 0.1
    assert abs(found[0] - before[0]) > 0.1
    assert_of_the_context(found, context, small_state)


@pytest.mark.parametrize("context", [python_force], indirect=True)
def test_without_reinitialize_the_old_force_is_read(context, random_model, small_state):
    """That is what the Context still computes."""
    known = reduced_potentials(context, [0.5])
    replace(context, python_force(scaled(random_model, 1.3), small_state))
    assert reduced_potentials(context, [0.5]) == known


@pytest.mark.slow
def test_a_force_added_after_the_context_was_made_is_not_read(random_model, small_state):
    system = create_system(small_state)
    context = make_context(system, np.zeros((small_state.n_particles, 3)))
    system.addForce(python_force(random_model, small_state))
    with pytest.raises(ValueError, match="call context.reinitialize"):
        reduced_potentials(context, [0.5])
    with pytest.raises(ValueError, match="has the parameter"):
        dudl(context)
    context.reinitialize(preserveState=True)
    assert reduced_potentials(context, [0.0]) == 0.0


@pytest.mark.parametrize("context", [python_force], indirect=True)
def test_a_barostat_added_later_is_seen(context, small_state):
    reduced_potentials(context, [0.5])
    context.getSystem().addForce(openmm.MonteCarloBarostat(1.0, small_state.temperature_kelvin))
    context.reinitialize(preserveState=True)
    with pytest.raises(ValueError, match="MonteCarloBarostat"):
        reduced_potentials(context, [0.5])


@pytest.mark.slow
@pytest.mark.parametrize("make_force", [torch_force, python_force])
def test_a_model_trained_on_afterwards_changes_nothing(make_force, small_state, fluid_positions):
    model = make_random_model(small_state).requires_grad_(True)
    context = make_context(
        create_system(small_state, make_force(model, small_state)),
        fluid_positions[0] * small_state.sigma_nm,
    )
    context.setParameter("lambda_nti", 0.5)
    before = slope_and_potential(context)
    with torch.no_grad():
        for parameter in model.parameters():
            assert parameter.requires_grad
            parameter.mul_(1.5)
    assert slope_and_potential(context) == before
    assert before[1] == pytest.approx(energy_and_forces(context)[0] / small_state.kt_kj_mol)


@pytest.mark.slow
@pytest.mark.parametrize("context", [python_force], indirect=True)
def test_many_contexts_in_turn_are_not_mixed_up(context, random_model, small_state):
    """The address of a Context that is gone is given to the next one."""
    positions = context.getState(getPositions=True).getPositions(asNumpy=True)
    found = []
    for factor in (1.0, 1.05):
        force = python_force(scaled(random_model, factor), small_state)
        one = make_context(create_system(small_state, force), positions)
        one.setParameter("lambda_nti", 0.5)
        found.append(slope_and_potential(one))
        gone = weakref.ref(one)
        del one
        gc.collect()
        assert gone() is None
    assert len(np.unique(np.round(found, 6), axis=0)) == 2
