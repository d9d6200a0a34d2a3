"""Neural thermodynamic integration for OpenMM: learned lambda-paths from the ideal gas to the Lennard-Jones fluid."""

# torch goes first: OpenMM's Torch plugin silently fails to load when torch's libraries are not in the process yet.
import torch  # noqa: F401

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian, NetworkConfig
from openmm_nti.model_files import load_model, save_model
from openmm_nti.state import PairPotential, StatePoint

__version__ = "0.1.0"

__all__ = [
    "Ensemble",
    "FreeEnergy",
    "LambdaHamiltonian",
    "NetworkConfig",
    "PairPotential",
    "StatePoint",
    "load_model",
    "save_model",
]
