r"""A linear map with the two-body Hessian in it, whose determinant is a plain sum over pairs.

.. math:: A = \prod_p e^{-w \, h_p / 2} \approx e^{-w H / 2}, \qquad
          \ln \det A = -w \sum_p \left( \Phi_p'' + 2 \, \Phi_p' / r_p \right),

where h_p is the Hessian of a single pair of atoms, and H their sum, that of the two-body term. Each
factor stretches the difference of the vectors of two atoms, by exp(-w Phi'') along the pair and by
exp(-w Phi' / r) across it. A and its inverse cost one pass over the pairs. The covariance A A^T is
exp(-w H) to second order in w, for the antisymmetric commutators of the factors cancel.

Pairs take turns as in a tournament, in rounds in which no atom is in two pairs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import Pairs, lengths, minimum_image
from openmm_nti.hamiltonian.own_device import on_own_device
from openmm_nti.kernels import applies_to_double

_LIMIT = 1.0  # largest exponent: of two atoms that touch, the two-body term says too much


@on_own_device
def stretched(
    model: NoisedFluid,
    positions: Tensor,
    box: Tensor,
    log_s: Tensor,
    vectors: Tensor,
    weights: Tensor,
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return A z, or the inverse of A times z, and ln det A.

    Parameters
    ----------
    model
        Its two-body term gives the Hessians.
    positions
        Where they are taken, (B, N, 3), sigma.
    box
        Edges of the box, (3,), sigma.
    log_s
        Noise levels ln s, (B,).
    vectors
        z, (B, N, 3).
    weights
        w, (B,), sigma^2.
    inverse
        Whether the inverse of A is taken.

    Returns
    -------
    vectors, log_determinant
        (B, N, 3) and (B,).
    """
    n_atoms = positions.shape[1]
    term, rows = model.two_body, model.two_body.rows(log_s)
    if term.compiled and applies_to_double(positions):
        pairs = model.search.pairs(positions, box, model.cutoff)
        row = model.pair_kinds.rows(pairs, n_atoms)
        found, log_determinant = torch.ops.openmm_nti.stretched(
            vectors.reshape(-1, 3),
            *(pairs.vectors, pairs.r, pairs.first, pairs.second),
            *(row, rows, weights, n_atoms, term.r_step, _LIMIT, inverse),
        )
        return found.reshape(positions.shape), log_determinant
    return _in_rounds(model, positions, box, rows, vectors, weights, inverse)


def _in_rounds(
    model: NoisedFluid,
    positions: Tensor,
    box: Tensor,
    rows: Tensor,
    vectors: Tensor,
    weights: Tensor,
    inverse: bool,
) -> tuple[Tensor, Tensor]:
    """Return what `stretched` returns, by operations of PyTorch."""
    n_batch, n_atoms = positions.shape[:2]
    first, second = rounds(n_atoms).to(positions.device).unbind(-1)
    between = minimum_image(positions[:, second] - positions[:, first], box)
    shift = n_atoms * torch.arange(n_batch, device=positions.device).reshape(-1, 1, 1)
    columns = between.reshape(-1, 3).t()
    r = lengths(columns)
    pairs = Pairs((shift + first).reshape(-1), (shift + second).reshape(-1), columns, r)
    row, near = model.pair_kinds.rows(pairs, n_atoms), r.clamp(max=model.cutoff)
    curvatures = (
        model.two_body.second_derivative(near, row, rows),
        model.two_body.derivative(near, row, rows) / r,
    )
    along, across = (
        (-weights.reshape(-1, 1, 1) * (value * (r < model.cutoff)).reshape(n_batch, *first.shape))
        .clamp(-_LIMIT, _LIMIT)
        .unsqueeze(-1)
        for value in curvatures
    )
    log_determinant = (along + 2.0 * across).sum((1, 2, 3))
    by_along, by_across = (torch.expm1(-part if inverse else part) for part in (along, across))
    by_projection = (by_along - by_across) / between.square().sum(-1, keepdim=True).clamp(min=1e-24)
    found = vectors.clone()
    for number in reversed(range(len(first))) if inverse else range(len(first)):
        one, other, d = first[number], second[number], between[:, number]
        difference = found[:, other] - found[:, one]
        projected = (difference * d).sum(-1, keepdim=True) * by_projection[:, number]
        change = 0.5 * (by_across[:, number] * difference + projected * d)
        found = found.index_add(1, other, change).index_add(1, one, -change)
    return found, log_determinant


def rounds(n_atoms: int) -> Tensor:
    """Return who meets whom in each round of a tournament, (rounds, pairs, 2), the smaller first.

    Every pair of `n_atoms` meets once. With an odd number one atom rests in each round.
    """
    n_rounds = n_atoms - 1 + n_atoms % 2
    sums = torch.arange(n_rounds)  # of both numbers, modulo the rounds
    steps = torch.arange(1, (n_rounds - 1) // 2 + 1)
    middle = sums * ((n_rounds + 1) // 2) % n_rounds
    first, second = ((middle.unsqueeze(1) + sign * steps).remainder(n_rounds) for sign in (1, -1))
    pairs = torch.stack([torch.minimum(first, second), torch.maximum(first, second)], dim=-1)
    if n_atoms % 2:
        return pairs
    last = torch.stack([middle, torch.full_like(middle, n_rounds)], dim=-1)
    return torch.cat([pairs, last.unsqueeze(1)], dim=1)
