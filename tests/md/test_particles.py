"""A force on some particles of a larger System: the same numbers as alone, and the others feel
nothing.
"""

import numpy as np
import openmm
import pytest
from contexts import make_context, numbers
from openmm import unit

from openmm_nti.md.forces import add_to_system, create_system, python_force, torch_force
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.md.readers import reduced_potentials
from openmm_nti.md.system_checks import check_system

N_OTHERS = 7
LAMBDAS = (0.0, 0.4, 0.8, 1.0)
MAKERS = [torch_force, python_force]


@pytest.fixture(scope="module")
def chosen(small_state):
    """Unordered indices of the fluid among all particles."""
    return np.random.default_rng(2).permutation(small_state.n_particles + N_OTHERS)[
        : small_state.n_particles
    ]


def larger_system(state):
    system = openmm.System()
    for _ in range(state.n_particles + N_OTHERS):
        system.addParticle(state.mass_dalton)
    system.setDefaultPeriodicBoxVectors(*(state.box_length_nm * np.eye(3)))
    return system


def compare(alone, among, chosen, coupling):
    energy, forces, slope = numbers(alone, coupling)
    found_energy, found_forces, found_slope = numbers(among, coupling)
    assert found_energy == pytest.approx(energy, rel=1e-10, abs=1e-10)
    assert found_slope == pytest.approx(slope, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(
        found_forces[chosen], forces, rtol=1e-8, atol=1e-10 * np.abs(forces).max()
    )
    assert not np.delete(found_forces, chosen, axis=0).any()


@pytest.fixture
def positions(small_state, fluid_positions, chosen):
    """Of all particles, nm: the others lie amid the fluid, far too close for any interaction."""
    fluid = fluid_positions[0] * small_state.sigma_nm
    everything = np.tile(fluid[0] + 0.01, (len(fluid) + N_OTHERS, 1))
    everything[chosen] = fluid
    return everything


@pytest.mark.parametrize("make_force", MAKERS)
def test_the_model_alone_and_among_others(make_force, random_model, small_state, positions, chosen):
    alone = make_context(
        create_system(small_state, make_force(random_model, small_state)), positions[chosen]
    )
    system = larger_system(small_state)
    force = add_to_system(
        system, random_model, small_state, make_force=make_force, particles=chosen
    )
    among = make_context(system, positions)
    assert force.getName() == "openmm_nti"
    for coupling in LAMBDAS:
        compare(alone, among, chosen, coupling)
    np.testing.assert_allclose(
        reduced_potentials(among, LAMBDAS),
        reduced_potentials(alone, LAMBDAS),
        rtol=1e-10,
        atol=1e-10,
    )


def test_the_native_pair_force_among_others(random_model, small_state, positions, chosen):
    alone = make_context(
        create_system(small_state, native_pair_force(random_model, small_state)), positions[chosen]
    )
    system = larger_system(small_state)
    n_system = system.getNumParticles()
    system.addForce(
        native_pair_force(random_model, small_state, particles=chosen, n_system=n_system)
    )
    among = make_context(system, positions)
    for coupling in LAMBDAS:
        compare(alone, among, chosen, coupling)
    with pytest.raises(ValueError, match="particles and n_system together"):
        native_pair_force(random_model, small_state, particles=chosen)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda good: good[:-1],
            "holds 11 indices, but the state has n_particles = 12: give 12 indices",
        ),
        (lambda good: [*good[:-1], good[0]], r"more than once \(\d+\): list each particle once"),
        (lambda good: [*good[:-1], -1], "holds -1: indices count from 0"),
        (lambda good: good.astype(float), "integer indices, not of shape .12,. and type float64"),
        (
            lambda good: np.isin(np.arange(19), good),
            "type bool: for a mask, give numpy.flatnonzero",
        ),
    ],
)
def test_bad_indices_are_named(change, message, random_model, small_state, chosen):
    for make_force in MAKERS:
        with pytest.raises(ValueError, match=message):
            make_force(random_model, small_state, particles=change(chosen))


def test_indices_beyond_the_system_are_named(random_model, small_state, positions, chosen):
    beyond = [*chosen[:-1], 19]
    with pytest.raises(
        ValueError, match="particles holds 19, but the System's last particle is 18"
    ):
        check_system(larger_system(small_state), small_state, particles=beyond)
    system = larger_system(small_state)
    system.addForce(torch_force(random_model, small_state, particles=beyond))
    with pytest.raises(openmm.OpenMMException, match="beyond the last particle"):
        make_context(system, positions).getState(getEnergy=True)


def test_replicas_among_others(random_model, small_state, fluid_positions):
    n, rng = small_state.n_particles, np.random.default_rng(3)
    chosen = rng.permutation(2 * n + 1)[: 2 * n]
    positions = np.zeros((2 * n + 1, 3))
    positions[chosen] = fluid_positions[:2].reshape(-1, 3) * small_state.sigma_nm
    system = create_system(small_state, n_replicas=2)
    system.addParticle(1.0)
    add_to_system(system, random_model, small_state, particles=chosen, n_replicas=2)
    found = reduced_potentials(make_context(system, positions), LAMBDAS)
    assert found.shape == (2, len(LAMBDAS))
    alone = create_system(small_state, torch_force(random_model, small_state))
    for row, frame in zip(found, fluid_positions, strict=False):
        expected = reduced_potentials(make_context(alone, frame * small_state.sigma_nm), LAMBDAS)
        np.testing.assert_allclose(row, expected, rtol=1e-8, atol=1e-10)


