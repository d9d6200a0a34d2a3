"""The stages of a run, in order: reference data, training, estimates, results.

Each stage goes on from what is on disk, so a second `run` resumes the first. Random numbers depend
on the seed, the state point and the stage.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from openmm_nti.cli.forecast import forecast_run, is_left
from openmm_nti.cli.results import write_estimate, write_results
from openmm_nti.cli.run_config import RunConfig
from openmm_nti.cli.run_directory import RunDirectory
from openmm_nti.cli.safety.opening import write_config
from openmm_nti.cli.safety.preflight import announce
from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path, sha256_of
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.model_files import load_any_model, load_denoiser
from openmm_nti.reference_md import from_trajectory, generate
from openmm_nti.reference_md.frame_checks import checked, summary
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.stored import read_arrays, write_arrays
from openmm_nti.training import train
from openmm_nti.training.parallel import rank_and_size
from openmm_nti.validation.analysis.gr import with_errors as radial_distribution
from openmm_nti.validation.estimators import neural_ti
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.registry import all_estimators
from openmm_nti.validation.report.page import write_report
from openmm_nti.validation.sweep.anchor import anchor_from
from openmm_nti.validation.sweep.beside import Beside
from openmm_nti.validation.sweep.config import SweepConfig
from openmm_nti.validation.sweep.run import states_of, sweep

_FEWEST_FRAMES = {"fluid": 8, "crystal": 32}  # from which errors can be told


class Pipeline:
    """One run: its configuration, its directory, and the console for its messages.

    With `accept_frames`, frames that do not look like the fluid of the configuration are kept with
    a warning. Where `read_only` says why the directory cannot be written to, a finished run is
    shown from its files.
    """

    def __init__(
        self,
        config: RunConfig,
        directory: RunDirectory,
        console: Console,
        *,
        accept_frames: bool = False,
        read_only: str = "",
    ) -> None:
        self.config = config
        self.directory = directory
        self.console = console
        self.accept_frames = accept_frames
        self.read_only = read_only
        self.execution = Execution(
            config.seed, config.workers, directory.path, progress=True, device=config.device
        )

    def run(self) -> None:
        """Run all stages, up to results.json and report.html."""
        if self.read_only:
            self.report()
            return
        self.forecast()
        ensembles = self.reference()
        model = self.train(ensembles)
        for ensemble in ensembles:
            self.estimate(model, ensemble)
        self.report()
        if self.config.sweep is not None:
            self._sweep(self.config.sweep)

    def take_config(self, config: RunConfig) -> None:
        """Go on with another configuration, of which nothing is made yet."""
        self.config = config
        write_config(self.directory, config)

    def forecast(self, *stages: str) -> None:
        """Print how long the rest of `stages` will take; by default all, with the estimates.

        Raises
        ------
        ConfigError
            If the disk has too little room for their files.
        """
        forecast = forecast_run(self.config, self.directory, stages or None)
        announce(forecast, self.directory.path, self.console)

    def import_trajectory(self, trajectory: Path, topology: Path | None) -> None:
        """Make the reference ensemble from the user's own trajectory.

        Raises
        ------
        ValueError
            If the run has several state points, or has reference data of another origin already, or
            there are too few frames.
        """
        if len(self.config.system) > 1:
            raise ValueError(
                "--trajectory is of one state point: give system.n_particles as one number"
            )
        path = self.directory.reference / f"{self.config.system[0].label}.h5"
        if path.is_file():
            known = self.directory.ensemble(self.config.system[0]).provenance
            if known.get("trajectory_sha256") == sha256_of(trajectory):
                return
            raise ValueError(
                f"{path} exists already, of other frames: delete it or name another --output"
            )
        found = from_trajectory(
            trajectory,
            topology,
            self.config.system[0],
            seed=self.config.seed,
            accept_frames=self.accept_frames,
        )
        fewest = _FEWEST_FRAMES["fluid" if found.state.crystal is None else "crystal"]
        if found.n_frames < fewest:
            raise ValueError(
                f"{trajectory} has {found.n_frames} decorrelated frames, and training and "
                f"estimates need {fewest} or more: simulate longer"
            )
        found.save(path)

    def reference(self) -> list[Ensemble]:
        """Return the reference ensembles, simulated where no trajectory was imported.

        Frames that were not checked when their file was written are checked now.
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
        return [self._checked(state) for state in self.config.system]

    def _checked(self, state: StatePoint) -> Ensemble:
        """Return an ensemble from disk, where its file then says what the check found."""
        path = self.directory.reference / f"{state.label}.h5"
        stored = self.directory.ensemble(state)
        ensemble = checked(stored, str(path), accept_frames=self.accept_frames)
        if ensemble is not stored and rank_and_size()[1] == 1:
            ensemble.save(path)
        self.console.print(f"  frames: {summary(ensemble.provenance)}")
        return ensemble

    def _ready_ensembles(self) -> list[Ensemble]:
        """Return the ensembles on disk, for a training in several processes simulates none."""
        try:
            return [self._checked(state) for state in self.config.system]
        except FileNotFoundError as error:
            raise ValueError(
                f"{error}: before torchrun, make the data by openmm-nti generate"
            ) from error

    def _imported(self, state: StatePoint) -> bool:
        exists = (self.directory.reference / f"{state.label}.h5").is_file()
        return exists and "trajectory" in self.directory.ensemble(state).provenance

    def train(self, ensembles: Sequence[Ensemble]) -> NoisedFluid:
        """Return the model: trained, or a copy of the one that the configuration names."""
        if self.config.model is not None:
            self._say("model", self.config.model)
            self.directory.take_model(self.config.model)
            return load_any_model(self.directory.model)
        settings = self.config.training
        limit = f", or {settings.max_minutes:g} minutes" if settings.max_minutes else ""
        self._say("training", f"{settings.n_steps:,} steps{limit}")
        execution = self.execution.folder("model")
        return train(ensembles, self.config.network, self.config.training, execution)

    def estimate(self, model: NoisedFluid, ensemble: Ensemble) -> None:
        """Make those estimates of the configuration at one state point that are not on disk yet.

        Those that need no energy take the denoiser that comes with a model, if there is one.
        """
        state = ensemble.state
        self._say("estimates", str(state))
        score = load_denoiser(self.directory.model)
        folder = self.execution.folder(state.label)
        job = Job(state, ensemble, model, folder, denoiser=score)
        for name, known in all_estimators().items():
            if not is_left(known, self.config, self.directory, state):
                continue
            settings = getattr(self.config.estimates, known.section)
            job = replace(job, trained=model if "energy" in known.needs else score)
            for species in known.species_at(state):
                path = self.directory.estimate(state, name, species)
                if path.is_file():
                    continue
                result = known.estimate(_of_species(job, species), settings)
                write_estimate(path, result)
                where = f", MD on {result.platform}" if result.platform else ""
                self.console.print(f"  {result}{where}")
        _write_radial_distributions(ensemble, self.directory.state(state))

    def report(self) -> None:
        """Write results.json and report.html from what is on disk."""
        if self.read_only:
            self.console.print(
                f"{self.directory.path} cannot be written to ({self.read_only}): its results are "
                "shown, no file changes",
                soft_wrap=True,
            )
            return
        write_results(self.directory, self.config)
        write_report(self.directory.path)

    def _sweep(self, asked: SweepConfig) -> None:
        """Make the sweep that the run ends with, anchored at the number that it quotes."""
        self._say("sweep", "the same fluid at other temperatures")
        state, run = self.config.system[0], self.directory
        try:
            anchor = anchor_from(str(run.results), state)
        except ValueError as error:
            self.console.print(f"left out: {error}")
            return
        states = states_of(state, asked.temperatures(state), anchor)
        own = run.reference / f"{state.label}.h5"
        there = run.sweep / "reference" / own.name
        if "made_with" in Ensemble.load(own).provenance and not there.is_file():
            there.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(there) as temporary:  # the run's own frames, where MD made them
                shutil.copy(own, temporary)
        beside = None
        if asked.method is not None:
            name = self.config.model or "the run's model"
            beside = Beside.of(name, asked.method, self.config.settings_of, states, run.model)
        sweep(states, self.config.reference, anchor, self.execution.folder("sweep"), beside)

    def _say(self, stage: str, detail: str) -> None:
        self.console.print(f"[bold]{stage}[/bold]: {detail}")


def _of_species(job: Job, species: str | None) -> Job:
    """Return the job for one species of a mixture, with a folder of its own."""
    if species is None:
        return job
    return replace(job, species=species, execution=job.execution.folder(species))


def _write_radial_distributions(ensemble: Ensemble, directory: Path) -> None:
    """Write g(r) of the data, and of the model's samples if there are any, to gr.npz."""
    edges = ensemble.state.edges_sigma
    r, g, error = radial_distribution(ensemble.positions_sigma, edges, ensemble.n_independent)
    arrays = {"r_sigma": r, "g_data": g, "err_data": error}
    samples = directory / neural_ti.FILE
    if samples.is_file():
        positions = read_arrays(samples, ("positions_sigma",))["positions_sigma"]
        _, arrays["g_model"], arrays["err_model"] = radial_distribution(positions, edges)
    write_arrays(directory / "gr.npz", arrays)
