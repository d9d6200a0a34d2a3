"""The ideal gas: uniform positions, no energy, and noise that spreads every atom over the box."""

from __future__ import annotations

import torch
from torch import Tensor

from openmm_nti.fluid.state import StatePoint
from openmm_nti.references.base import Reference
from openmm_nti.references.noise import effective_variance, log_noise


class IdealGas(Reference):
    """Atoms that do not see each other."""

    name = "ideal_gas"

    def energy(self, positions: Tensor) -> Tensor:
        """Return zero for each configuration, (B,), kT."""
        return torch.zeros(len(positions), dtype=positions.dtype, device=positions.device)

    def sample(
        self, n_frames: int, n_particles: int, box: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return uniform positions, (n_frames, n_particles, 3), sigma; see `Reference.sample`."""
        shape = (n_frames, n_particles, 3)
        return torch.rand(shape, generator=generator, dtype=torch.float64) * box

    def free_energy(self, state: StatePoint) -> float:
        """Return zero: free energies are counted from the ideal gas."""
        del state
        return 0.0

    def forward(self, positions: Tensor, lam: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions themselves and s_eff^2; see `Reference.forward`."""
        return positions, effective_variance(log_noise(lam, box))
