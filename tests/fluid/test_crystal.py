"""Crystals: sites and boxes of the lattices, and which frames are refused."""

import numpy as np
import pytest
from models import mixture
from pydantic import ValidationError

from openmm_nti import StatePoint
from openmm_nti.fluid.crystal import Crystal
from openmm_nti.fluid.displacements import (
    about_sites,
    check_mean_positions,
    displacements,
    order_of_sites,
    sites_sigma,
)
from openmm_nti.fluid.energy import nearest_image
from openmm_nti.fluid.lattice import lattice_positions_nm

LATTICES = [
    ("fcc", (3, 3, 3), 12, 2**0.5),
    ("fcc", (2, 3, 4), 12, 2**0.5),
    ("hcp", (4, 2, 3), 12, 2**0.5),
    ("bcc", (3, 3, 3), 8, 0.75 * 3**0.5),
    ("sc", (4, 4, 4), 6, 1.0),
    ("diamond", (2, 2, 2), 4, 0.375 * 3**0.5),
]


def crystal(lattice, cells, density=1.0, **more):
    given = {"temperature_star": 1.25, "cutoff_sigma": 1.3, "switch_sigma": 1.1} | more
    return StatePoint(crystal={"lattice": lattice, "cells": cells}, density_star=density, **given)


@pytest.mark.parametrize(("lattice", "cells", "n_nearest", "packing"), LATTICES)
def test_neighbours_are_those_of_the_lattice(lattice, cells, n_nearest, packing):
    """`packing` is N d^3 / V, with d the nearest distance."""
    state = crystal(lattice, cells, density=0.7)
    sites = sites_sigma(state)
    assert sites.shape == (state.n_particles, 3)
    assert state.density_star == pytest.approx(0.7)
    assert (sites >= 0).all()
    assert (sites < state.edges_sigma).all()
    away = np.linalg.norm(nearest_image(sites[:, None] - sites, state.edges_sigma), axis=-1)
    nearest = away[away > 0.1].min()
    assert 0.7 * nearest**3 == pytest.approx(packing)
    assert ((away < 1.01 * nearest).sum(axis=1) == n_nearest + 1).all()  # itself too


@pytest.mark.parametrize(("lattice", "cells", "n_nearest", "packing"), LATTICES)
def test_shifts_of_the_lattice_are_as_many_as_its_primitive_cells(
    lattice, cells, n_nearest, packing
):
    del n_nearest, packing
    state = crystal(lattice, cells)
    sites = sites_sigma(state)

    def is_a_shift(vector):
        away = nearest_image(sites[:, None] + vector - sites, state.edges_sigma)
        return (np.linalg.norm(away, axis=-1).min(axis=1) < 1e-9).all()

    assert sum(map(is_a_shift, sites - sites[0])) == state.crystal.n_primitive


def test_n_and_the_box_follow_and_files_keep_them():
    state = crystal("hcp", (4, 2, 3))
    assert state.n_particles == 96
    assert state.box_sigma is not None
    assert StatePoint.model_validate_json(state.model_dump_json()) == state
    assert "_hcp4x2x3_" in state.label
    assert (lattice_positions_nm(state, 1) == lattice_positions_nm(state, 2)).all()
    fluid = StatePoint(n_particles=96, box_length_sigma=6.0, temperature_star=1.25)
    assert "crystal" not in fluid.model_dump()
    assert "crystal" not in repr(fluid)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_particles": 30}, "has 32 sites, and n_particles = 30: leave n_particles out"),
        ({"crystal": {"lattice": "fc", "cells": (2, 2, 2)}}, "crystal: lattice: .*'fcc', 'hcp'"),
        ({"crystal": {"lattice": "fcc", "cells": (2, 2)}}, "crystal: cells: .*3 items"),
        ({"crystal": {"lattice": "fcc", "cells": (0, 2, 2)}}, "crystal: cells.0: .*equal to 1"),
        ({"cutoff_sigma": 3.0}, "is under two cutoffs .*: take more cells"),
        ({"density_star": None, "box_sigma": (3, 3, 4)}, "ratio 1 : 1 : 1, and this one is off by"),
    ],
)
def test_what_is_no_crystal_is_refused_in_one_line(change, message):
    given = {
        "crystal": {"lattice": "fcc", "cells": (2, 2, 2)},
        "density_star": 1.1,
        "temperature_star": 0.7,
        "cutoff_sigma": 1.5,
        "switch_sigma": 1.25,
    }
    with pytest.raises(ValidationError, match=message) as refused:
        StatePoint(**(given | change))
    assert refused.value.error_count() == 1


