r"""Neural TI as published: thermodynamic integration over samples of the model's own reverse
diffusion.

Samples start uniform in the box at s = s_max and are denoised level by level (ancestral sampling of
the variance-exploding process),

.. math:: x_{k-1} = x_k - \Delta v \, \nabla U(x_k) + \sqrt{\Delta v \, v_{k-1} / v_k} \; z, \qquad
          v = s_{eff}^2, \quad \Delta v = v_k - v_{k-1},

and beta F_ex = int_0^1 <dU/dlambda> dlambda along the way (Mate, Fleuret, Bereau, arXiv
2406.02313). Trajectories are independent, so the error is that of their separate integrals. After
each step a few of Langevin dynamics at the level reached (a `corrector`: Song et al., arXiv
2011.13456) bring the samples nearer to exp(-U), whose dU/dlambda is averaged: in the limit of many
the integral is exact, for any model. Along a path dU = dU/dlambda dlambda + grad U . dx, whose
random part, the sum of grad U(x_k) . (noise of the step), has mean zero whatever the model:
regression on it, by stretches of the path, takes out most of the scatter. With few corrector steps
the samples lag behind the path, by an error that is not in the standard error. `mbar_ti` and
`bounds` know better. The lag comes from where dU/dlambda scatters, so with a corrector the levels
are spaced by thermodynamic length (Sivak, Crooks, Phys. Rev. Lett. 108, 190602 (2012), with one
relaxation time for all lambda), which a few short trajectories tell beforehand.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.model_files import check_model_fits, weights_fingerprint
from openmm_nti.references.noise import effective_variance, log_noise
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed, run_tasks, track
from openmm_nti.validation.analysis.regression import regressed_mean
from openmm_nti.validation.sampling.corrector import Corrector, evaluate

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 1280
_N_STRETCHES = 8  # of the path, each with its own slope in the regression
_PILOT_LEVELS, _PILOT_SAMPLES = 50, 16
_UNIFORM_SHARE = 0.25  # of the levels, wherever the others are


class NeuralTIConfig(BaseModel):
    """Effort spent on reverse diffusion."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_samples: int = Field(default=96, ge=4, description="Independent reverse trajectories.")
    n_steps: int = Field(
        default=400,
        ge=10,
        description="Noise levels, where dU/dlambda scatters the closest; equidistant in lambda "
        "without a corrector.",
    )
    corrector_steps: int = Field(
        default=5,
        ge=0,
        description="Langevin steps at every level after the denoising step; the paper has none.",
    )

    @property
    def n_evaluations(self) -> int:
        """Gradients of the model at one configuration each, those that find the levels included."""
        pilot = _PILOT_SAMPLES * (_PILOT_LEVELS + 1) if self.corrector_steps else 0
        return (self.n_samples * (self.n_steps + 1) + pilot) * (1 + self.corrector_steps)


@dataclass(frozen=True)
class _Batch:
    """One task: some of the trajectories, and the file that keeps them."""

    number: int
    n_samples: int
    model: LambdaHamiltonian = field(repr=False)
    state: StatePoint = field(repr=False)
    config: NeuralTIConfig = field(repr=False)
    lambdas: Array = field(repr=False)
    seed: int = field(repr=False)
    path: Path = field(repr=False)


