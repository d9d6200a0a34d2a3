"""Fluids and a crystal for tests, and a network nobody has trained."""

import torch

from openmm_nti import NetworkConfig, StatePoint
from openmm_nti.hamiltonian import build_model

# A Lennard-Jones crystal of 32 atoms.
CRYSTAL = StatePoint(
    crystal={"lattice": "fcc", "cells": (2, 2, 2)},
    density_star=1.1,
    temperature_star=0.7,
    cutoff_sigma=1.5,
    switch_sigma=1.25,
)
ARGON = {"mass_dalton": 39.948, "sigma_nm": 0.3405, "epsilon_kj_mol": 0.99607}


def mixture(
    n_first=5,
    n_second=7,
    *,
    sigma=0.3633,
    epsilon=1.3636,
    mass=83.8,
    cutoff_nm=1.0215,
    convention="switched",
    order=("Ar", "Kr"),
    unlike=None,
):
    """Argon and a second species; `unlike` is the pair of both where no mixing rule holds."""
    second = {"mass_dalton": mass, "sigma_nm": sigma, "epsilon_kj_mol": epsilon}
    species = {"Ar": {"n_particles": n_first, **ARGON}, "Kr": {"n_particles": n_second, **second}}
    return StatePoint.model_validate(
        {
            "temperature_kelvin": 149.75,
            "box_length_nm": 2.043,
            "species": {name: species[name] for name in order},
            "potential": {
                "type": "lennard_jones",
                "cutoff_nm": cutoff_nm,
                "switch_nm": 0.85125 * cutoff_nm / 1.0215,
                "convention": convention,
            },
            **({"pairs": {"Ar-Kr": unlike}} if unlike else {}),
        }
    )


def make_random_model(
    state,
    dtype="float64",
    n_refinements=1,
    kind="density",
    scale=0.3,
    n_relaxations=0,
    conditioned=False,
):
    """Random weights of size `scale` everywhere, also in the layers that start at zero; fresh
    weights with None.
    """
    torch.manual_seed(3)
    size = {"n_radial": 8, "n_channels": 4, "width": 16, "n_refinements": n_refinements}
    inputs = {"n_relaxations": n_relaxations, "conditioned": conditioned}
    config = NetworkConfig(kind=kind, **size, **inputs, dtype=dtype)
    model = build_model(state.pair_potential, config)
    for parameter in model.parameters() if scale else ():
        torch.nn.init.normal_(parameter, std=scale)
    return model.eval().requires_grad_(False)
