r"""`SiteField`: a fluid's model as a field about the sites of a crystal, at any noise.

At small noise a crystal looks like a dense fluid to a model. At noise beyond the vibrations the
model takes neighbours for atoms that may be exchanged, and fails. But there the density of a
crystal is known otherwise: noise of variance v is taken back to w = min(v, 2c) as if the phonons
were exact, and the model is asked at the mean of what is left,

.. math::
    m = D q, \qquad D = \frac{C + w}{C + v}, \qquad
    f_v(q) = \frac{q}{C + v} + D \left[ f^{model}_w(m) - \frac{m}{C + w} \right] .

The first term is the field of the phonons g_v. The second one, the excess, is what the model knows
beyond them, and fades with the noise as D^2. It uses that minus the score at noise v is the mean of
that at noise w over all that is left, and takes the value at the mean for the mean of the values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.references.noise import NOISE_MIN_SIGMA
from openmm_nti.validation.estimators.crystals.phonons import Phonons

_ATOMS_PER_BATCH = 2560
_TRUSTED = 2.0  # noise up to which the model is asked, in mean square displacements


@dataclass(frozen=True)
class SiteField:
    """Gradients of a model and of phonons, put together.

    Attributes
    ----------
    state
        The crystal.
    model
        Any model of its pair potential.
    phonons
        Gaussian of its displacements.
    """

    state: StatePoint
    model: NoisedFluid
    phonons: Phonons

    def gaussian(self, modes: Tensor, variance: float) -> Tensor:
        """Return the field of the phonons at noise of `variance`, of amplitudes (B, d), (B, d)."""
        return modes / (self.phonons.variances + variance)

    def excess(self, modes: Tensor, variance: float) -> Tensor:
        """Return what the model adds to the field of the phonons, (B, d), kT / sigma."""
        widths = self.phonons.variances
        within = min(variance, _TRUSTED * self.phonons.mean_variance)
        shrink = (widths + within) / (widths + variance)
        mean = shrink * modes
        return shrink * (self._model(mean, within) - mean / (widths + within))

    def gradient(self, modes: Tensor, variance: float) -> Tensor:
        """Return the field, which is about minus the score, (B, d), kT / sigma."""
        return self.gaussian(modes, variance) + self.excess(modes, variance)

    def positions(self, modes: Tensor) -> Tensor:
        """Return the positions of amplitudes (B, d), (B, N, 3), sigma."""
        return torch.as_tensor(sites_sigma(self.state)) + self.phonons.displacements(modes)

    def _model(self, modes: Tensor, variance: float) -> Tensor:
        box, positions = box_of(self.state), self.positions(modes)
        parts = [
            self.model.gradient(part, box, log_noise_of(variance, len(part)))
            for part in positions.split(max(1, _ATOMS_PER_BATCH // self.state.n_particles))
        ]
        return self.phonons.modes(torch.cat(parts))


def log_noise_of(variance: float, n_configurations: int) -> Tensor:
    """Return ln s of the noise with s_eff^2 = `variance`, (n_configurations,)."""
    log_s = 0.5 * math.log(variance + NOISE_MIN_SIGMA**2)
    return torch.full((n_configurations,), log_s, dtype=torch.float64)
