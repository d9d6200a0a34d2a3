r"""Control variates of exactly zero mean, which take fluctuations out of dU/dlambda.

For any smooth vector field v of the periodic coordinates, integration by parts of exp(-U) gives

.. math:: \langle \nabla \cdot v - v \cdot \nabla U \rangle_\lambda = 0

(Stein's identity; as control variates Assaraf and Caffarel, Phys. Rev. Lett. 83, 4682 (1999), and
Oates, Girolami and Chopin, J. R. Stat. Soc. B 79, 695 (2017)). The fields here are

- the gradients of both parts of U. Were exp(-U) the noised density, it would obey the diffusion
  equation, and dU/ds^2 - (laplacian U - |grad U|^2) / 2 would be the same number for every
  configuration: nothing would be left to sample. The laplacian of the two-body part is exact. Its
  force at the cutoff is taken off, for the field may not jump there. The laplacian of the learned
  part is taken along a few random directions;
- radial fields, f_b(r) along the line of each pair, f_b being bumps from contact to cutoff. They
  serve where the model is no solution of that equation.

Their coefficients are fitted by least squares in each window to what each sample contributes to the
free energy. One half of the chains is fitted for use in the other, so that coefficients are
independent of what they multiply: any coefficients leave the mean alone, good ones take the
fluctuations away. Where they do not predict one chain from the rest of their half, as with rare
events or few samples, none are used. A potential that jumps at its cutoff (`truncated`) has no such
identity, for its gradient lacks the jump.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import Pairs
from openmm_nti.references.noise import log_noise

Array = NDArray[np.float64]
N_BUMPS = 12
N_FUNCTIONS = 2 + N_BUMPS
_N_PROBES = 4
_SAMPLES_EACH = 3  # to fit a coefficient with
# of samples that make up a function's variance, as a share: where few do, they decide nothing
_SPREAD = 0.04
_WORTH_IT = 0.8  # of the variance must be left at most


def apply_to(model: LambdaHamiltonian) -> bool:
    """Return whether Stein's identity holds: whether the potential is continuous."""
    return model.end.is_continuous


