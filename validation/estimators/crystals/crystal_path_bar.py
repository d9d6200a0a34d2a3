"""Exact free energy of a crystal from weights of noising and denoising paths.

`crystal_paths` has the paths, which end at phonons. Bennett's acceptance ratio joins the works of
both directions, as for a fluid (`path_weights`). It is exact for any model. One of the fluid
serves.
"""

from __future__ import annotations

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.references.einstein_crystal import beta_f_ex
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.works import Works
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.crystals.conventions import (
    CrystalDiagnostics,
    crystal_free_energy,
    crystal_numbers,
)
from openmm_nti.validation.estimators.crystals.crystal_paths import CrystalPathConfig, sample
from openmm_nti.validation.estimators.path_weights import PathBar, PathBarDiagnostics, estimate_bar
from openmm_nti.validation.sampling.noising_paths import PathConfig

FILE = "crystal_path_works.npz"


class CrystalPathDiagnostics(PathBarDiagnostics, CrystalDiagnostics):
    """Facts about path weights of a crystal; the bounds are of beta F_ex."""


@takes_execution
def estimate(
    model: NoisedFluid, ensemble: Ensemble, config: PathConfig, execution: Execution
) -> FreeEnergy:
    """Return beta F_ex of a crystal by BAR between both directions; see `crystal_paths.sample`.

    The works, in beta F_ex, are in the file `FILE` of the execution's folder.

    Raises
    ------
    ValueError
        If the frames are fewer than 32, or not of the crystal, or the model does not fit.
    """
    works = sample(model, ensemble, config, execution)
    return from_works(works, CrystalPathBar.name, FILE, execution)


def from_works(works: Works, method: str, file: str, execution: Execution) -> FreeEnergy:
    """Return beta F_ex of a crystal by BAR from works in -ln Z_rel.

    In beta F_ex they are written to a file of the execution's folder, for figures.
    """
    state, shift = works.state, beta_f_ex(0.0, works.state)
    found = estimate_bar(works, execution)
    facts = dict(found.diagnostics.items())
    for name in ("lower", "upper"):
        facts[name] += shift
    if execution.directory is not None:
        shifted = Works(state, works.forward + shift, works.reverse + shift)
        shifted.save(execution.directory / file)
    numbers = crystal_numbers(found.value, found.std_err, state)
    facts_of_both = CrystalPathDiagnostics(**facts, **numbers)
    return crystal_free_energy(
        found.value, found.std_err, state, method, facts_of_both, found.verdict
    )


class CrystalPathBar(PathBar):
    """BAR between noising and denoising paths of a crystal."""

    name = "crystal_path_bar"
    section = "crystal_paths"
    phase = "crystal"
    Config = CrystalPathConfig
    Diagnostics = CrystalPathDiagnostics
    files = (FILE,)
    in_runs = True
    summary = "BAR between a crystal's noising paths and denoising ones from phonons; exact"
    order = 62
    preference = 12

    def estimate(self, job: Job, config: PathConfig) -> FreeEnergy:
        """Return beta F_ex by BAR."""
        return estimate(job.score, job.ensemble, config, job.execution)


ESTIMATORS = (CrystalPathBar(),)
