"""`Reference`: what the fluid becomes at lambda = 0, and how noise leads there.

A new reference is one file in this folder: a subclass of `Reference`. Whoever starts from
lambda = 0 asks `model.reference`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from openmm_nti.fluid.state import StatePoint


class Reference(ABC):
    """A system whose energy, samples and free energy are known without simulation."""

    name: ClassVar[str]

    @abstractmethod
    def energy(self, positions: Tensor) -> Tensor:
        """Return the reduced energy of each configuration (B, N, 3), in sigma; (B,), kT."""

    @abstractmethod
    def sample(
        self, n_frames: int, n_particles: int, box: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return independent equilibrium configurations.

        Parameters
        ----------
        n_frames, n_particles
            How many configurations, and of how many particles.
        box
            Edges of the box, (3,), sigma.
        generator
            Source of the random numbers.

        Returns
        -------
        Tensor
            Positions, (n_frames, n_particles, 3), sigma, float64.
        """

    @abstractmethod
    def free_energy(self, state: StatePoint) -> float:
        """Return its free energy in kT, counted from the ideal gas of the same density."""

    @abstractmethod
    def forward(self, positions: Tensor, lam: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of the noised positions at lambda, a Gaussian.

        Parameters
        ----------
        positions
            Configurations at lambda = 1, (B, N, 3), sigma.
        lam
            Coupling of each configuration, (B,).
        box
            Edges of the box, (3,), sigma.

        Returns
        -------
        tuple[Tensor, Tensor]
            Mean (B, N, 3) in sigma and variance of each coordinate (B,) in sigma^2.
        """
