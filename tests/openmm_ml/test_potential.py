"""openmm-ml finds the fluid as `nti-lj`, and importing that entry point neither fails nor loads
torch.
"""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import openmm
import pytest

from openmm_nti import StatePoint, load_model
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.fluid_system import lj_topology
from openmm_nti.md.forces import create_system, torch_force
from openmm_nti.md.readers import dudl
from openmm_nti.openmm_ml import NtiPotentialImplFactory

MODEL = "lj-fluid-t1.25"
FILE = Path(__file__).parents[2] / "openmm_nti" / "openmm_ml" / "__init__.py"


@pytest.fixture(scope="module")
def state():
    return StatePoint(
        n_particles=46, box_sigma=(6.4, 6.0, 6.2), **load_model(MODEL).potential.model_dump()
    )


def numbers(system, positions):
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference")
    )
    context.setPositions(positions)
    context.setParameter("lambda_nti", 0.8)
    return context.getState(getEnergy=True).getPotentialEnergy()._value, dudl(context)


def test_it_is_imported_without_torch_and_openmm():
    code = (
        f"import runpy, sys; runpy.run_path({str(FILE)!r}); print(sorted({{'torch', 'openmm'}} & "
        "set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("implementation", ["torch", "python"])
def test_the_factory_makes_the_force(implementation, state):
    system = create_system(state)
    potential = NtiPotentialImplFactory().createImpl("nti-lj", model=MODEL)
    potential.addForces(lj_topology(state), system, None, 3, implementation=implementation)
    assert [force.getForceGroup() for force in system.getForces()] == [3]
    positions = lattice_positions_nm(state, seed=1)
    expected = numbers(create_system(state, torch_force(load_model(MODEL), state)), positions)
    np.testing.assert_allclose(numbers(system, positions), expected, rtol=1e-4)


def test_what_does_not_fit_is_named(state):
    potential = NtiPotentialImplFactory().createImpl("nti-lj", model=MODEL)
    topology = lj_topology(state)
    with pytest.raises(ValueError, match="'jax' is not known: choose auto, torch or python"):
        potential.addForces(topology, create_system(state), None, 0, implementation="jax")
    system = create_system(state)
    system.setParticleMass(5, 0.0)
    with pytest.raises(ValueError, match="particle 5 has no mass"):
        potential.addForces(topology, system, None, 0)
    topology.setPeriodicBoxVectors(None)
    with pytest.raises(ValueError, match="topology has no periodic box"):
        potential.addForces(topology, create_system(state), None, 0)


def test_openmm_ml_makes_systems_with_it(state):
    openmmml = pytest.importorskip("openmmml", reason="openmm-ml is not installed")
    if not any(
        each.name == "nti-lj" for each in metadata.entry_points(group="openmmml.potentials")
    ):
        pytest.skip("installed before the entry point was there: pip install -e . again")
    topology, positions = lj_topology(state), lattice_positions_nm(state, seed=1)
    potential = openmmml.MLPotential("nti-lj", model=MODEL)
    expected = numbers(create_system(state, torch_force(load_model(MODEL), state)), positions)
    np.testing.assert_allclose(
        numbers(potential.createSystem(topology), positions), expected, rtol=1e-6
    )
    mixed = potential.createMixedSystem(topology, create_system(state), range(46))
    np.testing.assert_allclose(numbers(mixed, positions), expected, rtol=1e-6)
