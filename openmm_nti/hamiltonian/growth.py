"""Models that take up the weights of a smaller one and compute the same until trained further."""

from openmm_nti.hamiltonian.known_terms import NoisedFluid
from openmm_nti.hamiltonian.networks.config import NetworkConfig
from openmm_nti.hamiltonian.networks.registry import network_class


def may_grow(smaller: NetworkConfig | None, larger: NetworkConfig | None) -> bool:
    """Return whether a network of `larger` can take up the weights of one of `smaller`."""
    if smaller is None or larger is None or smaller.kind != larger.kind:
        return smaller == larger
    return network_class(larger.kind).may_grow(smaller, larger)


def take_weights(model: NoisedFluid, smaller: NoisedFluid) -> None:
    """Give the network of `model` the weights of that of `smaller`, where `may_grow` allows."""
    model.network.take_weights(smaller.network)
