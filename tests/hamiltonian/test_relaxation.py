"""Relaxation by two-body forces: where it ends, its first order in the noise, and no jumps at the
cutoff.
"""

import numpy as np
import pytest
import torch
from models import make_random_model

from openmm_nti.hamiltonian.relaxation import n_scalars, n_vectors, relax
from openmm_nti.references.noise import effective_variance

BOX = torch.full((3,), 6.0, dtype=torch.float64)


@pytest.fixture(scope="module")
def model(small_state):
    return make_random_model(small_state, kind="denoiser")


def relaxed(model, positions, sigma, n_relaxations):
    """Vectors (B, N, 3, n + 2) and scalars at one noise level."""
    positions = torch.as_tensor(positions)
    log_s = torch.full((len(positions),), np.log(sigma), dtype=torch.float64)
    pairs = model.search.pairs(positions, BOX, model.cutoff)
    gradient, vectors, scalars = relax(model, positions, log_s, pairs, n_relaxations)
    torch.testing.assert_close(
        gradient, model.pair_gradient(positions, BOX, log_s), rtol=1e-12, atol=1e-12
    )
    return vectors.permute(1, 2, 0, 3), scalars


def whole(vectors):
    """Vectors as they were before the large ones were shortened."""
    return vectors / (1.0 - vectors.square().sum(2, keepdim=True) / 9.0).sqrt()


@pytest.mark.parametrize("sigma", [0.05, 0.12, 0.3])
def test_it_ends_where_forces_and_springs_balance(model, fluid_positions, sigma):
    vectors, _ = relaxed(model, fluid_positions, sigma, 16)
    assert vectors[..., -1].abs().max() > 0.1
    torch.testing.assert_close(vectors[..., -2], vectors[..., -1], rtol=0.0, atol=0.03)


def test_the_first_step_is_the_many_body_term_of_small_noise(model, fluid_positions):
    """grad Phi changes by -s_eff^2 H grad Phi, with the Hessian H from finite differences of
    forces.
    """
    calm = fluid_positions.mean(0) + 0.3 * (
        fluid_positions - fluid_positions.mean(0)
    )  # no step is shortened
    positions, log_s = torch.as_tensor(calm), torch.full((8,), np.log(0.0065), dtype=torch.float64)
    variance = effective_variance(log_s)[0]
    vectors = whole(relaxed(model, calm, 0.0065, 1)[0])
    found = (vectors[..., 1] - vectors[..., 0]) / variance.sqrt() / variance
    gradient = model.pair_gradient(positions, BOX, log_s)
    step = 1e-6
    forward, backward = (
        model.pair_gradient(positions + h * gradient, BOX, log_s) for h in (step, -step)
    )
    expected = -(forward - backward) / (2 * step)
    slope = float((found * expected).sum() / expected.square().sum())
    assert slope == pytest.approx(1.0, abs=0.03)
    assert float((found - slope * expected).norm() / expected.norm()) < 0.05


def test_shapes_and_zeros_without_noise(model, fluid_positions):
    vectors, scalars = relaxed(model, fluid_positions, 0.006, 3)
    assert vectors.shape == (8, 12, 3, n_vectors(3))
    assert scalars.shape == (8, 12, n_scalars(3))
    assert vectors.abs().max() < 1e-3
    assert scalars.abs().max() < 1e-3
    assert n_vectors(0) == n_scalars(0) == 0


def test_no_jump_where_a_pair_comes_and_goes(model):
    """An atom drawn through the cutoff of another that a third has pushed towards it."""
    x = torch.linspace(2.98, 3.02, 81, dtype=torch.float64)
    positions = torch.zeros(len(x), 3, 3, dtype=torch.float64)
    positions[:, 1, 0], positions[:, 2, 0] = x, -0.93
    vectors, scalars = relaxed(model, positions, 0.3, 4)
    assert vectors.diff(dim=0).abs().max() < 2e-4
    assert scalars.diff(dim=0).abs().max() < 2e-4
