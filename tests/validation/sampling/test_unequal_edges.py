"""Sampling engines in a box of unequal edges, against the energies of whole configurations."""

import numpy as np
import pytest
import torch
from contexts import by_openmm

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import closest_pair_sigma, reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.reference_md.configurational import curvature
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.gr import radial_distribution
from openmm_nti.validation.estimators import softcore
from openmm_nti.validation.estimators.decoupling import particle_energy
from openmm_nti.validation.sampling import exchange, grand_canonical
from openmm_nti.validation.sampling.insertion import insertion_energies
from openmm_nti.validation.sampling.metropolis import trades
from openmm_nti.validation.sampling.monte_carlo import Walkers
from openmm_nti.validation.sampling.softcore_fluid import PARAMETER, soft_potential, soft_system
from openmm_nti.validation.sampling.tethered_fluid import remove_overlaps
from openmm_nti.validation.sampling.uhlenbeck_ford.path import PARAMETERS, UhlenbeckFordPath

EDGES = np.array([7.5, 5.0, 5.6])
STATE = StatePoint(
    n_particles=16, box_sigma=EDGES.tolist(), temperature_star=1.5, cutoff_sigma=2.5, switch_sigma=2
)


@pytest.fixture(scope="module")
def x():
    """Frames that reach out of the box, (2, N, 3), sigma."""
    sites = lattice_positions_nm(STATE, seed=4) / STATE.sigma_nm
    rng = np.random.default_rng(5)
    return sites + 0.15 * rng.standard_normal((2, 16, 3)) + EDGES * rng.integers(-1, 2, (2, 16, 3))


def test_walkers_keep_the_energies_of_their_configurations():
    walkers = Walkers(STATE, 3, seed=1)
    walkers.equilibrate(5)
    frames = walkers.positions_sigma
    assert (frames >= 0).all()
    assert (frames <= EDGES).all()
    fewer = STATE.with_numbers([15])
    change = reduced_potential_numpy(frames, STATE) - reduced_potential_numpy(frames[:, 1:], fewer)
    np.testing.assert_allclose(walkers.removal_energies[:, 0], change, rtol=1e-9)


def test_insertions_try_the_whole_box_and_no_more(x):
    more = STATE.with_numbers([17])
    found = insertion_energies(x[:1], STATE, 50, np.random.default_rng(5))[0]
    places = np.random.default_rng(5).uniform(0, EDGES, (50, 3))
    assert (places.max(axis=0) > 0.9 * EDGES).all()
    after = np.concatenate([np.repeat(x[:1], 50, axis=0), places[:, None]], axis=1)
    rise = reduced_potential_numpy(after, more) - reduced_potential_numpy(x[:1], STATE)
    np.testing.assert_allclose(found, rise, rtol=1e-6, atol=1e-9)


def test_an_open_box_has_the_energies_of_its_atoms():
    boxes = grand_canonical._Boxes(STATE, -1.5, 16, np.random.default_rng(2))
    boxes.run(400)
    fullest = int(boxes.numbers.argmax())
    n = int(boxes.numbers[fullest])
    frame = boxes._coordinates[:, fullest, :n].T[None]
    assert n > 4
    assert (frame >= 0).all()
    assert (frame <= EDGES).all()
    assert boxes._log_zv == pytest.approx(-1.5 + np.log(EDGES.prod()))
    first = np.zeros(16, dtype=int)
    own = boxes._energies(boxes._coordinates[:, np.arange(16), first], first)[fullest]
    change = [reduced_potential_numpy(frame[:, k:], STATE.with_numbers([n - k])) for k in (0, 1)]
    assert own == pytest.approx(change[0][0] - change[1][0], rel=1e-9)


