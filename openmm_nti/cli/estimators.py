"""The estimators by the names of their results, in one calling convention: for `run` and for
`estimate`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian, NoisedFluid
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators import (
    bar_chain,
    decoupling,
    denoising_bound,
    eos,
    neural_ti,
    neural_windows,
    noised_ti,
    path_weights,
    softcore,
    widom,
)
from openmm_nti.validation.estimators.base import Estimator
from openmm_nti.validation.estimators.base import Job as EstimatorJob
from openmm_nti.validation.estimators.denoising_bound import BoundConfig
from openmm_nti.validation.estimators.neural_ti import NeuralTIConfig
from openmm_nti.validation.estimators.noised_ti import NoisedTIConfig
from openmm_nti.validation.estimators.path_weights import PathConfig, Works


@dataclass(frozen=True)
class Job:
    """What every estimator may need.

    Attributes
    ----------
    state
        The state point.
    data
        Its reference data, or None for the estimators that need none.
    trained
        The model, which may be a denoiser for the denoising bound and for path weights; None for
        the classical estimators alone.
    seed, workers
        Random numbers and processes.
    directory
        Keeps the windows and other intermediate results, from which an interrupted estimate goes
        on.
    """

    state: StatePoint
    data: Ensemble | None
    trained: NoisedFluid | None
    seed: int
    workers: int
    directory: Path

    @property
    def ensemble(self) -> Ensemble:
        """The reference data; ValueError where there are none."""
        if self.data is None:
            raise ValueError("this estimate needs reference data: add --data FILE")
        return self.data

    @property
    def score(self) -> NoisedFluid:
        """The model, with an energy or without; ValueError where there is none."""
        if self.trained is None:
            raise ValueError(
                "this estimate needs a model: add --model, a name (see `openmm-nti models`) or a "
                "directory"
            )
        return self.trained

    @property
    def model(self) -> LambdaHamiltonian:
        """The model; ValueError where there is none, or one without an energy."""
        if isinstance(self.score, LambdaHamiltonian):
            return self.score
        raise ValueError(
            "this estimate needs energies: a denoiser serves neural_ti_bound, neural_ti_tethered "
            "and path_bar alone"
        )


class Method(NamedTuple):
    """Where an estimator's settings are (`estimates.<section>`), how it is called, and what it
    cannot do without.
    """

    section: str
    compute: Callable[[Job, Any], FreeEnergy]
    needs_model: bool = True
    needs_data: bool = True
    needs_energy: bool = True  # of the model: a denoiser will not do
    applies: Callable[[Any, StatePoint], bool] = lambda _config, _state: (
        True
    )  # else a run leaves it out


def method(name: str) -> Method:
    """The estimator whose result is called `name`; ValueError names the closest ones."""
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"unknown method {name}{hint} Methods: {', '.join(METHODS)}")
    return METHODS[name]


def _neural_ti_bound(job: Job, config: BoundConfig) -> FreeEnergy:
    return denoising_bound.estimate(
        job.score,
        job.ensemble,
        config,
        seed=job.seed,
        directory=job.directory,
        workers=job.workers,
        progress=True,
    )


def _neural_ti_tethered(job: Job, config: BoundConfig) -> FreeEnergy:
    return denoising_bound.estimate_tethered(
        job.score,
        job.ensemble,
        config,
        seed=job.seed,
        directory=job.directory,
        workers=job.workers,
        progress=True,
    )


def _neural_ti(job: Job, config: NeuralTIConfig) -> FreeEnergy:
    return neural_ti.estimate(
        job.model,
        job.state,
        config,
        seed=job.seed,
        directory=job.directory,
        workers=job.workers,
        progress=True,
    )


def _neural_ti_noised(job: Job, config: NoisedTIConfig) -> FreeEnergy:
    return noised_ti.estimate(job.model, job.ensemble, config, seed=job.seed, progress=True)


def _path_bar(job: Job, config: PathConfig) -> FreeEnergy:
    return path_weights.estimate_bar(_works(job, config), seed=job.seed)


def _path_bracket(job: Job, config: PathConfig) -> FreeEnergy:
    return path_weights.estimate_bracket(_works(job, config))


def _works(job: Job, config: PathConfig) -> Works:
    """The works of both directions; the second caller finds them on disk."""
    works = path_weights.sample(
        job.score,
        job.ensemble,
        config,
        seed=job.seed,
        directory=job.directory,
        workers=job.workers,
        progress=True,
    )
    works.save(job.directory / "path_works.npz")
    return works


def _by(one: Estimator) -> Callable[[Job, Any], FreeEnergy]:
    """Return the estimator as a function of this module's jobs."""

    def compute(job: Job, config: Any) -> FreeEnergy:
        execution = Execution(job.seed, job.workers, job.directory, progress=True)
        return one.estimate(EstimatorJob(job.state, job.data, job.trained, execution), config)

    return compute


# In the order of a run: from the quickest to the slowest.
METHODS = {
    "neural_ti_bound": Method("bound", _neural_ti_bound, needs_energy=False),
    "neural_ti_tethered": Method(
        "bound",
        _neural_ti_tethered,
        needs_energy=False,
        applies=lambda config, state: config.measures_gap(state),
    ),
    "widom": Method("widom", _by(widom.Widom()), needs_model=False),
    "neural_ti": Method("neural_ti", _neural_ti, needs_data=False),
    "neural_ti_noised": Method("neural_ti_noised", _neural_ti_noised),
    "path_bar": Method("paths", _path_bar, needs_energy=False),
    "path_bracket": Method("paths", _path_bracket, needs_energy=False),
    "mbar_neural": Method("windows", _by(neural_windows.MbarNeural())),
    "bar_neural": Method("windows", _by(neural_windows.BarNeural())),
    "ti_neural_md": Method("windows", _by(neural_windows.TiNeuralMd())),
    "mbar_softcore": Method(
        "softcore", _by(softcore.MbarSoftcore()), needs_model=False, needs_data=False
    ),
    "mu_decoupling": Method(
        "decoupling", _by(decoupling.MuDecoupling()), needs_model=False, needs_data=False
    ),
    "bar_chain": Method(
        "bar_chain", _by(bar_chain.BarChain()), needs_model=False, needs_data=False
    ),
    "eos": Method("eos", _by(eos.Eos()), needs_model=False, needs_data=False),
}
