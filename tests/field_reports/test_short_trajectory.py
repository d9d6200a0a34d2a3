"""Stretches of one real trajectory: the claimed errors of the mean energy are the real ones."""

import numpy as np
import openmm
import pytest
from contexts import make_context

from openmm_nti import StatePoint
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.fluid_system import LJFluid
from openmm_nti.reference_md.statistics import (
    equilibration,
    mean_and_error,
    statistical_inefficiency,
)

STATE = StatePoint(n_particles=12, box_length_sigma=6.0, temperature_star=1.25)
N_FRAMES = 20_000
MOST = 200  # stretches of one length

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def energies():
    """beta U every picosecond of a long run. Shape (20 000,); a minute of MD."""
    integrator = openmm.LangevinMiddleIntegrator(STATE.temperature_kelvin, 2.0, 0.01)
    integrator.setRandomNumberSeed(7)
    context = make_context(
        LJFluid(STATE).create_system(), lattice_positions_nm(STATE, 3), integrator
    )
    context.setVelocitiesToTemperature(STATE.temperature_kelvin, 5)
    integrator.step(5000)
    found = np.empty(N_FRAMES)
    for number in range(N_FRAMES):
        integrator.step(100)
        found[number] = context.getState(energy=True).getPotentialEnergy()._value
    return found / STATE.kt_kj_mol


def scores(energies, n, transient=0.0):
    """Deviations of the means of stretches of n frames in claimed errors, and cut starts."""
    mean = energies.mean()
    count = min(MOST, len(energies) // n)
    z, cuts = [], []
    for stretch in energies[: count * n].reshape(count, n) + transient:
        cuts.append(equilibration(stretch))
        found, error = mean_and_error(stretch[cuts[-1] :])
        z.append((found - mean) / error)  # 0 for an infinite error
    return np.array(z), np.array(cuts)


def root_mean_square(z):
    return np.sqrt(np.mean(z[z != 0] ** 2))


def test_the_trajectory_is_as_correlated_as_usual(energies):
    assert 4 < statistical_inefficiency(energies) < 6


@pytest.mark.parametrize("n", [60, 100, 200, 400])
def test_claimed_errors_are_the_real_ones(energies, n):
    z, cuts = scores(energies, n)
    assert np.mean(z != 0) > 0.9
    assert 0.8 < root_mean_square(z) < 1.25
    assert np.mean(cuts > 0) < 0.1


@pytest.mark.parametrize("n", [20, 40])
def test_errors_of_too_few_frames_are_unknown_or_not_too_small(energies, n):
    z, _ = scores(energies, n)
    assert root_mean_square(z) < 1.25
    assert np.mean(np.abs(z) > 3) < 0.05


@pytest.mark.parametrize("n", [100, 400])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_a_transient_at_the_start_is_found(energies, n, share):
    decay = 10 * energies.std() * np.exp(-np.arange(n) / (share * n / 3))
    z, cuts = scores(energies, n, decay)
    assert np.mean(cuts > 0) > 0.75
    assert share / 3 < np.median(cuts) / n < 1.8 * share
    # The tail of a long transient sinks into the noise long before it is gone.
    assert root_mean_square(z) < (1.3 if share < 0.3 else 1.5)
