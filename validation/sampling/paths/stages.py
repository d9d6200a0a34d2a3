r"""Noising and denoising paths in stages, with equilibrium samples of the model between them.

The works of whole paths spread with all that the model's scores are wrong by, and in a dense fluid
both directions hardly meet. Here the noise levels are cut into stages. At each cut, at the noise s,
Hamiltonian Monte Carlo samples exp(-U(x, lambda(s))) with the Hamiltonian of the path, from noised
frames that are near its equilibrium already. Over a stage from a to b,

.. math::
    \omega = U_a(x_a) - U_b(x_b) + \sum_{k=a}^{b-1} \ln \frac{N(x_k; \, x_{k+1} - \delta_k
        \nabla U(x_{k+1}), \, r_k)} {N(x_{k+1}; \, x_k, \, \delta_k)},

is the work of a switching process between two equilibria, so Bennett's ratio of both directions
gives F_a - F_b exactly, for any energies and any scores (G. E. Crooks, Phys. Rev. E 60, 2721
(1999)). U_0 is the energy of the fluid, and the last U is zero: uniform positions. The sum of the
stages is beta F_ex. What one path has to pay at once is paid in small parts. Scores may be those of
a better model than the energies.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.hamiltonian import LambdaHamiltonian, NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.references.noise import LOG_NOISE_MIN, log_noise_max
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.sampling import hmc
from openmm_nti.validation.sampling.noised_frames import noised_frames, reduced_potentials
from openmm_nti.validation.sampling.noising_paths import PathConfig, planned
from openmm_nti.validation.sampling.paths.cuts import cuts
from openmm_nti.validation.sampling.paths.schedule import path_steps
from openmm_nti.validation.sampling.paths.steps import PathSteps, denoise, log_s_of, noise

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 1280
_MOVE = 1.5  # a leapfrog step with the Hamiltonian, in gradients
_PARTICLES_PER_STAGE = 40  # at liquid density, with the shipped model


class StagesConfig(PathConfig):
    """Effort spent on paths in stages."""

    n_steps: int = Field(
        default=150, ge=10, le=1_000_000, description="Steps of all stages of a path together."
    )
    n_stages: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="Stages; by default by what a pilot says they lose.",
    )
    n_chains: int = Field(
        default=16, ge=8, le=10_000, description="Chains of Monte Carlo at each cut."
    )
    equilibration_steps: int = Field(
        default=100, ge=0, le=1_000_000, description="Leapfrog steps before a chain's first frame."
    )
    steps_between: int = Field(
        default=10, ge=1, le=100_000, description="Leapfrog steps of a move; a frame after each."
    )

    @property
    def n_frames(self) -> int:
        """Number of frames of each chain."""
        return max(2, -(-self.n_paths // self.n_chains))

    @property
    def moves_of_cut(self) -> int:
        """Number of leapfrog steps of all chains at a cut."""
        return self.n_chains * (self.equilibration_steps + self.n_frames * self.steps_between)

    @property
    def path_gradients(self) -> int:
        """Number of gradients of all paths."""
        return 2 * self.n_paths * self.n_steps

    @property
    def cut_gradients(self) -> float:
        """What Monte Carlo at a cut costs, in gradients."""
        return _MOVE * self.moves_of_cut

    def expected_stages(self, n_particles: int) -> int:
        """Return how many stages there will be, by a rule of thumb where losses decide."""
        wanted = self.n_stages or max(2, round(n_particles / _PARTICLES_PER_STAGE))
        return min(wanted, self.n_steps)


@dataclass(frozen=True)
class StageWorks:
    """The works of a stage in both directions, and the chain of the frame each path began in.

    `forward` and `reverse` are (n,) in kT, `forward_chain` and `reverse_chain` (n,) integers.
    """

    forward: Array
    reverse: Array
    forward_chain: NDArray[np.int64]
    reverse_chain: NDArray[np.int64]


@dataclass(frozen=True)
class Staged:
    """All stages from the fluid to the ideal gas.

    Attributes
    ----------
    stages
        Their works.
    noise_sigma
        Noise at the cuts, (S + 1,), sigma; from none to half the box.
    drift_z
        Change of the mean energy from the first to the last frames of the chains at each inner cut,
        in standard errors, (S - 1,).
    """

    stages: list[StageWorks]
    noise_sigma: Array
    drift_z: Array


@dataclass(frozen=True)
class _Paths:
    """Everything that decides the works of the paths of all stages."""

    steps: PathSteps
    model: LambdaHamiltonian = field(repr=False)
    cuts: list[int]
    ensemble: Ensemble = field(repr=False)
    config: StagesConfig
    execution: Execution = field(repr=False)

    def coupling(self, cut: int) -> float:
        """Return lambda at the noise of a cut."""
        highest = float(log_noise_max(box_of(self.steps.state)))
        log_s = float(log_s_of(self.steps.levels[self.cuts[cut]], 1))
        return 1.0 - (log_s - LOG_NOISE_MIN) / (highest - LOG_NOISE_MIN)

    def energy(self, cut: int, positions: Tensor) -> Tensor:
        """Return U of configurations (n, N, 3), sigma, at a cut, (n,), kT."""
        if cut == 0:
            return self.model.end.energy(positions, box_of(self.steps.state))
        if cut == len(self.cuts) - 1:
            return torch.zeros(len(positions), dtype=torch.float64)
        couplings = np.array([self.coupling(cut)])
        found = reduced_potentials(self.model, positions, self.steps.state, couplings)
        return torch.as_tensor(found[:, 0])


@takes_execution
def sample(
    score: NoisedFluid,
    model: LambdaHamiltonian,
    ensemble: Ensemble,
    config: StagesConfig,
    execution: Execution,
) -> Staged:
    """Return the works of both directions in all stages; finished parts are taken from disk.

    Parameters
    ----------
    score
        Gives the gradients that paths follow back.
    model
        Gives the energies at the cuts.
    ensemble
        Reference frames.
    config
        Effort.
    execution
        Keeps Monte Carlo in `stage_ends/` and works in `stage_works/` of its folder.

    Raises
    ------
    ValueError
        If there are too few frames.
    """
    state = ensemble.state
    score, model = fit_model(score, state), fit_model(model, state)
    others = None if model is score else model
    frames, schedule = planned(score, ensemble, config, execution, others)
    expected = schedule["losses"], schedule["ends"]
    at = cuts(*expected, config.n_stages, config.path_gradients, config.cut_gradients)
    paths = _Paths(path_steps(score, state, schedule), model, at, ensemble, config, execution)
    inputs = [score, model, ensemble, config, schedule, at]
    found = execution.map_stored(
        partial(_end, paths),
        range(1, len(at) - 1),
        name="stage_ends",
        inputs=inputs,
        description="between stages",
        labels=[f"Monte Carlo at cut {cut}" for cut in range(1, len(at) - 1)],
    )
    inner = [torch.as_tensor(part["positions"]) for part in found]
    box = box_of(state)
    uniform = score.reference.sample(
        config.n_paths, state.n_particles, box, execution.torch_random("uniform")
    )
    ends = [torch.as_tensor(frames), *(part.flatten(0, 1)[: config.n_paths] for part in inner)]
    ends.append(uniform)
    of_paths = [
        (stage, step, number, part)
        for stage in range(len(at) - 1)
        for step in (0, 1)
        for number, part in enumerate(
            ends[stage + step].split(max(1, _ATOMS_PER_BATCH // state.n_particles))
        )
    ]
    parts = execution.map_stored(
        partial(_works, paths),
        of_paths,
        name="stage_works",
        inputs=inputs,
        description="paths in stages",
        labels=[f"{('noising', 'denoising')[step]} of stage {s}" for s, step, *_ in of_paths],
    )
    works: defaultdict[tuple[int, int], list[Array]] = defaultdict(list)
    for (stage, step, *_), part in zip(of_paths, parts, strict=True):
        works[stage, step].append(part["omega"])
    chains = [_chains(len(end), cut, len(ends), config) for cut, end in enumerate(ends)]
    stages = [
        StageWorks(
            np.concatenate(works[stage, 0]),
            np.concatenate(works[stage, 1]),
            chains[stage],
            chains[stage + 1],
        )
        for stage in range(len(at) - 1)
    ]
    drifts = np.array([_drift_z(part["energies"]) for part in found])
    return Staged(stages, np.sqrt(schedule["levels"][at]), drifts)


def _chains(n: int, cut: int, n_ends: int, config: StagesConfig) -> NDArray[np.int64]:
    """Return to which independent chain each of the n configurations at a cut belongs, (n,)."""
    numbers = np.arange(n)
    if cut in (0, n_ends - 1):
        return numbers  # frames of the reference data and uniform positions are independent
    return numbers % config.n_chains


def _end(paths: _Paths, cut: int) -> dict[str, Array]:
    """Return `positions` (F, C, N, 3), sigma, at a cut, and their `energies` (F, C), kT."""
    config, execution = paths.config, paths.execution.child("stage end", cut)
    model, box = execution.place(paths.model), box_of(paths.steps.state)
    lam = paths.coupling(cut)
    starts = noised_frames(paths.ensemble, lam, config.n_chains, execution.torch_random("start"))
    found = hmc.sample(
        model,
        box,
        torch.tensor([lam], dtype=torch.float64),
        starts.unsqueeze(0),
        n_frames=config.n_frames,
        n_steps=config.steps_between,
        equilibration_steps=config.equilibration_steps,
        execution=execution,
    )
    positions = found.positions[0].transpose(0, 1).contiguous()
    energies = replace(paths, model=model).energy(cut, positions.flatten(0, 1))
    return {
        "positions": positions.numpy(),
        "energies": energies.reshape(positions.shape[:2]).numpy(),
    }


def _works(paths: _Paths, part: tuple[int, int, int, Tensor]) -> dict[str, Array]:
    """Return the works `omega` (n,), kT, of some paths: stage, direction, number and starts."""
    stage, reverse, number, positions = part
    execution = paths.execution
    generator = execution.torch_random("stage", stage, reverse, number)
    paths = replace(
        paths,
        model=execution.place(paths.model),
        steps=replace(paths.steps, model=execution.place(paths.steps.model)),
    )
    numbers = range(paths.cuts[stage], paths.cuts[stage + 1])
    before = paths.energy(stage + reverse, positions)
    if reverse:
        ends, omega = denoise(paths.steps, numbers, positions, generator)
        return {"omega": (omega + paths.energy(stage, ends) - before).numpy()}
    ends, omega = noise(paths.steps, numbers, positions, generator)
    return {"omega": (omega + before - paths.energy(stage + 1, ends)).numpy()}


def _drift_z(energies: Array) -> float:
    """Return the change from first to last frames (F, C) over its standard error."""
    change = energies[-1] - energies[0]
    return float(change.mean() / (change.std(ddof=1) / np.sqrt(len(change))))
