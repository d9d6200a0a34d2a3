"""Networks that know how strongly the pairs attract, and what this must not change."""

import numpy as np
import pytest
import torch
from models import make_random_model, mixture

from openmm_nti import StatePoint
from openmm_nti.hamiltonian import build_model
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.hamiltonian.growth import may_grow, take_weights
from openmm_nti.hamiltonian.networks.atom_traits import AtomTraits, depths_of
from openmm_nti.md.openmm_energy import OpenMMEnergy, script
from openmm_nti.model_files import load_any_model, load_denoiser, save_model
from openmm_nti.references.noise import log_noise

BOX = cubic_box(6.0)
LEVELS = torch.tensor([-3.0, -1.5, -0.5], dtype=torch.float64)


def fluid(n=12, **changes):
    return StatePoint(
        **{"n_particles": n, "box_length_sigma": 6.0, "temperature_star": 1.25, **changes}
    )


def scattered(n, seed=0):
    """Three configurations of n atoms without overlaps, (3, n, 3), sigma."""
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    start = sites[rng.permutation(64)[:n]] * 1.5
    return torch.tensor(start + rng.uniform(-0.2, 0.2, (3, n, 3)))


def test_depths_are_those_of_the_wells_in_kt():
    for temperature in (0.8, 1.25, 3.0):
        (depth,) = depths_of(fluid(temperature_star=temperature).pair_potential)
        assert depth == pytest.approx(1 / temperature, rel=1e-5)
    assert depths_of(fluid(potential={"type": "wca"}).pair_potential) == [0.0]
    state = mixture(5, 7)
    krypton = 1.3636 / state.kt_kj_mol
    assert depths_of(state.pair_potential)[2] == pytest.approx(krypton, rel=1e-3)


def test_traits_are_zero_at_home_and_on_average():
    at_home = AtomTraits(fluid().pair_potential, 0.8, None)
    assert abs(float(at_home.depth)) < 1e-5
    assert at_home.of_atoms.shape == (0, 2)
    hot = AtomTraits(fluid(temperature_star=2.0).pair_potential, 0.8, None)
    assert float(hot.depth) == pytest.approx(2 * np.tanh(-0.3 / 0.6), abs=1e-5)
    of_mixture = AtomTraits(mixture(5, 7).pair_potential, 0.8, (5, 7))
    torch.testing.assert_close(
        of_mixture.of_atoms.mean(0), torch.zeros(2).double(), atol=1e-12, rtol=0
    )
    assert (of_mixture.of_atoms[:5] < 0).all()
    assert (of_mixture.of_atoms[5:] > 0).all()


@pytest.mark.parametrize("n_relaxations", [0, 2])
def test_a_network_grows_into_one_that_knows_and_computes_the_same(n_relaxations):
    state = fluid()
    small = make_random_model(state, kind="denoiser", dtype="float64")
    more = {"conditioned": True, "n_relaxations": n_relaxations, "n_refinements": 2}
    config = small.network_config.model_copy(update=more)
    assert may_grow(small.network_config, config)
    assert not may_grow(config, small.network_config)
    large = build_model(state.pair_potential, config).eval().requires_grad_(False)
    take_weights(large, small)
    large.take_home(small.home_length, small.home_depth)
    x = scattered(12)
    for there in (state, fluid(temperature_star=2.0), mixture(5, 7)):
        found, expected = (each.bind(there).gradient(x, BOX, LEVELS) for each in (large, small))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["density", "denoiser", "painn"])
def test_what_it_knows_of_the_temperature_counts(kind):
    state, hot = fluid(), fluid(temperature_star=2.0)
    knows = make_random_model(state, kind=kind, conditioned=True)
    x = scattered(12)
    at_home, there = knows.gradient(x, BOX, LEVELS), knows.bind(hot).gradient(x, BOX, LEVELS)
    knows.home_depth = depths_of(hot.pair_potential)[0]
    told_otherwise = knows.bind(hot).gradient(x, BOX, LEVELS)
    assert not torch.allclose(there, told_otherwise, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(there, at_home, rtol=1e-3, atol=1e-3)


def test_wells_of_one_size_and_unlike_depth_are_told_apart():
    # A krypton that touches where argon does, with a deeper well.
    state = mixture(5, 7, sigma=0.3355, epsilon=1.4)
    model = make_random_model(state, kind="denoiser", conditioned=True).bind(state)
    blind = make_random_model(state, kind="denoiser", conditioned=True).bind(state)
    blind.traits.of_atoms.zero_()
    x = scattered(12)
    assert not torch.allclose(
        model.gradient(x, BOX, LEVELS), blind.gradient(x, BOX, LEVELS), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["density", "denoiser"])
def test_labels_that_make_no_difference_change_nothing(kind):
    labelled = mixture(5, 7, sigma=0.3405, epsilon=0.99607)
    one = fluid(temperature_star=labelled.temperature_star)
    model = make_random_model(fluid(), kind=kind, conditioned=True)
    x = scattered(12)
    found, expected = (model.bind(each).gradient(x, BOX, LEVELS) for each in (labelled, one))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_energies_and_forces_of_a_mixture_belong_together():
    state = mixture(5, 7)
    model = make_random_model(fluid(), conditioned=True).bind(state)
    x, lam = scattered(12)[:1], torch.tensor([0.7], dtype=torch.float64)
    assert float(model(x, BOX, torch.zeros(1))) == 0.0
    torch.testing.assert_close(
        model(x, BOX, torch.ones(1)), model.end.energy(x, BOX), rtol=1e-10, atol=0
    )
    gradient = model.gradient(x, BOX, log_noise(lam, BOX))
    for atom, axis in ((1, 0), (8, 2)):
        step = torch.zeros_like(x)
        step[0, atom, axis] = 1e-5
        slope = (model(x + step, BOX, lam) - model(x - step, BOX, lam)) / 2e-5
        assert float(slope) == pytest.approx(float(gradient[0, atom, axis]), abs=1e-5)
    scripted = script(OpenMMEnergy(model, state), portable=True)
    vectors = torch.eye(3, dtype=torch.float64) * state.box_length_nm
    found = scripted(x[0] * state.sigma_nm, vectors, lam[0]) / state.kt_kj_mol
    torch.testing.assert_close(found, model(x, BOX, lam)[0], rtol=1e-5, atol=1e-5)


def test_order_within_a_species_does_not_matter_and_no_force_acts_on_the_whole():
    state = mixture(5, 7)
    model = make_random_model(fluid(), kind="denoiser", conditioned=True).bind(state)
    x, order = scattered(12), [4, 2, 0, 1, 3, 11, 5, 7, 6, 8, 10, 9]
    found = model.gradient(x, BOX, LEVELS)
    torch.testing.assert_close(
        model.gradient(x[:, order], BOX, LEVELS), found[:, order], rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(found.sum(1), torch.zeros(3, 3).double(), rtol=0, atol=1e-9)


def test_a_file_keeps_the_pair_that_the_network_was_trained_for(tmp_path):
    small = load_denoiser("lj-fluid-t1.25")
    hot = fluid(temperature_star=2.0)
    config = small.network_config.model_copy(update={"conditioned": True})
    model = build_model(hot.pair_potential, config).eval().requires_grad_(False)
    take_weights(model, small)
    model.take_home(small.home_length, small.home_depth)
    read = load_any_model(save_model(model, tmp_path / "model"))
    assert (read.home_length, read.home_depth) == (small.home_length, small.home_depth)
    assert read.fingerprint() == model.fingerprint()
    x = scattered(12)
    found, expected = (each.gradient(x, BOX, LEVELS) for each in (read, model))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
