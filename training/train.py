"""The training of a model on reference ensembles, in one process or several (`parallel`).

Every step takes frames, noise levels and noise from a generator seeded by the training's seed
and the step's number. So a training that was stopped and resumed takes the same steps as one
without a break.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import with_checksum, write_text
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NetworkConfig, NoisedFluid, build_model
from openmm_nti.hamiltonian.growth import take_weights
from openmm_nti.model_files import CARD_FILE, load_any_model, read_card, save_model
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.runtime.devices import torch_device
from openmm_nti.runtime.tasks import progress_bar
from openmm_nti.training.batches import ensemble_of_step, noise_range, random_batch
from openmm_nti.training.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from openmm_nti.training.config import TrainingConfig
from openmm_nti.training.held_out import HeldOut
from openmm_nti.training.inputs import (
    directory_of,
    inputs_fingerprint,
    metrics_until,
    seconds_before,
    starting_model,
)
from openmm_nti.training.loss import score_loss
from openmm_nti.training.parallel import Processes
from openmm_nti.training.targets import CleanData, NoisedBatch

METRICS_FILE = "metrics.jsonl"


@takes_execution
def train(
    ensembles: Sequence[Ensemble],
    network: NetworkConfig,
    config: TrainingConfig,
    execution: Execution,
) -> NoisedFluid:
    """Train a model on `ensembles`, or finish a training begun in the same folder.

    Parameters
    ----------
    ensembles
        Reference frames; N and the box may differ, and for a conditioned network the fluid too.
    network, config
        Architecture of the network, and settings of the training.
    execution
        Seed, folder and progress. The seed decides initial weights, held-out frames and all noise.
        The folder, which must be given, receives model.safetensors, model.json,
        checkpoint.safetensors and metrics.jsonl. If it holds a finished model, this is returned; if
        it holds a checkpoint, the training goes on from there. The parts may be given as keywords
        instead: `seed=1, directory=folder, progress=True`.

    Returns
    -------
    LambdaHamiltonian or Denoiser
        The kind of network decides which. The model has the running average of the weights, and is
        in evaluation mode on the CPU.

    Raises
    ------
    ValueError
        If there is no folder, or the ensembles are of different pair potentials, too small, or not
        those of the training in the folder.
    """
    directory = directory_of(execution)
    inputs = inputs_fingerprint(ensembles, network, config, execution.seed)
    if (directory / CARD_FILE).is_file():
        if read_card(directory)["training"].get("inputs") != inputs:
            raise ValueError(
                f"{directory} holds a model of another configuration or other data: use a new "
                "directory"
            )
        return load_any_model(directory)
    run = _Training(ensembles, network, config, execution, inputs)
    run.run()
    return run.finish([ensemble.state for ensemble in ensembles])


class _Training:
    """The state of one training run."""

    def __init__(
        self,
        ensembles: Sequence[Ensemble],
        network: NetworkConfig,
        config: TrainingConfig,
        execution: Execution,
        inputs: str,
    ) -> None:
        self.config = config
        self.execution = execution
        self.inputs = inputs
        self.folder = directory_of(execution)
        self.device = torch_device(execution.device if config.device == "auto" else config.device)
        self.processes = Processes(self.device)
        torch.manual_seed(execution.seed)
        self.model = build_model(ensembles[0].state.pair_potential, network).to(self.device)
        self.generator = torch.Generator()
        self.training_data: list[CleanData] = []
        self.held_out: list[HeldOut] = []
        for number, ensemble in enumerate(ensembles):
            self._split(ensemble, number)
        self._normalise(ensembles)
        self.core_seconds_before = 0.0
        if config.start_from is not None:
            start = starting_model(config.start_from, self.model)
            take_weights(self.model, start)
            self.model.take_home(start.home_length, start.home_depth)
            self.core_seconds_before = seconds_before(config.start_from, network)
        self.averaged = copy.deepcopy(self.model)
        # With the tables of each state; weights are shared with the two models.
        self.models = [self.model.bind(ensemble.state) for ensemble in ensembles]
        self.averages = [self.averaged.bind(ensemble.state) for ensemble in ensembles]
        # Weights alone: the tables of the known terms do not change, and need no copy at each step.
        self.weights = nn.ParameterList(self.model.parameters())
        self.average = AveragedModel(self.weights)
        self.average.module = nn.ParameterList(self.averaged.parameters())
        self.average.n_averaged.fill_(1)  # the initial weights count
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99)
        )
        self.step = 0
        self.seconds = 0.0
        checkpoint = self.folder / CHECKPOINT_FILE
        if checkpoint.is_file():
            self.step, self.seconds = load_checkpoint(
                checkpoint,
                self.model,
                self.averaged.state_dict(),
                self.optimiser,
                inputs=inputs,
            )
        self.metrics = metrics_until(self.folder / METRICS_FILE, self.step)

    def run(self) -> None:
        """Take steps until the budget of steps or minutes is spent."""
        began = time.monotonic() - self.seconds
        is_main = self.processes.is_main_process
        # All processes know the steps; to ask the main one means to wait for the device.
        common = self.processes.of_main_process if self.config.max_minutes else float
        losses: list[Tensor] = []
        with progress_bar(self.execution.progress and is_main) as bar:
            task = bar.add_task("training", total=self.config.n_steps, completed=self.step)
            while (share := common(self._share_done())) < 1.0:
                losses.append(self._take_step(share))
                self.step += 1
                self.seconds = time.monotonic() - began
                if self.step % self.config.validate_every == 0 or self._share_done() >= 1.0:
                    if is_main:
                        self._validate(losses)
                        bar.update(task, description=self._progress())
                    losses = []
                bar.update(task, completed=self.step, total=round(self.step / self._share_done()))

    def _progress(self) -> str:
        """Return in words how far the network has raised the bound of each state point."""
        gains = (f"{item['gain_kt']:+.1f}" for item in self.metrics[-1]["held_out"].values())
        return f"training, bound {' '.join(gains)} kT"

    def finish(self, states: list[StatePoint]) -> NoisedFluid:
        """Save the averaged model and return it as loaded from disk."""
        if self.processes.is_main_process:
            self._save(states)
        self.processes.of_main_process(0.0)  # the others wait for the file
        return load_any_model(self.folder)

    def _save(self, states: list[StatePoint]) -> None:
        core_seconds = self.seconds * self.processes.size + self.core_seconds_before
        facts = {
            "inputs": self.inputs,
            "config": self.config.model_dump(),
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "core_seconds": round(core_seconds, 1),
            "validation_loss": self.metrics[-1]["validation_loss"],
            "held_out": self.metrics[-1]["held_out"],
            "processes": self.processes.size,
            "frames": [len(data.positions) for data in self.training_data],
        }
        save_model(
            self.averaged,
            self.folder,
            trained_on=states,
            seed=self.execution.seed,
            training=facts,
        )

    def _split(self, ensemble: Ensemble, number: int) -> None:
        """Hold out a share of the frames, with the same noise in all validations."""
        model = self.model.bind(ensemble.state)
        data = CleanData.from_ensemble(ensemble, model, self.device)
        n_frames = len(data.positions)
        n_held_out = max(1, round(self.config.validation_fraction * n_frames))
        if n_frames < 2:
            raise ValueError(
                f"{ensemble.state}: {n_frames} frame is too few to train on and to validate with"
            )
        self.generator.manual_seed(self.execution.seed_of("held out", number))
        order = torch.randperm(n_frames, generator=self.generator)
        self.training_data.append(data.subset(order[n_held_out:].to(self.device)))
        low, high = noise_range(data, self.config)
        held_out = data.subset(order[:n_held_out].to(self.device))
        self.held_out.append(
            HeldOut(ensemble.state.label, held_out, model, low, high, self.generator)
        )

    def _normalise(self, ensembles: Sequence[Ensemble]) -> None:
        """Scale the network's inputs by their size on the largest systems, over all noise."""
        number, data = max(
            enumerate(self.training_data), key=lambda item: item[1].positions.shape[1]
        )
        model = self.model.bind(ensembles[number].state)
        self.generator.manual_seed(self.execution.seed_of("scales"))
        batch = self._random_batch(data)
        pairs = model.search.pairs(batch.positions, batch.box, model.reach)
        near = model.near(pairs, batch.positions.shape[1])
        vectors, index, mask = model.neighbourhoods(batch.positions, near)
        self.model.network.normalise(vectors, index, mask, batch.log_s.to(vectors.dtype))

    def _take_step(self, share: float) -> Tensor:
        # Each process has its own noise; a single process has that of a training without torchrun.
        number = self.step * self.processes.size + self.processes.rank
        self.generator.manual_seed(self.execution.seed_of("step", number))
        chosen = ensemble_of_step(self.step, self.training_data)
        data = self.training_data[chosen]
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate_at(self.step, share)
        loss = score_loss(self.models[chosen], self._random_batch(data))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.processes.average_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        # Early in the training, the average forgets old weights faster.
        decay = min(self.config.ema_decay, (self.step + 1) / (self.step + 10))
        self.average.multi_avg_fn = get_ema_multi_avg_fn(decay)
        self.average.update_parameters(self.weights)
        return loss.detach()

    def _random_batch(self, data: CleanData) -> NoisedBatch:
        n_atoms = self.config.atoms_per_step // self.processes.size
        return random_batch(data, self.config, n_atoms, self.generator)

    def _share_done(self) -> float:
        by_steps = self.step / self.config.n_steps
        minutes = self.config.max_minutes
        return max(by_steps, self.seconds / (60.0 * minutes) if minutes else 0.0)

    def _validate(self, losses: list[Tensor]) -> None:
        """Evaluate the averaged weights, then write metrics and checkpoint."""
        held_out = {
            item.label: item.evaluate(model)
            for item, model in zip(self.held_out, self.averages, strict=True)
        }
        loss = float(torch.stack(losses).mean())
        validation_loss = sum(item.pop("loss") for item in held_out.values()) / len(held_out)
        gains = [item["gain_kt"] for item in held_out.values()]
        if not all(map(math.isfinite, (loss, validation_loss, *gains))):
            raise ValueError(
                f"the loss is {loss} and {validation_loss} on held-out frames at step {self.step}: "
                "lower learning_rate and start again"
            )
        self.metrics.append(
            {
                "step": self.step,
                "loss": loss,
                "validation_loss": validation_loss,
                "held_out": held_out,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "seconds": round(self.seconds, 2),
            }
        )
        save_checkpoint(
            self.folder / CHECKPOINT_FILE,
            self.model,
            self.averaged.state_dict(),
            self.optimiser,
            step=self.step,
            seconds=self.seconds,
            inputs=self.inputs,
        )
        lines = "".join(json.dumps(with_checksum(line)) + "\n" for line in self.metrics)
        write_text(self.folder / METRICS_FILE, lines)
