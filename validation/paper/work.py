"""What the tasks of a reproduction share, and what each of them is.

The file of a task holds `estimates` (`FreeEnergy` as dictionaries), `facts`, the `warnings` of the
calculation and its `cpu_seconds`. A method that cannot be used at all leaves a file with `refused`,
the reason, and no estimates: it stays visible in the table. Delete a file to have it made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import read_json
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian, NoisedFluid
from openmm_nti.model_files import load_denoiser, load_model
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.paper.presets import PaperPreset


@dataclass(frozen=True)
class Work:
    """What all tasks of a directory share.

    Attributes
    ----------
    preset
        What is computed and with what effort.
    model
        Name or directory of the trained model.
    execution
        Seed, processes, progress, and the directory of the reproduction.
    """

    preset: PaperPreset
    model: str
    execution: Execution

    @property
    def directory(self) -> Path:
        """The directory of the reproduction; ValueError where there is none."""
        if self.execution.directory is None:
            raise ValueError("the reproduction needs a directory: give the execution one")
        return self.execution.directory

    @property
    def hamiltonian(self) -> LambdaHamiltonian:
        """The trained model."""
        return _hamiltonian(self.model)

    @property
    def denoiser(self) -> NoisedFluid:
        """The best score there is: the model's companion, or the model."""
        return _denoiser(self.model)

    def state(self, n_particles: int) -> StatePoint:
        """Return the state point of N particles."""
        return self.preset.state(n_particles, self.hamiltonian.potential)

    def ensemble(self, n_particles: int) -> Ensemble:
        """Return the reference data, which must be there."""
        return Ensemble.load(self.directory / "reference" / f"{self.state(n_particles).label}.h5")

    def path(self, kind: str, name: object) -> Path:
        """Return the JSON file of a task."""
        return self.directory / "tasks" / f"{kind}_{name}.json"


@dataclass(frozen=True)
class PaperTask:
    """A kind of calculation at one N, or at one chemical potential of the grand-canonical check.

    The kind is the name of a method, of a section of estimates, or of a comparison (see `jobs`).
    """

    kind: str
    at: float
    work: Work = field(repr=False)

    @property
    def n(self) -> int:
        """N of the task."""
        return int(self.at)

    @property
    def path(self) -> Path:
        """The file of the result."""
        return self.work.path(self.kind, f"{self.at:g}")

    @property
    def execution(self) -> Execution:
        """A seed of its own, and the folder of this N for batches and windows."""
        seed = self.work.execution.seed_of(self.kind, f"{self.at:g}")
        return Execution(
            seed,
            directory=self.work.directory / "work" / f"N{self.n}",
            device=self.work.execution.device,
        )


@dataclass
class Found:
    """The results of a task."""

    estimates: Sequence[FreeEnergy] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def read_estimates(path: Path) -> list[FreeEnergy]:
    """Return the estimates in the file of a task; none where there is no file."""
    if not path.is_file():
        return []
    return [FreeEnergy.from_dict(found) for found in read_json(path)["estimates"]]


@lru_cache(maxsize=2)
def _hamiltonian(name: str) -> LambdaHamiltonian:
    return load_model(name)


@lru_cache(maxsize=2)
def _denoiser(name: str) -> NoisedFluid:
    return load_denoiser(name)
