"""Exchange and switching at another temperature than the model's, or none: refused."""

import openmm
import pytest
from contexts import make_context

from openmm_nti import LambdaHamiltonian, StatePoint, create_system
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.fluid_system import lj_topology
from openmm_nti.md.forces import python_force
from openmm_nti.md.readers import check_sampling
from openmm_nti.md.replica_exchange import ReplicaExchange
from openmm_nti.md.reporters import LambdaReporter
from openmm_nti.md.switching import switch
from openmm_nti.md.system_checks import check_thermostat

STATE = StatePoint(n_particles=4, box_length_sigma=6.0, temperature_star=1.25)
T = STATE.temperature_kelvin
TWO_BODY = LambdaHamiltonian(STATE.pair_potential)
LAMBDAS = [0.0, 0.5, 1.0]


def andersen(system, kelvin=T, frequency=1.0):
    system.addForce(openmm.AndersenThermostat(kelvin, frequency))


def subsystem(kelvin, atoms):
    integrator = openmm.NoseHooverIntegrator(0.002)
    integrator.addSubsystemThermostat(atoms, [], kelvin, 1.0, kelvin, 1.0, 3, 3, 3)
    return integrator


def compound(current):
    integrator = openmm.CompoundIntegrator()
    integrator.addIntegrator(openmm.VerletIntegrator(0.002))
    integrator.addIntegrator(openmm.LangevinMiddleIntegrator(T, 1.0, 0.002))
    integrator.setCurrentIntegrator(current)
    return integrator


def custom(kt=None):
    integrator = openmm.CustomIntegrator(0.002)
    if kt is not None:
        integrator.addGlobalVariable("kT", kt)
    integrator.addComputePerDof("x", "x + dt*v")
    return integrator


GOOD = {
    "LangevinMiddle": lambda: openmm.LangevinMiddleIntegrator(T, 1.0, 0.002),
    "Langevin": lambda: openmm.LangevinIntegrator(T, 1.0, 0.002),
    "Brownian": lambda: openmm.BrownianIntegrator(T, 100.0, 0.002),
    "VariableLangevin": lambda: openmm.VariableLangevinIntegrator(T, 1.0, 0.001),
    "NoseHoover": lambda: openmm.NoseHooverIntegrator(T, 1.0, 0.002),
    "NoseHoover of all atoms": lambda: subsystem(T, [0, 1, 2, 3]),
    "MTSLangevin": lambda: openmm.MTSLangevinIntegrator(T, 1.0, 0.004, [(0, 1)]),
    "Custom with kT": lambda: custom(STATE.kt_kj_mol),
    "Compound": lambda: compound(1),
}
BAD = {
    "LangevinMiddle at 300 K": lambda: openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.002),
    "MTSLangevin at 300 K": lambda: openmm.MTSLangevinIntegrator(300.0, 1.0, 0.004, [(0, 1)]),
    "NoseHoover at 300 K": lambda: openmm.NoseHooverIntegrator(300.0, 1.0, 0.002),
    "Brownian at 300 K": lambda: openmm.BrownianIntegrator(300.0, 100.0, 0.002),
    "Custom at 300 K": lambda: custom(300.0 * 0.00831446),
    "half a kelvin off": lambda: openmm.LangevinMiddleIntegrator(T + 0.5, 1.0, 0.002),
    "NaN": lambda: openmm.LangevinMiddleIntegrator(float("nan"), 1.0, 0.002),
    "Verlet": lambda: openmm.VerletIntegrator(0.002),
    "VariableVerlet": lambda: openmm.VariableVerletIntegrator(0.001),
    "MTS": lambda: openmm.MTSIntegrator(0.004, [(0, 1)]),
    "no friction": lambda: openmm.LangevinMiddleIntegrator(T, 0.0, 0.002),
    "NoseHoover of some atoms": lambda: subsystem(T, [0, 1]),
    "Compound": lambda: compound(0),
    "AMD": lambda: openmm.AMDIntegrator(0.002, 1.0, -1e4),
    "QTB": lambda: openmm.QTBIntegrator(T, 10.0, 0.002),
}


@pytest.fixture(scope="module")
def make():
    def context(integrator, change=lambda _: None):
        system = create_system(STATE, python_force(TWO_BODY, STATE))
        change(system)
        return make_context(system, lattice_positions_nm(STATE, seed=1), integrator)

    return context


@pytest.mark.parametrize("name", GOOD)
def test_a_thermostat_at_the_temperature_of_the_model_is_taken(name):
    context = make_context(create_system(STATE), integrator=GOOD[name]())
    assert check_thermostat(context, STATE.kt_kj_mol, range(4)) == pytest.approx(T)


@pytest.mark.parametrize("name", BAD)
def test_any_other_is_refused(name):
    context = make_context(create_system(STATE), integrator=BAD[name]())
    with pytest.raises(ValueError, match=f"{T:.6g}"):
        check_thermostat(context, STATE.kt_kj_mol, range(4))


