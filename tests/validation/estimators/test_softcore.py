"""The soft-core path against OpenMM's own energies, its ends, and exact free energies of two
particles.
"""

import math

import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators import softcore
from openmm_nti.validation.estimators.softcore import SoftcoreConfig
from openmm_nti.validation.sampling.softcore_fluid import (
    PARAMETER,
    raise_coupling,
    soft_pair,
    soft_potential,
    soft_system,
)

CONVENTIONS = ("switched", "truncated")
QUICK = SoftcoreConfig(
    n_windows=5,
    n_frames=40,
    steps_between=15,
    equilibration=200,
    timestep_star=0.01,
    platform="CPU",
)


def fluid(convention, n_particles=20):
    return StatePoint(
        n_particles=n_particles, box_length_sigma=6, temperature_star=1.25, convention=convention
    )


def sticky_pair(convention):
    """Two particles in a small, cold box: a large effect, and a jump of 0.4 kT at the cutoff when
    truncated.
    """
    return StatePoint(
        n_particles=2,
        box_length_sigma=3,
        temperature_star=0.8,
        cutoff_sigma=1.5,
        switch_sigma=1.2,
        convention=convention,
    )


def exact_pair(state):
    """Beta F_ex of two particles, -ln[1 + (1/V) int (exp(-u) - 1) 4 pi r^2 dr], u being zero beyond
    the cutoff.
    """
    r = np.linspace(0, state.cutoff_sigma, 20_001)[1:-1]
    u = soft_pair(r**2, state, np.array([1.0]))[0][0]
    return -math.log1p(np.trapezoid(np.expm1(-u) * 4 * np.pi * r**2, r) / state.box_length_sigma**3)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("coupling", [0.0, 0.04, 0.6, 1.0])
