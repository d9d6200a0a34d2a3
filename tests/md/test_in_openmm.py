"""What an OpenMM user expects of any force: copies, checkpoints, threads, periodic images, and
physics along lambda.
"""

import copy
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openmm
import pytest
import torch
from models import make_random_model
from openmm import unit

from openmm_nti import load_model
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import lj_system
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.readers import dudl
from openmm_nti.reference_md.statistics import mean_and_error
from openmm_nti.validation.analysis.gr import radial_distribution

MAKERS = [torch_force, python_force]
READ_ELSEWHERE = """
import json, sys
import openmm_nti, openmm
from openmm_nti.md.forces import dudl

positions, files = json.loads(sys.argv[1]), sys.argv[2:]
found = []
for file in files:
    with open(file) as text:
        system = openmm.XmlSerializer.deserialize(text.read())
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    context.setParameter("lambda_nti", 0.4)
    state = context.getState(getEnergy=True, getForces=True)
    forces = state.getForces(asNumpy=True)._value.tolist()
    found.append([state.getPotentialEnergy()._value, forces, dudl(context)])
print(json.dumps(found))
"""


def make_context(system, integrator=None, platform="Reference"):
    integrator = integrator or openmm.VerletIntegrator(0.002)
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName(platform))


def langevin(state, step_ps, friction=1.0, seed=5):
    integrator = openmm.LangevinMiddleIntegrator(state.temperature_kelvin, friction, step_ps)
    integrator.setRandomNumberSeed(seed)
    return integrator


