"""Growth of models: a larger model takes the weights of a smaller one and computes the same."""

from openmm_nti.hamiltonian.known_terms import NoisedFluid
from openmm_nti.hamiltonian.networks.config import NetworkConfig
from openmm_nti.hamiltonian.networks.registry import network_class


def may_grow(smaller: NetworkConfig | None, larger: NetworkConfig | None) -> bool:
    """Return whether a network of `larger` can take up the weights of one of `smaller`."""
    if smaller is None or larger is None or smaller.kind != larger.kind:
        return smaller == larger
    return network_class(larger.kind).may_grow(smaller, larger)


def take_weights(model: NoisedFluid, smaller: NoisedFluid) -> None:
    """Give the network of `model` the weights of the smaller one, where `may_grow` allows it."""
    model.network.take_weights(smaller.network)
