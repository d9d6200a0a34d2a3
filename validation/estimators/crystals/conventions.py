"""What all estimates of a crystal give: one -ln Z_rel, in three conventions."""

from __future__ import annotations

from typing import Any

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import NOT_JUDGED, Diagnostics, FreeEnergy, Verdict
from openmm_nti.references.einstein_crystal import beta_a_per_particle, beta_f_ex


class CrystalDiagnostics(Diagnostics):
    """The free energy of a crystal in other conventions; see `references.einstein_crystal`.

    Attributes
    ----------
    minus_log_z_rel
        -ln of the integral of exp(-beta U) over the 3 (N - 1) displacements without a shift of the
        crystal, with lengths in sigma.
    beta_a_per_particle
        Helmholtz free energy beta A / N of indistinguishable atoms with the thermal wavelength
        sigma, and its standard error.
    """

    minus_log_z_rel: float
    beta_a_per_particle: float
    beta_a_per_particle_err: float | None


def crystal_numbers(minus_log_z_rel: float, std_err: float, state: StatePoint) -> dict[str, Any]:
    """Return the fields of `CrystalDiagnostics`; an infinite error becomes None."""
    known = std_err < float("inf")
    return {
        "minus_log_z_rel": minus_log_z_rel,
        "beta_a_per_particle": beta_a_per_particle(minus_log_z_rel, state),
        "beta_a_per_particle_err": std_err / state.n_particles if known else None,
    }


def crystal_free_energy(
    minus_log_z_rel: float,
    std_err: float,
    state: StatePoint,
    method: str,
    facts: Diagnostics,
    verdict: Verdict = NOT_JUDGED,
) -> FreeEnergy:
    """Return beta F_ex from -ln Z_rel, kT."""
    return FreeEnergy(
        value=beta_f_ex(minus_log_z_rel, state),
        std_err=std_err,
        method=method,
        convention=state.convention,
        n_particles=state.n_particles,
        verdict=verdict,
        diagnostics=facts,
    )
