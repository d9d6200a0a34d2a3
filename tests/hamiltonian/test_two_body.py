"""The two-body term against quadrature that shares no code with it; N = 2 and 3 exact at every
lambda.
"""

import math

import numpy as np
import pytest
import torch

from openmm_nti import LambdaHamiltonian
from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.hamiltonian.two_body import TwoBodyTerm
from openmm_nti.hamiltonian.two_body_table import smeared_potential
from openmm_nti.references.noise import effective_variance, log_noise

POTENTIAL = ReducedPotential(temperature_star=1.25)
LENGTH = 6.0
BOX = torch.full((3,), LENGTH, dtype=torch.float64)


def lennard_jones(r, potential):
    """beta u(r), written from the formula."""
    r = np.maximum(r, 0.3)
    x = np.clip(
        (r - potential.switch_sigma) / (potential.cutoff_sigma - potential.switch_sigma), 0, 1
    )
    switch = 1 - 6 * x**5 + 15 * x**4 - 10 * x**3 if potential.convention == "switched" else 1.0
    return np.where(
        r < potential.cutoff_sigma, 4 / potential.temperature_star * (r**-12 - r**-6) * switch, 0.0
    )


@pytest.mark.parametrize("spread", [0.05, 0.2, 0.7])
@pytest.mark.parametrize("distance", [0.8, 1.1, 1.7])
def test_the_smeared_potential_is_a_gaussian_average(spread, distance):
    """exp(-phi) by Gauss-Hermite along the line and Gauss-Legendre across it, in cylindrical
    coordinates.
    """
    width = math.sqrt(2.0) * spread
    along, weight_along = np.polynomial.legendre.leggauss(1200)
    across, weight_across = np.polynomial.legendre.leggauss(600)
    z, rho = 8 * width * along, 4 * width * (across + 1)
    gauss_z = (
        weight_along * 8 * width * np.exp(-0.5 * (z / width) ** 2) / math.sqrt(2 * math.pi) / width
    )
    gauss_rho = weight_across * 4 * width * rho / width**2 * np.exp(-0.5 * (rho / width) ** 2)
    r = np.sqrt((distance + z[:, None]) ** 2 + rho[None, :] ** 2)
    expected = -math.log(gauss_z @ np.exp(-lennard_jones(r, POTENTIAL)) @ gauss_rho)
    found = smeared_potential(np.array([distance]), spread**2, POTENTIAL.kinds[0])[0]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("convention", ["switched", "truncated"])
def test_the_spline_follows_the_integral(convention):
    """Where the cutoff shell and the gate are out of the way, the table is the exact two-body path
    between its rows.
    """
    potential = ReducedPotential(temperature_star=1.25, convention=convention)
    term = TwoBodyTerm(potential)
    r = np.linspace(0.85, 2.4, 200)
    for log_s in np.log([0.0123, 0.047, 0.11, 0.21]):
        level = torch.tensor([log_s], dtype=torch.float64)
        found = term(
            torch.from_numpy(r), torch.zeros(200, dtype=torch.long), term.rows(level)
        ).numpy()
        variance = effective_variance(level).item()
        gate = math.exp(-((variance / 0.8**2) ** 2))
        np.testing.assert_allclose(
            found, gate * smeared_potential(r, variance, potential.kinds[0]), atol=1e-4
        )


# Radial quadrature inside the cutoff sphere; the rest of the box has U = 0.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(600)
RADII = 1.5 * (NODES + 1)
MEASURE = 1.5 * WEIGHTS * 4 * math.pi * RADII**2
PAIRS = torch.zeros(600, 2, 3, dtype=torch.float64)
PAIRS[:, 1, 0] = torch.from_numpy(RADII)


def two_body_free_energy(model, lam):
    """-ln Z_2 / V^2 at one lambda."""
    energy = model(PAIRS, BOX, torch.full((600,), lam, dtype=torch.float64)).numpy()
    return -math.log1p(MEASURE @ np.expm1(-energy) / LENGTH**3)