@pytest.mark.parametrize(
    "name", ["MTSLangevin", pytest.param("NoseHoover", marks=pytest.mark.slow)]
)
def test_exchange_and_switching_run_by_any_thermostat(make, name):
    context = make(GOOD[name]())
    exchange = ReplicaExchange(context, LAMBDAS, seed=1)
    exchange.set_positions([lattice_positions_nm(STATE, seed) for seed in (1, 2, 3)])
    assert exchange.run(1, 1).u_kln.shape == (3, 3, 1)
    assert switch(context, LAMBDAS, 1)[0] == 0.0


@pytest.mark.parametrize("name", ["Verlet", "LangevinMiddle at 300 K"])
def test_exchange_and_switching_at_another_temperature_are_refused(make, name):
    context = make(BAD[name]())
    with pytest.raises(ValueError, match=f"{T:.6g}"):
        ReplicaExchange(context, LAMBDAS, seed=1)
    with pytest.raises(ValueError, match=f"{T:.6g}"):
        switch(context, LAMBDAS, 1)


def test_an_andersen_thermostat_counts_by_the_parameter_of_the_context(make):
    context = make(openmm.VerletIntegrator(0.002), andersen)
    assert check_sampling(context) == pytest.approx(T)
    context.setParameter("AndersenTemperature", 300.0)
    with pytest.raises(ValueError, match="AndersenThermostat is at 300 K"):
        check_sampling(context)
    context.setParameter("AndersenTemperature", T)
    context.setParameter("AndersenCollisionFrequency", 0.0)
    with pytest.raises(ValueError, match="no thermostat"):
        check_sampling(context)


def grouped(kind):
    """An integrator that takes the forces of group 0 alone."""
    if kind == "MTSLangevin":
        return GOOD[kind]()
    integrator = custom(STATE.kt_kj_mol) if kind == "Custom" else GOOD[kind]()
    if kind == "Custom":
        integrator.addComputePerDof("v", "v + dt*f/m")
    integrator.setIntegrationForceGroups({0})
    return integrator


@pytest.mark.parametrize("kind", ["LangevinMiddle", "NoseHoover", "MTSLangevin", "Custom"])
def test_an_integrator_that_leaves_the_force_out_is_refused(make, kind):
    assert check_sampling(make(grouped(kind))) == pytest.approx(T)
    left_out = make(grouped(kind), lambda system: system.getForce(0).setForceGroup(1))
    with pytest.raises(ValueError, match="leaves out force group 1"):
        check_sampling(left_out)


def test_pairs_of_a_nose_hoover_chain_have_a_temperature_too():
    integrator = openmm.NoseHooverIntegrator(0.002)
    pairs = [(0, 1), (2, 3)]
    integrator.addSubsystemThermostat([], pairs, T, 1.0, 5.0, 1.0, 3, 3, 3)
    context = make_context(create_system(STATE), integrator=integrator)
    with pytest.raises(ValueError, match="for its pairs, is at 5 K"):
        check_thermostat(context, STATE.kt_kj_mol, range(4))


def test_two_thermostats_must_agree(make):
    context = make(GOOD["Langevin"](), lambda system: andersen(system, 300.0))
    with pytest.raises(ValueError, match="AndersenThermostat is at 300 K"):
        check_sampling(context)


@pytest.mark.slow
def test_a_temperature_changed_during_an_exchange_is_seen(make):
    context = make(GOOD["Langevin"]())
    exchange = ReplicaExchange(context, LAMBDAS, seed=1)
    context.getIntegrator().setTemperature(2.0 * T)
    with pytest.raises(ValueError, match="temperature_kelvin"):
        exchange.run(1, 1)


@pytest.mark.slow
def test_an_integrator_that_does_not_tell_is_warned_of(make):
    context = make(custom())
    with pytest.warns(UserWarning, match="CustomIntegrator does not tell its temperature"):
        assert check_sampling(context) == pytest.approx(T)


def test_particles_that_cannot_move_freely_are_refused(make):
    context = make(GOOD["Langevin"](), lambda system: system.addConstraint(0, 1, 0.4))
    with pytest.raises(ValueError, match="particles 0 and 1 are constrained"):
        switch(context, LAMBDAS, 1)


@pytest.mark.slow
def test_the_motion_of_the_centre_of_mass_may_be_removed(make):
    context = make(GOOD["Langevin"](), lambda system: system.addForce(openmm.CMMotionRemover(1)))
    assert check_sampling(context) == pytest.approx(T)


@pytest.mark.parametrize(
    "name", ["Verlet", pytest.param("LangevinMiddle at 300 K", marks=pytest.mark.slow)]
)
def test_a_reporter_of_reduced_potentials_warns(tmp_path, name):
    system = create_system(STATE, python_force(TWO_BODY, STATE))
    platform = openmm.Platform.getPlatformByName("Reference")
    simulation = openmm.app.Simulation(lj_topology(STATE), system, BAD[name](), platform)
    simulation.context.setPositions(lattice_positions_nm(STATE, seed=1))
    simulation.reporters.append(LambdaReporter(tmp_path / "quiet.csv", 1))
    simulation.step(1)
    simulation.reporters.append(LambdaReporter(tmp_path / "lambda.csv", 1, lambdas=LAMBDAS))
    with pytest.warns(UserWarning, match=f"lambda.csv: .*{T:.6g}"):
        simulation.step(1)
