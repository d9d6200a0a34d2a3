"""What a network is told beside the geometry: the noise level, and how strong the pairs attract."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from openmm_nti.references.noise import LOG_NOISE_MIN

_LOG_NOISE_MAX = math.log(6.0)  # largest ln s of the noise features, for boxes up to 12 sigma


N_NOISE_FEATURES = 13


class Condition(NamedTuple):
    """The conditions under which a network is evaluated, for a batch of configurations."""

    log_s: Tensor  # ln s, with s in sigma, (B,)
    variance: Tensor  # s_eff^2, sigma^2, (B,)
    depth: Tensor  # `AtomTraits.depth` of the fluid, 0-dim
    atoms: Tensor  # `AtomTraits.of_atoms` of a mixture, (N, N_TRAITS); without rows for one species


class NoiseFeatures(nn.Module):
    """Represents the noise level for a network, by overlapping Gaussians in ln s."""

    centres: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer(
            "centres", torch.linspace(LOG_NOISE_MIN, _LOG_NOISE_MAX, N_NOISE_FEATURES), False
        )
        self.inverse_width = (N_NOISE_FEATURES - 1) / (_LOG_NOISE_MAX - LOG_NOISE_MIN)

    def forward(self, log_s: Tensor) -> Tensor:
        """Return the features (B, N_NOISE_FEATURES) of ln s (B,)."""
        return torch.exp(
            -0.5 * ((log_s.unsqueeze(-1) - self.centres) * self.inverse_width).square()
        )


def with_depth(noise: Tensor, depth: Tensor) -> Tensor:
    """Return noise features (B, n), followed by the same times the depth of the pairs, (B, 2 n).

    So whatever depends on the noise may depend on the temperature as well.
    """
    return torch.cat([noise, noise * depth], dim=-1)
