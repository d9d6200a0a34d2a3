"""Ramps and replica exchange along the path of a crystal give the exact free energy of springs."""

import numpy as np
import pymbar
import pytest
from contexts import langevin, make_context

from openmm_nti import NeuralPath
from openmm_nti.md.replica_exchange import ReplicaExchange
from openmm_nti.md.switching import switch
from openmm_nti.testing.spring_crystal import (
    SpringModel,
    exact_minus_log_z_rel,
    spring_crystal,
    spring_frames,
)
from openmm_nti.validation.estimators.crystals.mbar_crystal import crystal_path

STATE = spring_crystal()
EXACT = exact_minus_log_z_rel(STATE)
LAMBDAS = np.linspace(0.0, 1.0, 5)


@pytest.fixture(scope="module")
def frames():
    return spring_frames(STATE, 64, np.random.default_rng(3))


@pytest.fixture(scope="module")
def path(frames):
    """From phonons of few frames, by a model that is wrong by 15 %: neither end is the other."""
    return crystal_path(SpringModel(STATE, 0.85), frames)


@pytest.fixture(scope="module")
def context(path):
    system = NeuralPath(path, STATE).create_system(0.0, implementation="python")
    unit = STATE.time_unit_ps
    return make_context(system, integrator=langevin(STATE, 0.01 * unit, 8 / unit))


def start(context, positions_nm, seed):
    context.setPositions(positions_nm)
    context.setVelocitiesToTemperature(STATE.temperature_kelvin, seed)


def from_phonons(path, rng):
    """Return a configuration of the end at lambda = 0, which is a Gaussian, (N, 3), nm."""
    modes = rng.standard_normal(len(path.variances)) * path.variances.numpy() ** 0.5
    moved = (path.vectors.numpy() @ modes).reshape(-1, 3)
    return (path.sites.numpy() + moved) * STATE.sigma_nm


def test_ramps_both_ways(context, path):
    n_ramps, rng = 24, np.random.default_rng(1)
    crystal = spring_frames(STATE, n_ramps, np.random.default_rng(4)).positions_nm
    works = {"up": [], "down": []}
    for number in range(n_ramps):
        start(context, from_phonons(path, rng), number + 1)
        works["up"].append(switch(context, LAMBDAS, 10)[-1])
        start(context, crystal[number], number + 1)
        works["down"].append(switch(context, LAMBDAS[::-1], 10)[-1])
    found = pymbar.bar(np.array(works["up"]), np.array(works["down"]))
    assert path.minus_log_z_rel + found["Delta_f"] == pytest.approx(
        EXACT, abs=3 * found["dDelta_f"]
    )
    assert 0 < found["dDelta_f"] < 0.5
    assert abs(found["Delta_f"]) > 3 * found["dDelta_f"]  # there is something to find


def test_replica_exchange(context, path, frames):
    start(context, frames.positions_nm[0], 1)
    exchange = ReplicaExchange(context, LAMBDAS, seed=1)
    exchange.run(10, steps=20)
    found = exchange.run(60, steps=12)
    assert (found.acceptance > 0.2).all()
    assert len({tuple(row) for row in found.walkers}) > 5
    u_kn = found.u_kln.transpose(1, 0, 2).reshape(len(LAMBDAS), -1)
    g = max(pymbar.timeseries.statistical_inefficiency(found.u_kln[k, k]) for k in range(5))
    kept = np.tile(np.arange(60) % int(np.ceil(g)) == 0, len(LAMBDAS))
    counts = np.full(len(LAMBDAS), kept.sum() // len(LAMBDAS))
    mbar = pymbar.MBAR(u_kn[:, kept], counts, solver_protocol="robust")
    free = mbar.compute_free_energy_differences()
    value, error = free["Delta_f"][0, -1], free["dDelta_f"][0, -1]
    assert path.minus_log_z_rel + value == pytest.approx(EXACT, abs=3 * error)
    assert 0 < error < 0.5