def estimate(
    model: LambdaHamiltonian,
    state: StatePoint,
    config: NeuralTIConfig,
    *,
    seed: int,
    directory: str | Path,
    workers: int = 1,
    progress: bool = True,
) -> FreeEnergy:
    """Beta F_ex by reverse diffusion and TI; method `neural_ti`.

    Parameters
    ----------
    model
        A trained `LambdaHamiltonian` of the state's pair potential.
    state
        State point.
    config
        Effort.
    seed
        Of the reverse diffusion.
    directory
        Receives neural_ti.npz: `lambdas` (n_steps + 1,), `dudl_mean` and `dudl_err` in kT, and the
        final samples `positions_sigma` (n_samples, N, 3). Levels and finished batches in
        `neural_ti/` are not found again.
    workers
        Processes to share the trajectories out to.
    progress
        Show a progress bar with the time left.

    Raises
    ------
    ValueError
        If model and state are of different pair potentials, or a trajectory runs into NaN.
    """
    check_model_fits(model, state)
    directory = Path(directory)
    name = fingerprint([state.model_dump(), config.model_dump(), seed, weights_fingerprint(model)])
    schedule = directory / "neural_ti" / f"{name}_levels.npz"
    if not schedule.is_file():
        with atomic_path(schedule) as temporary:
            np.savez(temporary, lambdas=_levels(model, state, config, seed, progress=progress))
    lambdas = read_arrays(schedule, ("lambdas",))["lambdas"]
    name = fingerprint(
        [name, lambdas.tolist()]
    )  # trajectories over other levels must not mix with these
    size = max(1, _ATOMS_PER_BATCH // state.n_particles)
    sizes = [min(size, config.n_samples - start) for start in range(0, config.n_samples, size)]
    tasks = [
        _Batch(
            number,
            count,
            model,
            state,
            config,
            lambdas,
            seed,
            directory / "neural_ti" / f"{name}_{number:03d}.npz",
        )
        for number, count in enumerate(sizes)
    ]
    results = run_tasks(
        _run_batch, tasks, workers=workers, description="reverse diffusion", progress=progress
    )
    dudl, work, positions = (np.concatenate(parts) for parts in zip(*results, strict=True))
    errors = dudl.std(axis=0, ddof=1) / math.sqrt(len(dudl))
    with atomic_path(directory / "neural_ti.npz") as temporary:
        np.savez(
            temporary,
            lambdas=lambdas,
            dudl_mean=dudl.mean(axis=0),
            dudl_err=errors,
            positions_sigma=positions,
        )
    return _integrate(lambdas, dudl, work, state, config)


def sample(
    model: LambdaHamiltonian,
    state: StatePoint,
    config: NeuralTIConfig,
    *,
    seed: int,
    progress: bool = False,
) -> Array:
    """Positions (n_samples, N, 3) in sigma drawn by reverse diffusion alone, wrapped into the
    box.
    """
    check_model_fits(model, state)
    lambdas = _levels(model, state, config, seed, progress=progress)
    seed = derive_seed(seed, "reverse", 0)
    bar = "reverse diffusion" if progress else ""
    return _reverse_diffusion(
        model, state, lambdas, config.corrector_steps, config.n_samples, seed, bar
    )[2]


def _levels(
    model: LambdaHamiltonian,
    state: StatePoint,
    config: NeuralTIConfig,
    seed: int,
    *,
    progress: bool,
) -> Array:
    """Lambda of the noise levels, ascending from 0 to 1, (n_steps + 1,)."""
    if not config.corrector_steps:
        return np.linspace(0.0, 1.0, config.n_steps + 1)
    coarse = np.linspace(0.0, 1.0, _PILOT_LEVELS + 1)
    seed = derive_seed(seed, "levels")
    bar = "placing levels" if progress else ""
    dudl = _reverse_diffusion(
        model, state, coarse, config.corrector_steps, _PILOT_SAMPLES, seed, bar
    )[0]
    scatter = dudl.std(axis=0, ddof=1) + 1e-9  # equidistant where nothing scatters
    length = np.concatenate([[0.0], np.cumsum(scatter[1:] + scatter[:-1])])
    place = _UNIFORM_SHARE * coarse + (1.0 - _UNIFORM_SHARE) * length / length[-1]
    return np.asarray(np.interp(np.linspace(0.0, 1.0, config.n_steps + 1), place, coarse))


def _integrate(
    lambdas: Array, dudl: Array, work: Array, state: StatePoint, config: NeuralTIConfig
) -> FreeEnergy:
    """Integrate every trajectory by itself; half the levels show what the discretisation costs."""
    integrals = np.asarray(np.trapezoid(dudl, lambdas, axis=1))
    coarse = np.trapezoid(dudl[:, ::2], lambdas[::2], axis=1) if len(lambdas) % 2 else integrals
    n_stretches = min(_N_STRETCHES, len(integrals) // 8)
    stretches = np.array_split(np.arange(work.shape[1]), n_stretches) if n_stretches else []
    controls = np.column_stack(
        [np.zeros(len(integrals)), *(work[:, steps].sum(axis=1) for steps in stretches)]
    )
    value, statistical, _ = regressed_mean(integrals, controls)
    # The trapezoidal error falls with the square of the spacing: a third of the change is what
    # remains.
    discretisation = abs(regressed_mean(integrals - coarse, controls)[0]) / 3.0
    return FreeEnergy(
        value=value,
        std_err=math.hypot(statistical, discretisation),
        method="neural_ti",
        convention=state.convention,
        n_particles=state.n_particles,
        diagnostics={
            "n_samples": len(integrals),
            "n_steps": config.n_steps,
            "corrector_steps": config.corrector_steps,
            "n_evaluations": config.n_evaluations,
            "statistical_err": statistical,
            "discretisation_err": discretisation,
            "plain_mean_err": float(integrals.std(ddof=1) / math.sqrt(len(integrals))),
            "verdict": "samples may lag behind the path by more than the error bar; "
            "take more n_steps, or mbar_neural, which is exact for any network",
        },
    )


def _run_batch(task: _Batch) -> tuple[Array, Array, Array]:
    names = ("dudl", "work", "positions_sigma")
    if not task.path.is_file():
        seed = derive_seed(task.seed, "reverse", task.number)
        steps = task.config.corrector_steps
        found = _reverse_diffusion(
            task.model, task.state, task.lambdas, steps, task.n_samples, seed
        )
        with atomic_path(task.path) as temporary:
            np.savez(temporary, allow_pickle=False, **dict(zip(names, found, strict=True)))
    arrays = read_arrays(task.path, names)
    return arrays["dudl"], arrays["work"], arrays["positions_sigma"]


def _reverse_diffusion(
    model: LambdaHamiltonian,
    state: StatePoint,
    levels: Array,
    corrector_steps: int,
    n_samples: int,
    seed: int,
    bar: str = "",
) -> tuple[Array, Array, Array]:
    """Run n_samples trajectories over `levels`, the lambdas from 0 to 1; `bar` is what a progress
    bar says.

    Returns dU/dlambda at every level (n_samples, K) and the work of the noise in every step
    (n_samples, K - 1), both in kT, and the final positions (n_samples, N, 3) in sigma.
    """
    generator = torch.Generator().manual_seed(seed)
    box = cubic_box(state.box_length_sigma)
    lambdas = torch.from_numpy(levels)
    variance = effective_variance(log_noise(lambdas, box))
    shape = (n_samples, state.n_particles, 3)
    positions = model.reference.sample(n_samples, state.n_particles, box, generator)
    corrector = Corrector(shape, generator) if corrector_steps else None
    slopes, work = [], []
    for level, lam in track(list(enumerate(lambdas)), bar, shown=bool(bar)):
        evaluated = partial(evaluate, model, box=box, lam=lam)
        point = evaluated(positions)
        if level and corrector is not None:
            point = corrector.relax(evaluated, point, corrector_steps)
        slopes.append(point.slope)
        if not bool(torch.isfinite(point.gradient).all()):
            raise ValueError(
                f"reverse diffusion ran into NaN at lambda = {float(lam):.3f}: take more n_steps"
            )
        if level < len(lambdas) - 1:
            before, after = variance[level], variance[level + 1]
            spread = ((before - after) * after / before).sqrt()
            noise = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
            work.append((point.gradient * noise).sum((1, 2)))
            positions = (point.positions - (before - after) * point.gradient + noise).remainder(box)
    return (
        torch.stack(slopes, dim=1).numpy(),
        torch.stack(work, dim=1).numpy(),
        point.positions.remainder(box).numpy(),
    )
