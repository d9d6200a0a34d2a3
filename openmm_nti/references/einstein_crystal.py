r"""The Einstein crystal: atoms on springs to their sites, without motion of the crystal as a whole.

With displacements u_i = x_i - R_i, whose sum is zero, and d = 3 (N - 1) coordinates,

.. math:: \beta U = |u|^2 / 2c, \qquad Z_{rel} = \int e^{-\beta U} \, d^d u = (2 \pi c)^{d/2} .

Z_rel is how the free energy of any crystal is counted here: over the d coordinates that are
orthogonal to a shift of all atoms, with each atom at its own site. Length is in sigma. What is left
of the whole integral is known. The centre of mass ranges over the volume V, in coordinates of which
one is sqrt(N) times the other for each direction: N^{3/2} V. Atoms may be exchanged in N! ways.
But a shift by a vector of the lattice, of which the box holds M, only exchanges atoms, so that
these ways have been counted M times (M = N for one atom in a primitive cell):

.. math:: Z = N! \, \frac{V}{M} \, N^{3/2} Z_{rel} .

From this follow the free energy in the convention of this package, and the Helmholtz free energy of
indistinguishable atoms with the thermal wavelength Lambda = sigma, the number of the literature:

.. math::
    \beta F_{ex} = -\ln \frac{Z}{V^N} = -\ln N! + N \ln V - \ln Z_{rel} - \ln \frac{V N^{3/2}}{M},
    \qquad
    \beta A = -\ln \frac{Z}{N!} = -\ln Z_{rel} - \ln \frac{V N^{3/2}}{M} .

(D. Frenkel, A. J. C. Ladd, J. Chem. Phys. 81, 3188 (1984); J. M. Polson, E. Trizac, S. Pronk, D.
Frenkel, J. Chem. Phys. 112, 5339 (2000).)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from openmm_nti.fluid.displacements import crystal_of, sites_sigma
from openmm_nti.fluid.state import StatePoint
from openmm_nti.references.base import Reference
from openmm_nti.references.noise import LOG_NOISE_MIN, effective_variance


class EinsteinCrystal(Reference):
    """Atoms on springs to the sites of a crystal.

    Parameters
    ----------
    state
        A crystal.
    variance
        Mean square displacement c of a coordinate, in sigma^2, if the centre of mass could move;
        the spring has the constant kT / c.
    largest_noise
        Noise s_1 of `forward` at lambda = 0, in sigma.

    Raises
    ------
    ValueError
        If the state is a fluid, or a number is not above zero.
    """

    name = "einstein_crystal"

    def __init__(self, state: StatePoint, variance: float, largest_noise: float = 0.5) -> None:
        for what, value in (("variance", variance), ("largest_noise", largest_noise)):
            if not 0 < value < math.inf:
                raise ValueError(f"{what} = {value:g} must be a number above 0")
        self.sites = torch.as_tensor(sites_sigma(state))
        self.variance = variance
        self.largest_noise = largest_noise

    def energy(self, positions: Tensor) -> Tensor:
        """Return |u|^2 / 2c of each configuration (B, N, 3) near its sites, (B,), kT.

        A shift of all atoms changes nothing.
        """
        moved = positions - self.sites
        moved = moved - moved.mean(dim=1, keepdim=True)
        return 0.5 / self.variance * moved.square().sum((1, 2))

    def sample(
        self, n_frames: int, n_particles: int, box: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return independent configurations, (n_frames, N, 3), sigma; see `Reference.sample`."""
        del n_particles, box
        shape = (n_frames, *self.sites.shape)
        moved = torch.randn(shape, generator=generator, dtype=torch.float64)
        moved = moved - moved.mean(dim=1, keepdim=True)
        return self.sites + math.sqrt(self.variance) * moved

    @property
    def minus_log_z_rel(self) -> float:
        """-ln Z_rel, of lengths in sigma."""
        return -1.5 * (len(self.sites) - 1) * math.log(2 * math.pi * self.variance)

    def free_energy(self, state: StatePoint) -> float:
        """Return beta F_ex."""
        return beta_f_ex(self.minus_log_z_rel, state)

    def forward(self, positions: Tensor, lam: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Return the positions and s_eff^2, up to `largest_noise`; see `Reference.forward`."""
        del box
        steepness = math.log(self.largest_noise) - LOG_NOISE_MIN
        return positions, effective_variance(LOG_NOISE_MIN + (1.0 - lam) * steepness)


def beta_f_ex(minus_log_z_rel: float, state: StatePoint) -> float:
    """Return beta F_ex of a crystal, counted from the ideal gas, from its -ln Z_rel."""
    n = state.n_particles
    helmholtz = n * beta_a_per_particle(minus_log_z_rel, state)
    return helmholtz - math.lgamma(n + 1) + n * math.log(state.volume_sigma3)


def beta_a_per_particle(minus_log_z_rel: float, state: StatePoint) -> float:
    """Return beta A / N of a crystal with the thermal wavelength sigma, from its -ln Z_rel."""
    n, translations = state.n_particles, crystal_of(state).n_primitive
    shifts = math.log(state.volume_sigma3 / translations) + 1.5 * math.log(n)
    return (minus_log_z_rel - shifts) / n
