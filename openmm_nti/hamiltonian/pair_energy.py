r"""The interacting end of the path: the Lennard-Jones pair potential in kT, as OpenMM's
NonbondedForce has it.

.. math:: \beta u(r) = \frac{4}{T^*} (r^{-12} - r^{-6}) \, S(x), \quad S(x) = 1 - 6x^5 + 15x^4 - 10x^3, \quad
          x = \frac{r - r_s}{r_c - r_s},

with S = 1 below r_s, and zero beyond r_c. The convention `truncated` has S = 1 up to r_c.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from openmm_nti.fluid.state import PairPotential

# Two atoms this close (0.01 sigma: 1e24 kT) are as forbidden as can be; below, 1 / r would
# overflow.
_R_SQUARED_MIN = 1e-4


def switching_function(r: Tensor, start: float, end: float) -> Tensor:
    """OpenMM's quintic switch: 1 at `start`, 0 at `end`, two continuous derivatives; r in sigma,
    any shape.
    """
    x = ((r - start) / (end - start)).clamp(0.0, 1.0)
    return 1.0 - x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)


class LennardJones(nn.Module):
    """beta u(r) for one `PairPotential`."""

    def __init__(self, potential: PairPotential) -> None:
        super().__init__()
        self.prefactor = 4.0 / potential.temperature_star
        self.cutoff = potential.cutoff_sigma
        self.switch = potential.switch_sigma
        self.r_squared_min = (
            _R_SQUARED_MIN  # TorchScript reads attributes and default arguments, not globals
        )
        self.switched = potential.convention == "switched"

    def forward(self, r_squared: Tensor) -> Tensor:
        """Pair energies in kT from squared distances in sigma^2, any shape."""
        r_squared = r_squared.clamp(min=self.r_squared_min)
        inverse_6 = r_squared.pow(-3)
        energy = self.prefactor * (inverse_6 * inverse_6 - inverse_6)
        if self.switched:
            energy = energy * switching_function(r_squared.sqrt(), self.switch, self.cutoff)
        return torch.where(r_squared < self.cutoff * self.cutoff, energy, torch.zeros_like(energy))
