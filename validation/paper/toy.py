r"""Neural TI where everything fits in one dimension: two Gaussians whose ln Z is ln 3.

The ideal end is a normalised Gaussian, U_0(x) = x^2 / 2 + ln(2 pi) / 2; the interacting one is

.. math:: e^{-U_1(x)} = 3 \, [w \, N(x; a, s) + (1 - w) \, N(x; b, s)],

so that ln(Z_1 / Z_0) = ln 3. Noise x_lambda = sin(pi lambda / 2) x + cos(pi lambda / 2) z carries
samples of the one to the other, and

.. math::

   U_\theta(x, \lambda) = (1 - \lambda) U_0(x) + \lambda U_1(x)
   + \lambda (1 - \lambda) f_\theta(x, \lambda)

is exact at both ends whatever f is. Denoising score matching, E|cos(pi lambda / 2)
U_theta'(x_lambda) - z|^2, trains it on samples alone. Nothing tells it ln 3; thermodynamic
integration, ln Z = -int <dU_theta/dlambda> dlambda, finds it. Averages over noised samples are as
good as the score; after Metropolis moves under U_theta itself they are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings

LOG_Z = math.log(3.0)
_WEIGHT, _CENTRES, _WIDTH = 0.35, (-1.8, 1.4), 0.5


class ToyConfig(Settings):
    """Effort spent on the one-dimensional example."""

    n_steps: int = Field(default=1500, ge=1, description="Training steps.")
    batch: int = Field(default=512, ge=2, description="Noised samples in each step.")
    n_lambdas: int = Field(
        default=40, ge=4, description="Nodes of the Gauss-Legendre quadrature in lambda."
    )
    n_samples: int = Field(default=1000, ge=8, description="Samples at each node.")
    n_moves: int = Field(default=60, ge=1, description="Metropolis moves of each sample.")


@dataclass(frozen=True, eq=False)
class ToyResult:
    """ln(Z_1 / Z_0) by thermodynamic integration, and its profile.

    Attributes
    ----------
    noised, noised_err
        From noised samples: Neural TI as published, with the error of the score on top of the
        statistical one.
    exact, exact_err
        After Metropolis moves under the learned energy.
    lambdas, slope_noised, slope_exact
        Nodes, and <dU/dlambda> at each of them, both ways. Shape (n_lambdas,).
    """

    noised: float
    noised_err: float
    exact: float
    exact_err: float
    lambdas: np.ndarray
    slope_noised: np.ndarray
    slope_exact: np.ndarray


class ToyEnergy(nn.Module):
    """U_theta of the module docstring."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor, lam: Tensor) -> Tensor:
        """Return energies (B,) in kT of x (B,) at lambda (B,)."""
        angle = 0.5 * math.pi * lam
        features = torch.stack([x, torch.sin(angle), torch.cos(angle)], dim=1)
        learned = self.last(self.network(features)).squeeze(1)
        return (1 - lam) * ideal_energy(x) + lam * interacting_energy(x) + lam * (1 - lam) * learned

    def slope(self, x: Tensor, lam: Tensor) -> Tensor:
        """Return dU/dlambda, (B,), kT."""
        coupling = lam.clone().requires_grad_(True)
        return torch.autograd.grad(self(x, coupling).sum(), coupling)[0]


@takes_execution
def run(config: ToyConfig, execution: Execution) -> ToyResult:
    """Train on samples of the two Gaussians and integrate."""
    generator = torch.Generator().manual_seed(execution.seed_of("toy"))
    model = train(config, generator, execution.seed_of("toy weights"))
    nodes, weights = np.polynomial.legendre.leggauss(config.n_lambdas)
    lambdas, weights = 0.5 * (nodes + 1), 0.5 * weights
    lam = torch.as_tensor(lambdas).repeat_interleave(config.n_samples)
    x = noised(draw(len(lam), generator), lam, generator)[0]
    profiles = []
    for positions in (x, metropolis(model, x, lam, config.n_moves, generator)):
        slopes = model.slope(positions, lam).detach().numpy().reshape(config.n_lambdas, -1)
        errors = slopes.std(axis=1, ddof=1) / math.sqrt(config.n_samples)
        profiles.append((slopes.mean(axis=1), float(np.linalg.norm(weights * errors))))
    (slope_noised, noised_err), (slope_exact, exact_err) = profiles
    return ToyResult(
        noised=-float(weights @ slope_noised),
        noised_err=noised_err,
        exact=-float(weights @ slope_exact),
        exact_err=exact_err,
        lambdas=lambdas,
        slope_noised=slope_noised,
        slope_exact=slope_exact,
    )


def train(config: ToyConfig, generator: torch.Generator, weights_seed: int) -> ToyEnergy:
    """Train a model with fresh weights by denoising score matching, and return it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(weights_seed)
        model = ToyEnergy().double()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.n_steps)
    for _ in range(config.n_steps):
        lam = torch.rand(config.batch, generator=generator, dtype=torch.float64)
        x, z = noised(draw(config.batch, generator), lam, generator)
        x.requires_grad_(True)
        (gradient,) = torch.autograd.grad(model(x, lam).sum(), x, create_graph=True)
        loss = (torch.cos(0.5 * math.pi * lam) * gradient - z).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.requires_grad_(False)


def ideal_energy(x: Tensor) -> Tensor:
    """Return U_0 of a normalised Gaussian, kT, in the shape of the argument."""
    return 0.5 * x.square() + 0.5 * math.log(2 * math.pi)


def interacting_energy(x: Tensor) -> Tensor:
    """Return U_1 of two Gaussians of total weight 3, kT, in the shape of the argument."""
    logs = [
        math.log(share / (_WIDTH * math.sqrt(2 * math.pi))) - 0.5 * ((x - centre) / _WIDTH).square()
        for share, centre in zip((_WEIGHT, 1 - _WEIGHT), _CENTRES, strict=True)
    ]
    return -torch.logaddexp(*logs) - LOG_Z


def draw(n: int, generator: torch.Generator) -> Tensor:
    """Return samples of the two Gaussians, (n,)."""
    first = torch.rand(n, generator=generator, dtype=torch.float64) < _WEIGHT
    centre = torch.where(first, _CENTRES[0], _CENTRES[1]).double()
    return centre + _WIDTH * torch.randn(n, generator=generator, dtype=torch.float64)


def noised(x: Tensor, lam: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return x_lambda and the noise z in it, (B,) each."""
    z = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    angle = 0.5 * math.pi * lam
    return torch.sin(angle) * x + torch.cos(angle) * z, z


@torch.no_grad()
def metropolis(
    model: ToyEnergy, x: Tensor, lam: Tensor, n_moves: int, generator: torch.Generator
) -> Tensor:
    """Return samples (B,) after Metropolis moves under the learned energy.

    The moves are long enough to cross between the Gaussians.
    """
    energy = model(x, lam)
    for _ in range(n_moves):
        trial = x + 1.5 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        after = model(trial, lam)
        taken = torch.rand(x.shape, generator=generator, dtype=torch.float64).log() < energy - after
        x, energy = torch.where(taken, trial, x), torch.where(taken, after, energy)
    return x
