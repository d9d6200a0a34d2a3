"""A network nobody has trained, for tests that must hold for any weights."""

import torch

from openmm_nti import NetworkConfig
from openmm_nti.hamiltonian import build_model


def make_random_model(
    state, dtype="float64", n_refinements=1, kind="density", scale=0.3, n_relaxations=0
):
    """Random weights of size `scale` everywhere, also in the layers that start at zero; fresh
    weights with None.
    """
    torch.manual_seed(3)
    size = {"n_radial": 8, "n_channels": 4, "width": 16, "n_refinements": n_refinements}
    config = NetworkConfig(kind=kind, **size, n_relaxations=n_relaxations, dtype=dtype)
    model = build_model(state.pair_potential, config)
    for parameter in model.parameters() if scale else ():
        torch.nn.init.normal_(parameter, std=scale)
    return model.eval().requires_grad_(False)
