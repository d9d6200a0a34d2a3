"""A trained network taken up by a larger one, which computes the same until it is trained
further.
"""

import torch

from openmm_nti.hamiltonian.known_terms import NoisedFluid
from openmm_nti.hamiltonian.networks.base import NetworkConfig
from openmm_nti.hamiltonian.networks.descriptors import Descriptors
from openmm_nti.hamiltonian.relaxation import n_scalars


def may_grow(smaller: NetworkConfig | None, larger: NetworkConfig | None) -> bool:
    """Whether `larger` is `smaller` with more refinements, with relaxations where it had none, or
    the same.

    Layers of `painn` are no refinements.
    """
    if smaller is None or larger is None or smaller.kind == "painn":
        return smaller == larger
    more = larger.n_refinements >= smaller.n_refinements and smaller.n_relaxations in (
        0,
        larger.n_relaxations,
    )
    grown = {"n_refinements": larger.n_refinements, "n_relaxations": larger.n_relaxations}
    return more and smaller.model_copy(update=grown) == larger


@torch.no_grad()
def take_weights(model: NoisedFluid, smaller: NoisedFluid) -> None:
    """Give `model` the weights of `smaller`, where `may_grow` allows.

    Refinements that `smaller` lacks keep their initial weights, which move no atom, look at what
    the last one of `smaller` looked at, and the last layers do not read what is seen there; nor do
    they read what relaxations find. So gradients are those of `smaller`.
    """
    old_weights = smaller.state_dict()
    first = _n_scalars(model) - _n_scalars(smaller)
    for name, new in model.state_dict().items():
        old = old_weights.get(name)
        if old is None:
            continue
        if old.shape == new.shape:
            new.copy_(old)
        elif old.shape[0] < new.shape[0]:  # what each refinement's way counts for
            new[: len(old)] = old
        # reads what relaxation finds, the descriptors of all refinements, and last the way of the
        # atom
        else:
            new.zero_()
            new[:, first : first + old.shape[1] - 1] = old[:, :-1]
            new[:, -1] = old[:, -1]
    seen = [module for module in model.modules() if isinstance(module, Descriptors)]
    last = sum(isinstance(module, Descriptors) for module in smaller.modules()) - 1
    for later in seen[last + 1 :]:
        later.load_state_dict(seen[last].state_dict())


def _n_scalars(model: NoisedFluid) -> int:
    return n_scalars(model.network_config.n_relaxations) if model.network_config else 0