def functions(
    model: LambdaHamiltonian,
    positions: Tensor,
    box: Tensor,
    lam: Tensor,
    generator: torch.Generator,
) -> Array:
    """Return the functions of zero mean at configurations, (F, N_FUNCTIONS).

    Parameters
    ----------
    model
        A Hamiltonian for which `apply_to` holds.
    positions
        (F, N, 3), sigma.
    box
        (3,), sigma.
    lam
        The coupling in whose ensemble each configuration is, (F,): there the mean vanishes.
    generator
        Draws the random directions.
    """
    columns = []
    size = max(1, model.atoms_per_chunk // (2 * positions.shape[1]))
    for part, coupling in zip(positions.split(size), lam.double().split(size), strict=True):
        signs = torch.randint(0, 2, (_N_PROBES, *part.shape), generator=generator)
        probes = signs.to(part.dtype) * 2 - 1
        found = model.curvature(part, box, log_noise(coupling, box), probes)
        gradient = found.two_body_gradient + found.learned_gradient
        two_body = found.two_body_divergence - (found.two_body_field * gradient).sum((1, 2))
        learned = found.learned_along_probes - (found.learned_gradient * gradient).sum((1, 2))
        radial = _radial(found.pairs, gradient, model.cutoff)
        columns.append(torch.cat([torch.stack([two_body, learned], dim=1), radial], dim=1))
    return torch.cat(columns).numpy()


def subtract(contributions: Array, functions_kn: Array, chain: NDArray[np.int64]) -> Array:
    """Return contributions (K, n) less the part of them that functions of zero mean follow.

    Parameters
    ----------
    contributions
        Of each sample to a sum over windows of means over samples, (K, n).
    functions_kn
        (K, n, M).
    chain
        Which chain a sample belongs to, (n,); one half of the chains fits for the other. Fewer than
        four are cut in eight parts in time. With fewer than three samples to a coefficient the
        contributions come back as they are.
    """
    if len(np.unique(chain)) < 4:  # parts in time instead
        chain = np.arange(len(chain)) * 8 // len(chain)
    first = np.isin(chain, np.unique(chain)[::2])
    if min(first.sum(), (~first).sum()) < _SAMPLES_EACH * functions_kn.shape[2]:
        return contributions
    left = contributions.copy()
    for k, window in enumerate(functions_kn):
        for fit, use in ((first, ~first), (~first, first)):
            left[k, use] -= window[use] @ _coefficients(
                window[fit], contributions[k, fit], chain[fit]
            )
    return left


def share_left(contributions: Array, functions_kn: Array) -> Array:
    """Return the share of the root mean square of `contributions` that a fit leaves, (K,).

    The correlations of neighbouring windows differ little: each window is fitted together with two
    on either side, all in units of their own spread.

    Parameters
    ----------
    contributions
        (K, n).
    functions_kn
        (K, n, M), with 5 n well above M.
    """
    y, x = _standardised(contributions), _standardised(functions_kn)
    shares = np.empty(len(y))
    for k in range(len(y)):
        near = slice(max(0, k - 2), k + 3)
        x_near, y_near = x[near].reshape(-1, x.shape[2]), y[near].reshape(-1)
        rest = y_near - x_near @ np.linalg.lstsq(x_near, y_near, rcond=1e-8)[0]
        shares[k] = math.sqrt(float(rest @ rest) / max(1, len(rest) - x.shape[2]))
    return np.minimum(shares, 1.0)


def _coefficients(x: Array, y: Array, chain: NDArray[np.int64]) -> Array:
    """Return the coefficients, (M,); zero unless they predict each chain from the others."""
    rest = 0.0
    for label in np.unique(chain):
        out = chain == label
        fitted = _least_squares(x[~out], y[~out])
        rest += float(
            np.square(y[out] - y[~out].mean() - (x[out] - x[~out].mean(axis=0)) @ fitted).sum()
        )
    return _least_squares(x, y) if rest < _WORTH_IT * len(y) * y.var() else np.zeros(x.shape[1])


def _least_squares(x: Array, y: Array) -> Array:
    """Return the coefficients (M,) of a fit with a constant, which is not returned.

    Functions that hardly any sample feels get zero.
    """
    x, y = x - x.mean(axis=0), y - y.mean()
    square, fourth = np.square(x).mean(axis=0), (x**4).mean(axis=0)
    felt = square**2 > _SPREAD * fourth
    found = np.zeros(x.shape[1])
    scale = np.sqrt(square[felt])
    found[felt] = np.linalg.lstsq(x[:, felt] / scale, y, rcond=1e-8)[0] / scale
    return found


def _standardised(values: Array) -> Array:
    centred = values - values.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)


def _radial(pairs: Pairs, gradient: Tensor, cutoff: float) -> Tensor:
    """Return div v - v . grad U of the radial fields, (B, N_BUMPS).

    v moves both atoms of a pair by f_b(r) away from each other: its divergence is the sum of 2 (f'
    + 2 f / r). The bumps cos^2 are smooth, overlap by half, and the last ends at the cutoff.
    """
    n_batch, n_particles = gradient.shape[:2]
    spacing = cutoff / (N_BUMPS + 1)
    centres = spacing * torch.arange(1, N_BUMPS + 1, dtype=gradient.dtype, device=gradient.device)
    flat, r = gradient.reshape(-1, 3), pairs.r.unsqueeze(1)
    angle, felt = (0.5 * math.pi / spacing) * (r - centres), (r - centres).abs() < spacing
    f, slope = angle.cos().square() * felt, -(0.5 * math.pi / spacing) * (2.0 * angle).sin() * felt
    opening = ((flat[pairs.second] - flat[pairs.first]) * pairs.vectors.detach().t()).sum(
        1, keepdim=True
    ) / r
    values = 2.0 * (slope + 2.0 * f / r) - f * opening
    configuration = torch.div(pairs.first, n_particles, rounding_mode="floor")
    total = torch.zeros(n_batch, N_BUMPS, dtype=gradient.dtype, device=gradient.device)
    return total.index_add(0, configuration, values)
