"""A trained network taken up by one of more refinements, which computes the same until it is trained further."""

import torch

from openmm_nti.hamiltonian.descriptors import Descriptors
from openmm_nti.hamiltonian.network import NetworkConfig
from openmm_nti.hamiltonian.noised_fluid import NoisedFluid


def may_grow(smaller: NetworkConfig | None, larger: NetworkConfig | None) -> bool:
    """Whether `larger` is `smaller` with more refinements, or the same; layers of `painn` are no refinements."""
    if smaller is None or larger is None or smaller.kind == "painn":
        return smaller == larger
    more = larger.n_refinements >= smaller.n_refinements
    return more and smaller.model_copy(update={"n_refinements": larger.n_refinements}) == larger


@torch.no_grad()
def take_weights(model: NoisedFluid, smaller: NoisedFluid) -> None:
    """Give `model` the weights of `smaller`, where `may_grow` allows.

    Refinements that `smaller` lacks keep their initial weights, which move no atom, look at what the last one of
    `smaller` looked at, and the last layers do not read what is seen there: gradients are those of `smaller`.
    """
    old_weights = smaller.state_dict()
    for name, new in model.state_dict().items():
        old = old_weights.get(name)
        if old is None:
            continue
        if old.shape == new.shape:
            new.copy_(old)
        elif old.shape[0] < new.shape[0]:  # what each refinement's way counts for
            new[: len(old)] = old
        else:  # reads the descriptors of all refinements, and in its last column the way of the atom
            new.zero_()
            new[:, : old.shape[1] - 1] = old[:, :-1]
            new[:, -1] = old[:, -1]
    seen = [module for module in model.modules() if isinstance(module, Descriptors)]
    last = sum(isinstance(module, Descriptors) for module in smaller.modules()) - 1
    for later in seen[last + 1 :]:
        later.load_state_dict(seen[last].state_dict())
