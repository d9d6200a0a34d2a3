"""The virial against changes of the volume: of each configuration, and of an exact pressure."""

import numpy as np
import pytest

from openmm_nti.fluid.energy import pair_energy, reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.virial import pair_virial, pressure_star, virials

KINDS = {
    "switched": {},
    "shifted": {"convention": "shifted"},
    "force_shifted": {"convention": "force_shifted"},
    "uhlenbeck_ford": {"potential": {"type": "uhlenbeck_ford"}},
    "wca": {"potential": {"type": "wca"}},
}


def fluid(n, box=6.0, **kind):
    return StatePoint(n_particles=n, box_length_sigma=box, temperature_star=1.25, **kind)


@pytest.mark.parametrize("kind", KINDS)
def test_virial_is_the_change_of_the_energy_with_the_volume(kind):
    step, positions = 1e-6, np.random.default_rng(1).uniform(0, 6.1, (3, 12, 3))
    energies = [
        reduced_potential_numpy(positions * scale, fluid(12, 6.1 * scale, **KINDS[kind]))
        for scale in (1 + step, 1 - step)
    ]
    found = virials(positions, fluid(12, 6.1, **KINDS[kind]))
    expected = -1.25 * (energies[0] - energies[1]) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_pressure_of_two_particles_is_the_slope_of_their_free_energy(kind):
    state = fluid(2, **KINDS[kind])
    r = np.linspace(0, 3, 60_001)[1:-1]
    shell, boltzmann = 4 * np.pi * r**2, np.exp(-pair_energy(r**2, state) / 1.25)
    mayer = np.trapezoid((boltzmann - 1) * shell, r)
    volume, step = 216.0, 1e-3
    beta_f = [-2 * np.log(v) - np.log1p(mayer / v) for v in (volume + step, volume - step)]
    expected = -1.25 * (beta_f[0] - beta_f[1]) / (2 * step)
    weight = boltzmann * shell / (volume + mayer)
    mean = np.trapezoid(pair_virial(r**2, state) * weight, r)
    assert pressure_star(mean, 1.25, state) == pytest.approx(expected, rel=1e-6)


def test_a_jump_has_no_pressure():
    state = fluid(2, convention="truncated")
    with pytest.raises(ValueError, match="truncated: the energy jumps at the cutoff"):
        virials(np.zeros((1, 2, 3)), state)
