"""The fluid in OpenMM against the fluid in numpy, and both against closed forms."""

import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_nti.fluid.energy import (
    closest_pair_sigma,
    pair_energy,
    reduced_potential_numpy,
    truncation_log_weights,
)
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.fluid_system import lj_system, lj_topology
from openmm_nti.md.platforms import fastest_platform, platform_properties


def make_state(n=40, **settings):
    return StatePoint(
        n_particles=n, **{"box_length_sigma": 6, "temperature_star": 1.25, **settings}
    )


@pytest.mark.parametrize("convention", ["switched", "truncated"])
@pytest.mark.parametrize(("platform", "tolerance"), [("Reference", 1e-12), ("CPU", 1e-5)])
def test_openmm_and_numpy_agree(platform, tolerance, convention):
    state = make_state(convention=convention)
    chosen = fastest_platform(platform)
    context = openmm.Context(
        lj_system(state), openmm.VerletIntegrator(0.001), chosen, platform_properties(chosen)
    )
    rng = np.random.default_rng(1)
    for seed in range(5):
        positions = lattice_positions_nm(state, seed) + rng.normal(scale=0.01, size=(40, 3))
        positions += (
            rng.integers(-2, 3, size=(40, 3)) * state.box_length_nm
        )  # other periodic images
        context.setPositions(positions)
        energy = (
            context.getState(energy=True)
            .getPotentialEnergy()
            .value_in_unit(unit.kilojoule_per_mole)
        )
        expected = reduced_potential_numpy(positions[np.newaxis] / state.sigma_nm, state)[0]
        assert energy / state.kt_kj_mol == pytest.approx(expected, rel=tolerance)


def test_pair_energy_in_closed_form():
    state = make_state()
    r = np.array([2 ** (1 / 6), 1.0, 2.5, 2.75, 3.0, 4.0])
    middle = 0.5 * 4 * (2.75**-12 - 2.75**-6)  # the switching function is one half in the middle
    expected = [-1, 0, 4 * (2.5**-12 - 2.5**-6), middle, 0, 0]
    np.testing.assert_allclose(pair_energy(r**2, state), expected, atol=1e-14)


def test_coinciding_particles_have_infinite_energy():
    assert np.isposinf(reduced_potential_numpy(np.zeros((1, 2, 3)), make_state(2)))


def test_excess_free_energy_of_two_particles_is_the_published_number():
    """-ln(<exp(-beta u)>) over the cube is -0.0302785 in the `truncated` convention: midpoint rule,
    then a sphere.
    """
    state = make_state(2, convention="truncated")
    edges = np.linspace(0, 3, 300_001)
    r = 0.5 * (edges[1:] + edges[:-1])
    mayer = np.exp(-pair_energy(r**2, state) / state.temperature_star) - 1
    integral = (4 * np.pi * r**2 * mayer).sum() * (edges[1] - edges[0])
    assert -np.log1p(integral / 216) == pytest.approx(-0.0302785, abs=1e-7)


def test_weights_of_the_truncated_convention():
    state = make_state(3, convention="truncated", cutoff_sigma=1.5)
    line = np.array(
        [[[0, 0, 0], [1.4, 0, 0], [4.7, 0, 0]]]
    )  # two pairs within 1.5: 1.4, and 1.3 over the boundary
    at_cutoff = 4 * (1.5**-12 - 1.5**-6) / 1.25
    np.testing.assert_allclose(truncation_log_weights(line, state), [-2 * at_cutoff])
    np.testing.assert_allclose(closest_pair_sigma(line, state), [1.3])
    switched = make_state(3, cutoff_sigma=1.5, switch_sigma=1.3)
    np.testing.assert_array_equal(truncation_log_weights(line, switched), [0])


@pytest.mark.parametrize("n", [2, 27, 40, 200, 216])
def test_lattice_has_no_overlaps_and_repeats(n):
    state = make_state(n)
    positions = lattice_positions_nm(state, 5)
    assert positions.shape == (n, 3)
    assert positions.min() >= 0
    assert positions.max() < state.box_length_nm
    assert closest_pair_sigma(positions[np.newaxis] / state.sigma_nm, state)[0] > 0.9
    np.testing.assert_array_equal(positions, lattice_positions_nm(state, 5))
    assert not np.array_equal(positions, lattice_positions_nm(state, 6))


def test_topology_is_argon_in_the_box():
    state = make_state(3)
    topology = lj_topology(state)
    assert [residue.name for residue in topology.residues()] == ["AR"] * 3
    assert topology.getUnitCellDimensions().value_in_unit(unit.nanometer)[0] == pytest.approx(
        state.box_length_nm
    )
    assert topology.getNumAtoms() == lj_system(state).getNumParticles()
