r"""Invariants of an atom's neighbourhood: radial sums and products of density moments.

For radial Gaussians B_k(r) under a smooth cutoff, directions u and real harmonics Y_2 (l = 2, five
components),

.. math:: \rho_k = \sum_j B_k, \quad v_c = \sum_k w^1_{ck} \sum_j B_k u_{ij}, \quad
          q_c = \sum_k w^2_{ck} \sum_j B_k Y_2(u_{ij}),

and the descriptors are rho_k, |v_c|^2, |q_c|^2 and v_c . q_c . v_c, with mixtures w that depend on
the noise. Radial sums alone cannot represent the leading many-body term of the noised fluid, |sum_j
f_ij|^2; the vector moments can.
"""

import math

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.conditioning import N_NOISE_FEATURES
from openmm_nti.kernels import CompiledModule, applies_to


class Descriptors(CompiledModule):
    """Computes invariants of the neighbours' density, scaled to order one.

    Parameters
    ----------
    n_radial, n_channels
        Number of Gaussians K, and number of mixtures C for each of l = 1 and l = 2.
    n_noise
        Number of noise features.
    """

    scales: Tensor
    multiplicities: Tensor

    def __init__(self, n_radial: int, n_channels: int, n_noise: int = N_NOISE_FEATURES) -> None:
        super().__init__()
        self.n_radial = n_radial
        self.n_channels = n_channels
        self.n_outputs = n_radial + 3 * n_channels
        self.mixtures = nn.Linear(n_noise, 2 * n_channels * n_radial)
        nn.init.normal_(self.mixtures.bias, std=1.0 / math.sqrt(n_radial))
        self.register_buffer("scales", torch.ones(self.n_outputs))
        multiplicities = torch.tensor([1.5, 1.5, 1.5, 3.0, 3.0, 3.0]).reshape(6, 1, 1, 1)
        self.register_buffer("multiplicities", multiplicities, persistent=False)

    def forward(self, moments: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return descriptors (B, N, n_outputs), and the vectors v_c and q_c . v_c, (3, B, N, 2 C).

        Descriptors are asinh of the scaled invariants.

        Parameters
        ----------
        moments, noise
            Moments from `EdgeSums.moments`, and noise features, (B, n_noise).
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
        of_vector = pairs[:3].sum(0)
        of_tensor = (weighted * tensor).sum(0)
        invariants = torch.cat([moments[0], of_vector, of_tensor, (weighted * pairs).sum(0)], dim=1)
        vectors = torch.cat([vector, tensor_times_vector(tensor, vector)], dim=2)
        return torch.asinh(invariants.transpose(1, 2) * self.scales), vectors.transpose(2, 3)

    def total_densities(self, moments: Tensor) -> Tensor:
        """Return the scaled rho_k, summed over the atoms of each configuration, (B, K)."""
        return moments[0].sum(-1) * self.scales[: self.n_radial]

    @torch.jit.export
    def weights(self) -> list[Tensor]:
        """Return all weights, in the order in which the compiled operation reads them."""
        return [self.mixtures.weight, self.mixtures.bias, self.scales]

    def vector_scales(self) -> Tensor:
        """Return factors that bring the vectors from `forward` to order one, (2 C,)."""
        # scales of the vectors, then of the tensors
        sizes = self.scales[self.n_radial : self.n_radial + 2 * self.n_channels].sqrt()
        of_vector, of_tensor = sizes.split(self.n_channels)
        return torch.cat([of_vector, of_vector * of_tensor])

    @torch.no_grad()
    def normalise(self, moments: Tensor, noise: Tensor) -> None:
        """Set the scales to one over the root mean square on a batch.

        Arguments are those of `forward`.
        """
        self.scales.fill_(1.0)
        described, _ = self(moments, noise)
        self.scales.copy_(1.0 / described.sinh().square().mean((0, 1)).sqrt().clamp(min=1e-4))


def normalise_descriptors(network: nn.Module, moments: Tensor, noise: Tensor) -> None:
    """Scale all descriptors of `network` on a batch.

    Parameters
    ----------
    network
        Network with `Descriptors` among its modules.
    moments, noise
        As for `Descriptors.forward`.
    """
    for module in network.modules():
        if isinstance(module, Descriptors):
            module.normalise(moments, noise)


def tensor_times_vector(tensor: Tensor, vector: Tensor) -> Tensor:
    """Return the products q v, (3, B, C, N).

    Parameters
    ----------
    tensor
        Symmetric traceless tensors xx, yy, zz, xy, yz, zx, of which q is 3/2, (6, B, C, N).
    vector
        v, (3, B, C, N).
    """
    diagonal = tensor[:3]
    across = tensor[3:]
    product = (
        diagonal * vector + across * vector.roll(-1, 0) + across.roll(1, 0) * vector.roll(1, 0)
    )
    return 1.5 * product