def refuse(message, system, state, **arguments):
    with pytest.raises(ValueError, match=message):
        check_system(system, state, **arguments)


def test_a_whole_system_must_have_the_states_particles(small_state, chosen):
    larger = larger_system(small_state)
    refuse(
        "System has 19 particles, but the force acts on 12: say which by particles",
        larger,
        small_state,
    )
    check_system(larger, small_state, particles=chosen)
    check_system(create_system(small_state), small_state)


def test_boxes_are_checked(small_state):
    edge = small_state.box_length_nm
    for vectors, message in [
        ([[edge, 0, 0], [0.1 * edge, edge, 0], [0, 0, edge]], "box is triclinic.*use a rectang"),
        (np.eye(3) * 2.0, r"2 nm, is under two cutoffs of the model \(2.043 nm\): enlarge it"),
        (
            np.diag([edge, edge, 1.5 * edge]),
            "box is 2.043 x 2.043 x 3.0645 nm, but the state's is 2.043 x 2.043 x 2.043 nm",
        ),
    ]:
        system = create_system(small_state)
        system.setDefaultPeriodicBoxVectors(*map(openmm.Vec3._make, np.asarray(vectors).tolist()))
        refuse(message, system, small_state)


@pytest.mark.parametrize(
    "barostat",
    [
        openmm.MonteCarloBarostat(1.0, 150.0),
        openmm.MonteCarloAnisotropicBarostat(openmm.Vec3(1, 1, 1), 150.0),
        openmm.MonteCarloFlexibleBarostat(1.0, 150.0),
        openmm.MonteCarloMembraneBarostat(
            1.0,
            0.0,
            150.0,
            openmm.MonteCarloMembraneBarostat.XYIsotropic,
            openmm.MonteCarloMembraneBarostat.ZFree,
        ),
    ],
    ids=lambda barostat: type(barostat).__name__,
)
def test_constant_pressure_is_refused(barostat, random_model, small_state):
    system = create_system(small_state)
    system.addForce(barostat.__copy__())
    refuse(
        "Barostat: the noise of a given lambda depends on the box.*constant volume",
        system,
        small_state,
    )
    with pytest.raises(ValueError, match="remove the barostat"):
        add_to_system(system, random_model, small_state)
    assert system.getNumForces() == 1


def test_a_reader_of_mbars_rows_refuses_constant_pressure_too(
    random_model, small_state, fluid_positions
):
    system = create_system(small_state, python_force(random_model, small_state))
    system.addForce(openmm.MonteCarloBarostat(1.0, 150.0))
    integrator = openmm.LangevinMiddleIntegrator(150.0, 1.0, 0.001)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(fluid_positions[0] * small_state.sigma_nm)
    with pytest.raises(ValueError, match="MonteCarloBarostat"):
        reduced_potentials(context, LAMBDAS)


@pytest.mark.parametrize("make_force", MAKERS)
@pytest.mark.parametrize(
    ("scale", "shear", "message"),
    [
        (1.0, 0.1, "triclinic: use a rectangular box"),
        (0.8, 0.0, "under two cutoffs"),
        (1.02, 0.0, "at constant pressure"),
    ],
)
def test_a_box_that_changes_during_the_run_is_refused(
    scale, shear, message, make_force, random_model, small_state, fluid_positions
):
    system = create_system(small_state, make_force(random_model, small_state))
    context = make_context(system, fluid_positions[0] * small_state.sigma_nm)
    vectors = scale * small_state.box_length_nm * np.eye(3)
    vectors[1, 0] = shear
    context.setPeriodicBoxVectors(*map(openmm.Vec3._make, vectors.tolist()))
    with pytest.raises(Exception, match=message):
        context.getState(getEnergy=True)


def test_particles_that_cannot_be_an_ideal_gas_are_named(small_state, chosen):
    first, second = int(chosen[0]), int(chosen[1])
    other = next(index for index in range(19) if index not in chosen)
    without_mass = larger_system(small_state)
    without_mass.setParticleMass(first, 0.0)
    refuse(
        f"particle {first} has no mass.*give it one, or leave it out",
        without_mass,
        small_state,
        particles=chosen,
    )
    virtual = larger_system(small_state)
    virtual.setParticleMass(first, 0.0)
    virtual.setVirtualSite(first, openmm.TwoParticleAverageSite(second, other, 0.5, 0.5))
    refuse(f"particle {first} is a virtual site", virtual, small_state, particles=chosen)
    constrained = larger_system(small_state)
    constrained.addConstraint(other, second, 0.3 * unit.nanometer)
    refuse(
        f"particles {other} and {second} are constrained",
        constrained,
        small_state,
        particles=chosen,
    )
    elsewhere = larger_system(small_state)
    rest = [index for index in range(19) if index not in chosen]
    elsewhere.setParticleMass(rest[0], 0.0)
    elsewhere.addConstraint(rest[1], rest[2], 0.3 * unit.nanometer)
    check_system(elsewhere, small_state, particles=chosen)


def test_openmm_that_crashes_with_the_plugin_is_refused(monkeypatch, random_model, small_state):
    monkeypatch.setattr(openmm.Platform, "getOpenMMVersion", staticmethod(lambda: "8.6.1"))
    with pytest.raises(
        RuntimeError, match=r"OpenMM 8\.6\.1 crashes when a TorchForce is copied.*python_force"
    ):
        torch_force(random_model, small_state)
    python_force(random_model, small_state)
