"""The training loop: one model on reference ensembles of one or several N, in one process or
several (`parallel`).

Every step draws its frames, noise levels and noise from a generator seeded by (seed, step), so that
a training that was killed and resumed takes the very steps of one that was not. Noise comes in
antithetic pairs.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import fingerprint, write_text
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NetworkConfig, NoisedFluid, build_model
from openmm_nti.hamiltonian.growth import may_grow, take_weights
from openmm_nti.model_files import (
    CARD_FILE,
    load_any_model,
    read_card,
    save_model,
    training_core_seconds,
    weights_fingerprint,
)
from openmm_nti.runtime.tasks import derive_seed, progress_bar
from openmm_nti.training.checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from openmm_nti.training.config import TrainingConfig
from openmm_nti.training.draws import draw, noise_range, turn
from openmm_nti.training.held_out import HeldOut
from openmm_nti.training.loss import score_loss
from openmm_nti.training.parallel import Workers, local_rank
from openmm_nti.training.targets import CleanData, NoisedBatch

METRICS_FILE = "metrics.jsonl"


def train(
    ensembles: Sequence[Ensemble],
    network: NetworkConfig,
    config: TrainingConfig,
    *,
    seed: int,
    directory: str | Path,
    progress: bool = True,
) -> NoisedFluid:
    """Train a model on `ensembles`, or finish a training begun in `directory`.

    Parameters
    ----------
    ensembles
        Reference frames, of one pair potential; N and the box may differ.
    network, config
        Architecture and training settings; a `denoiser` network makes a `Denoiser`, any other a
        `LambdaHamiltonian`.
    seed
        Decides initial weights, the held-out frames and all noise.
    directory
        Receives model.safetensors, model.json, checkpoint.safetensors and metrics.jsonl. What is
        there already is taken up: a finished model is returned, a checkpoint continued.
    progress
        Show a progress bar with the time left.

    Returns
    -------
    LambdaHamiltonian or Denoiser
        With the running average of the weights, in evaluation mode, on the CPU.

    Raises
    ------
    ValueError
        If the ensembles are of different pair potentials, too small, or not those of the training
        in `directory`.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    inputs = _inputs(ensembles, network, config, seed)
    if (directory / CARD_FILE).is_file():
        if read_card(directory)["training"].get("inputs") != inputs:
            raise ValueError(
                f"{directory} holds a model of another configuration or other data: use a new "
                "directory"
            )
        return load_any_model(directory)
    run = _Training(ensembles, network, config, seed, directory, inputs)
    run.run(progress)
    return run.finish([ensemble.state for ensemble in ensembles])


