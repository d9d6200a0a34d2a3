r"""Sums over the edges between an atom and its neighbours, at displaced positions.

With d_ij = x_ij + y_j - y_i for displacements y, radial Gaussians B_k, directions u and a smooth
envelope e,

.. math:: P_i = \sum_j e(r_{ij}) \, u_{ij} \sum_q (a_{iq} + b_{jq}) \sum_k w_{qk} B_k(r_{ij}),
          \qquad M_i = \sum_j e(r_{ij}) \, (1, u_{ij}, u_{ij} u_{ij}) \, B_k(r_{ij}) .

Nearly all of a network's time goes into these two. On a CPU they run as compiled operations, if
these were built (`openmm_nti.kernels`). The PyTorch below computes the same everywhere else.

Arrays over edges have their components first and atoms and neighbours last, (C, B, N, M). So an
operation runs along rows of all edges, and a product with weights is one large product.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.hamiltonian.geometry import take
from openmm_nti.kernels import CompiledModule, applies_to

# Directions and distances are softened below this distance: atoms do pass through each other near
# the ideal gas.
_SOFTENING = 0.1  # sigma
_ENVELOPE_SHARE = 0.1  # width of the envelope, as a share of the cutoff


class Edges(NamedTuple):
    """The quantities of each edge that sums over edges need."""

    gaussians: Tensor  # (K, B, N, M)
    vectors: Tensor  # (3, B, N, M), sigma
    inverse: Tensor  # inverse of the softened lengths, (B, N, M), 1 / sigma
    envelope: Tensor  # smooth cutoff, with the mask, (B, N, M)


class EdgeSums(CompiledModule):
    """Computes the two sums over edges within one cutoff.

    Parameters
    ----------
    cutoff
        Distance at which the envelope goes to zero, with two continuous derivatives, sigma.
    """

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff
        self.softening = _SOFTENING
        self.envelope_share = _ENVELOPE_SHARE

    def radial_messages(
        self,
        vectors: Tensor,
        displacement: Tensor,
        index: Tensor,
        mask: Tensor,
        polynomials: Tensor,
        radial: Tensor,
        gates: Tensor,
    ) -> Tensor:
        """Return the messages P_i, (3, B, N).

        Parameters
        ----------
        vectors
            x_ij, to the neighbours, (3, B, N, M), sigma.
        displacement
            y_i, (3, B, N), sigma.
        index
            Neighbours as indices into the (B * N) atoms, (B, N, M).
        mask
            Factors of the envelope, (B, N, M): 1 for a neighbour and 0 for padding.
        polynomials
            From `exponents`, (K, 3).
        radial
            w_qk, (B, q, K).
        gates
            a_iq and b_iq, (B, N, 2 q).
        """
        if self.compiled and applies_to(vectors):
            return torch.ops.openmm_nti.pushes(
                vectors,
                displacement,
                index,
                mask,
                polynomials,
                radial,
                gates,
                self.cutoff,
                self.softening,
            )
        gaussians, vectors, inverse, envelope = edges_at(
            shifted(vectors, displacement, index), mask, polynomials, self.cutoff, self.softening
        )
        own, sent = gates.permute(2, 0, 1).chunk(2)
        both = own.unsqueeze(-1) + at_neighbours(sent, index)
        forces = (
            torch.bmm(radial, gaussians.flatten(2).transpose(0, 1))
            .transpose(0, 1)
            .reshape(both.shape)
        )
        return ((forces * both).sum(0) * (envelope * inverse) * vectors).sum(-1)

    def moments(
        self,
        vectors: Tensor,
        displacement: Tensor,
        index: Tensor,
        mask: Tensor,
        polynomials: Tensor,
    ) -> Tensor:
        """Return the moments M_i, (10, B, K, N); arguments as for `radial_messages`.

        They are the sums of 1; x, y, z; xx, yy, zz; xy, yz, zx of the directions.
        """
        if self.compiled and applies_to(vectors):
            return torch.ops.openmm_nti.moments(
                vectors, displacement, index, mask, polynomials, self.cutoff, self.softening
            )
        gaussians, vectors, inverse, envelope = edges_at(
            shifted(vectors, displacement, index), mask, polynomials, self.cutoff, self.softening
        )
        n_radial, n_batch, n_atoms, n_neighbours = gaussians.shape
        direction = vectors * inverse
        first = direction * envelope
        monomials = torch.cat(
            [envelope.unsqueeze(0), first, first * direction, first * direction.roll(-1, 0)]
        )
        moments = torch.bmm(
            monomials.reshape(10, -1, n_neighbours).transpose(0, 1),
            gaussians.reshape(n_radial, -1, n_neighbours).permute(1, 2, 0),
        )
        return moments.reshape(n_batch, n_atoms, 10, n_radial).permute(2, 0, 3, 1)

    def cutoff_envelope(self, vectors: Tensor) -> Tensor:
        """Return a factor that takes edges to zero at the cutoff, (B, N, M).

        It is 1 below nine tenths of the cutoff and has two continuous derivatives. Neighbours are
        chosen at the atoms' own positions, and displacements may bring a far neighbour close. Its
        envelope at the displaced distance is then not small. Without this factor, which takes the
        original distance, the energy would jump when the edge appears or disappears.

        Parameters
        ----------
        vectors
            x_ij, (3, B, N, M), sigma.
        """
        if self.compiled and applies_to(vectors):
            return torch.ops.openmm_nti.fading(vectors, self.cutoff, self.envelope_share)
        r = (vectors.square().sum(0) + 1e-12).sqrt()
        t = ((1.0 - r / self.cutoff) / self.envelope_share).clamp(0.0, 1.0)
        return t * t * t * (10.0 + t * (6.0 * t - 15.0))


def edges_at(
    vectors: Tensor, mask: Tensor, polynomials: Tensor, cutoff: float, softening: float = _SOFTENING
) -> Edges:
    """Return the quantities of each edge that sums over edges need.

    Parameters
    ----------
    vectors, mask, polynomials
        As for `EdgeSums.radial_messages`.
    cutoff, softening
        Cutoff, and distance below which directions are softened, sigma.
    """
    r_squared = (vectors * vectors).sum(0) + softening * softening
    inverse = r_squared.rsqrt()
    from_contact = r_squared * inverse - 1.0
    powers = torch.stack([from_contact * from_contact, from_contact, torch.ones_like(from_contact)])
    gaussians = torch.mm(polynomials, powers.reshape(3, -1)).exp()
    envelope = torch.rsub(r_squared, 1.0, alpha=1.0 / (cutoff * cutoff)).relu().pow(3) * mask
    return Edges(
        gaussians.reshape(-1, mask.shape[0], mask.shape[1], mask.shape[2]),
        vectors,
        inverse,
        envelope,
    )


def shifted(vectors: Tensor, displacement: Tensor, index: Tensor) -> Tensor:
    """Return d_ij, (3, B, N, M), sigma; arguments as for `EdgeSums.radial_messages`."""
    return vectors + (at_neighbours(displacement, index) - displacement.unsqueeze(-1))


def at_neighbours(values: Tensor, index: Tensor) -> Tensor:
    """Return values (C, B, N) of atoms at their neighbours `index` (B, N, M), (C, B, N, M)."""
    n_channels = values.shape[0]
    taken = take(values.reshape(n_channels, -1), index.reshape(-1))
    return taken.reshape(n_channels, index.shape[0], index.shape[1], index.shape[2])


def initial_basis(cutoff: float, n_radial: int) -> Tensor:
    """Return the centres in sigma and log sharpness of untrained Gaussians, (2, n_radial, 1)."""
    centres = torch.from_numpy(crowded_centres(cutoff, n_radial))
    gaps = torch.gradient(centres)[0]
    return (
        torch.stack([centres, -math.log(2.0) - 2.0 * torch.log(1.1 * gaps)]).float().unsqueeze(-1)
    )


def exponents(basis: Tensor) -> Tensor:
    """Return the Gaussians' exponents -a (r - c)^2 as polynomials in r - 1, (K, 3).

    The columns are of the powers 2, 1 and 0. About contact, where the Gaussians are sharp, the
    powers are small and float32 loses nothing.

    Parameters
    ----------
    basis
        Centres c and log sharpness ln a, (2, K, 1).
    """
    centre = basis[0] - 1.0
    sharpness = basis[1].exp()
    return torch.cat([-sharpness, 2.0 * sharpness * centre, -sharpness * centre * centre], dim=1)


def crowded_centres(cutoff: float, n_radial: int) -> NDArray[np.float64]:
    """Return distances, sigma, three times as dense about contact as elsewhere, (n_radial,)."""
    r = np.linspace(0.35, cutoff, 2000)
    crowd = np.cumsum(1.0 + 2.0 * np.exp(-0.5 * ((r - 0.95) / 0.2) ** 2))
    places = (np.arange(n_radial) + 0.5) / n_radial
    return np.interp(places * crowd[-1], crowd, r)
