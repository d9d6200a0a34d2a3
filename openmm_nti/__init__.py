"""Neural thermodynamic integration for OpenMM: learned paths from the ideal gas to a fluid."""

import importlib
from typing import TYPE_CHECKING, Any

from openmm_nti import _interrupt  # noqa: F401 (before the imports that take seconds)

# isort: split
# torch goes first: OpenMM's Torch plugin silently fails to load when torch's libraries are not in
# the process yet.
import torch  # noqa: F401

from openmm_nti import _moved
from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian, NetworkConfig
from openmm_nti.model_files import load_model, save_model

if TYPE_CHECKING:
    from openmm_nti.md.fluid_system import LJFluid
    from openmm_nti.md.forces import create_system, torch_force
    from openmm_nti.md.neural_path import NeuralPath
    from openmm_nti.md.own_system.reading import read_system
    from openmm_nti.md.readers import dudl

__version__ = "0.1.0"

__all__ = [
    "Ensemble",
    "FreeEnergy",
    "LJFluid",
    "LambdaHamiltonian",
    "NetworkConfig",
    "NeuralPath",
    "PairPotential",
    "StatePoint",
    "create_system",
    "dudl",
    "load_model",
    "read_system",
    "save_model",
    "torch_force",
]

_WITH_OPENMM = {
    "LJFluid": "openmm_nti.md.fluid_system",
    "NeuralPath": "openmm_nti.md.neural_path",
    "create_system": "openmm_nti.md.forces",
    "dudl": "openmm_nti.md.readers",
    "read_system": "openmm_nti.md.own_system.reading",
    "torch_force": "openmm_nti.md.forces",
}

_moved.install()


def __getattr__(name: str) -> Any:
    """Import the parts that need OpenMM at their first use, for training does without OpenMM."""
    if name in _WITH_OPENMM:
        return getattr(importlib.import_module(_WITH_OPENMM[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
