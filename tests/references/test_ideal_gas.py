"""The ideal gas: no energy, uniform positions, and noise that begins at zero and grows."""

import numpy as np
import pytest
import torch

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import nearest_image, pair_energy
from openmm_nti.hamiltonian.geometry import box_of, cubic_box
from openmm_nti.references.ideal_gas import IdealGas
from openmm_nti.references.noise import LOG_NOISE_MIN, log_noise_max
from openmm_nti.references.registry import reference_named

STATE = StatePoint(n_particles=5, box_length_sigma=6.0, temperature_star=1.25)


def test_its_samples_fill_the_box_evenly():
    box = cubic_box(6.0)
    positions = IdealGas().sample(4000, 5, box, torch.Generator().manual_seed(1))
    assert positions.shape == (4000, 5, 3)
    assert positions.dtype == torch.float64
    counts = np.histogram(positions.numpy(), bins=10, range=(0, 6))[0]
    assert counts.sum() == 60_000
    assert np.abs(counts / 6000 - 1).max() < 0.06  # five standard errors
    assert (IdealGas().energy(positions) == 0).all()
    assert IdealGas().free_energy(STATE) == 0.0


def test_the_forward_kernel_is_the_noise_of_lambda():
    positions = torch.zeros(3, 5, 3, dtype=torch.float64)
    lam = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    mean, variance = IdealGas().forward(positions, lam, cubic_box(6.0))
    assert (mean == positions).all()
    assert variance[0] == 0.0
    largest = 3.0**2 - np.exp(2 * LOG_NOISE_MIN)
    assert variance[2].item() == pytest.approx(largest)
    assert 0 < variance[1] < variance[2]


def test_it_is_found_by_its_name():
    assert isinstance(reference_named("ideal_gas"), IdealGas)
    with pytest.raises(ValueError, match="choose from ideal_gas"):
        reference_named("crystal")


@pytest.mark.parametrize("long", [1.6, 2.0, 3.0])
def test_what_noise_leaves_of_a_pair_in_a_long_box(long):
    """Noise at lambda = 0 is that of the cube: along a long edge the density is not yet uniform."""
    edges = np.array([3.0, 3.0, 3.0 * long**1.5])
    state = StatePoint(
        n_particles=2,
        box_sigma=edges.tolist(),
        temperature_star=0.5,
        cutoff_sigma=1.5,
        switch_sigma=1.25,
    )
    sides = (16 * edges).astype(int)
    steps = edges / sides
    x = np.stack(np.indices(sides), -1) * steps
    r2 = (nearest_image(x, edges) ** 2).sum(-1)
    density = np.exp(-pair_energy(np.maximum(r2, 0.3), state) / state.temperature_star)
    waves = np.fft.fftn(density / density.mean()) / density.size
    kx, ky, kz = np.ix_(
        *(2 * np.pi * np.fft.fftfreq(n, d) for n, d in zip(sides, steps, strict=True))
    )
    variance = np.exp(2 * float(log_noise_max(box_of(state))))
    fading = np.exp(-variance * (kx**2 + ky**2 + kz**2))
    noised = density.size * np.fft.ifftn(waves * fading).real
    left_out = (noised * np.log(noised)).mean()
    structure = 1 + waves[0, 0, 1].real  # S(k) of two atoms
    expected = (structure - 1) ** 2 * np.exp(-2 * np.pi**2 / long**2)  # N / 2 (N - 1) is 1
    assert left_out == pytest.approx(expected, rel=0.01)
