r"""What an atom sees of its neighbours: radial sums and rotation-invariant products of density moments.

For radial Gaussians B_k(r) under a smooth cutoff, directions u and real harmonics Y_2 (l = 2, five components),

.. math:: \rho_k = \sum_j B_k, \quad v_c = \sum_k w^1_{ck} \sum_j B_k u_{ij}, \quad
          q_c = \sum_k w^2_{ck} \sum_j B_k Y_2(u_{ij}),

and the descriptors are rho_k, |v_c|^2, |q_c|^2 and v_c . q_c . v_c, with mixtures w that depend on the noise. Radial
sums alone cannot represent the leading many-body term of the noised fluid, |sum_j f_ij|^2; the vector moments can.

Arrays over edges keep the M neighbours in their last dimension: long contiguous rows are what a CPU is fast at.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openmm_nti.hamiltonian.noise import N_NOISE_FEATURES

# Directions and distances are softened below this, for atoms do pass through each other near the ideal gas.
_SOFTENING = 0.1  # sigma
_FADES_FROM = 0.9  # of the cutoff
# Gaussians (B, N, K, M), directions (B, N, 3, M) and envelope (B, N, 1, M) of the edges.
Edges = tuple[Tensor, Tensor, Tensor]


class Surroundings(NamedTuple):
    """The edges at the atoms' own positions: what a network needs of a configuration, at whatever noise."""

    displacement: Tensor  # (B, N, 3, M), sigma
    index: Tensor  # type: ignore[assignment]  # (B, N, M), into the (B * N) atoms; not tuple.index
    mask: Tensor  # (B, N, 1, M), fading towards the cutoff
    gaussians: Tensor  # (B, N, K, M), and the other two of `edges_at`
    direction: Tensor
    envelope: Tensor
    moments: Tensor  # (B, N, 10, K)


def initial_basis(cutoff: float, n_radial: int) -> Tensor:
    """Centres and log sharpness of the Gaussians before any training, (2, n_radial, 1); lengths in sigma."""
    centres = torch.from_numpy(crowded_centres(cutoff, n_radial))
    gaps = torch.gradient(centres)[0]
    return torch.stack([centres, -math.log(2.0) - 2.0 * torch.log(1.1 * gaps)]).float().unsqueeze(-1)


def edges_at(displacement: Tensor, mask: Tensor, basis: Tensor, cutoff: float) -> Edges:
    """Gaussians, softened directions and envelope of the edges.

    Parameters
    ----------
    displacement
        Vectors to the neighbours, (B, N, 3, M), sigma.
    mask
        (B, N, 1, M), 1 for a neighbour and 0 for padding.
    basis
        From `exponents`, (2, K, 1).
    cutoff
        Where the envelope ends them, with two continuous derivatives, sigma.
    """
    r, direction, envelope = softened_edges(displacement, mask, cutoff)
    from_centre = r - basis[0]
    return torch.exp(from_centre * from_centre * basis[1]), direction, envelope


def exponents(basis: Tensor) -> Tensor:
    """Centres c in sigma and factors -a of the exponents -a (r - c)^2, (2, K, 1), from c and ln a."""
    return torch.stack([basis[0], -basis[1].exp()])


def softened_edges(displacement: Tensor, mask: Tensor, cutoff: float, softening: float = _SOFTENING) -> Edges:
    """Softened lengths (B, N, 1, M), directions and envelope of edges; arguments as for `edges_at`."""
    r_squared = (displacement * displacement).sum(2, keepdim=True) + softening * softening
    r = r_squared.sqrt()
    inside = (1.0 - r_squared * (1.0 / (cutoff * cutoff))).clamp(min=0.0)
    return r, displacement / r, inside * inside * inside * mask


