r"""What an atom sees of its neighbours: radial sums and rotation-invariant products of density moments.

For radial Gaussians B_k(r) under a smooth cutoff, directions u and real harmonics Y_2 (l = 2, five components),

.. math:: \rho_k = \sum_j B_k, \quad v_c = \sum_k w^1_{ck} \sum_j B_k u_{ij}, \quad
          q_c = \sum_k w^2_{ck} \sum_j B_k Y_2(u_{ij}),

and the descriptors are rho_k, |v_c|^2, |q_c|^2 and v_c . q_c . v_c, with mixtures w that depend on the noise. Radial
sums alone cannot represent the leading many-body term of the noised fluid, |sum_j f_ij|^2; the vector moments can.

Arrays over edges have their components first and atoms and neighbours last, (C, B, N, M): an operation runs along rows
of all edges, and products with weights are single large ones.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from openmm_nti.hamiltonian.geometry import take
from openmm_nti.hamiltonian.noise import N_NOISE_FEATURES

# Directions and distances are softened below this, for atoms do pass through each other near the ideal gas.
_SOFTENING = 0.1  # sigma
_FADES_FROM = 0.9  # of the cutoff
# Gaussians (K, B, N, M), vectors (3, B, N, M), inverse lengths (B, N, M) and envelope (B, N, M) of the edges.
Edges = tuple[Tensor, Tensor, Tensor, Tensor]


class Surroundings(NamedTuple):
    """The edges at the atoms' own positions: what a network needs of a configuration, at whatever noise."""

    index: Tensor  # type: ignore[assignment]  # (B, N, M), into the (B * N) atoms; not tuple.index
    mask: Tensor  # (B, N, M), fading towards the cutoff
    gaussians: Tensor  # (K, B, N, M), and the other three of `edges_at`
    vectors: Tensor
    inverse: Tensor
    envelope: Tensor
    moments: Tensor  # (10, B, N, K)


def initial_basis(cutoff: float, n_radial: int) -> Tensor:
    """Centres and log sharpness of the Gaussians before any training, (2, n_radial, 1); lengths in sigma."""
    centres = torch.from_numpy(crowded_centres(cutoff, n_radial))
    gaps = torch.gradient(centres)[0]
    return torch.stack([centres, -math.log(2.0) - 2.0 * torch.log(1.1 * gaps)]).float().unsqueeze(-1)


def edges_at(vectors: Tensor, mask: Tensor, exponents: Tensor, cutoff: float, softening: float = _SOFTENING) -> Edges:
    """Gaussians, inverse softened lengths and envelope of the edges, beside the `vectors` themselves.

    Parameters
    ----------
    vectors
        To the neighbours, (3, B, N, M), sigma.
    mask
        (B, N, M), 1 for a neighbour and 0 for padding.
    exponents
        From `exponents`, (K, 3).
    cutoff
        Where the envelope ends them, with two continuous derivatives, sigma.
    """
    r_squared = (vectors * vectors).sum(0) + softening * softening
    inverse = r_squared.rsqrt()
    from_contact = r_squared * inverse - 1.0
    powers = torch.stack([from_contact * from_contact, from_contact, torch.ones_like(from_contact)])
    gaussians = torch.mm(exponents, powers.reshape(3, -1)).exp()
    envelope = torch.rsub(r_squared, 1.0, alpha=1.0 / (cutoff * cutoff)).relu().pow(3) * mask
    return gaussians.reshape(-1, mask.shape[0], mask.shape[1], mask.shape[2]), vectors, inverse, envelope


def exponents(basis: Tensor) -> Tensor:
    """-a (r - c)^2 as polynomials in r - 1, from their basis c and ln a (2, K, 1): powers 2, 1 and 0, (K, 3).

    About contact, where the Gaussians are sharp, the powers are small and float32 loses nothing.
    """
    centre, sharpness = basis[0] - 1.0, basis[1].exp()
    return torch.cat([-sharpness, 2.0 * sharpness * centre, -sharpness * centre * centre], dim=1)


