r"""Validation on held-out frames: the loss, and the gain in the bound at each noise level.

The lower bound on beta F_ex (`validation.estimators.denoising_bound`) adds up, over the noise, half
of 2 E[f . g*] - E|f|^2 for the model's gradient f. Against the two-body path f_0 on the same frames
and the same noise,

.. math:: G = \int \Big( E[f \cdot g^*] - \tfrac12 E|f|^2
          - E[f_0 \cdot g^*] + \tfrac12 E|f_0|^2 \Big) d(s_{eff}^2)

is how far the network has raised the bound, in kT. The noise of the target is the same in all
evaluations and cancels, so even small changes between evaluations are significant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.training.targets import CleanData, NoisedBatch, antithetic_batch

N_DECILES = 10
_PAIRS_PER_DECILE = 4
_ATOMS_PER_BATCH = 2560


@dataclass(frozen=True)
class _Decile:
    """Antithetic noised frames of one tenth of the range of ln s."""

    noise_sigma: float  # noise level in the middle of the tenth
    batch: NoisedBatch
    weight: Tensor  # weight of each configuration in the integral over s_eff^2
    baseline: Tensor  # `NoisedBatch.bound_terms` of the two-body path


class HeldOut:
    """Held-out frames of one state point, with noise that stays the same.

    Parameters
    ----------
    label
        Name of the state point in the metrics.
    clean
        Held-out frames.
    model
        Model that supplies the two-body path.
    log_low, log_high
        Range of ln s; every tenth of it gets the same number of frames, at stratified levels.
    generator
        Generator of the random noise.
    """

    def __init__(
        self,
        label: str,
        clean: CleanData,
        model: NoisedFluid,
        log_low: float,
        log_high: float,
        generator: torch.Generator,
    ) -> None:
        self.label = label
        width = (log_high - log_low) / N_DECILES
        self.deciles = [
            self._decile(clean, model, log_low + number * width, width, generator)
            for number in range(N_DECILES)
        ]

    def evaluate(self, model: NoisedFluid) -> dict[str, Any]:
        """Return the mean loss, and gains over the two-body path with standard errors, kT.

        Gains are given for each decile of ln s and for all together.
        """
        losses = []
        pairs = []
        for decile in self.deciles:
            gradient = _gradient(model, decile.batch)
            error = (gradient - decile.batch.target).square().mean((1, 2))
            losses.append((error * decile.batch.precision).mean())
            gain = (decile.batch.bound_terms(gradient) - decile.baseline) * decile.weight
            pairs.append(gain.reshape(2, -1).mean(0))  # a frame with its noise of either sign
        spread = torch.stack([pair.std() for pair in pairs])
        # One look at the device for all numbers, since each waits for all that it has to do.
        facts = torch.stack([torch.stack([pair.mean() for pair in pairs]), spread]).cpu()
        gains = facts[0].tolist()
        errors = [each / math.sqrt(len(pairs[0])) for each in facts[1].tolist()]
        return {
            "loss": float(torch.stack(losses).mean()),
            "gain_kt": sum(gains),
            "gain_err": math.hypot(*errors),
            "noise_sigma": [decile.noise_sigma for decile in self.deciles],
            "decile_gain_kt": gains,
            "decile_gain_err": errors,
        }

    def _decile(
        self,
        clean: CleanData,
        model: NoisedFluid,
        low: float,
        width: float,
        generator: torch.Generator,
    ) -> _Decile:
        n_pairs = _PAIRS_PER_DECILE
        frames = torch.randint(len(clean.positions), (n_pairs,), generator=generator)
        place = (
            torch.arange(n_pairs) + torch.rand(n_pairs, generator=generator, dtype=torch.float64)
        ) / n_pairs
        batch = antithetic_batch(clean, frames, low + width * place, generator)
        # d(s_eff^2) = 2 s^2 d(ln s), and the bound has a factor 1/2.
        weight = width * torch.exp(2.0 * batch.log_s)
        baseline = batch.bound_terms(model.pair_gradient(batch.positions, batch.box, batch.log_s))
        return _Decile(math.exp(low + 0.5 * width), batch, weight, baseline)


def _gradient(model: NoisedFluid, batch: NoisedBatch) -> Tensor:
    size = max(1, _ATOMS_PER_BATCH // batch.positions.shape[1])
    return torch.cat(
        [
            model.gradient(part.positions, part.box, part.log_s).detach()
            for part in batch.split(size)
        ],
    )
