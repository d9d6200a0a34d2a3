"""The stages of a run, in order: reference data, training, estimates, results.

Each stage takes up what is on disk, so `run` again is `resume`. Random numbers come from (seed,
state point, stage).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from openmm_nti.cli.estimators import METHODS, Job
from openmm_nti.cli.forecast import check_disk, foresee_run
from openmm_nti.cli.results import write_estimate, write_results
from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.networks.registry import network_class
from openmm_nti.reference_md import from_trajectory, generate
from openmm_nti.training import train
from openmm_nti.training.parallel import rank_and_size
from openmm_nti.validation.analysis import gr
from openmm_nti.validation.analysis.convergence import convergence
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.report.page import write_report


class Pipeline:
    """One run: its configuration, its directory, and where it says what it is doing."""

    def __init__(self, config: RunConfig, directory: RunDirectory, console: Console) -> None:
        self.config, self.directory, self.console = config, directory, console

    def run(self) -> None:
        """Everything, up to results.json and report.html; ValueError for a network that gives no
        energies.
        """
        kind = self.config.network.kind
        if not network_class(kind).gives_energy:
            raise ValueError(
                f"network.kind: {kind} has no energies to estimate with: `train` it alone, or use "
                "`density`"
            )
        self.foresee()
        ensembles = self.reference()
        model = self.train(ensembles)
        for ensemble in ensembles:
            self.estimate(model, ensemble)
        self.report()

    def foresee(self, *stages: str) -> None:
        """Say how long the stages (by default all) will take, where there is anything left to do.

        Raises
        ------
        ConfigError
            If the disk has no room for what they write.
        """
        forecast = foresee_run(self.config, self.directory, stages)
        check_disk(forecast, self.directory.path)
        if forecast.seconds > 0:
            self.console.print(str(forecast))

    def import_trajectory(self, trajectory: Path, topology: Path | None) -> None:
        """Make the reference ensemble from a trajectory of the user's own.

        Raises
        ------
        ValueError
            If the run has several state points, or holds reference data already.
        """
        if len(self.config.system) > 1:
            raise ValueError(
                "--trajectory is of one state point: give system.n_particles as one number"
            )
        path = self.directory.reference / f"{self.config.system[0].label}.h5"
        if path.is_file():
            raise ValueError(f"{path} exists already: delete it or name another --output")
        from_trajectory(trajectory, topology, self.config.system[0], seed=self.config.seed).save(
            path
        )

    def reference(self) -> list[Ensemble]:
        """Reference ensembles, one for each state point: simulated, where no trajectory was
        imported.
        """
        self._say("reference data", ", ".join(str(state) for state in self.config.system))
        if rank_and_size()[1] > 1:
            return self._ready_ensembles()
        generate(
            [state for state in self.config.system if not self._imported(state)],
            self.config.reference,
            seed=self.config.seed,
            directory=self.directory.reference,
            workers=self.config.workers,
            progress=True,
        )
        return [self.directory.ensemble(state) for state in self.config.system]

    def _ready_ensembles(self) -> list[Ensemble]:
        """What `generate` has made: several processes of one training read it and never
        simulate.
        """
        try:
            return [self.directory.ensemble(state) for state in self.config.system]
        except FileNotFoundError as error:
            raise ValueError(
                f"{error}: before torchrun, make the data by openmm-nti generate"
            ) from error

    def _imported(self, state: StatePoint) -> bool:
        exists = (self.directory.reference / f"{state.label}.h5").is_file()
        return exists and "trajectory" in self.directory.ensemble(state).provenance

    def train(self, ensembles: Sequence[Ensemble]) -> NoisedFluid:
        """The trained model."""
        self._say("training", f"{self.config.training.n_steps} steps")
        return train(
            ensembles,
            self.config.network,
            self.config.training,
            seed=self.config.seed,
            directory=self.directory.model,
            progress=True,
        )

    def estimate(self, model: NoisedFluid, ensemble: Ensemble) -> None:
        """All estimates at one state point that the configuration asks for and that are not on disk
        yet.
        """
        state = ensemble.state
        self._say("estimates", str(state))
        job = Job(
            state,
            ensemble,
            model,
            self.config.seed,
            self.config.workers,
            self.directory.state(state),
        )
        for name, method in METHODS.items():
            config = getattr(self.config.estimates, method.section)
            path = self.directory.estimates(state) / f"{name}.json"
            if config is None or not method.applies(config, state) or path.is_file():
                continue
            result = method.compute(job, config)
            write_estimate(path, result)
            self.console.print(f"  {result}")
        _write_convergence(state, job.directory, seed=self.config.seed)
        _write_radial_distributions(ensemble, job.directory)

    def report(self) -> None:
        """results.json and report.html from what is on disk."""
        write_results(self.directory, self.config)
        write_report(self.directory.path)

    def _say(self, stage: str, detail: str) -> None:
        self.console.print(f"[bold]{stage}[/bold]: {detail}")


def _write_convergence(state: StatePoint, directory: Path, *, seed: int) -> None:
    """Forward and backward series of both MBAR estimates, as far as there are windows:
    *_convergence.npz.
    """
    for name in ("neural", "softcore"):
        windows, path = directory / f"{name}_windows.npz", directory / f"{name}_convergence.npz"
        if not windows.is_file() or path.is_file():
            continue
        data = WindowData.load(windows)
        if data.n_samples > data.n_chains:  # chains of one frame show none
            found = convergence(data, state, method=f"mbar_{name}", seed=seed)
            with atomic_path(path) as temporary:
                np.savez(temporary, allow_pickle=False, **found._asdict())


def _write_radial_distributions(ensemble: Ensemble, directory: Path) -> None:
    """g(r) of the data and, where there are any, of the model's own samples: gr.npz for the
    report.
    """
    box = ensemble.state.box_length_sigma
    r, g = gr.radial_distribution(ensemble.positions_sigma, box)
    arrays = {"r_sigma": r, "g_data": g}
    samples = directory / "neural_ti.npz"
    if samples.is_file():
        with np.load(samples) as file:
            arrays["g_model"] = gr.radial_distribution(file["positions_sigma"], box)[1]
    with atomic_path(directory / "gr.npz") as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)