def test_soft_fluids_in_openmm_are_those_in_numpy(x):
    energy, slopes = by_openmm(soft_system(STATE), STATE, x, **{PARAMETER: 0.35})
    (((expected,),), ((slope,),)) = soft_potential(x[:1], STATE, np.array([0.35]))
    assert energy == pytest.approx(expected, abs=1e-6)
    assert slopes[PARAMETER] == pytest.approx(slope, abs=1e-5)
    path = UhlenbeckFordPath(STATE, 5.0, 0.8)
    assert path.middle.edges_sigma == pytest.approx(EDGES / 0.8)
    energy, _ = by_openmm(
        path.system(with_fluid=True), STATE, x, **dict(zip(PARAMETERS, (0.3, 0.7), strict=True))
    )
    assert energy == pytest.approx(path.energies(x[:1])[0] @ [0.3, 0.7], abs=1e-5)
    whole, rest = reduced_potential_numpy(x, STATE), x[:, 1:]
    alone, _ = particle_energy(x, STATE, np.ones(1), particle=0)
    without = reduced_potential_numpy(rest, STATE.with_numbers([15]))
    np.testing.assert_allclose(alone[:, 0], whole - without, rtol=1e-9)


def test_random_starts_fill_every_edge():
    config = softcore.SoftcoreConfig(n_frames=40, platform="Reference")
    frames, _ = softcore._sample_chain(STATE, config, 0.0, Execution(seed=3))
    _fills(frames)

    class Still:
        positions = torch.zeros(1, 8, 16, 3, dtype=torch.float64)

        def advance(self, n_steps):
            return np.array([1.0])

        def place(self, positions):
            pass

    found = exchange.sample(
        Still(), lambda x: np.zeros((len(x), 2)), EDGES, n_frames=4, n_steps=1, seed=2
    )
    _fills(found.positions[0].numpy())


def _fills(positions):
    """Uniform up to each edge, and not beyond."""
    flat = positions.reshape(-1, 3)
    assert (flat.min(axis=0) >= 0).all()
    assert (flat.max(axis=0) <= EDGES).all()
    assert (flat.max(axis=0) > 0.97 * EDGES).all()
    assert np.abs(flat.mean(axis=0) / EDGES - 0.5).max() < 0.06


def test_the_curvature_is_that_of_the_energy(x):
    gradient, laplacian, h = 0.0, 0.0, 1e-4
    middle = reduced_potential_numpy(x[:1], STATE)[0]
    for place in np.ndindex(16, 3):
        step = np.zeros_like(x[:1])
        step[0][place] = h
        up, down = (reduced_potential_numpy(x[:1] + s * step, STATE)[0] for s in (1, -1))
        gradient += ((up - down) / (2 * h)) ** 2
        laplacian += (up - 2 * middle + down) / h**2
    found = curvature(x[:1], STATE)
    assert found.squared_gradient[0] / 1.5**2 == pytest.approx(gradient, rel=1e-4)
    assert found.laplacian[0] / 1.5 == pytest.approx(laplacian, rel=1e-3)


def test_tethered_atoms_see_their_nearest_images(x):
    shifted = x[0] + EDGES * np.random.default_rng(1).integers(-1, 2, (16, 3))
    for edges in (EDGES, EDGES[[1, 0, 2]]):
        whose = [
            trades(centres, x[0], 0.5, edges, np.random.default_rng(3))
            for centres in (x[0], shifted)
        ]
        assert (whose[0] == whose[1]).all() == (edges is EDGES)
    crowded = np.concatenate([x[0], x[0, :4] + 0.3 + EDGES])
    apart = remove_overlaps(crowded, EDGES)
    state = STATE.with_numbers([20])
    assert closest_pair_sigma(crowded[None], state)[0] < 0.6
    assert closest_pair_sigma(apart[None], state)[0] > 0.7


def test_g_of_an_ideal_gas_ends_at_half_the_shortest_edge():
    gas = np.random.default_rng(0).uniform(0, EDGES, (400, 30, 3))
    r, g = radial_distribution(gas, EDGES, n_bins=10)
    assert r[-1] < 0.5 * EDGES.min() < r[-1] + (r[1] - r[0])
    np.testing.assert_allclose(g[3:], 1 - 1 / 30, atol=0.05)
    with pytest.raises(ValueError, match=r"between 0 and half the box, 2\.5"):
        radial_distribution(gas, EDGES, r_max=2.6)
