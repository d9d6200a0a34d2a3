"""Sites from a PDB: the same crystal as by its name, and what is refused."""

import numpy as np
import pytest
from pydantic import ValidationError
from site_files import trajectory, write_pdb

from openmm_nti import Ensemble, StatePoint
from openmm_nti.fluid.displacements import displacements, order_of_sites, sites_sigma
from openmm_nti.fluid.structures.cell import Cell
from openmm_nti.fluid.structures.site_files import read_sites, write_sites
from openmm_nti.references.einstein_crystal import beta_f_ex
from openmm_nti.validation.estimators.crystals import harmonic

CUTOFF = {"cutoff_sigma": 1.3, "switch_sigma": 1.1, "temperature_star": 0.7}
LATTICES = [
    ("fcc", (3, 3, 3), 1),
    ("fcc", (2, 3, 4), 1),
    ("hcp", (4, 2, 3), 2),
    ("bcc", (3, 3, 3), 1),
    ("sc", (4, 4, 4), 1),
    ("diamond", (2, 2, 2), 2),
]


def crystal(lattice="fcc", cells=(2, 2, 2), density=1.1, **more):
    given = {"crystal": {"lattice": lattice, "cells": cells}, "density_star": density}
    return StatePoint(**(given | CUTOFF | more))


@pytest.mark.parametrize(("lattice", "cells", "primitive"), LATTICES)
def test_sites_of_a_pdb_are_the_crystal_that_their_name_is(tmp_path, lattice, cells, primitive):
    named = crystal(lattice, cells, density=1.0)
    order = np.random.default_rng(1).permutation(named.n_particles)
    path = write_pdb(tmp_path / "sites.pdb", named, np.array([0.3, 0.1, -0.7]), order)
    read = StatePoint(crystal={"sites": path}, density_star=1.0, **CUTOFF)
    assert read.n_particles == named.n_particles
    assert read.edges_sigma == pytest.approx(named.edges_sigma, rel=1e-4)
    assert read.crystal.n_primitive == named.crystal.n_primitive
    assert len(read.crystal.cell.distinct) == primitive
    assert beta_f_ex(0.0, read) == pytest.approx(beta_f_ex(0.0, named), abs=1e-6)
    moved = 0.05 * np.random.default_rng(2).standard_normal((5, read.n_particles, 3))
    frames = sites_sigma(named) + moved
    found = displacements(frames[:, order_of_sites(frames[0], read)], read)
    expected = moved - moved.mean(axis=1, keepdims=True)
    assert (found**2).sum() == pytest.approx((expected**2).sum(), rel=1e-2)
    again = StatePoint.model_validate_json(read.model_dump_json())
    assert again == read
    assert again.label == read.label


def test_the_harmonic_number_is_that_of_the_named_lattice(tmp_path):
    named = crystal()
    read = StatePoint(
        crystal={"sites": write_pdb(tmp_path / "a.pdb", named)}, density_star=1.1, **CUTOFF
    )
    numbers = [harmonic.estimate(state) for state in (named, read)]
    assert numbers[1].value == pytest.approx(numbers[0].value, abs=1e-8)


def test_a_unit_cell_fills_the_box(tmp_path):
    named = crystal("diamond", (2, 2, 2))
    other = crystal("fcc", (3, 3, 3))
    one = Cell(edges=(0.55, 0.55, 0.55), sites=named.crystal.cell.sites)
    write_sites(tmp_path / "cell.pdb", one, "Ar", ["a unit cell"])
    given = {"sites": tmp_path / "cell.pdb", "cells": (2, 2, 2)}
    read = StatePoint(crystal=given, **CUTOFF)
    assert read.box_length_nm == pytest.approx(1.1)
    assert (read.n_particles, read.crystal.n_primitive) == (64, 32)
    assert read.crystal.fractions == pytest.approx(named.crystal.fractions, abs=1e-4)
    write_sites(tmp_path / "b.pdb", Cell(edges=(1, 1, 1), sites=other.crystal.cell.sites), "Ar", [])
    given = {"sites": tmp_path / "b.pdb", "cells": (3, 3, 3)}
    dense = StatePoint(crystal=given, density_star=1.1, **CUTOFF)
    assert harmonic.estimate(dense).value == pytest.approx(harmonic.estimate(other).value, abs=1e-6)
    inline = {"lattice": {"edges": [1, 1, 1], "sites": [[0, 0, 0], [0.5, 0.5, 0.5]]}}
    body = StatePoint(crystal={**inline, "cells": (3, 3, 3)}, density_star=1.1, **CUTOFF)
    assert body.crystal.n_primitive == crystal("bcc", (3, 3, 3)).crystal.n_primitive


