"""A network nobody has trained, for tests that must hold for any weights."""

import torch

from openmm_nti import LambdaHamiltonian, NetworkConfig


def make_random_model(state, dtype="float64", n_refinements=1, kind="density"):
    """Random weights everywhere, also in the layers that start at zero."""
    torch.manual_seed(3)
    config = NetworkConfig(kind=kind, n_radial=8, n_channels=4, width=16, n_refinements=n_refinements, dtype=dtype)
    model = LambdaHamiltonian(state.pair_potential, config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval().requires_grad_(False)