def test_two_particles_at_lambda_one_match_the_published_quadrature():
    """beta F_ex(2) = -0.0302785 for the truncated potential, L = 6, T* = 1.25."""
    potential = ReducedPotential(temperature_star=1.25, convention="truncated")
    r = np.linspace(1e-3, 3.0, 300_001)
    mayer = np.trapezoid(4 * math.pi * r**2 * np.expm1(-lennard_jones(r, potential)), r)
    assert -math.log1p(mayer / LENGTH**3) == pytest.approx(-0.0302785, abs=2e-6)
    assert two_body_free_energy(LambdaHamiltonian(potential), 1.0) == pytest.approx(
        -0.0302785, abs=1e-5
    )


def test_two_particles_integrate_exactly_to_every_lambda():
    """F_2(lambda) by quadrature equals the integral of <dU/dlambda> from the ideal gas, at every
    lambda, to 1e-4.
    """
    model = LambdaHamiltonian(POTENTIAL)
    lambdas = np.linspace(0, 1, 161)
    slopes = []
    for value in lambdas:
        lam = torch.full((600,), value, dtype=torch.float64, requires_grad=True)
        energy = model(PAIRS, BOX, lam)
        (slope,) = torch.autograd.grad(energy.sum(), lam)
        boltzmann = np.exp(-energy.detach().numpy())
        volume = MEASURE @ boltzmann + LENGTH**3 - MEASURE.sum()
        slopes.append((MEASURE * boltzmann) @ slope.numpy() / volume)
    slopes = np.array(slopes)
    integral = np.concatenate([[0], np.cumsum(0.5 * (slopes[1:] + slopes[:-1]) * np.diff(lambdas))])
    expected = np.array([two_body_free_energy(model, value) for value in lambdas])
    np.testing.assert_allclose(integral, expected, atol=1e-4)


def test_three_particles_at_lambda_one():
    """beta F_ex(3) = -0.0906552(22) for the truncated potential: here by uniform sampling to
    3e-3.
    """
    potential = ReducedPotential(temperature_star=1.25, convention="truncated")
    model = LambdaHamiltonian(potential)
    generator = torch.Generator().manual_seed(11)
    boltzmann = []
    for _ in range(6):
        positions = torch.rand(20_000, 3, 3, generator=generator, dtype=torch.float64) * LENGTH
        energy = model(positions, BOX, torch.ones(20_000, dtype=torch.float64))
        boltzmann.append(torch.exp(-energy).numpy())
    weights = np.concatenate(boltzmann)
    error = weights.std() / weights.mean() / math.sqrt(weights.size)
    assert error < 3e-3
    assert -math.log(weights.mean()) == pytest.approx(-0.0906552, abs=3 * error)


def test_the_term_is_local_and_ends():
    """Zero at the cutoff under noise, and zero everywhere once the noise is of the size of the
    box.
    """
    term = TwoBodyTerm(POTENTIAL)
    noisy = term.rows(torch.log(torch.tensor([0.3], dtype=torch.float64)))
    edge = term(
        torch.tensor([3.0 - 1e-9], dtype=torch.float64), torch.zeros(1, dtype=torch.long), noisy
    )
    assert edge.abs().item() < 1e-4
    last = term.rows(log_noise(torch.zeros(1, dtype=torch.float64), BOX))
    assert (last == 0).all()


def test_the_slope_is_the_derivative():
    term = TwoBodyTerm(POTENTIAL)
    r = torch.linspace(0.0, 2.999, 500, dtype=torch.float64, requires_grad=True)
    rows = term.rows(torch.log(torch.tensor([0.09], dtype=torch.float64)))
    (expected,) = torch.autograd.grad(term(r, torch.zeros(500, dtype=torch.long), rows).sum(), r)
    found = term.derivative(r.detach(), torch.zeros(500, dtype=torch.long), rows)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-9, atol=1e-9)
