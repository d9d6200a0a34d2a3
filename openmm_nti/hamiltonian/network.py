r"""The learned part of the path: a sum of atomic energies over denoised neighbourhoods.

.. math:: U_{net}(x, s) = g(s) \sum_i \left[ E(D_i, s) - E(0, s) \right], \qquad
          g(s) = \frac{s_{eff}^2}{s_{eff}^2 + s_1^2}

so that it vanishes without noise and without neighbours. D_i are the invariants of `descriptors` at the atom's own
position and at positions refined one or more times: each refinement moves the atoms along learned, gated radial
vectors, a conservative kind of message passing that amounts to a guess of the structure under the noise,

.. math:: y_i \leftarrow y_i + c(s) \sum_j \sum_k B_k(r_{ij}) \Big( a_{ik} + \sum_m q_{jm} w_{km} \Big) \, \hat r_{ij},

with a_i and q_j functions of what the two atoms see.
"""

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from openmm_nti.hamiltonian.descriptors import RadialBasis, density_moments, invariants, soft_norm
from openmm_nti.hamiltonian.noise import NOISE_MIN_SIGMA

_ONSET_SQUARED = 0.01  # s_1^2, sigma^2
_N_TIME = 13  # Gaussians in ln s, from s_min to 6 sigma
_LOG_S_MAX = math.log(6.0)
_N_MESSAGE = 4  # components of q


