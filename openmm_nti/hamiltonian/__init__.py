"""The lambda-dependent Hamiltonian: one physical term a file, added up by `LambdaHamiltonian`."""

from openmm_nti.hamiltonian.model import LambdaHamiltonian
from openmm_nti.hamiltonian.network import NetworkConfig

__all__ = ["LambdaHamiltonian", "NetworkConfig"]
