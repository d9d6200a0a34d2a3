"""Sampling engines and classical energies of mixtures against each other, kind by kind."""

import numpy as np
import pytest
from contexts import by_openmm
from models import mixture

from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.reference_md.configurational import curvature
from openmm_nti.validation.estimators.decoupling import coupling_system, last_of, particle_energy
from openmm_nti.validation.sampling.insertion import (
    BarChainConfig,
    insertion_energies,
    insertion_order,
)
from openmm_nti.validation.sampling.metropolis import trades
from openmm_nti.validation.sampling.monte_carlo import Walkers
from openmm_nti.validation.sampling.softcore_fluid import PARAMETER, soft_potential, soft_system
from openmm_nti.validation.sampling.uhlenbeck_ford.path import PARAMETERS, UhlenbeckFordPath

STATES = {
    "mixing rule": mixture(),
    "own pair": mixture(unlike={"epsilon_kj_mol": 1.6, "sigma_nm": 0.34}),
    "force_shifted": mixture(convention="force_shifted"),
}


def positions_of(state, seed=0):
    """One frame without overlaps, (1, N, 3), sigma."""
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    chosen = rng.permutation(27)[: state.n_particles]
    return (sites[chosen] * 1.25 + rng.uniform(-0.15, 0.15, (state.n_particles, 3)))[None]


@pytest.mark.parametrize("name", STATES)
def test_openmm_has_the_energies_of_the_state(name):
    state = STATES[name]
    x = positions_of(state)
    energy, _ = by_openmm(fluid_system(state), state, x)
    assert energy == pytest.approx(reduced_potential_numpy(x, state)[0], abs=1e-6)
    for lam in (0.35, 1.0):
        energy, slopes = by_openmm(soft_system(state), state, x, **{PARAMETER: lam})
        (((expected,),), ((slope,),)) = soft_potential(x, state, np.array([lam]))
        assert energy == pytest.approx(expected, abs=1e-6)
        assert slopes[PARAMETER] == pytest.approx(slope, abs=1e-5)
    path = UhlenbeckFordPath(state, 5.0, 0.8)
    energy, _ = by_openmm(
        path.system(with_fluid=True), state, x, **dict(zip(PARAMETERS, (0.3, 0.7), strict=True))
    )
    assert energy == pytest.approx(path.energies(x)[0] @ [0.3, 0.7], abs=1e-5)


@pytest.mark.parametrize("species", ["Ar", "Kr"])
def test_one_soft_particle_of_each_species(species):
    state = STATES["own pair"]
    x, particle = positions_of(state), last_of(state, species)
    system = coupling_system(state, particle)
    with_it, slopes = by_openmm(system, state, x, **{PARAMETER: 0.6})
    without, _ = by_openmm(system, state, x, **{PARAMETER: 0.0})
    energy, slope = particle_energy(x, state, np.array([0.6]), particle)
    assert with_it - without == pytest.approx(energy[0, 0], abs=1e-6)
    assert slopes[PARAMETER] == pytest.approx(slope[0, 0], abs=1e-5)
    fewer = state.with_numbers([n - (k == species) for k, n in state.composition.items()])
    rest = np.delete(x, particle, axis=1)
    assert without == pytest.approx(reduced_potential_numpy(rest, fewer)[0], abs=1e-6)


def test_insertions_and_removals_are_differences_of_energies():
    state = STATES["own pair"]
    walkers = Walkers(state, 2, seed=3)
    walkers.equilibrate(3)
    x = walkers.positions_sigma
    whole = reduced_potential_numpy(x, state)
    for species, particle in (("Ar", 1), ("Kr", 9)):
        fewer = state.with_numbers([n - (k == species) for k, n in state.composition.items()])
        without = reduced_potential_numpy(np.delete(x, particle, axis=1), fewer)
        np.testing.assert_allclose(walkers.removal_energies[:, particle], whole - without)
    place = np.random.default_rng(5).uniform(0, state.box_length_sigma, (1, 3))
    for number, species in enumerate(state.composition):
        more, at = state.one_more(species), last_of(state, species) + 1
        after = reduced_potential_numpy(np.insert(x[:1], at, place, axis=1), more)
        found = insertion_energies(x[:1], state, 1, np.random.default_rng(5), number)
        np.testing.assert_allclose(found[0], after - whole[0], rtol=1e-9)


@pytest.mark.parametrize("convention", ["switched", "force_shifted"])
def test_the_curvature_is_that_of_the_energy(convention):
    state = mixture(3, 4, sigma=0.28, convention=convention)
    x = positions_of(state, seed=2)
    gradient, laplacian, h = 0.0, 0.0, 1e-4
    middle = reduced_potential_numpy(x, state)[0]
    for place in np.ndindex(state.n_particles, 3):
        step = np.zeros_like(x)
        step[0][place] = h
        up, down = (reduced_potential_numpy(x + sign * step, state)[0] for sign in (1, -1))
        gradient += ((up - down) / (2 * h)) ** 2
        laplacian += (up - 2 * middle + down) / h**2
    found, scale = curvature(x, state), state.temperature_star
    assert found.squared_gradient[0] / scale**2 == pytest.approx(gradient, rel=1e-4)
    assert found.laplacian[0] / scale == pytest.approx(laplacian, rel=1e-3)


def test_only_equal_atoms_trade_places():
    rng = np.random.default_rng(1)
    centres = rng.uniform(0, 3, (12, 3))
    species = np.repeat([0, 1], 6)
    moved = np.zeros(12, dtype=bool)
    for _ in range(100):
        whose = trades(centres, centres, 1.5, 3.0, rng, species)
        assert (species[whose] == species).all()
        assert sorted(whose) == list(range(12))
        moved |= whose != np.arange(12)
    assert moved.all()


def test_the_insertion_chain_takes_any_order_of_species():
    state = mixture(2, 3)
    assert insertion_order(state, BarChainConfig()) == [1, 1, 1, 0, 0]  # the largest first
    other = BarChainConfig(species_order=("Ar", "Kr"))
    assert insertion_order(state, other) == [0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="species_order = Ar: name each species once: Ar, Kr"):
        insertion_order(state, BarChainConfig(species_order=("Ar",)))