def numbers(context, coupling):
    context.setParameter("lambda_nti", coupling)
    state = context.getState(getEnergy=True, getForces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value, dudl(context)


def assert_equal_numbers(found, expected, tolerance):
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    largest = np.abs(expected[1]).max()
    np.testing.assert_allclose(found[1], expected[1], rtol=tolerance, atol=tolerance * largest)
    assert found[2] == pytest.approx(expected[2], rel=tolerance)


@pytest.fixture(scope="module")
def systems(random_model, small_state):
    return {
        make_force: create_system(small_state, make_force(random_model, small_state))
        for make_force in MAKERS
    }


@pytest.fixture
def positions(fluid_positions, small_state):
    return fluid_positions[0] * small_state.sigma_nm


def test_xml_gives_the_same_numbers_in_a_fresh_process(systems, positions, tmp_path):
    files, expected = [], []
    for make_force, system in systems.items():
        files.append(tmp_path / f"{make_force.__name__}.xml")
        files[-1].write_text(openmm.XmlSerializer.serialize(system))
        context = make_context(system)
        context.setPositions(positions)
        expected.append(numbers(context, 0.4))
    command = [
        sys.executable,
        "-c",
        READ_ELSEWHERE,
        json.dumps(positions.tolist()),
        *map(str, files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    for found, wanted in zip(json.loads(done.stdout), expected, strict=True):
        assert_equal_numbers((found[0], np.array(found[1]), found[2]), wanted, 1e-6)


READ_WITHOUT_US = """
import json, sys
import torch, openmmtorch, openmm

with open(sys.argv[2]) as text:
    system = openmm.XmlSerializer.deserialize(text.read())
context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
context.setPositions(json.loads(sys.argv[1]))
context.setParameter("lambda_nti", 0.4)
print(context.getState(getEnergy=True).getPotentialEnergy()._value)
assert "openmm_nti" not in sys.modules
"""


def test_a_portable_force_is_read_where_openmm_nti_is_not_imported(
    small_state, positions, tmp_path
):
    pytest.importorskip("openmmtorch")
    model = make_random_model(small_state, dtype="float32")
    system = create_system(small_state, torch_force(model, small_state, portable=True))
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    command = [
        sys.executable,
        "-c",
        READ_WITHOUT_US,
        json.dumps(positions.tolist()),
        str(tmp_path / "system.xml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    context = make_context(create_system(small_state, torch_force(model, small_state)))
    context.setPositions(positions)
    assert float(done.stdout) == pytest.approx(numbers(context, 0.4)[0], rel=1e-5)


def phase_space(context):
    state = context.getState(getPositions=True, getVelocities=True)
    return np.stack(
        [state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value]
    )


@pytest.mark.parametrize("make_force", MAKERS)
def test_a_checkpoint_resumes_to_the_bit(make_force, systems, small_state, positions):
    first, second = (
        make_context(systems[make_force], langevin(small_state, 0.002)) for _ in range(2)
    )
    first.setPositions(positions)
    first.setVelocitiesToTemperature(small_state.temperature_kelvin, 4)
    first.setParameter("lambda_nti", 0.6)
    first.getIntegrator().step(10)
    checkpoint = first.createCheckpoint()
    first.getIntegrator().step(10)
    second.loadCheckpoint(checkpoint)
    assert second.getParameter("lambda_nti") == 0.6
    second.getIntegrator().step(10)
    np.testing.assert_array_equal(phase_space(second), phase_space(first))


@pytest.mark.parametrize("make_force", MAKERS)
def test_a_state_in_xml_resumes_to_the_bit(make_force, systems, small_state, positions):
    """Without a thermostat: a State holds no random numbers."""
    first, second = make_context(systems[make_force]), make_context(systems[make_force])
    first.setPositions(positions)
    first.setVelocitiesToTemperature(small_state.temperature_kelvin, 4)
    first.setParameter("lambda_nti", 0.6)
    first.getIntegrator().step(10)
    saved = openmm.XmlSerializer.serialize(
        first.getState(getPositions=True, getVelocities=True, getParameters=True)
    )
    first.getIntegrator().step(10)
    second.setState(openmm.XmlSerializer.deserialize(saved))
    second.getIntegrator().step(10)
    np.testing.assert_array_equal(phase_space(second), phase_space(first))


@pytest.mark.parametrize("make_force", MAKERS)
def test_copies_threads_and_two_contexts(make_force, systems, small_state, fluid_positions):
    system = systems[make_force]
    frames = fluid_positions[:2] * small_state.sigma_nm
    expected = []
    for frame in frames:
        context = make_context(system)
        context.setPositions(frame)
        expected.append(numbers(context, 0.6))
    with ThreadPoolExecutor(4) as pool:
        texts = list(pool.map(lambda _: openmm.XmlSerializer.serialize(system), range(4)))
        copies = [
            copy.deepcopy(system),
            system,
            *pool.map(openmm.XmlSerializer.deserialize, texts[:2]),
        ]
        contexts = [make_context(each) for each in copies]
        for number, context in enumerate(contexts):
            context.setPositions(frames[number % 2])
        results = list(pool.map(numbers, contexts, [0.6] * len(contexts)))
    for number, found in enumerate(results):
        assert_equal_numbers(found, expected[number % 2], 1e-9)


@pytest.mark.parametrize("platform", ["Reference", "CPU"])
@pytest.mark.parametrize("make_force", MAKERS)
def test_images_boundaries_and_order_do_not_matter(
    make_force, platform, systems, small_state, positions
):
    rng = np.random.default_rng(8)
    context = make_context(systems[make_force], platform=platform)
    edge, n = small_state.box_length_nm, small_state.n_particles
    order = rng.permutation(n)
    moved = {
        "other images": positions + edge * rng.integers(-3, 4, size=(n, 3)),
        "split over the boundary": np.mod(positions - positions.mean(0), edge),
        "translated": positions + rng.uniform(-edge, edge, size=3),
        "in another order": positions[order],
    }
    for coupling in (0.4, 1.0):
        context.setPositions(positions)
        energy, forces, slope = numbers(context, coupling)
        for name, each in moved.items():
            context.setPositions(each)
            found = numbers(context, coupling)
            expected = (energy, forces[order] if name == "in another order" else forces, slope)
            assert found[0] == pytest.approx(expected[0], rel=1e-6), name
            assert found[2] == pytest.approx(expected[2], rel=1e-5), name
            np.testing.assert_allclose(
                found[1], expected[1], rtol=1e-4, atol=1e-5 * np.abs(forces).max()
            )


def test_a_trajectory_at_lambda_one_has_openmms_energies(systems, small_state, positions):
    learned = make_context(systems[torch_force], langevin(small_state, 0.008))
    native = make_context(lj_system(small_state))
    learned.setPositions(positions)
    learned.setVelocitiesToTemperature(small_state.temperature_kelvin, 4)
    found, expected = [], []
    for _ in range(10):
        learned.getIntegrator().step(5)
        state = learned.getState(getEnergy=True, getPositions=True)
        native.setPositions(state.getPositions())
        found.append(state.getPotentialEnergy()._value)
        expected.append(native.getState(getEnergy=True).getPotentialEnergy()._value)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.ptp(expected) > 1.0


def test_lambda_zero_is_an_ideal_gas(random_model, small_state):
    """Steps of 6 ps carry every atom far: each frame is independent of the one before."""
    n_replicas, n_frames, state = 10, 30, small_state
    force = torch_force(random_model, state, n_replicas=n_replicas)
    context = make_context(create_system(state, force, n_replicas=n_replicas), langevin(state, 6.0))
    context.setParameter("lambda_nti", 0.0)
    start = lattice_positions_nm(state, seed=1)
    context.setPositions(np.tile(start, (n_replicas, 1)))
    frames = []
    for _ in range(n_frames):
        context.getIntegrator().step(2)
        found = context.getState(getEnergy=True, getForces=True, getPositions=True)
        assert found.getPotentialEnergy()._value == 0.0
        assert not found.getForces(asNumpy=True)._value.any()
        frames.append(
            found.getPositions(asNumpy=True).value_in_unit(unit.nanometer) / state.sigma_nm
        )
    positions = np.array(frames).reshape(-1, state.n_particles, 3)
    profiles = np.array(
        [
            radial_distribution(frame[np.newaxis], state.box_length_sigma, n_bins=6)[1]
            for frame in positions
        ]
    )
    deviation = profiles.mean(0) - (1 - 1 / state.n_particles)
    errors = profiles.std(0, ddof=1) / np.sqrt(len(profiles))
    assert (np.abs(deviation) < 3 * errors).all()
    assert errors[-1] < 0.02


def argon(dtype):
    """The shipped model and a fluid it was trained on, N = 40."""
    model = load_model("lj-fluid-t1.25")
    model.network.to(dtype)
    return model, StatePoint(n_particles=40, **model.potential.model_dump(), box_length_sigma=6.0)


def equilibrated(model, state, coupling):
    context = make_context(
        create_system(state, torch_force(model, state)), langevin(state, 0.004), "CPU"
    )
    context.setParameter("lambda_nti", coupling)
    context.setPositions(lattice_positions_nm(state, seed=1))
    context.setVelocitiesToTemperature(state.temperature_kelvin, 4)
    context.getIntegrator().step(500)
    return context


def drift(model, state, coupling):
    """Slope of the total energy by a line through 20 ps without a thermostat, kT a particle per
    ns.
    """
    start = equilibrated(model, state, coupling).getState(getPositions=True, getVelocities=True)
    context = make_context(
        create_system(state, torch_force(model, state)), openmm.VerletIntegrator(0.004)
    )
    context.setPositions(start.getPositions())
    context.setVelocities(start.getVelocities())
    context.setParameter("lambda_nti", coupling)
    times_ns, energies = np.linspace(0.0, 0.02, 251), []
    for _ in times_ns:
        found = context.getState(getEnergy=True)
        energies.append(found.getPotentialEnergy()._value + found.getKineticEnergy()._value)
        context.getIntegrator().step(20)
    a_particle = np.array(energies) / state.kt_kj_mol / state.n_particles
    (slope, _), covariance = np.polyfit(times_ns, a_particle, 1, cov=True)
    print(
        f"lambda = {coupling}: drift {slope:.1e} +- {covariance[0, 0] ** 0.5:.1e} kT a particle "
        "per ns"
    )  # noqa: T201 (see it by pytest -s)
    return slope


@pytest.mark.slow
@pytest.mark.parametrize("coupling", [0.3, 0.7, 1.0])
def test_energy_is_conserved_over_20_ps_of_argon(coupling):
    assert abs(drift(*argon(torch.float64), coupling)) < 1e-3


@pytest.mark.slow
def test_a_float32_network_drifts_little():
    assert abs(drift(*argon(torch.float32), 0.7)) < 0.1


@pytest.mark.slow
def test_the_thermostat_holds_the_models_temperature():
    model, state = argon(torch.float32)
    context = equilibrated(model, state, 0.5)
    context.getIntegrator().setFriction(
        10.0
    )  # 1 / ps: the energy forgets in 0.1 ps, and 16 ps are enough
    temperatures = []
    for _ in range(200):
        context.getIntegrator().step(20)
        kinetic = context.getState(getEnergy=True).getKineticEnergy()._value
        temperatures.append(2.0 * kinetic / (3.0 * state.n_particles * state.kt_kj_mol))
    mean, error = mean_and_error(np.array(temperatures))
    print(f"T / T of the model = {mean:.4f} +- {error:.4f}")  # noqa: T201 (see it by pytest -s)
    assert abs(mean - 1.0) < 3.0 * error
    assert error < 0.02
