r"""What an atom sees of its neighbours: radial sums and rotation-invariant products of density
moments.

For radial Gaussians B_k(r) under a smooth cutoff, directions u and real harmonics Y_2 (l = 2, five
components),

.. math:: \rho_k = \sum_j B_k, \quad v_c = \sum_k w^1_{ck} \sum_j B_k u_{ij}, \quad
          q_c = \sum_k w^2_{ck} \sum_j B_k Y_2(u_{ij}),

and the descriptors are rho_k, |v_c|^2, |q_c|^2 and v_c . q_c . v_c, with mixtures w that depend on
the noise. Radial sums alone cannot represent the leading many-body term of the noised fluid, |sum_j
f_ij|^2; the vector moments can.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.conditioning import N_NOISE_FEATURES
from openmm_nti.kernels import CompiledModule, applies_to


class Surroundings(NamedTuple):
    """The edges at the atoms' own positions: what a network needs of a configuration, at whatever
    noise.
    """

    vectors: Tensor  # (3, B, N, M), sigma
    index: Tensor  # type: ignore[assignment]  # (B, N, M), into the (B * N) atoms; not tuple.index
    mask: Tensor  # (B, N, M), fading towards the cutoff
    moments: Tensor  # (10, B, K, N)


class Descriptors(CompiledModule):
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

    def forward(self, moments: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Descriptors, asinh of the scaled invariants, (B, N, n_outputs); and v_c and q_c . v_c,
        (3, B, N, 2 C).

        Parameters
        ----------
        moments, noise
            From `EdgeSums.moments`, and the noise features (B, n_noise).
        """
        mixtures = self.mixtures(noise).reshape(-1, 2 * self.n_channels, self.n_radial)
        if self.compiled and applies_to(moments):
            return torch.ops.openmm_nti.invariants(moments, mixtures, self.scales)
        vector = torch.matmul(mixtures[:, : self.n_channels], moments[1:4])
        second = torch.matmul(mixtures[:, self.n_channels :], moments[4:])
        tensor = torch.cat([second[:3] - second[:3].mean(0, keepdim=True), second[3:]])
        # |q|^2 and v . q . v for q = 3/2 (u u - 1/3); components across the diagonal count twice.
        weighted = tensor * self.multiplicities
        pairs = torch.cat([vector * vector, vector * vector.roll(-1, 0)])
        of_vector, of_tensor = pairs[:3].sum(0), (weighted * tensor).sum(0)
        found = torch.cat([moments[0], of_vector, of_tensor, (weighted * pairs).sum(0)], dim=1)
        vectors = torch.cat([vector, tensor_times_vector(tensor, vector)], dim=2)
        return torch.asinh(found.transpose(1, 2) * self.scales), vectors.transpose(2, 3)

    def total_densities(self, moments: Tensor) -> Tensor:
        """The scaled rho_k of `moments`, summed over the atoms of each configuration, (B, K)."""
        return moments[0].sum(-1) * self.scales[: self.n_radial]

    def vector_scales(self) -> Tensor:
        """Factors that bring the vectors from `forward` to order one, (2 C,)."""
        sizes = self.scales[
            self.n_radial : self.n_radial + 2 * self.n_channels
        ].sqrt()  # of vectors, then of tensors
        of_vector, of_tensor = sizes.split(self.n_channels)
        return torch.cat([of_vector, of_vector * of_tensor])

    @torch.no_grad()
    def normalise(self, moments: Tensor, noise: Tensor) -> None:
        """Set the scales to one over the root mean square on a batch; arguments as for
        `forward`.
        """
        self.scales.fill_(1.0)
        described, _ = self(moments, noise)
        self.scales.copy_(1.0 / described.sinh().square().mean((0, 1)).sqrt().clamp(min=1e-4))


def normalise_descriptors(network: nn.Module, moments: Tensor, noise: Tensor) -> None:
    """Scale all descriptors of `network` on a batch: its moments (10, B, K, N) and noise features
    (B, n_noise).
    """
    for module in network.modules():
        if isinstance(module, Descriptors):
            module.normalise(moments, noise)


def repeated(around: Surroundings, n_copies: int) -> Surroundings:
    """The same configurations `n_copies` times in a batch, one copy after the other."""
    n_batch, n_atoms = around.index.shape[0], around.index.shape[1]
    copy = (
        torch.arange(n_copies, device=around.index.device)
        .repeat_interleave(n_batch)
        .reshape(-1, 1, 1)
    )
    return Surroundings(
        around.vectors.repeat(1, n_copies, 1, 1),
        around.index.repeat(n_copies, 1, 1) + copy * (n_batch * n_atoms),
        around.mask.repeat(n_copies, 1, 1),
        around.moments.repeat(1, n_copies, 1, 1),
    )


def tensor_times_vector(tensor: Tensor, vector: Tensor) -> Tensor:
    """Q v for q = 3/2 of the symmetric traceless xx, yy, zz, xy, yz, zx in (6, B, C, N), and v (3,
    B, C, N).
    """
    diagonal, across = tensor[:3], tensor[3:]
    product = (
        diagonal * vector + across * vector.roll(-1, 0) + across.roll(1, 0) * vector.roll(1, 0)
    )
    return 1.5 * product
