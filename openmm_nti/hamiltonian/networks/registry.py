"""The networks by their kind."""

from openmm_nti.hamiltonian.networks.base import NetworkConfig
from openmm_nti.hamiltonian.networks.density import ONSET_SQUARED, DensityNetwork
from openmm_nti.hamiltonian.networks.painn import PainnNetwork


def build_network(config: NetworkConfig) -> DensityNetwork | PainnNetwork:
    """The network that `config` describes: forward(vectors, index, mask, log_s, variance) ->
    energies (B,).
    """
    return PainnNetwork(config, ONSET_SQUARED) if config.kind == "painn" else DensityNetwork(config)
