"""dU/dlambda of a force in another force: right, or refused, and never a silent zero."""

from types import SimpleNamespace

import openmm
import pytest
from contexts import energy_and_forces, make_context

from openmm_nti import create_system, dudl, torch_force
from openmm_nti.md.forces import python_force
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.md.readers import reduced_potentials
from openmm_nti.md.reporters import LambdaReporter
from openmm_nti.md.switching import switch


def in_a_cv(force, expression="2*u", derivative=True):
    outer = openmm.CustomCVForce(expression)
    outer.addCollectiveVariable("u", force)
    if derivative:
        outer.addGlobalParameter("lambda_nti", 1.0)
        outer.addEnergyParameterDerivative("lambda_nti")
    return outer


def in_an_atm_force(force, n_particles=12):
    outer = openmm.ATMForce(0.7, 0.7, 0, 0, 0, 0, 0, 0, 1.0)
    outer.addForce(force)
    for _ in range(n_particles):
        outer.addParticle(openmm.Vec3(0, 0, 0))
    return outer


def own_force():
    force = openmm.CustomExternalForce("lambda_nti * x")
    force.addGlobalParameter("lambda_nti", 1.0)
    force.addParticle(0)
    return force


@pytest.fixture
def context_of(small_state, fluid_positions):
    def make(*forces):
        context = make_context(
            create_system(small_state, *forces), fluid_positions[0] * small_state.sigma_nm
        )
        context.setParameter("lambda_nti", 0.5)
        return context

    return make


def by_differences(context, step=1e-4):
    energies = []
    for value in (0.5 + step, 0.5 - step):
        context.setParameter("lambda_nti", value)
        energies.append(energy_and_forces(context)[0])
    context.setParameter("lambda_nti", 0.5)
    return (energies[0] - energies[1]) / (2.0 * step)


@pytest.mark.parametrize(
    ("wrap", "make_force"),
    [
        pytest.param(in_a_cv, torch_force, marks=pytest.mark.slow),
        (lambda force: in_a_cv(force, "u*u + 3*lambda_nti"), native_pair_force),
        (lambda force: in_a_cv(in_a_cv(force, "3*u")), native_pair_force),
    ],
    ids=["scaled", "squared", "twice"],
)
def test_a_cv_asked_for_the_derivative_passes_it_on(
    wrap, make_force, random_model, small_state, context_of
):
    context = context_of(wrap(make_force(random_model, small_state)))
    expected = by_differences(context)
    assert abs(expected) > 0.5
    assert dudl(context) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("wrap", "make_force", "reason"),
    [
        (lambda force: in_a_cv(force, derivative=False), native_pair_force, "only if asked"),
        pytest.param(
            lambda force: in_a_cv(in_a_cv(force, derivative=False)),
            python_force,
            "only if asked",
            marks=pytest.mark.slow,
        ),
        pytest.param(in_a_cv, python_force, "no derivative", marks=pytest.mark.slow),
        (in_an_atm_force, native_pair_force, "does not pass"),
        pytest.param(
            lambda force: in_a_cv(in_an_atm_force(force)),
            native_pair_force,
            "does not pass",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_openmm_would_call_zero_is_refused(
    wrap, make_force, reason, random_model, small_state, context_of, tmp_path
):
    context = context_of(wrap(make_force(random_model, small_state)))
    assert abs(by_differences(context)) > 0.5
    with pytest.raises(ValueError, match=reason):
        dudl(context)
    with pytest.raises(ValueError, match="0 learned forces.*to the System itself"):
        reduced_potentials(context, [0.0, 1.0])
    with pytest.raises(ValueError, match="0 learned forces"):
        switch(context, [0.0, 1.0], 1)
    reporter = LambdaReporter(tmp_path / "lambda.csv", 1)
    with pytest.raises(ValueError, match=reason):
        reporter.report(SimpleNamespace(context=context, currentStep=0), context.getState())


@pytest.mark.slow
def test_a_force_of_ones_own_that_depends_on_lambda_counts_or_is_refused(
    random_model, small_state, context_of
):
    """reduced_potentials would leave it out, and OpenMM has no derivative of this kind of force."""
    context = context_of(python_force(random_model, small_state), own_force())
    with pytest.raises(ValueError, match="CustomExternalForce depends on lambda_nti.*differences"):
        dudl(context)
    with pytest.raises(ValueError, match="2 forces that depend on lambda_nti"):
        reduced_potentials(context, [0.0, 1.0])


@pytest.mark.slow
def test_two_paths_in_one_context_add_up(random_model, small_state, context_of):
    context = context_of(
        python_force(random_model, small_state),
        python_force(random_model, small_state),
        in_a_cv(native_pair_force(random_model, small_state)),
    )
    assert dudl(context) == pytest.approx(by_differences(context), rel=1e-3)
    with pytest.raises(ValueError, match="2 learned forces"):
        reduced_potentials(context, [0.0, 1.0])


def test_a_derivative_asked_for_too_late_is_refused(small_state, context_of):
    """The Context knows of it only after reinitialize, and reports 0 until then."""
    force = openmm.CustomBondForce("lambda_nti * r")
    force.addGlobalParameter("lambda_nti", 1.0)
    force.addBond(0, 1)
    context = context_of(force)
    force.addEnergyParameterDerivative("lambda_nti")
    with pytest.raises(ValueError, match="after the Context was made"):
        dudl(context)
    context.reinitialize(preserveState=True)
    assert dudl(context) == pytest.approx(by_differences(context))


def test_a_true_zero_is_zero(small_state, context_of):
    force = openmm.CustomBondForce("(lambda_nti - 0.5)^2 * r")
    force.addGlobalParameter("lambda_nti", 1.0)
    force.addEnergyParameterDerivative("lambda_nti")
    force.addBond(0, 1)
    assert dudl(context_of(force)) == 0.0


def test_a_renamed_parameter_is_read_by_its_name(random_model, small_state, fluid_positions):
    force = native_pair_force(random_model, small_state)
    force.setGlobalParameterName(0, "mine")
    force.setEnergyFunction("nti_pair(r, mine)")
    context = make_context(
        create_system(small_state, force), fluid_positions[0] * small_state.sigma_nm
    )
    with pytest.raises(ValueError, match="has the parameter lambda_nti"):
        dudl(context)
    assert abs(dudl(context, "mine")) > 0.3


@pytest.mark.slow
def test_openmm_itself_calls_the_derivative_of_a_python_force_zero(
    random_model, small_state, fluid_positions
):
    """As the documentation says: in a CustomIntegrator too, so only `dudl` will do."""
    integrator = openmm.CustomIntegrator(0.001)
    integrator.addGlobalVariable("slope", 7.0)
    integrator.addComputeGlobal("slope", "deriv(energy, lambda_nti)")
    system = create_system(small_state, python_force(random_model, small_state))
    context = make_context(system, fluid_positions[0] * small_state.sigma_nm, integrator)
    integrator.step(1)
    assert integrator.getGlobalVariableByName("slope") == 0.0
    assert abs(dudl(context)) > 0.5
