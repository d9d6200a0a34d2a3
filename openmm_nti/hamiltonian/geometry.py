"""Minimum-image geometry in an orthorhombic box: pairs for the two-body term, padded neighbours for the network.

Positions may be unwrapped: the minimum image does not care in which cell an atom sits. All lengths are in sigma.

Searches work on detached positions, not under no_grad: TorchScript merges equal subexpressions across the borders of a
no_grad block, and the energy outside it then silently loses part of its force.
"""

from __future__ import annotations

import torch
from torch import Tensor


def minimum_image(displacement: Tensor, box: Tensor) -> Tensor:
    """Fold displacements into the cell centred on zero.

    Parameters
    ----------
    displacement
        Differences of positions, (..., 3), sigma.
    box
        Edges of the box, (3,), sigma.
    """
    return displacement - box * torch.round(displacement / box)


def pairs_within(positions: Tensor, box: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair i < j closer than `cutoff`, over a batch, as flat indices.

    Parameters
    ----------
    positions
        (B, N, 3), sigma.
    box
        (3,), sigma.
    cutoff
        sigma; at most half the shortest edge.

    Returns
    -------
    configuration, first, second
        (P,) each: index in the batch, and indices of the two atoms into positions.reshape(B * N, 3).
    """
    positions = positions.detach()
    n_particles = positions.shape[1]
    upper = torch.triu_indices(n_particles, n_particles, 1, device=positions.device)
    displacement = positions.index_select(1, upper[0]) - positions.index_select(1, upper[1])
    r_squared = minimum_image(displacement, box).square().sum(-1)
    hit = torch.nonzero(r_squared < cutoff * cutoff)
    configuration, pair = hit[:, 0], hit[:, 1]
    offset = configuration * n_particles
    return configuration, offset + upper[0, pair], offset + upper[1, pair]


def neighbour_matrix(positions: Tensor, box: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Neighbours of every atom, padded to the largest number found: dense reductions in place of scatters.

    Parameters
    ----------
    positions
        (B, N, 3), sigma.
    box
        (3,), sigma.
    cutoff
        sigma.

    Returns
    -------
    index
        (B, N, M): index of each neighbour into positions.reshape(B * N, 3); padding repeats a far atom.
    mask
        (B, N, M), 1 for a neighbour and 0 for padding, in the dtype of `positions`.
    """
    positions = positions.detach()
    batch, n_particles = positions.shape[0], positions.shape[1]
    displacement = minimum_image(positions.unsqueeze(1) - positions.unsqueeze(2), box)
    r_squared = displacement.square().sum(-1)
    r_squared.diagonal(0, 1, 2).fill_(float("inf"))
    within = r_squared < cutoff * cutoff
    width = max(1, int(within.sum(-1).max()))
    nearest, index = torch.topk(r_squared, min(width, n_particles - 1), dim=-1, largest=False, sorted=False)
    mask = (nearest < cutoff * cutoff).to(positions.dtype)
    offset = torch.arange(batch, device=positions.device).reshape(batch, 1, 1) * n_particles
    return index + offset, mask
