"""`AtomicMLP`: a perceptron that works on one atom at a time."""

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.conditioning import N_NOISE_FEATURES
from openmm_nti.kernels import CompiledModule, applies_to


class AtomicMLP(CompiledModule):
    """Applies two hidden layers to the descriptors of each atom.

    The noise level is added to the first layer and scales the second.
    """

    def __init__(
        self, n_inputs: int, width: int, n_outputs: int, n_noise: int = N_NOISE_FEATURES
    ) -> None:
        super().__init__()
        self.first = nn.Linear(n_inputs, width)
        self.noise_shift = nn.Linear(n_noise, width)
        self.second = nn.Linear(width, width)
        self.noise_scale = nn.Linear(n_noise, width)
        self.last = nn.Linear(width, n_outputs)
        nn.init.zeros_(self.noise_scale.weight)
        nn.init.ones_(self.noise_scale.bias)

    def forward(self, described: Tensor, noise: Tensor) -> Tensor:
        """Return outputs (B, N, n_outputs).

        Parameters
        ----------
        described
            Descriptors of the atoms, (B, N, n_inputs).
        noise
            Features of the noise level, (B, n_noise).
        """
        n_batch = described.shape[0]
        # The noise enters biases and weights, which are far smaller than arrays over atoms.
        shift = (self.first.bias + self.noise_shift(noise)).unsqueeze(1)
        first = torch.baddbmm(shift, described, self.first.weight.t().expand(n_batch, -1, -1))
        second = self.second(self._silu(first))
        last = (self.last.weight * self.noise_scale(noise).unsqueeze(1)).transpose(1, 2)
        return torch.baddbmm(self.last.bias, self._silu(second), last)

    @torch.jit.export
    def weights(self) -> list[Tensor]:
        """Return all weights, in the order in which the compiled operation reads them."""
        return [
            self.first.weight,
            self.first.bias,
            self.noise_shift.weight,
            self.noise_shift.bias,
            self.second.weight,
            self.second.bias,
            self.noise_scale.weight,
            self.noise_scale.bias,
            self.last.weight,
            self.last.bias,
        ]

    def _silu(self, x: Tensor) -> Tensor:
        if self.compiled and applies_to(x):
            return torch.ops.openmm_nti.silu(x)
        return nn.functional.silu(x)