def test_mixtures_are_refused():
    given = {**mixture(16, 16).model_dump(), "crystal": {"lattice": "fcc", "cells": (2, 2, 2)}}
    with pytest.raises(ValidationError, match="crystals have one species, and this has Ar, Kr"):
        StatePoint.model_validate(given)


def vibrations(state, n_frames=30, spread=0.05, seed=1):
    moved = spread * np.random.default_rng(seed).standard_normal((n_frames, state.n_particles, 3))
    return moved - moved.mean(axis=1, keepdims=True)


@pytest.mark.parametrize(("lattice", "cells", "n_nearest", "packing"), LATTICES)
def test_drift_and_wrapping_change_no_displacement(lattice, cells, n_nearest, packing):
    del n_nearest, packing
    state, rng = crystal(lattice, cells), np.random.default_rng(2)
    moved = vibrations(state)
    positions = sites_sigma(state) + moved + rng.uniform(-20, 20, (30, 1, 3))
    positions += rng.integers(-3, 4, positions.shape) * state.edges_sigma
    assert displacements(positions, state) == pytest.approx(moved, abs=1e-12)
    assert about_sites(positions, state) == pytest.approx(sites_sigma(state) + moved, abs=1e-12)


@pytest.mark.parametrize(("lattice", "cells", "n_nearest", "packing"), LATTICES)
def test_atoms_in_another_order_anywhere_find_their_sites(lattice, cells, n_nearest, packing):
    del n_nearest, packing
    state, rng = crystal(lattice, cells), np.random.default_rng(3)
    frames = sites_sigma(state) + vibrations(state, n_frames=20)
    shuffle = rng.permutation(state.n_particles)
    elsewhere = (frames[:, shuffle] + rng.uniform(-9, 9, 3)) % state.edges_sigma
    found = displacements(elsewhere[:, order_of_sites(elsewhere[0], state)], state)
    # A shift of the lattice may exchange atoms: as many vibrate as strongly.
    assert np.sort((found**2).sum(axis=(0, 2))) == pytest.approx(
        np.sort((vibrations(state, n_frames=20) ** 2).sum(axis=(0, 2)))
    )
    with pytest.raises(ValueError, match="share sites of the .* vacancies"):
        order_of_sites(elsewhere[0, np.maximum(1, np.arange(state.n_particles))], state)


def exchanged(positions):
    positions[3, [0, 1]] = positions[3, [1, 0]]
    return positions


def hopped(positions):
    positions[:, 5] += positions[:, 6] - positions[:, 5]
    return positions


def shuffled(positions):
    return np.random.default_rng(1).permuted(positions, axis=1)


def off_centre(positions):
    return positions + 0.2 * np.sign(np.arange(positions.shape[1]) % 2 - 0.5)[:, None]


def melted(positions):
    return positions + np.random.default_rng(1).uniform(-1, 1, positions.shape)


def nan(positions):
    return np.where(positions > 3.0, np.nan, positions)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (exchanged, "frame 3: atom 0 has left its site for another one"),
        (hopped, "atom [56] has left its site .*vacancies"),
        (shuffled, "the crystal has melted or has another lattice"),
        (melted, "the crystal has melted or has another lattice"),
        (off_centre, "vibrate about places 0.2.* from the sites"),
        (nan, "the crystal has melted"),
    ],
)
def test_other_frames_are_refused_with_the_reason(spoil, message):
    state = crystal("fcc", (3, 3, 3))
    positions = sites_sigma(state) + vibrations(state)
    check_mean_positions(displacements(positions, state), state)
    with pytest.raises(ValueError, match=message) as refused:
        check_mean_positions(displacements(spoil(positions), state), state)
    assert "\n" not in str(refused.value)


def test_another_lattice_of_as_many_atoms_is_refused():
    """32 atoms on a stretched simple cubic lattice in the box of a face-centred one."""
    fcc = crystal("fcc", (2, 2, 2))
    other = Crystal(lattice="sc", cells=(2, 4, 4)).fractions * fcc.edges_sigma
    with pytest.raises(ValueError, match="another lattice"):
        displacements(other[None] + vibrations(fcc), fcc)


def test_a_fluid_has_no_sites():
    fluid = StatePoint(n_particles=20, box_length_sigma=6.0, temperature_star=1.25)
    with pytest.raises(ValueError, match=r"is a fluid, and this is of a crystal: give"):
        displacements(np.zeros((1, 20, 3)), fluid)
