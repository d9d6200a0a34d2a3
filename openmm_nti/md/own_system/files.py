"""Systems and topologies from files, without running anything that a file holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import openmm
from openmm import app

from openmm_nti.fluid.state import StatePoint
from openmm_nti.md.own_system.reading import SystemReading, describe_system

# OpenMM unpickles the first when it reads it, and the second is a program.
_PROGRAMS = {"PythonForce": "a pickle of Python code", "TorchForce": "a TorchScript program"}
_KEYS = ("from", "topology", "temperature_kelvin", "crystal")


def load_system(path: str | Path) -> openmm.System:
    """Return a System from an XML file of `openmm.XmlSerializer`.

    Raises
    ------
    ValueError
        In one line with the file's name, if it is missing, no such XML, or has a force that holds
        a program.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        root = ET.fromstring(text)  # noqa: S314 (expat limits how far entities expand)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist: give the XML file of a System") from None
    except (OSError, UnicodeDecodeError, ET.ParseError) as error:
        raise ValueError(f"{path} cannot be read as XML: {error}") from None
    if root.tag != "System":
        raise ValueError(
            f"{path} holds a <{root.tag}> and no System: write one by "
            "openmm.XmlSerializer.serialize(system)"
        )
    for element in root.iter():
        kind = element.get("type", "")
        for name, what in _PROGRAMS.items():
            if name in (kind, element.tag):
                raise ValueError(
                    f"{path} has a {name}, {what}, which is not run from a file: read the System "
                    "in Python by openmm_nti.read_system"
                )
    try:
        system = openmm.XmlSerializer.deserialize(text)
    except Exception as error:  # OpenMM raises its own kinds for what it does not know
        raise ValueError(f"{path} is no System that OpenMM reads: {error}") from error
    if not isinstance(system, openmm.System):
        raise ValueError(f"{path} holds no System")  # noqa: TRY004 (what the file is, no argument)
    return system


def load_topology(path: str | Path) -> app.Topology:
    """Return the topology of a PDB or PDBx/mmCIF file; ValueError in one line otherwise."""
    path = Path(path)
    readers = {".pdb": app.PDBFile, ".cif": app.PDBxFile, ".pdbx": app.PDBxFile}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{path}: topology must be a .pdb, .cif or .pdbx file")
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a file with the atoms' names")
    try:
        return readers[path.suffix.lower()](str(path)).topology
    except Exception as error:  # each reader raises its own kinds for a damaged file
        raise ValueError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def read_described(system: dict[str, Any], folder: Path) -> tuple[openmm.System, SystemReading]:
    """Return the System that the key `system: {from: ...}` of a configuration names, and its fluid.

    Parameters
    ----------
    system
        With `from`, the XML file of a System; `topology`, a PDB file, may be left out; and
        `temperature_kelvin`.
    folder
        Where relative paths start.
    """
    if unknown := sorted(set(system) - set(_KEYS)):
        raise ValueError(f"system: unknown key {unknown[0]}; beside `from`: {', '.join(_KEYS[1:])}")
    for key in ("from", "topology"):
        value = system.get(key, "")
        if not isinstance(value, str):
            raise ValueError(  # noqa: TRY004 (what the file says, no argument)
                f"system: {key} = {value!r} must be the path of a file"
            )
    if system.get("temperature_kelvin") is None:
        raise ValueError("system: temperature_kelvin is missing: a System's file does not hold it")
    topology = load_topology(folder / system["topology"]) if system.get("topology") else None
    read = load_system(folder / system["from"])
    return read, describe_system(read, topology, temperature=system["temperature_kelvin"])


def read_state(system: dict[str, Any], folder: Path) -> StatePoint:
    """Return the state point of `read_described`, with the sites of `crystal` if that is given."""
    state = read_described(system, folder)[1].state
    if system.get("crystal") is None:
        return state
    return StatePoint.model_validate({**state.model_dump(), "crystal": system["crystal"]})
