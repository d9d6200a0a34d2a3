"""Exact estimates from MD along the learned path: MBAR, BAR and thermodynamic integration.

All three use the same samples (`windows`), which are stored and simulated once. `WindowEstimator`
is what they have in common with the classical estimators from windows.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.stored import write_arrays
from openmm_nti.validation.analysis import window_diagnostics
from openmm_nti.validation.analysis.convergence import convergence
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_diagnostics import WindowDiagnostics
from openmm_nti.validation.analysis.window_estimates import (
    estimate_bar,
    estimate_mbar,
    estimate_ti,
)
from openmm_nti.validation.estimators.base import NOT_ASKED, Estimator, Job
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.plots.figure import Figure
from openmm_nti.validation.plots.profiles import profile_figure
from openmm_nti.validation.plots.window_figures import convergence_figure, overlap_figure
from openmm_nti.validation.sampling import windows
from openmm_nti.validation.sampling.placement import WindowsConfig, frames_needed


class WindowEstimator(Estimator):
    """An estimator from samples at windows of lambda.

    Class attributes
    ----------------
    path_name
        Begins the names of its files in the folder of a state point: `<path_name>_windows.npz`.
    """

    Diagnostics: ClassVar[type[WindowDiagnostics]] = WindowDiagnostics
    kind = "exact"
    path_name: ClassVar[str]

    @abstractmethod
    def sample(self, job: Job, config: Any) -> WindowData:
        """Return samples of all windows; finished ones are taken from disk."""

    def samples(self, job: Job, config: Any) -> WindowData:
        """Return the samples, and write them to `<path_name>_windows.npz` for users."""
        data = self.sample(job, config)
        if job.execution.directory is not None:
            data.save(job.execution.directory / f"{self.path_name}_windows.npz")
        return data

    def keep_convergence(self, data: WindowData, state: StatePoint, execution: Execution) -> None:
        """Write the convergence series to `<path_name>_convergence.npz`, for the report.

        Chains of one frame have none.
        """
        if execution.directory is None:
            return
        path = execution.directory / f"{self.path_name}_convergence.npz"
        if not data.n_samples > data.n_chains:
            path.unlink(missing_ok=True)  # of another calculation
            return

        def compute() -> dict[str, Any]:
            return convergence(data, state, method=self.name, execution=execution)._asdict()

        folder = execution.folder(f"{self.path_name}_windows")
        write_arrays(path, folder.stored("convergence", [data, state, self.name], compute))

    def converged(self, found: FreeEnergy) -> Verdict:
        """Return whether more sampling with the same settings would leave the estimate as it is."""
        return window_diagnostics.converged(found.diagnostics, found.has_error)

    def overlap(self, found: FreeEnergy, others: Mapping[str, FreeEnergy]) -> Verdict:
        """Return whether neighbouring windows overlap."""
        del others
        smallest = found.diagnostics.get("min_neighbour_overlap")
        return NOT_ASKED if smallest is None else window_diagnostics.graded_overlap(smallest)

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield the overlap matrix and the convergence series, where there are any."""
        matrix = found.diagnostics.get("overlap_matrix")
        if matrix is None:
            return
        yield overlap_figure(self.name, matrix, found.diagnostics.get("lambdas"))
        path = folder / f"{self.path_name}_convergence.npz"
        if path.is_file():
            yield convergence_figure(self.name, path)


class _NeuralWindows(WindowEstimator):
    """What the estimators from MD along the learned path share."""

    path_name = "neural"
    files = ("neural_windows.npz", "neural_convergence.npz")
    section = "windows"
    Config = WindowsConfig
    needs = frozenset({"energy", "data"})
    in_runs = True

    def sample(self, job: Job, config: WindowsConfig) -> WindowData:
        """Return the samples of all windows."""
        return windows.sample(job.model, job.ensemble, config, job.execution)

    def seconds(self, config: WindowsConfig, n: int, pace: Pace) -> float:
        """Return the time of the MD, of energies at all windows, and of control variates."""
        count, frames = expected_windows(config, n), expected_frames(config, n)
        steps = config.n_chains * config.equilibration_steps + frames * config.steps_between
        # In gradients: a step of MD takes 1.3, an energy at another window 0.15, and the control
        # variates of a frame 11.
        controls = 11.0 if config.control_variates else 0.0
        gradients = count * (1.3 * steps + frames * (0.15 * count + controls))
        return gradients * pace.gradient(n)

    def evaluations(self, config: WindowsConfig, found: FreeEnergy) -> int:
        """Return how many energies with forces the samples took."""
        return n_evaluations(
            found, config.equilibration_steps, config.steps_between, first_is_drawn=True
        )


