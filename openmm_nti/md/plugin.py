"""Access to the openmm-torch plugin, or the reason why it cannot be used."""

from __future__ import annotations

import importlib
from typing import Any

import openmm

from openmm_nti.runtime.quiet import dropped_messages

# From this OpenMM on, a copy of a TorchForce (by XML or clone) ends in a segmentation fault.
_CRASHES_FROM = (8, 6)


def openmmtorch() -> Any:
    """Return the module of the plugin, which has no wheel on some platforms.

    Raises
    ------
    RuntimeError
        If it is not installed, or OpenMM crashes with it.
    """
    version = openmm.Platform.getOpenMMVersion()
    if tuple(int(part) for part in version.split(".")[:2]) >= _CRASHES_FROM:
        raise RuntimeError(
            f"OpenMM {version} crashes when a TorchForce is copied or read from XML: pip install "
            "'openmm>=8.5,<8.6', or use openmm_nti.md.forces.python_force"
        )
    try:
        with dropped_messages({"": "simtk.openmm"}):  # its import warns of an old name of OpenMM
            return importlib.import_module("openmmtorch")
    except ImportError as error:
        raise RuntimeError(
            f"openmm-torch cannot be imported ({error}): install openmm-nti[cpu] or "
            "openmm-nti[cuda13], run `openmm-nti doctor`, or use openmm_nti.md.forces.python_force"
        ) from error


def why_not_torch() -> str:
    """Return why a TorchForce cannot be used here and what to do about it; "" where it can."""
    try:
        openmmtorch()
    except RuntimeError as error:
        return str(error)
    return ""
