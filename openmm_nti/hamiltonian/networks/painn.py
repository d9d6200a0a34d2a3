r"""The kind `painn`: an equivariant message-passing network, for comparison.

Every atom carries scalars s and vectors v (C features each), as in PaiNN (Schuett, Unke, Gastegger,
ICML 2021), the kind of network that Mate, Fleuret and Bereau (arXiv 2406.02313) used. A layer
passes messages along the edges,

.. math:: s_i \leftarrow s_i + \sum_j \phi^s_j W^s(r_{ij}), \qquad
          v_i \leftarrow v_i
          + \sum_j \big( \phi^v_j W^v(r_{ij}) v_j + \phi^u_j W^u(r_{ij}) \hat r_{ij} \big),

with phi a function of s_j and W of the radial basis, and then mixes s and v within each atom. The
energy is g(s) sum_i [E(s_i) - E(s_i of an atom alone)], with the noise level in every s.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from openmm_nti.hamiltonian.conditioning import Condition
from openmm_nti.hamiltonian.networks.base import ONSET_SQUARED, LearnedPart, Surroundings
from openmm_nti.hamiltonian.networks.config import MomentConfig, NoRelaxations
from openmm_nti.hamiltonian.networks.edges import Edges, edges_at, exponents, initial_basis


class PainnConfig(MomentConfig):
    """Architecture of a `painn` network."""

    kind: Literal["painn"] = "painn"
    n_channels: int = Field(
        default=8, ge=2, le=128, description="Number of features of scalars and of vectors."
    )
    n_refinements: int = Field(default=1, ge=0, le=8, description="Number of layers, at least one.")
    n_moves: int = Field(default=2, ge=1, le=8, description="Not used by this kind.")
    n_relaxations: NoRelaxations = 0


class PainnNetwork(LearnedPart):
    """Computes the energies U_net of a batch of configurations, by the module's formula."""

    Config = PainnConfig
    summary = "equivariant message passing with n_refinements layers, for comparison"

    def __init__(self, config: PainnConfig) -> None:
        super().__init__(config)
        self.onset_squared = ONSET_SQUARED
        self.basis = nn.Parameter(initial_basis(config.cutoff_sigma, config.n_radial))
        self.embedding = nn.Linear(config.n_noise, config.n_channels)
        self.layers = nn.ModuleList(
            PainnLayer(config.n_radial, config.n_channels)
            for _ in range(max(1, config.n_refinements))
        )
        self.energy = nn.Sequential(
            nn.Linear(config.n_channels, config.width), nn.SiLU(), nn.Linear(config.width, 1)
        )

    @torch.jit.export
    def surroundings(self, vectors: Tensor, index: Tensor, mask: Tensor) -> Surroundings:
        """Return the edges alone: all else depends on the noise."""
        no_features = vectors[..., :0]
        return Surroundings(vectors, index, mask, no_features)

    @torch.jit.export
    def at_noise(self, around: Surroundings, condition: Condition) -> Tensor:
        """Return energies (B,), kT."""
        index = around.index
        edges = edges_at(around.vectors, around.mask, exponents(self.basis), self.cutoff)
        n_batch = index.shape[0]
        n_atoms = index.shape[1]
        noise = self.noise_features(condition.log_s, condition.depth)
        level = self.embedding(noise).unsqueeze(1)
        scalars = level.expand(n_batch, n_atoms, -1)
        vectors = torch.zeros(
            n_batch, n_atoms, 3, scalars.shape[-1], dtype=level.dtype, device=level.device
        )
        alone = level
        alone_vectors = torch.zeros_like(vectors[:, :1])
        for layer in self.layers:
            scalars, vectors, alone, alone_vectors = layer(
                scalars, vectors, alone, alone_vectors, edges, index
            )
        atomic = self.energy(scalars) - self.energy(alone)
        variance = condition.variance.reshape(-1, 1, 1)
        return (atomic * variance / (variance + self.onset_squared)).sum((1, 2))


class PainnLayer(nn.Module):
    """Passes messages along the edges, then mixes scalars and vectors within each atom."""

    def __init__(self, n_radial: int, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features
        self.message = nn.Sequential(
            nn.Linear(n_features, n_features), nn.SiLU(), nn.Linear(n_features, 3 * n_features)
        )
        self.filters = nn.Linear(n_radial, 3 * n_features, bias=False)
        self.mixing = nn.Linear(n_features, 2 * n_features, bias=False)
        self.update = nn.Sequential(
            nn.Linear(2 * n_features, n_features), nn.SiLU(), nn.Linear(n_features, 3 * n_features)
        )

    def forward(
        self,
        scalars: Tensor,
        vectors: Tensor,
        alone: Tensor,
        alone_vectors: Tensor,
        edges: Edges,
        index: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return new scalars (B, N, C) and vectors (B, N, 3, C), then both of a lone atom.

        Parameters
        ----------
        scalars, vectors
            Features of the atoms, in the same shapes.
        alone, alone_vectors
            Features of an atom without neighbours, (B, 1, C) and (B, 1, 3, C).
        edges, index
            Edges from `edges_at`, and neighbours as indices into the (B * N) atoms, (B, N, M).
        """
        n_batch, n_atoms, n_neighbours = index.shape
        filters = self.filters(
            (edges.gaussians * edges.envelope).permute(1, 2, 3, 0)
        )  # (B, N, M, 3 C)
        sent = self.message(scalars).reshape(n_batch * n_atoms, -1)[index] * filters
        to_scalars, to_vectors, along_edge = sent.split(self.n_features, dim=-1)
        flat = n_batch * n_atoms
        neighbours = vectors.reshape(flat, 3, self.n_features)[index]  # (B, N, M, 3, C)
        edge_sum = torch.bmm(
            (edges.vectors * edges.inverse).reshape(3, flat, n_neighbours).transpose(0, 1),
            along_edge.reshape(flat, n_neighbours, self.n_features),
        )
        scalars = scalars + to_scalars.sum(2)
        vectors = (
            vectors
            + edge_sum.reshape(vectors.shape)
            + (neighbours * to_vectors.unsqueeze(3)).sum(2)
        )
        scalars, vectors = self._mix(scalars, vectors)
        alone, alone_vectors = self._mix(alone, alone_vectors)
        return scalars, vectors, alone, alone_vectors

    def _mix(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.mixing(vectors).split(self.n_features, dim=-1)
        norm = (right.square().sum(2) + 1e-6).sqrt()
        gates = self.update(torch.cat([scalars, norm], dim=-1))
        on_vectors, on_product, on_scalars = gates.split(self.n_features, dim=-1)
        scalars = scalars + on_product * (left * right).sum(2) + on_scalars
        return scalars, vectors + on_vectors.unsqueeze(2) * left


NETWORKS = (PainnNetwork,)
