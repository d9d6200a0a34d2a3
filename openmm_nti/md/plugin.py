"""The openmm-torch plugin where it can be used, and the reason where it cannot."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import openmm

_CRASHES_FROM = (
    8,
    6,
)  # OpenMM whose copies of a TorchForce, by XML or clone, end in a segmentation fault


def openmmtorch() -> Any:
    """The plugin's module, which has no wheel on some platforms, without the warning it logs about
    a package of old.

    Raises
    ------
    RuntimeError
        If it is not installed, or OpenMM crashes with it.
    """
    version = openmm.Platform.getOpenMMVersion()
    if tuple(int(part) for part in version.split(".")[:2]) >= _CRASHES_FROM:
        raise RuntimeError(
            f"OpenMM {version} crashes when a TorchForce is copied or read from XML: pip install "
            "'openmm>=8.5,<8.6', "
            "or use openmm_nti.md.forces.python_force"
        )
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return importlib.import_module("openmmtorch")
    except ImportError as error:
        raise RuntimeError(
            f"openmm-torch cannot be imported ({error}): install openmm-nti[cpu] or "
            "openmm-nti[cuda13], "
            "run `openmm-nti doctor`, or use openmm_nti.md.forces.python_force"
        ) from error
    finally:
        logging.disable(disabled)


def why_not_torch() -> str:
    """Why a TorchForce cannot be used here, with what to do about it; empty where it can."""
    try:
        openmmtorch()
    except RuntimeError as error:
        return str(error)
    return ""
