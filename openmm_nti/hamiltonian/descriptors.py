r"""What an atom sees of its neighbours: radial sums and rotation-invariant products of density moments.

For a radial basis B_k(r) with a smooth cutoff, unit vectors u and real harmonics Y_2 (l = 2, five components),

.. math:: \rho^{(0)}_k = \sum_j B_k, \quad v_c = \sum_k w^1_{ck} \sum_j B_k u_{ij}, \quad
          q_c = \sum_k w^2_{ck} \sum_j B_k Y_2(u_{ij}),

and the descriptors are rho_k, |v_c|^2, |q_c|^2 and v_c . q_c . v_c. Radial sums alone cannot represent the leading
many-body term of the noised fluid, |sum_j f_ij|^2; the vector moments can.
"""

import math

import torch
from torch import Tensor, nn

# Directions and distances are softened below this, for atoms do pass through each other near the ideal gas.
SOFTENING_SIGMA = 0.1


class RadialBasis(nn.Module):
    """Gaussians in r on [0, cutoff], and the envelope that ends them with two continuous derivatives."""

    exponent: Tensor

    def __init__(self, cutoff: float, n_radial: int) -> None:
        super().__init__()
        centres = torch.linspace(0.3, cutoff, n_radial + 1)[:-1]
        self.cutoff = cutoff
        weight = 0.5 / (1.1 * float(centres[1] - centres[0])) ** 2
        # The exponent -w (r - c_k)^2 as a product of [r^2, r, 1] with a matrix: one dense operation in place of three.
        exponent = torch.stack([-weight * torch.ones_like(centres), 2.0 * weight * centres, -weight * centres**2])
        self.register_buffer("exponent", exponent, persistent=False)

    def forward(self, r: Tensor) -> Tensor:
        """Gaussians (..., K) at distances r (...), sigma."""
        powers = torch.stack([r * r, r, torch.ones_like(r)], dim=-1)
        return torch.exp(torch.matmul(powers, self.exponent))

    def envelope(self, r: Tensor) -> Tensor:
        """(1 - (r / cutoff)^2)^3 inside the cutoff, zero beyond, (...)."""
        x = (1.0 - (r / self.cutoff).square()).clamp(min=0.0)
        return x * x * x


def soft_norm(displacement: Tensor, softening: float = SOFTENING_SIGMA) -> tuple[Tensor, Tensor]:
    """Softened length (...) and direction (..., 3) of `displacement` (..., 3), both smooth at zero."""
    r = (displacement.square().sum(-1) + softening**2).sqrt()
    return r, displacement / r.unsqueeze(-1)


def second_harmonics(u: Tensor) -> Tensor:
    """Real l = 2 harmonics of vectors u (..., 3), normalised so that |Y_2|^2 = |u|^4; (..., 5)."""
    x, y, z = u[..., 0], u[..., 1], u[..., 2]
    root3 = math.sqrt(3.0)
    return torch.stack(
        [
            root3 * x * y,
            root3 * y * z,
            root3 * x * z,
            0.5 * root3 * (x * x - y * y),
            z * z - 0.5 * (x * x + y * y),
        ],
        dim=-1,
    )


def density_moments(basis: Tensor, direction: Tensor, weight: Tensor) -> Tensor:
    """Moments of the neighbours' density, (B, N, K, 9): one l = 0, three l = 1, five l = 2 components.

    Parameters
    ----------
    basis
        (B, N, M, K) radial Gaussians.
    direction
        (B, N, M, 3).
    weight
        Envelope, zero for padding, (B, N, M).
    """
    angular = torch.cat([torch.ones_like(direction[..., :1]), direction, second_harmonics(direction)], dim=-1)
    return torch.matmul(basis.transpose(-1, -2), angular * weight.unsqueeze(-1))


def invariants(moments: Tensor, mix_vector: Tensor, mix_tensor: Tensor) -> Tensor:
    """Rotation-invariant descriptors (B, N, K + 3 C) from `density_moments`.

    Parameters
    ----------
    moments
        (B, N, K, 9).
    mix_vector, mix_tensor
        Radial mixtures for l = 1 and l = 2, (B, C, K) each.
    """
    vector = torch.matmul(mix_vector.unsqueeze(1), moments[..., 1:4])
    tensor = torch.matmul(mix_tensor.unsqueeze(1), moments[..., 4:9])
    return torch.cat(
        [
            moments[..., 0],
            vector.square().sum(-1),
            tensor.square().sum(-1),
            (second_harmonics(vector) * tensor).sum(-1),
        ],
        dim=-1,
    )