def fading(displacement: Tensor, cutoff: float, fades_from: float = _FADES_FROM) -> Tensor:
    """1 for edges shorter than nine tenths of `cutoff`, 0 at it, with two continuous derivatives, (B, N, 1, M).

    Neighbours are chosen where the atoms are, and moves may bring a far one close: its envelope there is no longer
    small, and without this factor at the original distance the energy would jump as the edge comes and goes.

    Parameters
    ----------
    displacement
        Vectors to the neighbours at the atoms' own positions, (B, N, 3, M), sigma.
    cutoff
        That of the neighbourhood, sigma.
    """
    r = (displacement.square().sum(2, keepdim=True) + 1e-12).sqrt()
    t = ((1.0 - r / cutoff) / (1.0 - fades_from)).clamp(0.0, 1.0)
    return t * t * t * (10.0 + t * (6.0 * t - 15.0))


def crowded_centres(cutoff: float, n_radial: int) -> NDArray[np.float64]:
    """`n_radial` distances in sigma, three times as dense about contact as elsewhere, (n_radial,)."""
    r = np.linspace(0.35, cutoff, 2000)
    crowd = np.cumsum(1.0 + 2.0 * np.exp(-0.5 * ((r - 0.95) / 0.2) ** 2))
    places = (np.arange(n_radial) + 0.5) / n_radial
    return np.interp(places * crowd[-1], crowd, r)


