"""The lambda-dependent Hamiltonian: one physical term a file, added up by `LambdaHamiltonian`."""

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.hamiltonian.denoiser import Denoiser
from openmm_nti.hamiltonian.known_terms import NoisedFluid
from openmm_nti.hamiltonian.model import LambdaHamiltonian
from openmm_nti.hamiltonian.networks.base import NetworkConfig

__all__ = ["Denoiser", "LambdaHamiltonian", "NetworkConfig", "NoisedFluid", "build_model"]


def build_model(
    potential: ReducedPotential, network: NetworkConfig | None
) -> LambdaHamiltonian | Denoiser:
    """A model of `potential` with fresh weights: a `Denoiser` or, for any other network, a
    `LambdaHamiltonian`.
    """
    if network is not None and network.kind == "denoiser":
        return Denoiser(potential, network)
    return LambdaHamiltonian(potential, network)
