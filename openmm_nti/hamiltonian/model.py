r"""`LambdaHamiltonian`: the path from the ideal gas to the Lennard-Jones fluid, as a sum of its physical terms.

.. math:: U(x, \lambda) = \sum_{i<j} \Phi(r_{ij}, s) + C(\lambda)
          + \Big(1 - \frac{s^2}{s_{max}^2}\Big) \, U_{net}(x, s),
          \qquad s = s(\lambda),

in kT, with both ends exact whatever the network: U(x, 1) = beta U_LJ(x) and U(x, 0) = 0, hence
beta F_ex = beta F(1) - beta F(0) needs no constant (Mate, Fleuret, Bereau, arXiv 2406.02313).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from openmm_nti.hamiltonian.geometry import minimum_image, neighbour_matrix, pairs_within, squared_distances
from openmm_nti.hamiltonian.lennard_jones import LennardJones
from openmm_nti.hamiltonian.network import NetworkConfig, build_network
from openmm_nti.hamiltonian.noise import effective_variance, log_noise
from openmm_nti.hamiltonian.two_body import TwoBodyTerm
from openmm_nti.state import PairPotential, StatePoint


class LambdaHamiltonian(nn.Module):
    """Reduced energies U(x, lambda) of a batch of configurations; scriptable.

    Parameters
    ----------
    potential
        The Lennard-Jones potential at lambda = 1.
    network
        Architecture of the learned part; None leaves the two-body path alone.

    Attributes
    ----------
    trained_on
        State points of the training data, where the model comes from a file; never part of a TorchForce.
    """

    def __init__(self, potential: PairPotential, network: NetworkConfig | None = None) -> None:
        super().__init__()
        self.potential = potential
        self.trained_on: tuple[StatePoint, ...] = ()
        self.network_config = network
        self.lennard_jones = LennardJones(potential)
        self.two_body = TwoBodyTerm(potential)
        self.cutoff = potential.cutoff_sigma
        self.has_network = network is not None
        # TorchScript needs the attribute's type even where the network is off.
        self.network = build_network(network or NetworkConfig(n_radial=4, n_channels=2, width=8))
        self.network.to(torch.float64 if network is not None and network.dtype == "float64" else torch.float32)

    def forward(self, positions: Tensor, box: Tensor, lam: Tensor) -> Tensor:
        """Reduced energies, (B,), kT, float64.

        Parameters
        ----------
        positions
            (B, N, 3), sigma; unwrapped positions are fine.
        box
            Edges of the box, (3,), sigma.
        lam
            Coupling, 0 ideal gas to 1 Lennard-Jones fluid, (B,).
        """
        positions, box, lam = positions.double(), box.double(), lam.double()
        log_s = log_noise(lam, box)
        r_squared = squared_distances(positions, box)
        configuration, r = self._pairs(positions, box, r_squared)
        energy = self._table_sum(positions, configuration, r, self.two_body.rows(log_s))
        energy = energy + self._gauge(positions.shape[1], box, lam)
        if self.has_network:
            energy = energy + self._learned(positions, box, log_s, r_squared)
        at_end = lam == 1.0
        if bool(at_end.any()):
            # The table holds Lennard-Jones to 1e-5 kT; lambda = 1 has it to the last bit. Its first row does not depend
            # on lambda, so dU/dlambda stays the path's. (A detached ln s would not do: TorchForce drops the detach.)
            first_row = self.two_body.nodes[:1].expand(positions.shape[0], -1, -1)
            exact = self._sum(positions, configuration, self.lennard_jones(r * r))
            correction = exact - self._table_sum(positions, configuration, r, first_row)
            energy = energy + torch.where(at_end, correction, torch.zeros_like(correction))
        return energy

    def pair_energy(self, positions: Tensor, box: Tensor, log_s: Tensor) -> Tensor:
        """Sum of the two-body term, (B,), kT; arguments as for `forward`, with ln s (B,) for lambda."""
        configuration, r = self._pairs(positions, box, squared_distances(positions, box))
        return self._table_sum(positions, configuration, r, self.two_body.rows(log_s))

    def pair_gradient(self, positions: Tensor, box: Tensor, log_s: Tensor) -> Tensor:
        """Gradient of `pair_energy`, (B, N, 3), kT / sigma, without autograd."""
        return self._pair_gradient(positions, box, log_s, squared_distances(positions, box))

    def lennard_jones_energy(self, positions: Tensor, box: Tensor) -> Tensor:
        """beta U_LJ, (B,), kT."""
        configuration, r = self._pairs(positions, box, squared_distances(positions, box))
        return self._sum(positions, configuration, self.lennard_jones(r * r))

    def lennard_jones_laplacian(self, positions: Tensor, box: Tensor) -> Tensor:
        """Laplacian of beta U_LJ by all coordinates, (B,), kT / sigma^2: the sum of 2 (u'' + 2 u' / r) over pairs."""
        configuration, r = self._pairs(positions, box, squared_distances(positions, box))
        r = r.detach().requires_grad_(True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(self.lennard_jones(r * r).sum(), r, create_graph=True)
            (curvature,) = torch.autograd.grad(slope.sum(), r)
        return self._sum(positions, configuration, 2.0 * (curvature + 2.0 * slope.detach() / r.detach()))

    def network_energy(self, positions: Tensor, box: Tensor, log_s: Tensor) -> Tensor:
        """The learned part with its end factor, (B,), kT; arguments as for `pair_energy`."""
        return self._learned(positions, box, log_s, squared_distances(positions, box))

    def neighbourhoods(self, positions: Tensor, box: Tensor, r_squared: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the network sees, in its own precision: displacements (B, N, M, 3), index and mask (B, N, M)."""
        index, mask = neighbour_matrix(r_squared, self.network.cutoff)
        displacement = minimum_image(positions.reshape(-1, 3)[index] - positions.unsqueeze(2), box)
        dtype = self.network.noise.centres.dtype
        return displacement.to(dtype), index, mask.to(dtype)

    def gradient(self, positions: Tensor, box: Tensor, log_s: Tensor, create_graph: bool = False) -> Tensor:
        """Gradient of U at noise ln s, (B, N, 3), kT / sigma: minus the score.

        The two-body part is analytic and stays out of the graph; with `create_graph` the network's part can be
        differentiated again, by its weights.
        """
        r_squared = squared_distances(positions, box)
        gradient = self._pair_gradient(positions, box, log_s, r_squared)
        if not self.has_network:
            return gradient
        positions = positions.detach().requires_grad_(True)
        with torch.enable_grad():
            learned = self._learned(positions, box, log_s, r_squared).sum()
            return gradient + torch.autograd.grad(learned, positions, create_graph=create_graph)[0]

    def _learned(self, positions: Tensor, box: Tensor, log_s: Tensor, r_squared: Tensor) -> Tensor:
        displacement, index, mask = self.neighbourhoods(positions, box, r_squared)
        dtype = displacement.dtype
        learned = self.network(displacement, index, mask, log_s.to(dtype), effective_variance(log_s).to(dtype))
        # exp of an exact zero at lambda = 0: the end is the ideal gas to the last bit.
        end = -torch.expm1(2.0 * (log_s - log_noise(torch.zeros_like(log_s), box)))
        return learned.to(positions.dtype) * end

    def _pair_gradient(self, positions: Tensor, box: Tensor, log_s: Tensor, r_squared: Tensor) -> Tensor:
        with torch.no_grad():
            configuration, first, second = pairs_within(r_squared, self.cutoff)
            flat = positions.reshape(-1, 3)
            d = minimum_image(flat[first] - flat[second], box)
            r = (d.square().sum(-1) + 1e-24).sqrt()
            slope = self.two_body.derivative(r, configuration, self.two_body.rows(log_s))
            pull = d * (slope / r).unsqueeze(-1)
            gradient = torch.zeros_like(flat).index_add(0, first, pull).index_add(0, second, -pull)
            return gradient.reshape(positions.shape)

    def _gauge(self, n_particles: int, box: Tensor, lam: Tensor) -> Tensor:
        """The constant C(lambda) that makes the free energy of pairs linear in lambda, (B,), kT."""
        volume = box.prod()
        at, end = log_noise(lam, box), log_noise(torch.ones_like(lam), box)
        step = self.two_body.free_energy(at, volume) - lam * self.two_body.free_energy(end, volume)
        return -0.5 * n_particles * (n_particles - 1) * step

    def _pairs(self, positions: Tensor, box: Tensor, r_squared: Tensor) -> tuple[Tensor, Tensor]:
        """Configuration and distance of all pairs within the cutoff, (P,) each."""
        configuration, first, second = pairs_within(r_squared, self.cutoff)
        flat = positions.reshape(-1, 3)
        d = minimum_image(flat[first] - flat[second], box)
        return configuration, (d.square().sum(-1) + 1e-24).sqrt()

    def _table_sum(self, positions: Tensor, configuration: Tensor, r: Tensor, rows: Tensor) -> Tensor:
        """Sum over pairs of the function that `rows` (B, n_r, 2) tabulates, (B,), kT."""
        return self._sum(positions, configuration, self.two_body(r, configuration, rows))

    def _sum(self, positions: Tensor, configuration: Tensor, values: Tensor) -> Tensor:
        """Sum the values of pairs (P,) over each configuration, (B,)."""
        total = torch.zeros(positions.shape[0], dtype=positions.dtype, device=positions.device)
        return total.index_add(0, configuration, values)
