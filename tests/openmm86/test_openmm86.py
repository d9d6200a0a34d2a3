"""OpenMM 8.6: a TorchForce is refused, a PythonForce does all, the newest openmm-ml and OpenMM's
own sampler take it.

Skipped under the OpenMM that openmm-torch needs; `make test-openmm86` makes an environment where it
runs.
"""

import itertools
import random

import numpy as np
import openmm
import pytest
from exact import exact_ensemble, pair_free_energy
from models import make_random_model
from openmm import app, unit

from openmm_nti import LambdaHamiltonian, LJFluid, NeuralPath, StatePoint, load_model
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.fluid_system import lj_topology
from openmm_nti.md.forces import create_system, python_force, torch_force
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.md.readers import dudl, reduced_potentials
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar

VERSION = tuple(int(part) for part in openmm.Platform.getOpenMMVersion().split(".")[:2])
pytestmark = pytest.mark.skipif(
    VERSION < (8, 6), reason=f"OpenMM {VERSION[0]}.{VERSION[1]}: make test-openmm86"
)

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)


def reference(system, state):
    integrator = openmm.LangevinMiddleIntegrator(state.temperature_kelvin, 2.0, 0.02)
    integrator.setRandomNumberSeed(3)
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))


def test_a_torch_force_is_refused_and_a_python_force_chosen():
    model = make_random_model(PAIR)
    with pytest.raises(RuntimeError, match="crashes when a TorchForce is copied or read from XML"):
        torch_force(model, PAIR)
    (force,) = NeuralPath(model, PAIR).create_system().getForces()
    assert isinstance(force, openmm.PythonForce)


def test_the_force_is_that_of_the_model_also_after_xml():
    state = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)
    model, fluid = make_random_model(state), LJFluid(state)
    system = create_system(state, python_force(model, state))
    positions = lattice_positions_nm(state, seed=1)
    contexts = [
        reference(each, state)
        for each in (
            system,
            openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system)),
        )
    ]
    lambdas = np.array([0.0, 0.4, 1.0])
    found = []
    for context in contexts:
        context.setPositions(positions)
        context.setParameter("lambda_nti", 0.4)
        energy = (
            context.getState(energy=True)
            .getPotentialEnergy()
            .value_in_unit(unit.kilojoule_per_mole)
        )
        np.testing.assert_allclose(
            energy / state.kt_kj_mol, reduced_potentials(context, lambdas)[1], rtol=1e-6
        )
        found.append([energy, dudl(context), *reduced_potentials(context, lambdas)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    plain = reference(fluid.create_system(), state)
    plain.setPositions(positions)
    energy = plain.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    np.testing.assert_allclose(energy / state.kt_kj_mol, found[0][-1], rtol=1e-5)


def test_the_newest_openmm_ml_makes_systems_with_it():
    openmmml = pytest.importorskip("openmmml", reason="openmm-ml is not installed")
    model = load_model("lj-fluid-t1.25")
    state = StatePoint(n_particles=40, box_length_sigma=6.0, **model.potential.model_dump())
    system = openmmml.MLPotential("nti-lj").createSystem(lj_topology(state))
    positions, energies = lattice_positions_nm(state, seed=1), []
    for each in (system, create_system(state, python_force(model, state))):
        context = reference(each, state)
        context.setPositions(positions)
        context.setParameter("lambda_nti", 0.8)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    assert energies[0] == pytest.approx(energies[1], rel=1e-6)


def test_openmms_own_replica_exchange_gives_the_free_energy(monkeypatch):
    """Every sampler starts from an exact frame of the pair and is a chain of its own to the
    error.
    """
    draw = openmm.Context.setVelocitiesToTemperature
    seeds = itertools.count(1)  # the sampler sets velocities, and offers no seed
    monkeypatch.setattr(
        openmm.Context, "setVelocitiesToTemperature", lambda self, t: draw(self, t, next(seeds))
    )
    random.seed(1)
    system = create_system(PAIR, native_pair_force(LambdaHamiltonian(PAIR.pair_potential), PAIR))
    lambdas, n_samplers, n_iterations = np.linspace(0.0, 1.0, 4), 12, 10
    states = [{"lambda_nti": lam, "temperature": PAIR.temperature_kelvin} for lam in lambdas]
    potentials = []
    for seed, positions in enumerate(
        exact_ensemble(PAIR, n_samplers, seed=6).positions_nm, start=1
    ):
        integrator = openmm.LangevinMiddleIntegrator(PAIR.temperature_kelvin, 2.0, 0.02)
        integrator.setRandomNumberSeed(seed)
        simulation = app.Simulation(
            lj_topology(PAIR), system, integrator, openmm.Platform.getPlatformByName("Reference")
        )
        simulation.context.setPositions(positions)
        sampler = app.ReplicaExchangeSampler(states, simulation, 15)
        for _ in range(n_iterations):
            sampler.simulate(1)
            by_state = np.argsort(sampler.replicaStateIndex)
            kj_mol = [
                row.value_in_unit(unit.kilojoule_per_mole) for row in sampler.replicaStateEnergy
            ]
            potentials.append(np.array(kj_mol)[by_state] / PAIR.kt_kj_mol)
    u_kln = np.array(potentials).transpose(1, 0, 2)
    chain = np.repeat(np.arange(n_samplers), n_iterations)
    data = WindowData(lambdas, u_kln, np.zeros(u_kln.shape[:2]), chain)
    result = estimate_mbar(data, PAIR, method="replica exchange", seed=1)
    assert abs(result.value - pair_free_energy(PAIR)) < 3.5 * result.std_err
    assert result.std_err < 0.15