def test_files_of_this_package_keep_all_digits_and_know_when_they_change(tmp_path):
    cell = Cell(edges=(1.234567891, 1.1, 1.3), sites=((0, 0, 0), (0.5, 0.5, 0.5)))
    path = tmp_path / "sites.pdb"
    write_sites(path, cell, "Ar", ["of a test"])
    assert read_sites(path).edges == cell.edges
    text = path.read_text()
    for spoilt in (
        text.replace("6.173", "6.273"),
        text.replace("1.3\n", "1.4\n"),
        text.partition("\n")[2],
    ):
        assert spoilt != text
        path.write_text(spoilt)
        with pytest.raises(ValueError, match="damaged or was edited"):
            read_sites(path)
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("REMARK"))
    path.write_text(plain)
    assert read_sites(path).edges == pytest.approx(cell.edges, abs=1e-4)


def without_box(text):
    return "\n".join(line for line in text.splitlines() if not line.startswith("CRYST1"))


def with_dummy_box(text):
    """As programs write it that know no box."""
    dummy = "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1"
    return dummy + "\n" + without_box(text)


@pytest.mark.parametrize("spoil", [without_box, with_dummy_box])
def test_the_box_may_be_given(tmp_path, spoil):
    named = crystal()
    path = write_pdb(tmp_path / "a.pdb", named)
    path.write_text(spoil(path.read_text()))
    read = StatePoint(crystal={"sites": path}, box_nm=named.edges_nm.tolist(), **CUTOFF)
    assert read.crystal.n_primitive == 32
    assert read.density_star == pytest.approx(1.1)
    with pytest.raises(ValidationError, match="it has no unit cell"):
        StatePoint(crystal={"sites": path}, density_star=1.1, **CUTOFF)


def placed(lines, places):
    """Lines of atoms with other places, (n, 3), angstrom."""
    return [
        line[:30] + "".join(f"{x:8.3f}" for x in place) + line[54:]
        for line, place in zip(lines, places, strict=True)
    ]


def melted(lines):
    return placed(lines, np.random.default_rng(1).uniform(0, 10, (len(lines), 3)))


def shaken(lines):
    places = [[float(line[start : start + 8]) for start in (30, 38, 46)] for line in lines]
    return placed(lines, places + np.random.default_rng(1).uniform(-0.1, 0.1, (len(lines), 3)))