class Descriptors(nn.Module):
    """Invariants of the neighbours' density, scaled to order one.

    Parameters
    ----------
    n_radial, n_channels
        Numbers of Gaussians K, and of mixtures C for l = 1 and for l = 2.
    """

    scales: Tensor
    multiplicities: Tensor

    def __init__(self, n_radial: int, n_channels: int) -> None:
        super().__init__()
        self.n_radial, self.n_channels = n_radial, n_channels
        self.n_outputs = n_radial + 3 * n_channels
        self.mixtures = nn.Linear(N_NOISE_FEATURES, 2 * n_channels * n_radial)
        nn.init.normal_(self.mixtures.bias, std=1.0 / math.sqrt(n_radial))
        self.register_buffer("scales", torch.ones(self.n_outputs))
        multiplicities = torch.tensor([1.5, 1.5, 1.5, 3.0, 3.0, 3.0]).unsqueeze(-1)
        self.register_buffer("multiplicities", multiplicities, persistent=False)

    def forward(self, moments: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Descriptors (B, N, n_outputs), and the vectors v_c (B, N, 3, C) and tensors q_c (B, N, 6, C) behind them.

        Parameters
        ----------
        moments, noise
            From `density_moments`, and the noise features (B, n_noise).
        """
        n_batch, n_atoms, n_monomials, n_radial = moments.shape
        mix = self.mixtures(noise).reshape(n_batch, 2 * self.n_channels, n_radial).transpose(1, 2)
        mixed = torch.matmul(moments.reshape(n_batch, n_atoms * n_monomials, n_radial), mix)
        mixed = mixed.reshape(n_batch, n_atoms, n_monomials, 2 * self.n_channels)
        vector = mixed[:, :, 1:4, : self.n_channels]
        diagonal, across = mixed[:, :, 4:7, self.n_channels :], mixed[:, :, 7:, self.n_channels :]
        tensor = torch.cat([diagonal - diagonal.mean(2, keepdim=True), across], dim=2)
        # |q|^2 and v . q . v for q = 3/2 (u u - 1/3); components across the diagonal count twice.
        weighted = tensor * self.multiplicities
        pairs = torch.cat([vector * vector, vector * vector.roll(-1, 2)], dim=2)
        of_vector, of_tensor = pairs[:, :, :3].sum(2), (weighted * tensor).sum(2)
        invariants = torch.cat([moments[:, :, 0], of_vector, of_tensor, (weighted * pairs).sum(2)], dim=-1)
        return invariants * self.scales, vector, tensor

    def vectors(self, vector: Tensor, tensor: Tensor) -> Tensor:
        """The vectors v_c and q_c . v_c, of order one, (B, N, 3, 2 C), from what `forward` returns."""
        sizes = self.scales[self.n_radial : self.n_radial + 2 * self.n_channels].sqrt()  # of vectors, then of tensors
        of_vector, of_tensor = sizes.split(self.n_channels)
        product = tensor_times_vector(tensor, vector)
        return torch.cat([vector * of_vector, product * (of_vector * of_tensor)], dim=-1)

    @torch.no_grad()
    def normalise(self, moments: Tensor, noise: Tensor) -> None:
        """Set the scales to one over the root mean square on a batch; arguments as for `forward`."""
        self.scales.fill_(1.0)
        found, _, _ = self(moments, noise)
        self.scales.copy_(1.0 / found.square().mean((0, 1)).sqrt().clamp(min=1e-4))


def normalise_descriptors(network: nn.Module, edges: Edges, noise: Tensor) -> None:
    """Scale all descriptors of `network` on a batch: its edges, and the noise features (B, n_noise)."""
    moments = density_moments(edges)
    for module in network.modules():
        if isinstance(module, Descriptors):
            module.normalise(moments, noise)


def repeated(around: Surroundings, n_copies: int) -> Surroundings:
    """The same configurations `n_copies` times in a batch, one copy after the other."""
    n_batch, n_atoms = around.index.shape[0], around.index.shape[1]
    copy = torch.arange(n_copies, device=around.index.device).repeat_interleave(n_batch).reshape(-1, 1, 1)
    return Surroundings(
        around.displacement.repeat(n_copies, 1, 1, 1),
        around.index.repeat(n_copies, 1, 1) + copy * (n_batch * n_atoms),
        around.mask.repeat(n_copies, 1, 1, 1),
        around.gaussians.repeat(n_copies, 1, 1, 1),
        around.direction.repeat(n_copies, 1, 1, 1),
        around.envelope.repeat(n_copies, 1, 1, 1),
        around.moments.repeat(n_copies, 1, 1, 1),
    )


def at_neighbours(values: Tensor, index: Tensor) -> Tensor:
    """Values (B, N, C) of atoms at their neighbours `index` (B, N, M): (B, N, C, M)."""
    n_batch, n_atoms, n_channels = values.shape
    # A row for each channel: gathering and, backwards, scattering along rows is what a CPU is fast at.
    rows = values.reshape(n_batch * n_atoms, n_channels).t().gather(1, index.reshape(1, -1).expand(n_channels, -1))
    return rows.reshape(n_channels, n_batch, n_atoms, -1).permute(1, 2, 0, 3)


def density_moments(edges: Edges) -> Tensor:
    """Sums over neighbours of B_k times 1; x, y, z; xx, yy, zz; xy, yz, zx of their directions, (B, N, 10, K)."""
    gaussians, direction, envelope = edges
    n_batch, n_atoms, n_radial, n_neighbours = gaussians.shape
    first = direction * envelope
    monomials = torch.cat([envelope, first, first * direction, first * direction.roll(-1, 2)], dim=2)
    # In this order the product's gradient by the Gaussians, the larger array, comes out contiguous.
    moments = torch.bmm(
        gaussians.reshape(n_batch * n_atoms, n_radial, n_neighbours),
        monomials.reshape(n_batch * n_atoms, 10, n_neighbours).transpose(1, 2),
    )
    return moments.transpose(1, 2).reshape(n_batch, n_atoms, 10, n_radial)


def tensor_times_vector(tensor: Tensor, vector: Tensor) -> Tensor:
    """q v for q = 3/2 of the symmetric traceless xx, yy, zz, xy, yz, zx in (B, N, 6, C), and v (B, N, 3, C)."""
    diagonal, across = tensor[:, :, :3], tensor[:, :, 3:]
    product = diagonal * vector + across * vector.roll(-1, 2) + across.roll(1, 2) * vector.roll(1, 2)
    return 1.5 * product
