"""Functions of the networks with refinements: step lengths, and growth to more refinements.

A refinement displaces the atoms along learned forces and takes descriptors where they arrive.
"""

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.networks.config import MomentConfig
from openmm_nti.hamiltonian.networks.descriptors import Descriptors

N_GATES = 4  # q


def step_length(variance: Tensor) -> Tensor:
    """Return c(s) of a displacement, sigma^2, in the shape of `variance`, which is s_eff^2."""
    return 8.0 * variance / (1.0 + 60.0 * variance)


def has_more_refinements(smaller: MomentConfig, larger: MomentConfig) -> bool:
    """Return whether `larger` is `smaller` with as many refinements or more.

    Relaxations may be new too, where `smaller` had none.
    """
    old = smaller.model_dump()
    new = larger.model_dump()
    may_differ = {"n_refinements": new["n_refinements"], "n_relaxations": new["n_relaxations"]}
    more = new["n_refinements"] >= old["n_refinements"]
    return (
        more and old["n_relaxations"] in {0, new["n_relaxations"]} and {**old, **may_differ} == new
    )


@torch.no_grad()
def take_weights_with_more_refinements(
    network: nn.Module, smaller: nn.Module, n_new_inputs: int
) -> None:
    """Give `network` the weights of `smaller`, so that both have the same gradients.

    Refinements that `smaller` lacks keep their initial weights, which displace no atom. They take
    the descriptors of the last refinement of `smaller`, and the last layers do not read them; nor
    do they read new inputs from relaxations.

    Parameters
    ----------
    network, smaller
        Two networks whose settings fulfil `has_more_refinements`.
    n_new_inputs
        Number of scalars from relaxations that `smaller` lacks; they come before all other inputs.
    """
    old_weights = smaller.state_dict()
    for name, new in network.state_dict().items():
        old = old_weights.get(name)
        if old is None:
            continue
        if old.shape == new.shape:
            new.copy_(old)
        elif old.shape[0] < new.shape[0]:  # the share of each refinement in the result
            new[: len(old)] = old
        else:  # reads relaxations, then the descriptors of all refinements, last the displacement
            new.zero_()
            new[:, n_new_inputs : n_new_inputs + old.shape[1] - 1] = old[:, :-1]
            new[:, -1] = old[:, -1]
    descriptors = [module for module in network.modules() if isinstance(module, Descriptors)]
    last = sum(isinstance(module, Descriptors) for module in smaller.modules()) - 1
    for later in descriptors[last + 1 :]:
        later.load_state_dict(descriptors[last].state_dict())
