"""Neural thermodynamic integration for OpenMM: learned lambda-paths from the ideal gas to the Lennard-Jones fluid."""

import importlib
from typing import TYPE_CHECKING, Any

# torch goes first: OpenMM's Torch plugin silently fails to load when torch's libraries are not in the process yet.
import torch  # noqa: F401

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian, NetworkConfig
from openmm_nti.model_files import load_model, save_model
from openmm_nti.state import PairPotential, StatePoint

if TYPE_CHECKING:
    from openmm_nti.lj_fluid import LJFluid
    from openmm_nti.neural_path import NeuralPath

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
    "load_model",
    "save_model",
]

_WITH_OPENMM = {"LJFluid": "openmm_nti.lj_fluid", "NeuralPath": "openmm_nti.neural_path"}


def __getattr__(name: str) -> Any:
    """What needs OpenMM is imported when it is asked for: training does without."""
    if name in _WITH_OPENMM:
        return getattr(importlib.import_module(_WITH_OPENMM[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