class MbarNeural(_NeuralWindows):
    """MBAR over all windows."""

    name = "mbar_neural"
    summary = "MBAR over MD with the neural Hamiltonian; exact for any network"
    order = 80
    preference = 20

    def estimate(self, job: Job, config: WindowsConfig) -> FreeEnergy:
        """Return beta F_ex by MBAR."""
        data = self.samples(job, config)
        found = estimate_mbar(data, job.state, method=self.name, execution=job.execution)
        self.keep_convergence(data, job.state, job.execution)
        return found


class BarNeural(_NeuralWindows):
    """Bennett's acceptance ratio of neighbouring windows."""

    name = "bar_neural"
    summary = "BAR of neighbouring windows of the same MD; exact for any network"
    order = 90
    preference = 30

    def estimate(self, job: Job, config: WindowsConfig) -> FreeEnergy:
        """Return beta F_ex by BAR of neighbours."""
        data = self.samples(job, config)
        return estimate_bar(data, job.state, method=self.name, execution=job.execution)


class TiNeuralMd(_NeuralWindows):
    """Thermodynamic integration over the windows."""

    name = "ti_neural_md"
    summary = "Thermodynamic integration over the same MD; exact for any network"
    order = 100
    preference = 40

    def estimate(self, job: Job, config: WindowsConfig) -> FreeEnergy:
        """Return beta F_ex by thermodynamic integration."""
        data = self.samples(job, config)
        return estimate_ti(data, job.state, method=self.name, execution=job.execution)

    def overlap(self, found: FreeEnergy, others: Mapping[str, FreeEnergy]) -> Verdict:
        """Return whether the windows overlap; results of 0.1.0 need `mbar_neural` for that."""
        own = super().overlap(found, others)
        same_windows = others.get("mbar_neural")
        return super().overlap(same_windows, others) if own == NOT_ASKED and same_windows else own

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield the profile of <dU/dlambda>."""
        del folder
        facts = found.diagnostics
        columns = (facts[name] for name in ("lambdas", "dudl_mean", "dudl_std_err"))
        yield profile_figure(self.name, *columns)


def expected_windows(config: WindowsConfig, n: int) -> int:
    """Return about how many windows there will be at N = `n`."""
    return config.n_windows or max(4, round((4 + 0.47 * n) / config.window_length))


def expected_frames(config: WindowsConfig, n: int) -> int:
    """Return about how many frames of all chains a window will have at N = `n`."""
    length = (0.14 if config.control_variates else 0.28) * n
    each = config.n_frames or frames_needed(length, expected_windows(config, n), config)
    return config.n_chains * each


def n_evaluations(
    found: FreeEnergy, equilibration: int, steps_between: int, *, first_is_drawn: bool
) -> int:
    """Return how many energies with forces the samples of an estimate took.

    Parameters
    ----------
    found
        The estimate.
    equilibration, steps_between
        Steps of each chain before its first frame, and between frames.
    first_is_drawn
        Whether positions at lambda = 0 are drawn, without steps.
    """
    facts = found.diagnostics
    left_out = (facts["drift"] or {}).get("left_out", 0.0)
    count, samples = facts["n_windows"], facts["n_samples"] / (1.0 - left_out)
    share = (count - 1) / count if first_is_drawn else 1.0
    return round(share * (count * facts["n_chains"] * equilibration + samples * steps_between))


ESTIMATORS = (MbarNeural(), BarNeural(), TiNeuralMd())
