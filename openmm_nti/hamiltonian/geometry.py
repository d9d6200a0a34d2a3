"""Minimum-image geometry in an orthorhombic box: pairs for the two-body term, padded neighbours for the network.

Positions may be unwrapped: the minimum image does not care in which cell an atom sits. All lengths are in sigma.

Searches work on detached positions, not under no_grad: TorchScript merges equal subexpressions across the borders of a
no_grad block, and the energy outside it then silently loses part of its force.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cubic_box(length_sigma: float, device: torch.device | str = "cpu") -> Tensor:
    """Edges of a cubic box, (3,), sigma, float64."""
    return torch.full((3,), length_sigma, dtype=torch.float64, device=device)


def minimum_image(displacement: Tensor, box: Tensor) -> Tensor:
    """Fold displacements into the cell centred on zero.

    Parameters
    ----------
    displacement
        Differences of positions, (..., 3), sigma.
    box
        Edges of the box, (3,), sigma.
    """
    return displacement - box * torch.round((displacement / box).detach())


def squared_distances(positions: Tensor, box: Tensor) -> Tensor:
    """Minimum-image r^2 of all pairs, (B, N, N), sigma^2, infinite on the diagonal and without gradient.

    Parameters
    ----------
    positions
        (B, N, 3), sigma.
    box
        (3,), sigma.
    """
    fractional = positions.detach() / box
    batch, n_particles = positions.shape[0], positions.shape[1]
    total = torch.zeros(batch, n_particles, n_particles, dtype=positions.dtype, device=positions.device)
    for axis in range(3):  # an axis at a time: a third of the memory, and twice as fast
        x = fractional[:, :, axis]
        d = x.unsqueeze(1) - x.unsqueeze(2)
        d = (d - d.round()) * box[axis]
        total = total + d * d
    total.diagonal(0, 1, 2).fill_(float("inf"))
    return total


def pairs_within(r_squared: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Every pair i < j closer than `cutoff`, over a batch, as flat indices.

    Parameters
    ----------
    r_squared
        From `squared_distances`, (B, N, N).
    cutoff
        sigma; at most half the shortest edge.

    Returns
    -------
    configuration, first, second
        (P,) each: index in the batch, and indices of the two atoms into positions.reshape(B * N, 3).
    """
    n_particles = r_squared.shape[1]
    hit = torch.nonzero((r_squared < cutoff * cutoff).triu(1))
    offset = hit[:, 0] * n_particles
    return hit[:, 0], offset + hit[:, 1], offset + hit[:, 2]


def pair_vectors(positions: Tensor, box: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Minimum-image vectors (3, P) and distances (P,) of the pairs that `pairs_within` found, sigma."""
    rows = positions.reshape(-1, 3).t().contiguous()
    d = minimum_image(rows.index_select(1, first) - rows.index_select(1, second), box.unsqueeze(-1))
    return d, ((d * d).sum(0) + 1e-24).sqrt()


def neighbour_matrix(r_squared: Tensor, cutoff: float) -> tuple[Tensor, Tensor]:
    """Neighbours of every atom, padded to the largest number found: dense reductions in place of scatters.

    Parameters
    ----------
    r_squared
        From `squared_distances`, (B, N, N).
    cutoff
        sigma.

    Returns
    -------
    index
        (B, N, M): index of each neighbour into positions.reshape(B * N, 3); padding repeats the atom itself.
    mask
        (B, N, M), 1 for a neighbour and 0 for padding, in the dtype of `r_squared`.
    """
    batch, n_particles = r_squared.shape[0], r_squared.shape[1]
    within = (r_squared < cutoff * cutoff).reshape(batch * n_particles, n_particles)
    counts = within.sum(-1)
    width = max(1, int(counts.max()))
    hit = torch.nonzero(within)
    atom, neighbour = hit[:, 0], hit[:, 1]
    # A neighbour's place in its row: how many hits there are before it, less those of the rows before.
    place = torch.arange(hit.shape[0], device=hit.device) - (counts.cumsum(0) - counts)[atom] + atom * width
    slots = torch.arange(batch * n_particles, device=hit.device)
    index = slots.repeat_interleave(width).scatter(0, place, neighbour + atom // n_particles * n_particles)
    mask = (torch.arange(width, device=hit.device) < counts.unsqueeze(-1)).to(r_squared.dtype)
    return index.reshape(batch, n_particles, width), mask.reshape(batch, n_particles, width)
