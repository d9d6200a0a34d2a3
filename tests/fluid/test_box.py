"""Boxes of unequal edges: how they are given, and energies in them against all periodic images."""

import itertools

import numpy as np
import openmm
import pytest
from openmm import unit
from pydantic import ValidationError

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import closest_pair_sigma, reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.virial import virials
from openmm_nti.md.fluid_system import fluid_system, fluid_topology

EDGES = (6.6, 5.4, 5.1)
PLAIN = {"temperature_star": 1.25, "cutoff_sigma": 2.5, "switch_sigma": 2.0}
STATE = StatePoint(n_particles=20, box_sigma=EDGES, **PLAIN)


def frames(n_frames=4, seed=1):
    """Frames that reach out of the box, (F, N, 3), sigma."""
    rng = np.random.default_rng(seed)
    sites = lattice_positions_nm(STATE, seed) / STATE.sigma_nm
    moved = sites + 0.2 * rng.standard_normal((n_frames, *sites.shape))
    return moved + rng.integers(-2, 3, moved.shape) * np.array(EDGES)


def test_three_equal_edges_are_a_cube_to_the_last_bit():
    for edge, key in ((6.0, "box_length_sigma"), (2.043, "box_length_nm")):
        three = "box_sigma" if key.endswith("sigma") else "box_nm"
        given = {"n_particles": 40, "temperature_star": 1.25}
        cube, same = StatePoint(**given, **{key: edge}), StatePoint(**given, **{three: [edge] * 3})
        assert same == cube
        assert same.model_dump_json() == cube.model_dump_json()
        assert "box_sigma" not in cube.model_dump()
        assert (same.edges_sigma == cube.box_length_sigma).all()


def test_unequal_edges_have_one_volume_and_are_read_again():
    assert STATE.volume_sigma3 == pytest.approx(6.6 * 5.4 * 5.1)
    assert STATE.density_star == pytest.approx(20 / (6.6 * 5.4 * 5.1))
    assert STATE.edges_nm == pytest.approx(np.array(EDGES) * 0.3405)
    assert STATE.shortest_edge_sigma == 5.1
    assert "L = 6.6x5.4x5.1 sigma" in str(STATE)
    assert STATE.label.startswith("N20_L6.6x5.4x5.1_T1.25")
    assert StatePoint.model_validate_json(STATE.model_dump_json()) == STATE
    assert "box_sigma=(6.6, 5.4, 5.1)" in repr(STATE)
    nm = StatePoint(n_particles=20, box_nm=[edge * 0.3405 for edge in EDGES], **PLAIN)
    assert nm.edges_sigma == pytest.approx(EDGES)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ({"box_sigma": [6.0, 5.0, 4.9]}, r"shortest edge, 4\.9 sigma .* is under two cutoffs"),
        ({"box_sigma": [6.0, 5.0, -5.0]}, r"box_sigma = -5\.0 must be a positive number"),
        ({"box_nm": [2.0, 2.1]}, r"box_nm = \[2\.0, 2\.1\] must be the three edges"),
        ({"box_nm": 2.0}, r"box_nm = 2\.0 must be the three edges of the box: \[x, y, z\]"),
        ({"box_nm": [2, 2, True]}, "box_nm = True must be a positive number"),
        ({"box_nm": [2, 2, 3], "density_star": 0.1}, "box_nm and density_star are given"),
        ({"box_sigma": [6, 6, 7], "box_length_sigma": 6}, "box_sigma are given"),
    ],
)
def test_a_bad_box_is_refused_in_one_line(box, message):
    with pytest.raises(ValidationError, match=message) as refused:
        StatePoint(n_particles=20, **PLAIN, **box)
    assert refused.value.error_count() == 1


def test_energies_and_virials_are_those_of_all_images():
    x = frames()
    first, second = np.triu_indices(STATE.n_particles, 1)
    shifts = np.array(list(itertools.product(range(-5, 6), repeat=3))) * EDGES
    vectors = (x[:, first] - x[:, second])[:, :, None] + shifts
    r = np.sqrt((vectors**2).sum(-1))
    t = np.clip((r - 2.0) / 0.5, 0, 1)
    energy = 4 / 1.25 * (r**-12 - r**-6) * (1 - 6 * t**5 + 15 * t**4 - 10 * t**3)
    np.testing.assert_allclose(reduced_potential_numpy(x, STATE), energy.sum((1, 2)), rtol=1e-9)
    assert closest_pair_sigma(x, STATE) == pytest.approx(r.min((1, 2)))
    # The virial is -dU/d ln(scale) of box and positions together.
    larger, smaller = (
        StatePoint(n_particles=20, box_sigma=[scale * edge for edge in EDGES], **PLAIN)
        for scale in (1 + 1e-6, 1 - 1e-6)
    )
    rise = reduced_potential_numpy(x * (1 + 1e-6), larger)
    fall = reduced_potential_numpy(x * (1 - 1e-6), smaller)
    np.testing.assert_allclose(virials(x, STATE) / 1.25, (fall - rise) / 2e-6, rtol=1e-5, atol=1e-4)


def test_openmm_has_the_box_and_its_energies():
    system, x = fluid_system(STATE), frames()
    for vectors in (
        system.getDefaultPeriodicBoxVectors(),
        fluid_topology(STATE).getPeriodicBoxVectors(),
    ):
        found = [v.value_in_unit(unit.nanometer) for v in vectors]
        np.testing.assert_allclose(found, np.diag(STATE.edges_nm))
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(x[0] * STATE.sigma_nm)
    energy = context.getState(energy=True).getPotentialEnergy()
    found = energy.value_in_unit(unit.kilojoule_per_mole) / STATE.kt_kj_mol
    assert found == pytest.approx(reduced_potential_numpy(x[:1], STATE)[0], rel=1e-6)


@pytest.mark.parametrize("edges", [(6.0, 6.0, 6.0), EDGES, (5.0, 5.0, 20.0)])
@pytest.mark.parametrize("n", [2, 27, 60])
def test_a_lattice_has_room_for_all_along_every_edge(edges, n):
    state = StatePoint(n_particles=n, box_sigma=edges, **PLAIN)
    sites = lattice_positions_nm(state, seed=3) / state.sigma_nm
    assert (sites > 0).all()
    assert (sites < edges).all()
    widest = (state.volume_sigma3 / n) ** (1 / 3)
    assert closest_pair_sigma(sites[None], state)[0] > 0.6 * widest


def test_a_lattice_in_a_cube_is_the_smallest_cubic_one():
    for n, side in ((8, 2), (9, 3), (27, 3), (28, 4)):
        state = StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=1.25)
        sites = np.sort(lattice_positions_nm(state, seed=3) / state.sigma_nm * side / 6.0 - 0.5)
        assert np.abs(sites - np.round(sites)).max() < 0.021
        assert np.round(sites).max() == side - 1
