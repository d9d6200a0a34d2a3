r"""What an atom sees of its neighbours: radial sums and rotation-invariant products of density moments.

For radial Gaussians B_k(r) under a smooth cutoff, directions u and real harmonics Y_2 (l = 2, five components),

.. math:: \rho_k = \sum_j B_k, \quad v_c = \sum_k w^1_{ck} \sum_j B_k u_{ij}, \quad
          q_c = \sum_k w^2_{ck} \sum_j B_k Y_2(u_{ij}),

and the descriptors are rho_k, |v_c|^2, |q_c|^2 and v_c . q_c . v_c, with mixtures w that depend on the noise. Radial
sums alone cannot represent the leading many-body term of the noised fluid, |sum_j f_ij|^2; the vector moments can.

Arrays over edges keep the M neighbours in their last dimension: long contiguous rows are what a CPU is fast at.
"""

import math

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
        Centres in sigma and log sharpness of the Gaussians, (2, K, 1).
    cutoff
        Where the envelope ends them, with two continuous derivatives, sigma.
    """
    r, direction, envelope = softened_edges(displacement, mask, cutoff)
    return torch.exp(-basis[1].exp() * (r - basis[0]).square()), direction, envelope


def softened_edges(displacement: Tensor, mask: Tensor, cutoff: float, softening: float = _SOFTENING) -> Edges:
    """Softened lengths (B, N, 1, M), directions and envelope of edges; arguments as for `edges_at`."""
    r = (displacement.square().sum(2, keepdim=True) + softening * softening).sqrt()
    inside = (1.0 - (r / cutoff).square()).clamp(min=0.0)
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

    def __init__(self, n_radial: int, n_channels: int) -> None:
        super().__init__()
        self.n_radial, self.n_channels = n_radial, n_channels
        self.n_outputs = n_radial + 3 * n_channels
        self.mixtures = nn.Linear(N_NOISE_FEATURES, 2 * n_channels * n_radial)
        nn.init.normal_(self.mixtures.bias, std=1.0 / math.sqrt(n_radial))
        self.register_buffer("scales", torch.ones(self.n_outputs))

    def forward(self, edges: Edges, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors (B, N, n_outputs) and the vectors v_c and q_c . v_c, of order one too, (B, N, 3, 2 C).

        Parameters
        ----------
        edges, noise
            From `edges_at`, and the noise features (B, n_noise).
        """
        gaussians, direction, envelope = edges
        n_batch, n_atoms, n_radial, n_neighbours = gaussians.shape
        x, y, z = direction.unbind(2)
        first = [torch.ones_like(x), x, y, z]
        angular = torch.stack(first + second_harmonics(x, y, z), dim=2) * envelope
        moments = torch.bmm(
            angular.reshape(n_batch * n_atoms, 9, n_neighbours),
            gaussians.reshape(n_batch * n_atoms, n_radial, n_neighbours).transpose(1, 2),
        ).reshape(n_batch, n_atoms, 9, n_radial)
        mix = self.mixtures(noise).reshape(n_batch, 2, self.n_channels, n_radial).transpose(-1, -2)
        vector = torch.matmul(moments[:, :, 1:4].reshape(n_batch, n_atoms * 3, n_radial), mix[:, 0])
        tensor = torch.matmul(moments[:, :, 4:9].reshape(n_batch, n_atoms * 5, n_radial), mix[:, 1])
        vector = vector.reshape(n_batch, n_atoms, 3, self.n_channels)
        tensor = tensor.reshape(n_batch, n_atoms, 5, self.n_channels)
        product = tensor_times_vector(tensor, vector)
        triple = (vector * product).sum(2)
        invariants = torch.cat([moments[:, :, 0], vector.square().sum(2), tensor.square().sum(2), triple], dim=-1)
        sizes = self.scales[n_radial : n_radial + 2 * self.n_channels].sqrt()  # of vectors, then of tensors
        of_vector, of_tensor = sizes.split(self.n_channels)
        return invariants * self.scales, torch.cat([vector * of_vector, product * (of_vector * of_tensor)], dim=-1)

    @torch.no_grad()
    def normalise(self, edges: Edges, noise: Tensor) -> None:
        """Set the scales to one over the root mean square on a batch; arguments as for `forward`."""
        self.scales.fill_(1.0)
        found, _ = self(edges, noise)
        self.scales.copy_(1.0 / found.square().mean((0, 1)).sqrt().clamp(min=1e-4))


def normalise_descriptors(network: nn.Module, edges: Edges, noise: Tensor) -> None:
    """Scale all descriptors of `network` on a batch; edges and noise as for `Descriptors.forward`."""
    for module in network.modules():
        if isinstance(module, Descriptors):
            module.normalise(edges, noise)


def second_harmonics(x: Tensor, y: Tensor, z: Tensor) -> list[Tensor]:
    """The five real l = 2 harmonics of vectors (x, y, z), normalised so that the sum of squares is |u|^4."""
    root3 = math.sqrt(3.0)
    return [
        root3 * x * y,
        root3 * y * z,
        root3 * x * z,
        0.5 * root3 * (x * x - y * y),
        z * z - 0.5 * (x * x + y * y),
    ]


def tensor_times_vector(tensor: Tensor, vector: Tensor) -> Tensor:
    """Symmetric traceless matrices, given by their five components (..., 5, C), times vectors (..., 3, C)."""
    xy, yz, xz, across, along = tensor.unbind(-2)
    x, y, z = vector.unbind(-2)
    half_root3 = 0.5 * math.sqrt(3.0)
    across = half_root3 * across
    return torch.stack(
        [
            (across - 0.5 * along) * x + half_root3 * (xy * y + xz * z),
            half_root3 * (xy * x + yz * z) - (across + 0.5 * along) * y,
            half_root3 * (xz * x + yz * y) + along * z,
        ],
        dim=-2,
    )
