"""The open box: the ideal gas, and a thin fluid whose p(N) follows from the second virial
coefficient.
"""

import math

import numpy as np
import pytest

from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.sampling.grand_canonical import GrandCanonicalConfig, _Boxes, sample

CONFIG = GrandCanonicalConfig(n_walkers=32, equilibration_steps=150, n_frames=80, steps_between=10)
FLUID = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)


def test_an_ideal_gas_holds_z_v_particles_and_fluctuates_like_poisson():
    hot = FLUID.model_copy(
        update={"temperature_star": 1e12}
    )  # nothing is felt but an overlap below 0.1 sigma
    found = sample(hot, math.log(10 / 216), CONFIG, seed=2)
    assert abs(found.mean_number - 10) < 3 * found.std_err < 1
    numbers = np.arange(len(found.distribution))
    variance = found.distribution @ (numbers - found.mean_number) ** 2
    assert variance == pytest.approx(10, rel=0.2)
    assert abs(found.drift) < 4


def test_boxes_grow_when_they_are_full():
    hot = FLUID.model_copy(update={"temperature_star": 1e12})
    found = sample(
        hot, math.log(60 / 216), CONFIG.model_copy(update={"equilibration_steps": 500}), seed=1
    )
    assert abs(found.mean_number - 60) < 4 * found.std_err


def test_energies_leave_out_empty_slots_and_the_particle_itself():
    boxes = _Boxes(FLUID, 0.0, 2, np.random.default_rng(1))
    boxes.numbers[:] = 2, 1
    boxes._coordinates[:, 0, 1] = (
        1.2,
        0.0,
        5.5,
    )  # across the boundary from the first, which is at the origin
    at_first = boxes._coordinates[:, :, 0]
    r2 = 1.2**2 + 0.5**2
    pair = 4 * (r2**-6 - r2**-3) / 1.25
    np.testing.assert_allclose(boxes._energies(at_first, np.array([0, 0])), [pair, 0.0], rtol=1e-12)
