"""A crystal of springs between neighbours: free energy, samples and model, by normal modes, exact.

At noise of variance v its density stays a Gaussian of the modes q, of variances C + v.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.displacements import crystal_of, sites_sigma
from openmm_nti.fluid.energy import nearest_image, reduced_potential_numpy
from openmm_nti.fluid.reduced import LENNARD_JONES
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.pair_energy import PairEnergy
from openmm_nti.references.noise import effective_variance, log_noise

SIGMA, EPSILON = 0.3405, 1.0
_EDGES = {"bcc": 1.35, "fcc": 1.65}
_STIFF = {"bcc": 2000.0, "fcc": 500.0}  # kT / sigma^2, of each spring


def spring_crystal(lattice: str = "bcc") -> StatePoint:
    """Return a crystal of 2 x 2 x 2 cells with u = k r^2 / 2 between neighbours alone.

    Between atoms that never leave the range of the potential, this is a spring for each direction.
    There are 16 atoms in `bcc` and 32 in `fcc`.
    """
    edge, reach = _EDGES[lattice], 0.93
    r = np.linspace(0.02, reach * edge, 300)
    table = {
        "type": "table",
        "r_nm": tuple(r * SIGMA),
        "u_kj_mol": tuple(0.5 * _STIFF[lattice] * r**2 * EPSILON),
    }
    return StatePoint.model_validate(
        {
            "crystal": {"lattice": lattice, "cells": (2, 2, 2)},
            "box_length_sigma": 2 * edge,
            "temperature_star": 1.0,
            "sigma_nm": SIGMA,
            "epsilon_kj_mol": EPSILON,
            "cutoff_sigma": reach * edge,
            "switch_sigma": 1.1,
            "convention": "shifted",
            "potential": table,
        }
    )


def spring_matrix(state: StatePoint) -> np.ndarray:
    """Return how the springs of `spring_crystal` join atoms, (N, N), kT / sigma^2."""
    sites, spring = sites_sigma(state), _STIFF[str(crystal_of(state).lattice)]
    away = nearest_image(sites[:, None] - sites, state.edges_sigma)
    joined = (np.linalg.norm(away, axis=-1) < state.cutoff_sigma) & ~np.eye(len(sites), dtype=bool)
    return np.asarray(spring * (np.diag(joined.sum(axis=1)) - joined))


def exact_minus_log_z_rel(state: StatePoint) -> float:
    """Return -ln Z_rel of `spring_crystal` from its normal modes."""
    at_rest = reduced_potential_numpy(sites_sigma(state)[None], state)[0]
    modes = np.linalg.eigvalsh(spring_matrix(state))[1:]
    return float(at_rest + 1.5 * np.log(modes / (2 * np.pi)).sum())


def spring_frames(state: StatePoint, n_frames: int, rng: np.random.Generator) -> Ensemble:
    """Return exact independent frames of `spring_crystal`."""
    modes, vectors = np.linalg.eigh(spring_matrix(state))
    amplitudes = rng.standard_normal((n_frames, 3, len(modes) - 1)) / np.sqrt(modes[1:])
    moved = np.swapaxes(amplitudes @ vectors[:, 1:].T, 1, 2)
    positions = sites_sigma(state) + moved
    return Ensemble(
        state, positions * state.sigma_nm, reduced_potential_numpy(positions, state), {}
    )


class SpringModel(LambdaHamiltonian):
    """A model of a spring crystal that is wrong by a share of itself at any noise but none.

    Its energy is sum q^2 / 2 (C + v) times a factor that goes from 1 to `share` as v grows beyond
    C. Its gradient has the factor `share` throughout. With `share` = 1 both are exact.
    """

    def __init__(self, state: StatePoint, share: float = 1.0) -> None:
        # A pair of springs is no gas, with which a two-body term begins: take another pair's.
        super().__init__(state.model_copy(update={"potential": LENNARD_JONES}).pair_potential)
        self.potential, self.end = state.pair_potential, PairEnergy(state.pair_potential)
        self.share = share
        self.sites = torch.as_tensor(sites_sigma(state))
        self.at_rest = float(reduced_potential_numpy(self.sites.numpy()[None], state)[0])
        modes, vectors = np.linalg.eigh(spring_matrix(state))
        self.widths = torch.as_tensor(1 / modes[1:])
        self.vectors = torch.as_tensor(vectors[:, 1:])
        self.eval().requires_grad_(False)

    def bind(self, state: StatePoint) -> Self:
        """Return this model, which is of one crystal."""
        del state
        return self

    def fingerprint(self) -> str:
        """Return that of the pair potential, and the share."""
        return f"{super().fingerprint()}{self.share}"

    def forward(self, positions: Tensor, box: Tensor, lam: Tensor) -> Tensor:
        """Return the energies of configurations (B, N, 3) in sigma near their sites, (B,), kT."""
        variance = effective_variance(log_noise(lam.double(), box))[:, None, None]
        modes = self._modes(positions)
        energy = 0.5 * (modes.square() / (self.widths[:, None] + variance)).sum((1, 2))
        beyond = variance[:, 0, 0] / (variance[:, 0, 0] + self.widths.mean())
        return self.at_rest + energy * (1 - (1 - self.share) * beyond)

    def gradient(
        self, positions: Tensor, box: Tensor, log_s: Tensor, create_graph: bool = False
    ) -> Tensor:
        """Return a share of the gradient of noised springs, (B, N, 3), kT / sigma."""
        del box, create_graph
        variance = effective_variance(log_s)[:, None, None]
        pull = self._modes(positions) / (self.widths[:, None] + variance)
        return self.share * torch.einsum("ni,bia->bna", self.vectors, pull)

    def _modes(self, positions: Tensor) -> Tensor:
        return torch.einsum("ni,bna->bia", self.vectors, positions.double() - self.sites)
