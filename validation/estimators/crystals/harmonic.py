r"""Free energy of a crystal in the harmonic approximation, from normal modes about the sites.

.. math:: -\ln Z_{rel} \approx \beta U(R) - \frac{d}{2} \ln 2 \pi + \frac12 \sum_i \ln k_i

with the d = 3 (N - 1) eigenvalues k_i of the second derivatives of beta U, in kT / sigma^2, that do
not belong to a shift of the crystal. It is exact for springs, and near zero temperature. How far it
is off elsewhere, it does not know: it has no error.
"""

from __future__ import annotations

import math

import numpy as np

from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.settings import Settings
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.estimators.crystals.conventions import (
    CrystalDiagnostics,
    crystal_free_energy,
    crystal_numbers,
)
from openmm_nti.validation.estimators.crystals.lattice_modes import log_modes


class HarmonicConfig(Settings):
    """The harmonic approximation has nothing to choose."""


def estimate(state: StatePoint) -> FreeEnergy:
    """Return beta F_ex of a crystal in the harmonic approximation, without an error.

    Raises
    ------
    ValueError
        If the state is a fluid, its lattice is unstable, or has more than 3000 atoms.
    """
    modes = log_modes(state)
    at_rest = float(reduced_potential_numpy(sites_sigma(state)[np.newaxis], state)[0])
    d = 3 * (state.n_particles - 1)
    minus_log_z_rel = at_rest - 0.5 * d * math.log(2 * math.pi) + 0.5 * modes
    facts = CrystalDiagnostics(**crystal_numbers(minus_log_z_rel, math.inf, state))
    verdict = Verdict("warn", "an approximation: what it leaves out is unknown")
    return crystal_free_energy(minus_log_z_rel, math.inf, state, Harmonic.name, facts, verdict)


class Harmonic(Estimator):
    """Normal modes about the sites."""

    name = "harmonic"
    section = "harmonic"
    phase = "crystal"
    Config = HarmonicConfig
    Diagnostics = CrystalDiagnostics
    kind = "insertion"
    summary = "harmonic approximation of a crystal from its normal modes; no samples, no error"
    order = 6

    def estimate(self, job: Job, config: HarmonicConfig) -> FreeEnergy:
        """Return beta F_ex from the normal modes."""
        del config
        return estimate(job.state)


ESTIMATORS = (Harmonic(),)
