"""The lambda-dependent Hamiltonian: `LambdaHamiltonian` adds up one physical term per file."""

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.hamiltonian.denoiser import Denoiser
from openmm_nti.hamiltonian.known_terms import NoisedFluid
from openmm_nti.hamiltonian.model import LambdaHamiltonian
from openmm_nti.hamiltonian.networks.config import NetworkConfig
from openmm_nti.hamiltonian.networks.registry import network_class

__all__ = ["Denoiser", "LambdaHamiltonian", "NetworkConfig", "NoisedFluid", "build_model"]


def build_model(
    potential: ReducedPotential, network: NetworkConfig | None
) -> LambdaHamiltonian | Denoiser:
    """Return a model of `potential` with fresh weights.

    It is a `LambdaHamiltonian` where the network gives energies, otherwise a `Denoiser`.
    """
    if network is None or network_class(network.kind).gives_energy:
        return LambdaHamiltonian(potential, network)
    return Denoiser(potential, network)
