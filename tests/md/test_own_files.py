"""Files of Systems and topologies: no program is run, and a bad file is named."""

import numpy as np
import openmm
import pytest
from models import CRYSTAL
from site_files import write_pdb

from openmm_nti import StatePoint
from openmm_nti.cli.config_errors import ConfigError
from openmm_nti.cli.run_config import with_files
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.md.own_system.files import load_system, load_topology


def test_a_file_that_holds_a_program_is_refused_unread(tmp_path):
    force = openmm.PythonForce(_print, {})
    system = openmm.System()
    system.addForce(force)
    file = tmp_path / "system.xml"
    file.write_text(openmm.XmlSerializer.serialize(system))
    with pytest.raises(ValueError, match=r"system.xml has a PythonForce, a pickle"):
        load_system(file)


def _print(_state):
    return 0.0, np.zeros((0, 3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("", "cannot be read as XML"),
        ("<System", "cannot be read as XML"),
        ("<State/>", "holds a <State> and no System"),
        ('<System type="System" version="1" openmmVersion="8.5"/>', "no System that OpenMM reads"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    file = tmp_path / "system.xml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ValueError, match=message) as refused:
        load_system(file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize(("name", "text"), [("a.gro", ""), ("a.pdb", None), ("a.cif", "data_")])
def test_a_bad_topology_is_named(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=name):
        load_topology(tmp_path / name)


@pytest.mark.parametrize("given", ["lattice", "sites"])
def test_a_system_may_be_a_crystal(tmp_path, given):
    """By the name of the lattice, or a PDB beside the configuration."""
    system = fluid_system(CRYSTAL)
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    write_pdb(tmp_path / "sites.pdb", CRYSTAL)
    crystal = {"lattice": {"lattice": "fcc", "cells": [2, 2, 2]}, "sites": {"sites": "sites.pdb"}}
    described = {
        "from": "system.xml",
        "temperature_kelvin": CRYSTAL.temperature_kelvin,
        "crystal": crystal[given],
    }
    state = StatePoint.model_validate(with_files(described, tmp_path / "crystal.yaml"))
    assert state.crystal.n_primitive == 32
    assert state.density_star == pytest.approx(CRYSTAL.density_star)
    described["crystal"] = {"lattice": "fcc", "cells": [2, 2, 3]}
    with pytest.raises(ConfigError, match="has 48 sites, and n_particles = 32"):
        with_files(described, tmp_path / "crystal.yaml")
