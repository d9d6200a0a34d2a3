"""Files of Systems and topologies: no program is run, and a bad file is named."""

import numpy as np
import openmm
import pytest

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