def fading(vectors: Tensor, cutoff: float, fades_from: float = _FADES_FROM) -> Tensor:
    """1 for edges shorter than nine tenths of `cutoff`, 0 at it, with two continuous derivatives, (B, N, M).

    Neighbours are chosen where the atoms are, and moves may bring a far one close: its envelope there is no longer
    small, and without this factor at the original distance the energy would jump as the edge comes and goes.

    Parameters
    ----------
    vectors
        To the neighbours at the atoms' own positions, (3, B, N, M), sigma.
    cutoff
        That of the neighbourhood, sigma.
    """
    r = (vectors.square().sum(0) + 1e-12).sqrt()
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
        multiplicities = torch.tensor([1.5, 1.5, 1.5, 3.0, 3.0, 3.0]).reshape(6, 1, 1, 1)
        self.register_buffer("multiplicities", multiplicities, persistent=False)

    def forward(self, moments: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Descriptors (B, N, n_outputs), and the vectors v_c (3, B, N, C) and tensors q_c (6, B, N, C) behind them.

        Parameters
        ----------
        moments, noise
            From `density_moments`, and the noise features (B, n_noise).
        """
        mix = self.mixtures(noise).reshape(-1, 2 * self.n_channels, self.n_radial).transpose(1, 2)
        vector = torch.matmul(moments[1:4], mix[:, :, : self.n_channels])
        second = torch.matmul(moments[4:], mix[:, :, self.n_channels :])
        tensor = torch.cat([second[:3] - second[:3].mean(0, keepdim=True), second[3:]])
        # |q|^2 and v . q . v for q = 3/2 (u u - 1/3); components across the diagonal count twice.
        weighted = tensor * self.multiplicities
        pairs = torch.cat([vector * vector, vector * vector.roll(-1, 0)])
        of_vector, of_tensor = pairs[:3].sum(0), (weighted * tensor).sum(0)
        invariants = torch.cat([moments[0], of_vector, of_tensor, (weighted * pairs).sum(0)], dim=-1)
        return invariants * self.scales, vector, tensor

    def vectors(self, vector: Tensor, tensor: Tensor) -> Tensor:
        """The vectors v_c and q_c . v_c, of order one, (3, B, N, 2 C), from what `forward` returns."""
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
        around.index.repeat(n_copies, 1, 1) + copy * (n_batch * n_atoms),
        around.mask.repeat(n_copies, 1, 1),
        around.gaussians.repeat(1, n_copies, 1, 1),
        around.vectors.repeat(1, n_copies, 1, 1),
        around.inverse.repeat(n_copies, 1, 1),
        around.envelope.repeat(n_copies, 1, 1),
        around.moments.repeat(1, n_copies, 1, 1),
    )


def at_neighbours(values: Tensor, index: Tensor) -> Tensor:
    """Values (C, B, N) of atoms at their neighbours `index` (B, N, M): (C, B, N, M)."""
    n_channels = values.shape[0]
    found = take(values.reshape(n_channels, -1), index.reshape(-1))
    return found.reshape(n_channels, index.shape[0], index.shape[1], index.shape[2])


def density_moments(edges: Edges) -> Tensor:
    """Sums over neighbours of B_k times 1; x, y, z; xx, yy, zz; xy, yz, zx of their directions, (10, B, N, K)."""
    gaussians, vectors, inverse, envelope = edges
    n_radial, n_batch, n_atoms, n_neighbours = gaussians.shape
    direction = vectors * inverse
    first = direction * envelope
    monomials = torch.cat([envelope.unsqueeze(0), first, first * direction, first * direction.roll(-1, 0)])
    moments = torch.bmm(
        monomials.reshape(10, -1, n_neighbours).transpose(0, 1),
        gaussians.reshape(n_radial, -1, n_neighbours).permute(1, 2, 0),
    )
    return moments.transpose(0, 1).reshape(10, n_batch, n_atoms, n_radial)


def tensor_times_vector(tensor: Tensor, vector: Tensor) -> Tensor:
    """q v for q = 3/2 of the symmetric traceless xx, yy, zz, xy, yz, zx in (6, B, N, C), and v (3, B, N, C)."""
    diagonal, across = tensor[:3], tensor[3:]
    product = diagonal * vector + across * vector.roll(-1, 0) + across.roll(1, 0) * vector.roll(1, 0)
    return 1.5 * product
