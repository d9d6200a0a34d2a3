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

    Relaxations may be new too, where `smaller` had none, and so may the knowledge of the depth.
    """
    old = dict(smaller)
    new = dict(larger)
    may_differ = {name: new[name] for name in ("n_refinements", "n_relaxations", "conditioned")}
    return (
        new["n_refinements"] >= old["n_refinements"]
        and old["n_relaxations"] in {0, new["n_relaxations"]}
        and old["conditioned"] in {False, new["conditioned"]}
        and {**old, **may_differ} == new
    )


@torch.no_grad()
def take_weights_with_more_refinements(
    network: nn.Module, smaller: nn.Module, n_new_inputs: int
) -> None:
    """Give `network` the weights of `smaller`, so that both have the same gradients.

    Refinements that `smaller` lacks keep their initial weights, which displace no atom. They take
    the descriptors of the last refinement of `smaller`, and the last layers do not read them; nor
    do they read new inputs, or features of the noise that are new.

    Parameters
    ----------
    network, smaller
        Two networks whose settings fulfil `has_more_refinements`.
    n_new_inputs
        Number of scalars that `smaller` lacks; they come before all other inputs.
    """
    old_weights = smaller.state_dict()
    for name, new in network.state_dict().items():
        old = old_weights.get(name)
        if old is None:
            continue
        if old.shape == new.shape:
            new.copy_(old)
        elif name.endswith("first.weight"):
            # Reads what is known, then the descriptors of all refinements, last the displacement.
            new.zero_()
            new[:, n_new_inputs : n_new_inputs + old.shape[1] - 1] = old[:, :-1]
            new[:, -1] = old[:, -1]
        else:
            # The shares of the refinements in the result, and of the vectors; features of noise.
            new[tuple(slice(size) for size in old.shape)] = old
            if new.dim() == 2:
                new[:, old.shape[1] :] = 0
    descriptors = [module for module in network.modules() if isinstance(module, Descriptors)]
    last = sum(isinstance(module, Descriptors) for module in smaller.modules()) - 1
    for later in descriptors[last + 1 :]:
        later.load_state_dict(descriptors[last].state_dict())