class NetworkConfig(BaseModel):
    """Architecture of the learned part of the path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cutoff_sigma: float = Field(default=2.0, gt=1.2, description="Range of the network's neighbourhoods, in sigma.")
    n_radial: int = Field(default=10, ge=4, le=64, description="Radial basis functions.")
    n_channels: int = Field(default=8, ge=2, le=128, description="Radial mixtures of the l = 1 and l = 2 moments.")
    width: int = Field(default=64, ge=8, le=1024, description="Hidden width of the atomic energy.")
    n_refinements: int = Field(default=1, ge=0, le=4, description="How often atoms are moved to refined positions.")
    dtype: str = Field(default="float32", pattern="^float(32|64)$", description="Precision of the network.")


class DensityNetwork(nn.Module):
    """U_net for a batch of configurations; see the module's formula."""

    time_centres: Tensor
    scales: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.cutoff = config.cutoff_sigma
        self.n_channels = config.n_channels
        self.n_radial = config.n_radial
        self.n_message = _N_MESSAGE
        self.onset_squared = _ONSET_SQUARED
        self.basis = RadialBasis(config.cutoff_sigma, config.n_radial)
        self.register_buffer("time_centres", torch.linspace(math.log(NOISE_MIN_SIGMA), _LOG_S_MAX, _N_TIME), False)
        self.time_inverse_width = (_N_TIME - 1) / (_LOG_S_MAX - math.log(NOISE_MIN_SIGMA))
        stages = config.n_refinements + 1
        n_invariants = config.n_radial + 3 * config.n_channels
        mixing = 2 * config.n_channels * config.n_radial
        mixtures = [nn.Linear(_N_TIME, mixing) for _ in range(stages)]
        gates = [
            AtomicMLP(n_invariants * (stage + 1), config.width // 2, config.n_radial + _N_MESSAGE)
            for stage in range(config.n_refinements)
        ]
        for layer in mixtures:
            nn.init.normal_(layer.bias, std=1.0 / math.sqrt(config.n_radial))
        for gate in gates:  # no atom moves at first
            nn.init.zeros_(gate.last.weight)
            nn.init.zeros_(gate.last.bias)
        self.mixtures, self.gates = nn.ModuleList(mixtures), nn.ModuleList(gates)
        self.messages = nn.Parameter(0.3 * torch.randn(config.n_refinements, config.n_radial, _N_MESSAGE))
        # One more input than descriptors: how far the refinement moved the atom, in units of the noise.
        self.energy = AtomicMLP(n_invariants * stages + int(config.n_refinements > 0), config.width, 1)
        self.register_buffer("scales", torch.ones(stages, n_invariants))

    def forward(self, displacement: Tensor, index: Tensor, mask: Tensor, log_s: Tensor, variance: Tensor) -> Tensor:
        """Energies (B,), kT.

        Parameters
        ----------
        displacement
            Minimum-image vectors to the neighbours, (B, N, M, 3), sigma.
        index
            Neighbours as indices into the (B * N) atoms, (B, N, M).
        mask
            (B, N, M), 1 for a neighbour.
        log_s, variance
            ln s and s_eff^2 in sigma^2, (B,).
        """
        time = self._time_features(log_s)
        variance = variance.reshape(-1, 1, 1)
        step = 8.0 * variance / (1.0 + 60.0 * variance)
        moved = torch.zeros_like(displacement[:, :, 0])
        features: list[Tensor] = []
        for stage, mixture in enumerate(self.mixtures):
            vectors = displacement
            if stage > 0:
                shift = moved.reshape(-1, 3)[index] - moved.unsqueeze(2)
                vectors = displacement + shift
            r, direction = soft_norm(vectors)
            basis = self.basis(r)
            weight = self.basis.envelope(r) * mask
            mix = mixture(time).reshape(-1, 2, self.n_channels, self.n_radial)
            found = invariants(density_moments(basis, direction, weight), mix[:, 0], mix[:, 1])
            features.append(torch.asinh(found * self.scales[stage]))
            for number, gate in enumerate(self.gates):  # TorchScript cannot index a list of modules
                if number == stage:
                    own, sent = gate(torch.cat(features, -1), time).split([self.n_radial, self.n_message], -1)
                    shared = self.messages[stage].expand(own.shape[0], own.shape[1], -1, -1)
                    pull = torch.matmul(basis, torch.cat([own.unsqueeze(-1), shared], -1))
                    received = sent.reshape(-1, self.n_message)[index]
                    size = (pull[..., 0] + (pull[..., 1:] * received).sum(-1)) * weight
                    moved = moved - step * (size.unsqueeze(-1) * direction).sum(2)
        if len(self.gates) > 0:
            features.append(torch.log1p(moved.square().sum(-1, keepdim=True) / (variance + 1e-6)))
        described = torch.cat(features, -1)
        empty = torch.zeros_like(described[:, :1])
        atomic = self.energy(described, time) - self.energy(empty, time)
        onset = variance / (variance + self.onset_squared)
        return (atomic * onset).sum((1, 2))

    def _time_features(self, log_s: Tensor) -> Tensor:
        return torch.exp(-0.5 * ((log_s.unsqueeze(-1) - self.time_centres) * self.time_inverse_width).square())

    @torch.no_grad()
    def normalise(self, displacement: Tensor, mask: Tensor, log_s: Tensor) -> None:
        """Set the descriptors' scales to one over their root mean square on a batch; arguments as for `forward`."""
        r, direction = soft_norm(displacement)
        moments = density_moments(self.basis(r), direction, self.basis.envelope(r) * mask)
        time = self._time_features(log_s)
        for stage, mixture in enumerate(self.mixtures):
            mix = mixture(time).reshape(-1, 2, self.n_channels, self.n_radial)
            found = invariants(moments, mix[:, 0], mix[:, 1])
            self.scales[stage] = 1.0 / found.square().mean((0, 1)).sqrt().clamp(min=1e-4)


class AtomicMLP(nn.Module):
    """Two hidden layers on an atom's descriptors, with the noise level added to the first and scaling the second."""

    def __init__(self, n_inputs: int, width: int, n_outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(n_inputs, width)
        self.time_shift = nn.Linear(_N_TIME, width)
        self.second = nn.Linear(width, width)
        self.time_scale = nn.Linear(_N_TIME, width)
        self.last = nn.Linear(width, n_outputs)
        nn.init.zeros_(self.time_scale.weight)
        nn.init.ones_(self.time_scale.bias)

    def forward(self, described: Tensor, time: Tensor) -> Tensor:
        """Outputs (B, N, n_outputs) from descriptors (B, N, n_inputs) and noise features (B, n_time)."""
        hidden = nn.functional.silu(self.first(described) + self.time_shift(time).unsqueeze(1))
        hidden = nn.functional.silu(self.second(hidden)) * self.time_scale(time).unsqueeze(1)
        return self.last(hidden)
