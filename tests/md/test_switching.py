"""Ramps and replica exchange recover exact free energies of two particles, whatever the network."""

import numpy as np
import openmm
import pymbar
import pytest
import torch
from exact import exact_ensemble, pair_free_energy
from models import make_random_model

from openmm_nti import StatePoint
from openmm_nti.md.forces import create_system, torch_force
from openmm_nti.md.readers import reduced_potentials
from openmm_nti.md.replica_exchange import ReplicaExchange
from openmm_nti.md.switching import switch

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
LAMBDAS = np.linspace(0.0, 1.0, 9)


@pytest.fixture(scope="module")
def context():
    torch.set_num_threads(1)
    integrator = openmm.LangevinMiddleIntegrator(PAIR.temperature_kelvin, 2.0, 0.02)
    integrator.setRandomNumberSeed(3)
    system = create_system(PAIR, torch_force(make_random_model(PAIR, "float32"), PAIR))
    return openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))


def start(context, positions_nm, seed):
    context.setPositions(positions_nm)
    context.setVelocitiesToTemperature(PAIR.temperature_kelvin, seed)


def test_ramps_both_ways_give_the_free_energy_by_bar(context):
    """Both ends start in equilibrium without simulation: uniform positions, and exact samples of
    the pair.
    """
    n_ramps = 40
    rng = np.random.default_rng(1)
    fluid = exact_ensemble(PAIR, n_ramps, seed=5).positions_nm
    works = {"up": [], "down": []}
    for number in range(n_ramps):
        start(context, rng.uniform(0, PAIR.box_length_nm, (2, 3)), number + 1)
        works["up"].append(switch(context, LAMBDAS, 2)[-1])
        start(context, fluid[number], number + 1)
        works["down"].append(switch(context, LAMBDAS[::-1], 2)[-1])
    result = pymbar.bar(np.array(works["up"]), np.array(works["down"]))
    assert abs(result["Delta_f"] - pair_free_energy(PAIR)) < 3 * result["dDelta_f"]
    assert result["dDelta_f"] < 0.25


def test_the_work_of_a_sudden_switch_is_the_difference_of_energies(context):
    start(context, np.array([[0.0, 0.0, 0.0], [0.4, 0.1, 0.0]]), 1)
    before, after = reduced_potentials(context, (0.25, 0.75))
    work = switch(context, (0.25, 0.75), 5)
    np.testing.assert_allclose(work, [0.0, after - before])
    assert context.getParameter("lambda_nti") == 0.75
    with pytest.raises(ValueError, match="two lambdas or more"):
        switch(context, (0.5,), 1)


def test_replica_exchange_gives_the_free_energy_by_mbar(context):
    """Frames of one exchange are correlated, so the error is that of independent exchanges."""
    lambdas, n_exchanges, n_iterations = LAMBDAS[::2], 8, 5
    k = len(lambdas)
    starts = exact_ensemble(PAIR, n_exchanges * k, seed=6).positions_nm.reshape(
        n_exchanges, k, 2, 3
    )
    values = []
    for seed, positions in enumerate(starts):
        exchange = ReplicaExchange(context, lambdas, seed=seed)
        exchange.set_positions(list(positions))
        found = exchange.run(n_iterations, 6)
        u_kn = found.u_kln.transpose(1, 0, 2).reshape(k, -1)
        mbar = pymbar.MBAR(u_kn, np.full(k, n_iterations), solver_protocol="robust")
        values.append(mbar.compute_free_energy_differences()["Delta_f"][0, -1])
        assert all(sorted(row) == list(range(k)) for row in found.walkers.tolist())
    error = np.std(values, ddof=1) / np.sqrt(n_exchanges)
    assert abs(np.mean(values) - pair_free_energy(PAIR)) < 3.5 * error
    assert error < 0.1
    assert (found.acceptance > 0.3).all()
    assert len(np.unique(found.walkers[:, 0])) > 1


def test_replica_exchange_needs_different_lambdas(context):
    with pytest.raises(ValueError, match="two different couplings"):
        ReplicaExchange(context, np.array([0.5, 0.5]), seed=1)