def test_numpy_and_openmm_agree_on_energy_and_derivative(convention, coupling):
    state = fluid(convention)
    start = (
        np.random.default_rng(0).uniform(0, 1, (20, 3)) * state.box_length_nm * 3
    )  # unwrapped positions
    context = openmm.Context(
        soft_system(state),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(start)
    context.setParameter(PARAMETER, coupling)
    snapshot = context.getState(energy=True, parameterDerivatives=True)
    energy, slope = soft_potential(start[None] / state.sigma_nm, state, np.array([coupling]))
    in_kt = (
        snapshot.getPotentialEnergy().value_in_unit(openmm.unit.kilojoule_per_mole)
        / state.kt_kj_mol
    )
    assert energy[0, 0] == pytest.approx(in_kt, rel=1e-9, abs=1e-12)
    dudl = snapshot.getEnergyParameterDerivatives()[PARAMETER] / state.kt_kj_mol
    assert slope[0, 0] == pytest.approx(dudl, rel=1e-9)
    assert abs(slope[0, 0]) > 1


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_the_ends_are_the_ideal_gas_and_lennard_jones(convention):
    state = fluid(convention)
    positions = np.random.default_rng(1).uniform(0, 6, (5, 20, 3))
    energy, _ = soft_potential(positions, state, np.array([0.0, 1.0]))
    assert (energy[:, 0] == 0).all()
    np.testing.assert_allclose(energy[:, 1], reduced_potential_numpy(positions, state), rtol=1e-12)


def test_derivative_is_that_of_the_energy():
    r2 = np.linspace(0.05, 9.5, 50)
    coupling = np.array([0.1, 0.5, 0.9])
    state, step = fluid("switched"), 1e-5
    rise = soft_pair(r2, state, coupling + step)[0] - soft_pair(r2, state, coupling - step)[0]
    np.testing.assert_allclose(
        soft_pair(r2, state, coupling)[1], rise / (2 * step), rtol=1e-5, atol=1e-7
    )


def test_coinciding_particles_are_soft_until_the_last_window():
    energy, slope = soft_pair(np.array([0.0]), fluid("switched"), np.array([0.0, 0.5, 1.0]))
    assert np.isfinite(slope[:2]).all()
    assert energy[0, 0] == 0
    assert np.isfinite(energy[1, 0])
    assert energy[2, 0] == np.inf


def test_windows_ascend_and_their_number_grows_with_the_path():
    few, many = (softcore.window_lambdas(fluid("switched", n), SoftcoreConfig()) for n in (20, 80))
    for lambdas in (few, many):
        assert lambdas[0] == 0
        assert lambdas[-1] == 1
        assert (np.diff(lambdas) > 0).all()
    assert 5 <= len(few) < len(many) < 60
    assert len(softcore.window_lambdas(fluid("switched"), SoftcoreConfig(n_windows=7))) == 7


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_two_particles_have_their_exact_free_energy(convention, tmp_path):
    state = sticky_pair(convention)
    result = softcore.estimate(state, QUICK, seed=2, directory=tmp_path, progress=False)
    exact = exact_pair(state)
    assert abs(result.value - exact) < 3 * result.std_err
    assert result.std_err < 0.2 * abs(exact)
    assert (result.method, result.convention, result.n_particles) == (
        "mbar_softcore",
        convention,
        2,
    )


def test_quadrature_of_this_file_gives_the_published_value():
    assert exact_pair(fluid("truncated", 2)) == pytest.approx(-0.0302785, abs=1e-6)


def test_a_run_that_was_interrupted_ends_in_the_same_numbers(tmp_path):
    state = sticky_pair("switched")
    config = QUICK.model_copy(update={"n_windows": 3, "n_chains": 2, "n_frames": 5})

    def sample(directory):
        return softcore.sample(state, config, seed=3, directory=directory, progress=False)

    whole = sample(tmp_path / "a")
    parts = sorted((tmp_path / "a" / "softcore_windows").iterdir())
    assert len(parts) == 3
    parts[1].unlink()
    before = parts[0].stat().st_mtime_ns
    again = sample(tmp_path / "a")
    assert parts[0].stat().st_mtime_ns == before
    np.testing.assert_array_equal(whole.u_kln, again.u_kln)
    np.testing.assert_array_equal(whole.dudl, again.dudl)
    other = softcore.sample(state, config, seed=4, directory=tmp_path / "a", progress=False)
    assert not np.array_equal(whole.u_kln, other.u_kln)
    parts[2].write_bytes(parts[2].read_bytes()[:100])
    with pytest.raises(RuntimeError, match="truncated.*delete it"):
        sample(tmp_path / "a")


def test_a_simulation_that_blows_up_says_what_to_change(tmp_path):
    config = QUICK.model_copy(update={"timestep_star": 0.5, "n_chains": 1, "n_windows": 3})
    with pytest.raises(RuntimeError, match="timestep_star"):
        softcore.sample(fluid("switched", 50), config, seed=1, directory=tmp_path, progress=False)


@pytest.mark.parametrize("equilibration", [0, 600])
def test_a_fluid_far_from_equilibrium_is_noticed(equilibration, tmp_path):
    """40 particles at random places, their cores hardened at once: the windows drift, unless they
    are equilibrated.
    """
    config = QUICK.model_copy(
        update={
            "n_windows": 6,
            "n_frames": 20,
            "equilibration": equilibration,
            "timestep_star": 0.006,
        }
    )
    result = softcore.estimate(
        fluid("switched", 40), config, seed=1, directory=tmp_path, progress=False
    )
    assert abs(result.value + 21.10) < 3 * result.std_err
    drift = result.diagnostics["drift"]
    if equilibration:
        assert drift["left_out"] == 0
        assert result.std_err < 1
    else:
        assert drift["left_out"] == 0.5
        assert drift["z"] < -3
        assert "raise estimates.softcore.equilibration" in result.verdict.text


@pytest.mark.slow
@pytest.mark.parametrize(("convention", "truth"), [("switched", -21.10), ("truncated", -21.65)])
def test_forty_particles_with_the_default_settings(convention, truth, tmp_path):
    result = softcore.estimate(
        fluid(convention, 40),
        SoftcoreConfig(platform="CPU"),
        seed=1,
        directory=tmp_path,
        workers=2,
        progress=False,
    )
    assert abs(result.value - truth) < 3 * result.std_err
    assert result.std_err <= 0.2


def test_a_dense_fluid_comes_apart_however_short_the_ramp():
    state = StatePoint(n_particles=200, box_length_sigma=6.0, temperature_star=1.25)
    context = softcore.chain_context(soft_system(state), state, SoftcoreConfig(), Execution(seed=1))
    context.setPositions(np.random.default_rng(0).uniform(0, state.box_length_nm, (200, 3)))
    raise_coupling(context, 1.0, 80)
    context.getIntegrator().step(200)
    energy = (
        context.getState(energy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    )
    assert -5.0 < energy / state.kt_kj_mol / 200 < -3.5
