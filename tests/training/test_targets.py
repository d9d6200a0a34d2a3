"""The score target: its limits, its mean against an exactly known score, and its variance."""

import math

import numpy as np
import pytest
import torch
from exact import exact_ensemble

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.references.noise import effective_variance
from openmm_nti.training.targets import CleanData, noise_batch, stratified_log_noise

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)


@pytest.fixture(scope="module")
def pair_data():
    return CleanData.from_ensemble(
        exact_ensemble(PAIR, 4000), LambdaHamiltonian(PAIR.pair_potential), "cpu"
    )


def noised(data, spread, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(data.positions.shape, generator=generator, dtype=torch.float64)
    level = math.log(math.hypot(spread, 0.006))
    return noise_batch(data, torch.full((len(z),), level, dtype=torch.float64), z), z


def test_without_noise_the_target_is_the_lennard_jones_gradient(pair_data):
    batch, _ = noised(pair_data, 1e-9)
    np.testing.assert_allclose(
        batch.target.numpy(), pair_data.gradient.numpy(), rtol=1e-6, atol=1e-6
    )


def test_under_large_noise_the_target_is_the_denoising_one(pair_data):
    batch, z = noised(pair_data, 2.9)
    share = 1 / (1 + 2.9**2 * pair_data.gradient_square)
    expected = (1 - share) * z / 2.9 + share * pair_data.gradient
    np.testing.assert_allclose(batch.target.numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("spread", [0.03, 0.1, 0.3])
def test_the_target_is_unbiased(pair_data, spread):
    """For two particles the score is that of the two-body term, so target minus score averages to
    zero against it.
    """
    model = LambdaHamiltonian(PAIR.pair_potential)
    batch, _ = noised(pair_data, spread)
    score = model.gradient(batch.positions, batch.box, batch.log_s)
    product = ((batch.target - score) * score).sum((1, 2)).numpy()
    assert abs(product.mean()) < 4 * product.std() / math.sqrt(len(product)) + 1e-3


def test_the_precision_is_one_over_the_variance_at_no_noise_and_at_large(pair_data):
    variance = 2.0**2
    batch, _ = noised(pair_data, 2.0)
    assert batch.precision[0].item() == pytest.approx(
        variance + 1 / pair_data.gradient_square.item(), rel=1e-3
    )
    scatter = batch.target.square().mean().item() * batch.precision[0].item()
    assert scatter == pytest.approx(1.0, abs=0.05)


def test_noise_levels_fill_every_stratum():
    levels = stratified_log_noise(10, -3.0, 1.0, torch.Generator().manual_seed(0)).numpy()
    assert sorted(np.floor((levels + 3) / 0.4).astype(int)) == list(range(10))
    assert effective_variance(torch.tensor([-3.0])).item() > 0


def test_splitting_a_batch_keeps_all_of_it(pair_data):
    batch, _ = noised(pair_data, 0.1)
    parts = batch.split(1500)
    assert [len(part.positions) for part in parts] == [1500, 1500, 1000]
    assert torch.equal(torch.cat([part.target for part in parts]), batch.target)


def test_a_share_of_the_levels_falls_into_the_focus():
    generator = torch.Generator().manual_seed(0)
    levels = stratified_log_noise(
        1000, -5.0, 1.0, generator, focus=(-3.0, -1.0), focus_share=0.7
    ).numpy()
    assert ((levels > -3.0) & (levels < -1.0)).sum() == pytest.approx(700, abs=2)
    assert (levels <= -3.0).sum() == pytest.approx(150, abs=2)  # two units of ln s on either side
    assert levels.min() >= -5.0
    assert levels.max() <= 1.0
    narrow = stratified_log_noise(
        100, -5.0, -4.0, generator, focus=(-3.0, -1.0), focus_share=0.7
    ).numpy()
    assert np.histogram(narrow, 4, (-5.0, -4.0))[0].tolist() == [25] * 4
