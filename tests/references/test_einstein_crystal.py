"""The Einstein crystal: samples, energy and free energy against Gaussian algebra."""

import math

import numpy as np
import pytest
import torch
from models import CRYSTAL

from openmm_nti import StatePoint
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.references.einstein_crystal import (
    EinsteinCrystal,
    beta_a_per_particle,
    beta_f_ex,
)
from openmm_nti.references.registry import reference_named

STATE = CRYSTAL
C = 0.004
EINSTEIN = EinsteinCrystal(STATE, C)
N = STATE.n_particles
D = 3 * (N - 1)


def test_samples_have_d_coordinates_of_their_variance():
    generator = torch.Generator().manual_seed(1)
    positions = EINSTEIN.sample(4000, N, box_of(STATE), generator)
    moved = positions - EINSTEIN.sites
    assert moved.mean(dim=1).abs().max() < 1e-12
    energy = EINSTEIN.energy(positions)
    assert energy.mean().item() == pytest.approx(D / 2, abs=5 * math.sqrt(D / 2 / 4000))
    assert energy.var().item() == pytest.approx(D / 2, rel=0.12)
    flat = moved.reshape(4000, -1).numpy()
    spread = np.linalg.eigvalsh(flat.T @ flat / 4000)
    assert (spread < 1e-12).sum() == 3
    assert spread[3:].mean() == pytest.approx(C, rel=0.02)


def test_a_shift_changes_no_energy():
    positions = EINSTEIN.sample(3, N, box_of(STATE), torch.Generator().manual_seed(2))
    assert torch.allclose(EINSTEIN.energy(positions + 0.37), EINSTEIN.energy(positions))


def test_z_rel_is_that_of_two_atoms_by_quadrature():
    """Of two atoms on a line of three dimensions: one relative vector r = u_1 - u_2 = sqrt(2) q."""
    q = np.linspace(-1.0, 1.0, 4001)
    line = np.trapezoid(np.exp(-(q**2) / (2 * C)), q)
    assert -3 * math.log(line) == pytest.approx(EINSTEIN.minus_log_z_rel * 3 / D, rel=1e-9)


def test_the_conversions_are_those_of_a_free_centre_of_mass():
    """Springs to fixed places, with the centre of mass free in the box, by Gaussian algebra.

    exp(-beta U) with all 3N coordinates integrates to (2 pi c)^{3N/2}. The centre of mass of atoms
    without a fixed place ranges over V where its Gaussian has (2 pi c / N)^{3/2}. Of N! labellings,
    a crystal that is shifted by a lattice vector gives the same one again.
    """
    log_z_fixed = 1.5 * N * math.log(2 * math.pi * C)
    log_z_one = log_z_fixed - 1.5 * math.log(2 * math.pi * C / N) + math.log(STATE.volume_sigma3)
    log_z = log_z_one + math.lgamma(N + 1) - math.log(N)  # fcc: N primitive cells
    expected = N * math.log(STATE.volume_sigma3) - log_z
    assert EINSTEIN.free_energy(STATE) == pytest.approx(expected, rel=1e-12)
    helmholtz = -(log_z - math.lgamma(N + 1)) / N
    assert beta_a_per_particle(EINSTEIN.minus_log_z_rel, STATE) == pytest.approx(helmholtz)


def test_the_sum_over_labels_and_places_of_two_atoms_on_a_ring():
    """Z of a crystal of two atoms on a ring, counted by brute force, has V N^{1/2} N! / M Z_rel."""
    length, c, n = 2.0, 1e-3, 2
    x = np.linspace(0, length, 2000, endpoint=False)
    relative = x - length / 2  # x_2 - x_1 - L / 2, of which q is 1 / sqrt(2)
    brute = length * np.exp(-(relative**2) / (4 * c)).sum() * (x[1] - x[0])
    z_rel = math.sqrt(2 * math.pi * c)
    assert brute == pytest.approx(math.factorial(n) * length / n * math.sqrt(n) * z_rel)


def test_the_forward_kernel_begins_at_the_frame():
    lam = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    positions = torch.zeros(3, N, 3, dtype=torch.float64)
    mean, variance = EINSTEIN.forward(positions, lam, box_of(STATE))
    assert (mean == positions).all()
    assert variance[0] == 0
    assert variance[2].item() == pytest.approx(0.5**2 - 0.006**2)


def test_it_refuses_what_it_cannot_be_made_of():
    with pytest.raises(ValueError, match="variance = 0 must be a number above 0"):
        EinsteinCrystal(STATE, 0.0)
    fluid = StatePoint(n_particles=32, box_length_sigma=6.0, temperature_star=1.25)
    with pytest.raises(ValueError, match="is a fluid"):
        EinsteinCrystal(fluid, C)
    with pytest.raises(ValueError, match="is a fluid"):
        beta_f_ex(0.0, fluid)
    with pytest.raises(ValueError, match="choose from ideal_gas$"):
        reference_named("einstein_crystal")
