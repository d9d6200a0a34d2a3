r"""Relaxation of the noised positions by two-body forces, a known part of many-body physics.

Where forces are harmonic the exact score is -\nabla U_0(y), where y minimises U_0(y) + |x - y|^2 /
2 s_eff^2. Its first order in s_eff^2 is the many-body term of small noise. With the two-body term
for U_0, the steps towards the minimum need no learning:

.. math:: y_n = y_{n-1}
          - \frac{s_{eff}^2 \, \nabla \Phi_{s'}(y_{n-1}) + (y_{n-1} - x)}{1 + s_{eff}^2 k_i}, \qquad
          k_i = \frac13 \max(0, \textstyle\sum_j \nabla^2 \Phi_s(r_{ij})), \qquad
          s'^2 = \frac{s_{eff}^2}{1 + s_{eff}^2 \bar k},

y_0 = x. No step is longer than s_eff, and s' is the noise that is left once the neighbours of an
atom are taken into account. A network that is given these forces starts where it would otherwise
arrive, and its input reaches as far as the potential does.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from openmm_nti.hamiltonian.geometry import Pairs, lengths, take
from openmm_nti.hamiltonian.known_terms import NoisedFluid
from openmm_nti.kernels import applies_to_double
from openmm_nti.references.noise import effective_variance

_LARGEST = 3.0  # kT per s_eff: far larger forces are cut down to this size
_ENVELOPE_SHARE = 0.05  # width of the envelope, as a share of the cutoff


def n_vectors(n_relaxations: int) -> int:
    """Return how many vectors of each atom `relax` returns."""
    return n_relaxations + 2 if n_relaxations else 0


def n_scalars(n_relaxations: int) -> int:
    """Return how many scalars of each atom `relax` returns."""
    return 4 if n_relaxations else 0


@torch.no_grad()
def relax(
    model: NoisedFluid, positions: Tensor, log_s: Tensor, pairs: Pairs, n_relaxations: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two-body forces on each atom along its relaxation.

    Parameters
    ----------
    model
        Model that supplies the two-body term.
    positions
        Positions of the atoms, (B, N, 3), sigma.
    log_s
        Noise levels ln s, (B,).
    pairs
        Pairs within the cutoff of the two-body term.
    n_relaxations
        Number of steps, at least one.

    Returns
    -------
    gradient
        Gradient of the two-body term at `positions`, (B, N, 3), kT / sigma.
    vectors
        s_eff grad Phi at x, y_1, ..., y_n, and (x - y_n) / s_eff, (3, B, N, n + 2).
    scalars
        asinh of the squared lengths of the first and the last two of these vectors, and of s_eff^2
        k_i, (B, N, 4).
    """
    variance = effective_variance(log_s).reshape(-1, 1, 1).clamp(min=1e-12)
    spread = variance.sqrt()
    pulls = partial(_pulls, model, positions, pairs)
    gradient, stiffness = pulls(model.two_body.rows(log_s))
    stiffness = stiffness.clamp(min=0.0)
    mean_stiffness = stiffness.mean((1, 2), keepdim=True)
    remaining_log_s = log_s - 0.5 * torch.log1p((variance * mean_stiffness).reshape(-1))
    rows = model.two_body.rows(remaining_log_s)
    displacement = torch.zeros_like(positions)
    force = gradient
    forces = [spread * force]
    for _ in range(n_relaxations):
        step = (variance * force + displacement) / (1.0 + variance * stiffness)
        shortened = step / (1.0 + step.square().sum(-1, keepdim=True) / variance).sqrt()
        displacement = displacement - shortened
        force, _ = pulls(rows, displacement)
        forces.append(spread * force)
    known = torch.stack([*forces, -displacement / spread], dim=-1)
    squares = known.square().sum(2)
    scalars = torch.cat([squares[..., :1], squares[..., -2:], variance * stiffness], dim=-1)
    vectors = known / (1.0 + squares / _LARGEST**2).sqrt().unsqueeze(2)
    return gradient, vectors.permute(2, 0, 1, 3), torch.asinh(scalars)


def _pulls(
    model: NoisedFluid,
    positions: Tensor,
    pairs: Pairs,
    rows: Tensor,
    displacement: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the two-body term (B, N, 3) and the stiffness (B, N, 1) of each atom.

    Pairs are those within reach of `positions`. Where atoms were displaced from there by (B, N, 3),
    an envelope keeps the force from jumping as pairs change.
    """
    row = model.pair_kinds.rows(pairs, positions.shape[1])
    share = 0.0 if displacement is None else _ENVELOPE_SHARE
    moved = (torch.zeros_like(positions) if displacement is None else displacement).reshape(-1, 3)
    term = model.two_body
    if term.compiled and applies_to_double(pairs.vectors):
        gradient, stiffness = torch.ops.openmm_nti.displaced_pulls(
            pairs.vectors,
            pairs.r,
            pairs.first,
            pairs.second,
            row,
            rows,
            moved,
            term.r_step,
            model.cutoff,
            share,
        )
        return gradient.reshape(positions.shape), stiffness.reshape(*positions.shape[:2], 1)
    columns = moved.t().contiguous()
    vectors = pairs.vectors + take(columns, pairs.second) - take(columns, pairs.first)
    r = lengths(vectors)
    slope = term.derivative(r.clamp(max=model.cutoff), row, rows)
    bend = term.second_derivative(r.clamp(max=model.cutoff), row, rows)
    if share:
        envelope = ((1.0 - pairs.r / model.cutoff) / share).clamp(0.0, 1.0)
        slope = slope * envelope * envelope * (3.0 - 2.0 * envelope) * (r < model.cutoff)
    gradient = model.search.sum_over_pairs(pairs, vectors * (slope / r), positions)
    contributions = (bend + 2.0 * slope / r) / 3.0
    stiffness = torch.zeros(len(moved), dtype=positions.dtype, device=positions.device)
    stiffness = stiffness.index_add(0, pairs.first, contributions)
    stiffness = stiffness.index_add(0, pairs.second, contributions)
    return gradient, stiffness.reshape(*positions.shape[:2], 1)
