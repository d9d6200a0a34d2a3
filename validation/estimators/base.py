"""`Estimator`: everything the package needs to know about one way to a free energy.

A new estimator is one file in this folder: a subclass of `Estimator` with its settings, and a line
`ESTIMATORS = (MyEstimator(),)`. `registry` finds it there, and the command line, runs, the report,
the paper and the benchmarks find it in the registry.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import (
    Diagnostics,
    FreeEnergy,
    OtherDiagnostics,
    Quantity,
    Verdict,
)
from openmm_nti.hamiltonian import LambdaHamiltonian, NoisedFluid
from openmm_nti.model_files import load_denoiser, load_model
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.plots.figure import Figure

Kind = Literal["exact", "model", "bound", "insertion"]
Need = Literal["model", "energy", "denoiser", "data"]
_Estimate = Callable[[Any, "Job", Any], FreeEnergy]
NOT_ASKED = Verdict("none", "does not apply")


class Models(NamedTuple):
    """A model as an estimator takes it, and its denoiser where it takes both."""

    trained: NoisedFluid
    denoiser: NoisedFluid | None


@dataclass(frozen=True)
class Job:
    """What an estimate is made of.

    Attributes
    ----------
    state
        The state point.
    data
        Its reference data; None for the estimators that need none.
    trained
        The model, which may be a denoiser for estimators that need no energy; None for the
        classical estimators.
    execution
        Seed, processes, folder and progress.
    species
        Of a mixture, the species whose chemical potential is asked for.
    denoiser
        The denoiser that comes with a model of energies, if there is one.
    """

    state: StatePoint
    data: Ensemble | None
    trained: NoisedFluid | None
    execution: Execution
    species: str | None = None
    denoiser: NoisedFluid | None = None

    @property
    def ensemble(self) -> Ensemble:
        """The reference data; ValueError where there are none, or NaN among them."""
        if self.data is None:
            raise ValueError("this estimate needs reference data: add --data FILE")
        for name in ("positions_nm", "reduced_potentials"):
            if not np.isfinite(getattr(self.data, name)).all():
                raise ValueError(
                    f"{name} of the reference data holds NaN or infinity: remove those frames"
                )
        return self.data

    @property
    def score(self) -> NoisedFluid:
        """The model, with an energy or without; ValueError where there is none."""
        if self.trained is None:
            raise ValueError(
                "this estimate needs a model: add --model, a name (see `openmm-nti models`) or a "
                "directory"
            )
        return self.trained.bind(self.state)

    @property
    def best_score(self) -> NoisedFluid:
        """The denoiser that comes with the model, or the model itself; ValueError as for it."""
        return self.score if self.denoiser is None else self.denoiser.bind(self.state)

    @property
    def model(self) -> LambdaHamiltonian:
        """The model; ValueError where there is none, or one without an energy."""
        score = self.score  # bound once: for another state than its own, a model makes new tables
        if isinstance(score, LambdaHamiltonian):
            return score
        raise ValueError(
            "this estimate needs energies, and the model is a denoiser, which has none: train a "
            "network of kind `density`"
        )


class Estimator(ABC):
    """One way to a free energy.

    Class attributes
    ----------------
    name
        Of the method, as in results.json and after `--method`.
    section
        Key of its settings below `estimates:`; estimators that share their samples share it.
    Config
        The settings, a pydantic model with a description on every field.
    Diagnostics
        The facts that stand beside its results.
    kind
        `exact` for any model and enough samples; `model`: as good as the model; `bound`: a rigorous
        bound; `insertion`: an approximation without a model.
    needs
        `model`: a score; `energy`: a model with an energy; `denoiser`: that of such a model as
        well, if it has one; `data`: reference frames.
    summary
        What it is, in half a sentence, for reports and help.
    caveat
        What a distance from an exact estimate usually means.
    files
        Names of what it writes into the folder of a state point for the report.
    in_runs
        Whether a run makes it unless its section is null; otherwise `section: {}` asks for it.
    order
        Place in a run: the quickest first.
    phase
        `fluid` or `crystal`: what it serves. It refuses the other one.
    one_species
        Whether it serves fluids of one species alone.
    preference
        Of exact estimators: their place in the table of a report, the smallest first. Which one to
        quote follows from their errors (`report.judge`).
    """

    name: ClassVar[str]
    section: ClassVar[str]
    Config: ClassVar[type[BaseModel]]
    Diagnostics: ClassVar[type[Diagnostics]] = OtherDiagnostics
    kind: ClassVar[Kind]
    needs: ClassVar[frozenset[Need]] = frozenset()
    quantity: ClassVar[Quantity] = "beta_f_ex"
    summary: ClassVar[str]
    caveat: ClassVar[str] = "the network's error. Train longer."
    files: ClassVar[tuple[str, ...]] = ()
    in_runs: ClassVar[bool] = False
    order: ClassVar[int] = 100
    preference: ClassVar[int] = 100
    phase: ClassVar[Literal["fluid", "crystal"]] = "fluid"
    one_species: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let `estimate` begin with a check of the phase, whoever calls it."""
        super().__init_subclass__(**kwargs)
        if "estimate" in vars(cls):
            setattr(cls, "estimate", _checking_phase(cls.estimate))  # noqa: B010

    @property
    def needs_model(self) -> bool:
        """Whether there must be a model, with an energy or without."""
        return bool(self.needs & {"model", "energy"})

    def load(self, name: str | Path) -> Models:
        """Return the model of a name or a directory: its denoiser, if no energy is needed."""
        takes_a_denoiser = self.needs_model and "energy" not in self.needs
        trained = load_denoiser(name) if takes_a_denoiser else load_model(name)
        return Models(trained, load_denoiser(name) if "denoiser" in self.needs else None)

    def check_phase(self, state: StatePoint) -> None:
        """Refuse a crystal where the method serves fluids, and a fluid where it serves crystals.

        Raises
        ------
        ValueError
            In one line that says what to use.
        """
        if self.phase == "fluid" and state.crystal is not None:
            raise ValueError(
                f"{self.name} serves fluids, and the state point is a crystal: use a method for "
                "crystals, such as frenkel_ladd"
            )
        if self.phase == "crystal" and state.crystal is None:
            raise ValueError(
                f"{self.name} serves crystals, and the state point is a fluid: give "
                "system: {crystal: {lattice: fcc, cells: [4, 4, 4]}, ...}, or use another method"
            )

    def check_species(self, state: StatePoint, species: str | None = None) -> None:
        """Refuse a mixture that the method does not serve, or a species that it does not know.

        Raises
        ------
        ValueError
            In one line that says what to use.
        """
        if self.one_species and state.is_mixture:
            raise ValueError(
                f"{self.name} serves one species, not {', '.join(state.composition)}: leave it "
                "out, or use bar_chain or mbar_softcore"
            )
        if species is not None or None not in self.species_at(state):
            state.number_of_species(species)

    def species_at(self, state: StatePoint) -> list[str | None]:
        """Return the species of which there is a number each; None for a number of the fluid."""
        if self.quantity == "beta_f_ex" or not state.is_mixture:
            return [None]
        return list(state.composition)

    def applies(self, config: Any, state: StatePoint) -> bool:
        """Return whether the estimator applies to `state`; if not, a run skips it."""
        del config, state
        return True

    @abstractmethod
    def estimate(self, job: Job, config: Any) -> FreeEnergy:
        """Return the free energy, with a finite standard error or an honest infinity.

        Raises
        ------
        ValueError
            If `job` lacks what the estimator needs, or the settings do not fit the state point.
        """

    def seconds(self, config: Any, n: int, pace: Pace) -> float:
        """Return about how many CPU seconds an estimate at N = `n` takes on a machine of `pace`."""
        del config, n, pace
        return 0.0

    def evaluations(self, config: Any, found: FreeEnergy) -> int | None:
        """Return how many energies with forces the estimate took; None where that means nothing."""
        del config, found
        return None

    def converged(self, found: FreeEnergy) -> Verdict:
        """Return whether more sampling with the same settings would leave the estimate as it is."""
        if not found.has_error:
            return Verdict("bad", "no: the data give no error")
        level, text = found.verdict.level, found.verdict.text
        answers = {"good": f"yes: {text}", "warn": f"hardly: {text}", "bad": f"no: {text}"}
        return Verdict(level, answers.get(level, text))

    def overlap(self, found: FreeEnergy, others: Mapping[str, FreeEnergy]) -> Verdict:
        """Return whether the ensembles that the estimate joins have configurations in common.

        `others` are all estimates at the state point, by method.
        """
        del found, others
        return NOT_ASKED

    def bounds(self, found: FreeEnergy) -> Bounds:
        """Return the rigorous bounds of beta F_ex that the estimate implies, if any."""
        del found
        return Bounds()

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield what there is to draw, from the result and from files in the state's folder."""
        del found, folder
        yield from ()


def _checking_phase(estimate: _Estimate) -> _Estimate:
    @wraps(estimate)
    def checked(self: Estimator, job: Job, config: Any) -> FreeEnergy:
        self.check_phase(job.state)
        return estimate(self, job, config)

    return checked


@dataclass(frozen=True)
class Bounds:
    """Rigorous bounds of beta F_ex, each as (value, standard error) in kT; None where unknown."""

    lower: tuple[float, float] | None = None
    upper: tuple[float, float] | None = None
