"""`openmm-nti estimate`: one method on one ensemble, outside of a run."""

from __future__ import annotations

import tempfile
from pathlib import Path

from openmm_nti.cli.estimators import Job, method
from openmm_nti.cli.model_commands import load_model_or_run
from openmm_nti.cli.run_config import section_config
from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy


def single_estimate(
    name: str, data: Path, model: Path | None, settings: list[str], *, seed: int, workers: int
) -> FreeEnergy:
    """Load, estimate, and leave nothing on disk.

    Parameters
    ----------
    name
        Method, as in results.json.
    data
        Ensemble file.
    model
        Directory of a model or of a run; None for classical methods.
    settings
        `key=value` for the method's section of `estimates`.
    seed, workers
        Random numbers and processes.
    """
    chosen = method(name)
    trained = load_model_or_run(model) if model is not None else None
    config = section_config(chosen.section, settings)
    with tempfile.TemporaryDirectory(prefix="openmm-nti-") as folder:
        return chosen.compute(Job(Ensemble.load(data), trained, seed, workers, Path(folder)), config)
