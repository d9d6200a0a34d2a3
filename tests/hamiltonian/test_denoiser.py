"""A denoiser: the symmetries of a score, the known limit, derivatives by the weights, and what it
refuses.
"""

import itertools

import numpy as np
import pytest
import torch
from models import make_random_model

from openmm_nti import LambdaHamiltonian, NetworkConfig, load_model, save_model
from openmm_nti.model_files import DENOISER_FOLDER, load_denoiser

BOX = torch.full((3,), 6.0, dtype=torch.float64)
LOG_S = torch.log(torch.tensor([0.05, 0.15, 0.4, 1.0], dtype=torch.float64))


def scores(model, positions, **options):
    """Gradients at all of LOG_S for one configuration (N, 3)."""
    return (
        model.gradient(torch.as_tensor(positions).expand(len(LOG_S), -1, -1), BOX, LOG_S, **options)
        .detach()
        .numpy()
    )


@pytest.fixture(scope="module", params=[(0, 0), (2, 0), (2, 3)])
def denoiser(request, small_state):
    n_refinements, n_relaxations = request.param
    return make_random_model(
        small_state, kind="denoiser", n_refinements=n_refinements, n_relaxations=n_relaxations
    )


def test_permutations_permute_the_score(denoiser, fluid_positions):
    order = np.random.default_rng(0).permutation(12)
    found, expected = (
        scores(denoiser, fluid_positions[0][order]),
        scores(denoiser, fluid_positions[0])[:, order],
    )
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_the_cubic_group_turns_the_score(denoiser, fluid_positions):
    expected = scores(denoiser, fluid_positions[0])
    for axes, signs in itertools.product(
        itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)
    ):
        turned = fluid_positions[0][:, axes] * np.array(signs)
        found = scores(denoiser, turned)
        np.testing.assert_allclose(
            found, expected[..., axes] * np.array(signs), rtol=1e-9, atol=1e-9
        )


def test_translation_and_box_vectors_leave_the_score(denoiser, fluid_positions):
    rng = np.random.default_rng(1)
    moved = (
        fluid_positions[0] + rng.uniform(-9, 9, size=3) + 6.0 * rng.integers(-3, 4, size=(12, 3))
    )
    found, expected = scores(denoiser, moved), scores(denoiser, fluid_positions[0])
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_the_forces_add_up_to_nothing_and_are_not_those_of_pairs_alone(
    denoiser, fluid_positions, small_state
):
    bare = scores(LambdaHamiltonian(small_state.pair_potential), fluid_positions[0])
    learned = scores(denoiser, fluid_positions[0]) - bare
    assert np.abs(learned).max(axis=(1, 2)).min() > 1e-3
    np.testing.assert_allclose(learned.sum(axis=1), 0.0, atol=1e-10)


@pytest.mark.parametrize("n_relaxations", [0, 3])
def test_fresh_weights_are_the_two_body_score(n_relaxations, fluid_positions, small_state):
    fresh = make_random_model(small_state, kind="denoiser", scale=None, n_relaxations=n_relaxations)
    bare = LambdaHamiltonian(small_state.pair_potential)
    found, expected = scores(fresh, fluid_positions[0]), scores(bare, fluid_positions[0])
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)  # sums in another order


def test_it_is_smooth_where_neighbours_come_and_go(denoiser):
    """No jump in the score while an atom is drawn through the cutoff of the network."""
    x = torch.linspace(1.9, 2.1, 201, dtype=torch.float64)
    positions = torch.zeros(len(x), 3, 3, dtype=torch.float64)
    positions[:, 1, 0], positions[:, 2, 1] = x, 1.1
    found = denoiser.gradient(positions, BOX, LOG_S[1:2].expand(len(x)))
    steps = found.diff(dim=0).abs().amax((1, 2))
    assert steps.max() < 0.2


def test_the_weights_gradients_are_those_of_finite_differences(denoiser, fluid_positions):
    positions = torch.as_tensor(fluid_positions[0]).expand(len(LOG_S), -1, -1)
    weight = torch.linspace(-1, 1, 36, dtype=torch.float64).reshape(12, 3)
    denoiser.requires_grad_(True)
    (denoiser.gradient(positions, BOX, LOG_S, create_graph=True) * weight).sum().backward()
    step = 1e-6
    used = [parameter for parameter in denoiser.network.parameters() if parameter.grad is not None]
    assert len(used) > 10
    for parameter in used:
        place = parameter.grad.abs().argmax()
        with torch.no_grad():
            values = []
            for change in (step, -2 * step):
                parameter.view(-1)[place] += change
                values.append((denoiser.gradient(positions, BOX, LOG_S) * weight).sum().item())
            parameter.view(-1)[place] += step
        numerical = (values[0] - values[1]) / (2 * step)
        assert parameter.grad.view(-1)[place].item() == pytest.approx(numerical, rel=1e-5, abs=1e-6)
    denoiser.zero_grad()
    denoiser.requires_grad_(False)


def test_a_model_may_have_a_denoiser_for_companion(small_state, fluid_positions, tmp_path):
    hamiltonian, denoiser = (
        make_random_model(small_state),
        make_random_model(small_state, kind="denoiser"),
    )
    save_model(hamiltonian, tmp_path)
    np.testing.assert_array_equal(
        scores(load_denoiser(tmp_path), fluid_positions[0]), scores(hamiltonian, fluid_positions[0])
    )
    save_model(denoiser, tmp_path / DENOISER_FOLDER)
    np.testing.assert_array_equal(
        scores(load_denoiser(tmp_path), fluid_positions[0]), scores(denoiser, fluid_positions[0])
    )
    assert isinstance(load_model(tmp_path), LambdaHamiltonian)


def test_a_denoiser_is_no_hamiltonian(small_state, tmp_path):
    save_model(make_random_model(small_state, kind="denoiser"), tmp_path)
    text = (
        "is a denoiser, without an energy: it serves neural_ti_bound, neural_ti_tethered and "
        "path_bar alone"
    )
    with pytest.raises(ValueError, match=text):
        load_model(tmp_path)


@pytest.mark.parametrize("kind", ["density", "painn"])
def test_relaxations_are_for_denoisers(kind):
    with pytest.raises(ValueError, match="n_relaxations = 2 needs kind: denoiser"):
        NetworkConfig(kind=kind, n_relaxations=2)