class _Training:
    """State of one training run."""

    def __init__(
        self,
        ensembles: Sequence[Ensemble],
        network: NetworkConfig,
        config: TrainingConfig,
        seed: int,
        directory: Path,
        inputs: str,
    ) -> None:
        self.config, self.seed, self.directory, self.inputs = config, seed, directory, inputs
        self.device = torch.device(_device(config.device))
        self.workers = Workers(self.device)
        torch.manual_seed(seed)
        self.model = build_model(ensembles[0].state.pair_potential, network).to(self.device)
        self.generator = torch.Generator()
        self.training_data: list[CleanData] = []
        self.held_out: list[HeldOut] = []
        for number, ensemble in enumerate(ensembles):
            self._split(ensemble, number)
        self._normalise()
        self.core_seconds_before = 0.0
        if config.start_from is not None:
            self._start_from(config.start_from)
        self.average = {
            name: value.detach().clone() for name, value in self.model.state_dict().items()
        }
        self.optimiser = torch.optim.Adam(
            self.model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99)
        )
        self.step, self.seconds = 0, 0.0
        checkpoint = directory / CHECKPOINT_FILE
        if checkpoint.is_file():
            self.step, self.seconds = load_checkpoint(
                checkpoint, self.model, self.average, self.optimiser, inputs=inputs
            )
        self.metrics = _metrics_until(directory / METRICS_FILE, self.step)

    def run(self, progress: bool) -> None:
        """Step until the budget of steps or minutes is spent."""
        began = time.monotonic() - self.seconds
        losses: list[Tensor] = []
        with progress_bar(progress and self.workers.leads) as bar:
            task = bar.add_task("training", total=self.config.n_steps, completed=self.step)
            while (share := self.workers.agree(self._share_done())) < 1.0:
                losses.append(self._take_step(share))
                self.step += 1
                self.seconds = time.monotonic() - began
                if self.step % self.config.validate_every == 0 or self._share_done() >= 1.0:
                    if self.workers.leads:
                        self._validate(losses)
                        bar.update(task, description=self._progress())
                    losses = []
                bar.update(task, completed=self.step, total=round(self.step / self._share_done()))

    def _progress(self) -> str:
        """How far the network has raised the bound on beta F_ex above the two-body path's, for each
        state point.
        """
        gains = (f"{item['gain_kt']:+.1f}" for item in self.metrics[-1]["held_out"].values())
        return f"training, bound {' '.join(gains)} kT"

    def finish(self, states: list[StatePoint]) -> NoisedFluid:
        """Save the averaged model and return it as loaded from disk."""
        if self.workers.leads:
            self._save(states)
        self.workers.agree(0.0)  # the others wait for the file
        return load_any_model(self.directory)

    def _save(self, states: list[StatePoint]) -> None:
        self.model.load_state_dict(self.average)
        facts = {
            "inputs": self.inputs,
            "config": self.config.model_dump(),
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            "core_seconds": round(self.seconds * self.workers.size + self.core_seconds_before, 1),
            "validation_loss": self.metrics[-1]["validation_loss"],
            "held_out": self.metrics[-1]["held_out"],
            "processes": self.workers.size,
            "frames": [len(data.positions) for data in self.training_data],
        }
        save_model(self.model, self.directory, trained_on=states, seed=self.seed, training=facts)

    def _split(self, ensemble: Ensemble, number: int) -> None:
        """Hold out a share of the frames, noised once and for all at levels spread over the whole
        path.
        """
        data = CleanData.from_ensemble(ensemble, self.model, self.device)
        n_frames = len(data.positions)
        n_held_out = max(1, round(self.config.validation_fraction * n_frames))
        if n_frames < 2:
            raise ValueError(
                f"{ensemble.state}: {n_frames} frame is too few to train on and to validate with"
            )
        self.generator.manual_seed(derive_seed(self.seed, "held out", number))
        order = torch.randperm(n_frames, generator=self.generator)
        self.training_data.append(data.subset(order[n_held_out:].to(self.device)))
        low, high = noise_range(data, self.config)
        held_out = data.subset(order[:n_held_out].to(self.device))
        self.held_out.append(
            HeldOut(ensemble.state.label, held_out, self.model, low, high, self.generator)
        )

    def _normalise(self) -> None:
        """Scale the descriptors by their size on the densest reference data, over all noise
        levels.
        """
        data = max(self.training_data, key=lambda item: item.positions.shape[1])
        self.generator.manual_seed(derive_seed(self.seed, "scales"))
        batch = self._draw(data)
        pairs = self.model.search.pairs(batch.positions, batch.box, self.model.reach)
        vectors, index, mask = self.model.neighbourhoods(batch.positions, self.model.near(pairs))
        self.model.network.normalise(vectors, index, mask, batch.log_s.to(vectors.dtype))

    def _start_from(self, start: str) -> None:
        """Begin with the weights of a finished model."""
        other = load_any_model(start)
        fits = may_grow(other.network_config, self.model.network_config)
        if not fits or other.potential != self.model.potential:
            raise ValueError(
                f"start_from: the model at {start} is of another network or potential: use the "
                "same ones; "
                "only n_refinements may be larger here, and n_relaxations where there were none"
            )
        take_weights(self.model, other)
        self.core_seconds_before = training_core_seconds(start) or 0.0

    def _take_step(self, share: float) -> Tensor:
        config = self.config
        # Each process has draws of its own; one process alone has those of a training without
        # torchrun.
        draw = self.step * self.workers.size + self.workers.rank
        self.generator.manual_seed(derive_seed(self.seed, "step", draw))
        data = self.training_data[turn(self.step, self.training_data)]
        rate = config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * share))
        rate *= min(1.0, (self.step + 1) / max(1, config.warmup_steps))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = score_loss(self.model, self._draw(data))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.workers.average_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        self.optimiser.step()
        # Early averages forget the first steps sooner.
        decay = min(config.ema_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1.0 - decay)
        return loss.detach()

    def _draw(self, data: CleanData) -> NoisedBatch:
        return draw(
            data, self.config, self.config.atoms_per_step // self.workers.size, self.generator
        )

    def _share_done(self) -> float:
        by_steps = self.step / self.config.n_steps
        by_time = (
            self.seconds / (60.0 * self.config.max_minutes) if self.config.max_minutes else 0.0
        )
        return max(by_steps, by_time)

    def _validate(self, losses: list[Tensor]) -> None:
        """Evaluate the averaged weights, then write metrics and checkpoint."""
        current = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        held_out = {item.label: item.evaluate(self.model) for item in self.held_out}
        validation_loss = sum(item.pop("loss") for item in held_out.values()) / len(held_out)
        self.model.load_state_dict(current)
        self.metrics.append(
            {
                "step": self.step,
                "loss": float(torch.stack(losses).mean()),
                "validation_loss": validation_loss,
                "held_out": held_out,
                "learning_rate": self.optimiser.param_groups[0]["lr"],
                "seconds": round(self.seconds, 2),
            }
        )
        if not math.isfinite(validation_loss):
            raise ValueError(
                f"the loss is {validation_loss} at step {self.step}: lower learning_rate and start "
                "again"
            )
        save_checkpoint(
            self.directory / CHECKPOINT_FILE,
            self.model,
            self.average,
            self.optimiser,
            step=self.step,
            seconds=self.seconds,
            inputs=self.inputs,
        )
        lines = "".join(json.dumps(line) + "\n" for line in self.metrics)
        write_text(self.directory / METRICS_FILE, lines)


def _inputs(
    ensembles: Sequence[Ensemble], network: NetworkConfig, config: TrainingConfig, seed: int
) -> str:
    """Fingerprint of all that decides the result; checks that the ensembles belong together."""
    if not ensembles:
        raise ValueError("no ensembles to train on: generate reference data first")
    potentials = {ensemble.state.pair_potential for ensemble in ensembles}
    if len(potentials) > 1:
        raise ValueError(
            "the ensembles differ in temperature, cutoff or convention: train one model for each"
        )
    data = [
        [e.state.model_dump(), e.positions_nm.shape[0], float(e.positions_nm.sum())]
        for e in ensembles
    ]
    start = (
        []
        if config.start_from is None
        else [weights_fingerprint(load_any_model(config.start_from))]
    )
    return fingerprint([data, network.model_dump(), config.model_dump(), seed, *start])


def _device(name: str) -> str:
    if name != "auto":
        return name
    return f"cuda:{local_rank()}" if torch.cuda.is_available() else "cpu"


def _metrics_until(path: Path, step: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["step"] <= step]
