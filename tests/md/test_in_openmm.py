"""What an OpenMM user expects of any force: copies, checkpoints, threads and periodic images."""

import copy
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openmm
import pytest
from contexts import langevin, make_context, numbers
from models import make_random_model

from openmm_nti.md.forces import create_system, python_force, torch_force

MAKERS = [torch_force, python_force]
READ_ELSEWHERE = """
import json, sys
import openmm_nti, openmm
from openmm_nti.md.readers import dudl

positions, files = json.loads(sys.argv[1]), sys.argv[2:]
found = []
for file in files:
    with open(file) as text:
        system = openmm.XmlSerializer.deserialize(text.read())
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    context.setParameter("lambda_nti", 0.4)
    state = context.getState(getEnergy=True, getForces=True)
    forces = state.getForces(asNumpy=True)._value.tolist()
    found.append([state.getPotentialEnergy()._value, forces, dudl(context)])
print(json.dumps(found))
"""


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
        context = make_context(system, positions)
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
platform = openmm.Platform.getPlatformByName("Reference")
context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
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
    context = make_context(create_system(small_state, torch_force(model, small_state)), positions)
    assert float(done.stdout) == pytest.approx(numbers(context, 0.4)[0], rel=1e-5)


def phase_space(context):
    state = context.getState(getPositions=True, getVelocities=True)
    return np.stack(
        [state.getPositions(asNumpy=True)._value, state.getVelocities(asNumpy=True)._value]
    )


@pytest.mark.parametrize("make_force", MAKERS)
def test_a_checkpoint_resumes_to_the_bit(make_force, systems, small_state, positions):
    first, second = (
        make_context(systems[make_force], integrator=langevin(small_state, 0.002)) for _ in range(2)
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
        context = make_context(system, frame)
        expected.append(numbers(context, 0.6))
    with ThreadPoolExecutor(3) as pool:
        texts = list(pool.map(lambda _: openmm.XmlSerializer.serialize(system), range(3)))
        copies = [
            copy.deepcopy(system),
            system,
            *pool.map(openmm.XmlSerializer.deserialize, texts[:1]),
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