SPOILT = {
    "melted": (melted, "no shift takes the 32 sites to themselves|in one place"),
    "a little off": (shaken, "nearly repeats the sites, to within 0.02"),
    "a vacancy": (lambda lines: lines[1:], "repeats 30 of the 31 sites and not the others"),
    "one twice": (lambda lines: [*lines, lines[0]], "sites 0 and 32 are in one place"),
    "NaN": (
        lambda lines: [lines[0].replace("0.000", "  nan", 1), *lines[1:]],
        "cannot be read as a PDB .line .* has no coord",
    ),
    "no atoms": (lambda _lines: [], "there are no atoms"),
    "text": (lambda _lines: ["ATOM  something else"], "cannot be read as a PDB"),
    "another kind": (
        lambda lines: [*lines[:-1], lines[-1].replace("Ar", "Kr").replace("AR", "KR")],
        "2 kinds",
    ),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_bad_pdb_is_one_line(tmp_path, what):
    spoil, message = SPOILT[what]
    path = write_pdb(tmp_path / "a.pdb", crystal())
    lines = path.read_text().splitlines()
    atoms = [line for line in lines if line.startswith("ATOM")]
    others = [line for line in lines if not line.startswith(("ATOM", "END", "TER"))]
    path.write_text("\n".join([*others, *spoil(atoms), "END", ""]))
    with pytest.raises(ValidationError, match=message) as refused:
        StatePoint(crystal={"sites": path}, density_star=1.1, **CUTOFF)
    assert refused.value.error_count() == 1
    assert "crystal: sites: " in str(refused.value) or "crystal: no shift" in str(refused.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crystal": {"sites": "none.pdb"}}, "none.pdb: there is no such file"),
        ({"crystal": {"sites": "a.dcd"}}, "sites are read from a .pdb"),
        ({"crystal": {"sites": 3}}, "sites = 3 must be the path of a PDB"),
        ({"crystal": {"sites": ""}}, "sites = '' must be the path"),
        ({"crystal": {"sites": "a.pdb", "lattice": "fcc"}}, "lattice stands beside sites"),
        ({"crystal": {"sites": "a.pdb", "cells": (0, 1, 1)}}, "cells.0: .*equal to 1"),
        ({"n_particles": 31}, "has 32 sites, and n_particles = 31"),
        ({"box_sigma": (3.0, 3.0, 4.0)}, "and this one is off by"),
        (
            {"box_sigma": (4.0, 4.0, 4.0), "density_star": 1.1},
            "box_sigma and density_star are given",
        ),
    ],
)
def test_what_does_not_fit_a_pdb_is_one_line(tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    write_pdb("a.pdb", crystal())
    (tmp_path / "a.dcd").write_bytes(b"1")
    with pytest.raises(ValidationError, match=message) as refused:
        StatePoint(**({"crystal": {"sites": "a.pdb"}, **CUTOFF} | change))
    assert refused.value.error_count() == 1


def test_a_triclinic_box_and_several_models_are_refused(tmp_path):
    state = crystal()
    found = trajectory(sites_sigma(state)[None], state)
    found.unitcell_angles = np.array([[90.0, 90.0, 60.0]])
    found.save_pdb(str(tmp_path / "tilted.pdb"))
    with pytest.raises(ValueError, match=r"tilted.pdb: the unit cell is not rectangular"):
        read_sites(tmp_path / "tilted.pdb")
    trajectory(np.repeat(sites_sigma(state)[None], 3, axis=0), state).save_pdb(
        str(tmp_path / "three.pdb")
    )
    with pytest.raises(ValueError, match="has 3 models of 32 atoms"):
        read_sites(tmp_path / "three.pdb")


def test_other_sites_are_another_state():
    """In the names of files and in fingerprints, by any of the sites."""
    corner = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
    states = []
    for offset in (0.25, 0.26):
        sites = [*corner, *np.add(corner, [0.25, 0.25, offset]).tolist()]
        cell = {"lattice": {"edges": [1, 1, 1], "sites": sites}, "cells": (2, 2, 2)}
        states.append(StatePoint(crystal=cell, density_star=1.1, **CUTOFF))
    assert [state.crystal.n_primitive for state in states] == [32, 32]
    assert states[0].label != states[1].label
    frames = (np.zeros((1, 64, 3)), np.zeros(1), {})
    assert Ensemble(states[0], *frames).fingerprint() != Ensemble(states[1], *frames).fingerprint()


def test_frames_of_thousands_of_sites_are_kept(tmp_path):
    """Their state point is longer than an attribute of HDF5 may be."""
    named = crystal("fcc", (7, 7, 7))
    path = write_pdb(tmp_path / "a.pdb", named, np.array([0.1234, 0.2, 0.3]))
    state = StatePoint(crystal={"sites": path}, density_star=1.1, **CUTOFF)
    assert len(state.model_dump_json()) > 64_000
    frames = Ensemble(state, sites_sigma(state)[None] * state.sigma_nm, np.zeros(1), {})
    frames.save(tmp_path / "frames.h5")
    read = Ensemble.load(tmp_path / "frames.h5")
    assert read.state == state
    assert read.fingerprint() == frames.fingerprint()
