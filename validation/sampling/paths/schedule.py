r"""Where the noise levels of paths lie, and the covariances of the steps back.

The noise levels are 0 = v_0 < v_1 < ... < v_K, and delta_k = v_{k+1} - v_k. Given x_{k+1}, the
exact increment of a denoising path has the covariance delta_k (1 - delta_k H). H is the Hessian of
the noised density at level k + 1. The steps have one of this form (`steps`), with

.. math:: H \approx a_k H_2 + b_k, \qquad w_k = \delta_k a_k,

where H_2 is the Hessian of the two-body term. a_k and b_k fit H best, and r_k is such that the mean
variance is right. The mean eigenvalue of H is I_k = E|\nabla U|^2 / 3N. Even with an exact score, a
step loses tr (H - a_k H_2 - b_k)^2 delta_k^2 / 4. Levels are spaced so that all steps lose about
the same. All this follows from gradients on a few frames that no path starts from. Poor numbers
cost overlap, not exactness.

Paths in stages have energies U_e at their ends, perhaps of another model. Both directions of a
stage together dissipate about

.. math:: D = P + C_a + C_b, \qquad C(s) = 2 v^2 E|\nabla U_e - \nabla U|^2 / \ell^2

with the variance v of the noise at an end, and the length l = 1 sigma. P is twice what the steps
lose, and what the scores are wrong by; a guess is `_ERRORS` of v^2 tr (H - I)^2 per unit of ln s.
So a cut is dear where the energies are wrong at large noise.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.validation.sampling.paths.steps import PathSteps, log_s_of

Array = NDArray[np.float64]
_PILOT_LEVELS = 24
_GEOMETRIC_SHARE = 0.25  # of the levels, wherever the others are
_ERRORS = 0.03


def schedule(
    model: NoisedFluid,
    state: StatePoint,
    n_steps: int,
    first_noise_sigma: float,
    frames: Array,
    generator: torch.Generator,
    energies: NoisedFluid | None = None,
) -> dict[str, Array]:
    """Return where the noise levels lie, the covariances of the reverse steps, and what steps lose.

    Parameters
    ----------
    model
        Gives the gradients.
    state
        The fluid.
    n_steps
        Number of steps.
    first_noise_sigma
        Noise of the first level above 0; the last one is half the box.
    frames
        Configurations (F, N, 3), sigma, that no path starts from.
    generator
        Random numbers.
    energies
        Gives the energies at the ends of stages, if another model does.

    Returns
    -------
    dict
        `levels` (n_steps + 1,), `reverse_variances` and `pair_weights` (n_steps,), in sigma^2;
        `losses` P of each step (n_steps,) and `ends` C at each level (n_steps + 1,), kT.
    """
    first = math.log(first_noise_sigma)
    last = math.log(0.5 * state.box_length_sigma)
    pilot = np.linspace(first, last, _PILOT_LEVELS)
    found = [
        _pilot(model, state, variance, frames, generator, energies)
        for variance in np.exp(2 * pilot)
    ]
    log_s = equal_losses(pilot, np.array([one.loss for one in found]), n_steps)
    at = _interpolated(log_s, pilot, found)
    levels = np.concatenate([[0.0], np.exp(2.0 * log_s)])
    steps = np.diff(levels)
    weights = steps * at.share
    # The mean of exp(-w H_2), to second order in w.
    mean = np.maximum(1.0 - weights * at.pair_mean + 0.5 * weights**2 * at.pair_square, 0.05)
    variances = steps * np.maximum((1.0 - steps * at.information) / mean, 0.05)
    lengths = np.diff(log_s, prepend=log_s[0])
    losses = 2.0 * at.loss * lengths**2 + _ERRORS * at.fluctuation * lengths
    ends = np.concatenate([[0.0], 2.0 * at.errors * levels[1:] / model.scale.length**2])
    ends[-1] = 0.0
    return {
        "levels": levels,
        "reverse_variances": variances,
        "pair_weights": weights,
        "losses": losses,
        "ends": ends,
    }


class _Pilot(NamedTuple):
    """What gradients tell of the Hessian H at one noise level, or at several, with arrays of them.

    Attributes
    ----------
    information
        I = E|grad U|^2 / 3N, 1 / sigma^2.
    fluctuation
        v^2 tr (H - I)^2, with the variance v of the noise.
    errors
        v E|grad U_e - grad U|^2, kT.
    loss
        v^2 tr (H - a H_2 - b)^2.
    share
        a, between 0 and 1.
    pair_mean, pair_square
        tr H_2 / 3N and tr H_2^2 / 3N.
    """

    information: Any
    fluctuation: Any
    errors: Any
    loss: Any
    share: Any
    pair_mean: Any
    pair_square: Any


def _interpolated(log_s: Array, pilot: Array, found: list[_Pilot]) -> _Pilot:
    columns = [np.interp(log_s, pilot, column) for column in zip(*found, strict=True)]
    information = np.log(np.maximum([one.information for one in found], 1e-12))
    return _Pilot(*columns)._replace(information=np.exp(np.interp(log_s, pilot, information)))


def path_steps(model: NoisedFluid, state: StatePoint, schedule: dict[str, Array]) -> PathSteps:
    """Return the steps of a `schedule`."""
    names = ("levels", "reverse_variances", "pair_weights")
    return PathSteps(model, state, *(schedule[name] for name in names))


def equal_losses(pilot: Array, loss: Array, n_levels: int) -> Array:
    """Return ln s of noise levels between which steps lose about the same, (n_levels,).

    `pilot` are equidistant ln s, ascending, (P,), and `loss` is v^2 tr (H - I)^2 there, (P,).
    """
    # Steps of equal loss: as dense in ln s as the square root of what a step of unit length would
    # lose.
    fine = np.linspace(pilot[0], pilot[-1], 1000)
    density = np.interp(fine, pilot, np.sqrt(loss))
    density = density / (density.mean() or 1.0) * (1.0 - _GEOMETRIC_SHARE) + _GEOMETRIC_SHARE
    steps_so_far = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return np.interp(np.linspace(0.0, steps_so_far[-1], n_levels), steps_so_far, fine)


def _pilot(
    model: NoisedFluid,
    state: StatePoint,
    v: float,
    frames: Array,
    generator: torch.Generator,
    energies: NoisedFluid | None,
) -> _Pilot:
    """Return what gradients tell of the Hessian at the variance `v`.

    H d for a random d has the square norm tr H^2 on average. It is taken from the difference of
    gradients that are as far apart as a step is long, where small jumps of a score do not matter.
    """
    box, clean = box_of(state), torch.as_tensor(frames, dtype=torch.float64)
    z, direction = torch.randn((2, *clean.shape), generator=generator, dtype=torch.float64)
    log_s = log_s_of(v, len(clean))
    reach = 0.2 * math.sqrt(v)
    noised = clean + math.sqrt(v) * z
    moved = noised + reach * direction
    gradient = model.gradient(noised, box, log_s)
    bent = (model.gradient(moved, box, log_s) - gradient) / reach
    pairs = model.pair_gradient(moved, box, log_s) - model.pair_gradient(noised, box, log_s)
    pairs = pairs / reach
    information = float(gradient.square().mean())

    def spread(one: Tensor, other: Tensor) -> float:  # of what is no multiple of d
        along = (one * direction).mean() * (other * direction).mean() / direction.square().mean()
        return float((one * other).mean() - along)

    share = spread(pairs, bent) / max(spread(pairs, pairs), 1e-300)
    share = min(max(share, 0.0), 1.0)
    scale = v * v * clean[0].numel()
    rest = bent - share * pairs
    fluctuation = scale * max(float(bent.square().mean()) - information**2, 0.0)
    errors = _ERRORS * fluctuation
    if energies is not None:
        difference = energies.gradient(noised, box, log_s) - gradient
        errors = v * float(difference.square().sum((1, 2)).mean())
    return _Pilot(
        information=information,
        fluctuation=fluctuation,
        errors=errors,
        loss=scale * max(spread(rest, rest), 0.0),
        share=share,
        pair_mean=float((pairs * direction).mean()),
        pair_square=float(pairs.square().mean()),
    )
