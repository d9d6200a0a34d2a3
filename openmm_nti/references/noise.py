r"""Noise along the path: how lambda, the box and the noise level hang together.

Forward noise on the torus (variance exploding): x_t = x_0 + s(t) z with t = 1 - lambda and

.. math:: \ln s(t) = \ln s_{min} + t \, (\ln s_{max} - \ln s_{min}), \qquad s_{max} = L / 2,

of which only s_eff^2 = s^2 - s_min^2 is added, so that t = 0 is exactly the data. The network is
conditioned on ln s alone: only this map knows the box. (Mate, Fleuret, Bereau, arXiv 2406.02313,
use s itself; at N = 200 the difference is worth 4 kT.) TorchScript reads default arguments but no
globals: hence the constant as `log_min`.
"""

import math

import torch
from torch import Tensor

NOISE_MIN_SIGMA = 0.006
LOG_NOISE_MIN = math.log(NOISE_MIN_SIGMA)


def log_noise_max(box: Tensor) -> Tensor:
    """Return ln s_max, 0-dim, from box edges (3,) in sigma.

    s_max is half the edge of a cube of the box's volume.
    """
    return torch.log(box).mean() - math.log(2.0)


def log_noise(lam: Tensor, box: Tensor, log_min: float = LOG_NOISE_MIN) -> Tensor:
    """Return ln s at coupling `lam` (B,), s in sigma; (B,)."""
    return log_min + (1.0 - lam) * (log_noise_max(box) - log_min)


def effective_variance(log_s: Tensor, log_min: float = LOG_NOISE_MIN) -> Tensor:
    """Return s_eff^2 = s^2 - s_min^2 in sigma^2, exactly 0 at s = s_min; (B,)."""
    return math.exp(2.0 * log_min) * torch.expm1(2.0 * (log_s - log_min))
