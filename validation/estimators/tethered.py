r"""Where noised atoms came from, by molecular dynamics: a model's gap without any reference value.

What a noised configuration y = x_0 + s_eff z may have come from is distributed as

.. math:: p(x | y) \propto \exp(-\beta U_{LJ}(x) - |x - y|^2 / 2 s_{eff}^2),

the fluid with every atom tethered to its noised position, and its mean gives the exact score, grad
U* = (y - E[x | y]) / s_eff^2 (Robbins 1956; Miyasawa 1961). With the displacements from y that the
model (f), a chain from the true x_0 (a) and two chains from the model's answer (b, c) find on
average, the gap of the denoising bound at one noise level, |f - E[x - y | y]|^2 / s_eff^4, is
measured in three ways:

`lower`
    (a - f).(b + c - 2 f) - (b - f).(c - f). A chain from x_0 is in equilibrium at once, so a has no
    bias; and what chains from the model find on average depends on y alone: it is one more
    denoiser, whose bound is above the model's by just this. A bound it stays, however short the
    chains.
`upper`
    (a_early - f).(a_late - f): larger than the gap by what a chain remembers, positive for
    reversible dynamics.
`middle`
    (a - f).(b + c - 2 f) / 2: the gap as soon as either kind of chain has forgotten where it began.

These are products of independent answers, so the chains' thermal noise has no mean and short chains
will do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.model_files import weights_fingerprint
from openmm_nti.references.noise import effective_variance
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed, run_tasks
from openmm_nti.training.targets import stratified_log_noise
from openmm_nti.validation.sampling.tethered_fluid import TetheredFluid

Array = NDArray[np.float64]
NOISE_SIGMA = (0.08, 1.0)  # below and above, models have next to no gap
# Parted at these levels, which take these shares of the frames: on short tethers products of chains
# hardly scatter; on those of a dense fluid's cages they do most, on long ones where there is more
# room.
_PARTED_SIGMA, _SHARES = (0.16, 0.35), (0.15, 0.5, 0.35)
_FRAMES_PER_TASK = 4
_LONG_SIGMA, _MOST_STEPS = 0.4, 4.0  # tethers from which on chains are longer, by so much at most
_FEW_PARTICLES, _MOST_FOR_FEW = (
    160,
    2.5,
)  # below, steps are cheap: chains are longer in proportion, by so much at most
_LONGEST_JUMP = (
    4.0  # of a model's answer, in units of the noise: a bad one must not tear the fluid apart
)
_N_GROUPS = 8  # of frames of like noise, to show where a gap lies


@dataclass(frozen=True)
class Gap:
    """What tethered chains say about the part of a model's gap that lies within `NOISE_SIGMA`.

    Attributes
    ----------
    noise_sigma
        Noise level of each frame, (n,), sigma.
    lower, middle, upper
        The gap by ln s from each frame, (n,), kT; see the module.
    weight
        One over the density of levels in ln s, (n,).
    """

    noise_sigma: Array
    lower: Array
    middle: Array
    upper: Array
    weight: Array

    def integral(self, values: Array) -> tuple[float, float]:
        """Integral of `values` (n,) over ln s and its standard error, kT.

        Levels are stratified, one to a stratum: neighbours in noise differ by their scatter and
        little else.
        """
        weighted = (self.weight * values)[np.argsort(self.noise_sigma)]
        n_pairs = len(weighted) // 2
        variance = np.square(np.diff(weighted[: 2 * n_pairs].reshape(-1, 2), axis=1)).sum() / (
            2 * n_pairs
        )
        return float(weighted.mean()), math.sqrt(variance / len(weighted))

    def profile(self, values: Array) -> tuple[Array, Array, Array]:
        """Where `values` (n,) lie: ln s in groups of about as many frames, their means and standard
        errors, (b,) each.

        A density: kT by unit of ln s. The noise levels are in sigma.
        """
        n_groups = max(1, min(_N_GROUPS, len(values) // 2))
        groups = np.array_split(np.argsort(self.noise_sigma), n_groups)
        noise = [math.exp(np.log(self.noise_sigma[group]).mean()) for group in groups]
        errors = [values[group].std(ddof=1) / math.sqrt(len(group)) for group in groups]
        return (
            np.array(noise),
            np.array([values[group].mean() for group in groups]),
            np.array(errors),
        )


def steps(n_steps: int, n_particles: int) -> int:
    """How long chains are on short tethers: `n_steps`, or more where few particles make them
    cheap.
    """
    return round(n_steps * min(max(1.0, _FEW_PARTICLES / n_particles), _MOST_FOR_FEW))


@dataclass(frozen=True)
class _Task:
    """Some of the frames, and the file that keeps what was found."""

    number: int
    frames: Array = field(repr=False)
    log_s: Array = field(repr=False)
    model: NoisedFluid = field(repr=False)
    state: StatePoint = field(repr=False)
    n_steps: int = field(repr=False)
    seed: int = field(repr=False)
    path: Path = field(repr=False)


def measure(
    model: NoisedFluid,
    ensemble: Ensemble,
    n_frames: int,
    n_steps: int,
    *,
    seed: int,
    directory: Path,
    workers: int = 1,
    progress: bool = False,
) -> Gap:
    """Run three tethered chains for each of `n_frames` noised frames.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` or `Denoiser` of the ensemble's pair potential.
    ensemble
        Decorrelated frames, `switched`: the chains want forces that are the gradient of the energy.
    n_frames, n_steps
        Effort: chains of n_steps steps of 0.008 sigma sqrt(m / epsilon), up to four times as many
        on long tethers, where atoms have farther to go, and see `steps`.
    seed
        Of the noise, the choice of frames, and the chains.
    directory
        Keeps finished frames in `tethered/`; they are not found again.
    workers
        Processes to share the frames out to.
    progress
        Show a progress bar with the time left.

    Raises
    ------
    ValueError
        If the ensemble is `truncated`.
    """
    state = ensemble.state
    if not state.is_continuous:
        raise ValueError(
            f"tethered chains need continuous forces, those of {state} jump at the cutoff: use "
            "`switched`"
        )
    n_steps = steps(n_steps, state.n_particles)
    generator = torch.Generator().manual_seed(derive_seed(seed, "tethered", state.label))
    levels, weight = _levels(n_frames, generator)
    order = torch.randperm(len(ensemble.positions_sigma), generator=generator).numpy()
    frames = ensemble.positions_sigma[np.resize(order, n_frames)]
    data = [state.model_dump(), float(frames.sum())]
    name = fingerprint(
        [data, n_frames, n_steps, seed, weights_fingerprint(model), float(levels.sum())]
    )
    parts = [
        slice(start, start + _FRAMES_PER_TASK) for start in range(0, n_frames, _FRAMES_PER_TASK)
    ]
    tasks = [
        _Task(
            number,
            frames[part],
            levels[part],
            model,
            state,
            n_steps,
            seed,
            directory / "tethered" / f"{name}_{number:03d}.npz",
        )
        for number, part in enumerate(parts)
    ]
    found = run_tasks(
        _run, tasks, workers=workers, description="tethered chains", progress=progress
    )
    lower, middle, upper = (np.concatenate(values) for values in zip(*found, strict=True))
    return Gap(np.exp(levels), lower, middle, upper, weight)


def _levels(n_frames: int, generator: torch.Generator) -> tuple[Array, Array]:
    """Ln s of each of at least four frames, and one over its density, (n,) each."""
    edges = np.log([NOISE_SIGMA[0], *_PARTED_SIGMA, NOISE_SIGMA[1]])
    sizes = np.diff(np.rint(n_frames * np.cumsum([0.0, *_SHARES]))).astype(int)
    bands = zip(sizes, pairwise(edges), strict=True)
    levels = [stratified_log_noise(size, low, high, generator) for size, (low, high) in bands]
    return torch.cat(levels).numpy(), np.repeat(np.diff(edges) * n_frames / sizes, sizes)


def _run(task: _Task) -> tuple[Array, Array, Array]:
    names = ("lower", "middle", "upper")
    if not task.path.is_file():
        found = _gaps(task)
        with atomic_path(task.path) as temporary:
            np.savez(temporary, allow_pickle=False, **dict(zip(names, found, strict=True)))
    arrays = read_arrays(task.path, names)
    return arrays["lower"], arrays["middle"], arrays["upper"]


def _gaps(task: _Task) -> tuple[Array, Array, Array]:
    """The gap by ln s of each frame of the task: `lower`, `middle` and `upper`, each (n,)."""
    seed = derive_seed(task.seed, "tethered", task.number)
    rng, log_s = np.random.default_rng(seed), torch.from_numpy(task.log_s)
    spreads = effective_variance(log_s).sqrt().numpy()
    noised = task.frames + spreads[:, None, None] * rng.standard_normal(task.frames.shape)
    box = cubic_box(task.state.box_length_sigma)
    with torch.no_grad():
        gradient = task.model.gradient(torch.from_numpy(noised), box, log_s).numpy()
    fluid = TetheredFluid(task.state, seed)
    lengths = np.rint(
        task.n_steps * np.clip((spreads / _LONG_SIGMA) ** 2, 1.0, _MOST_STEPS)
    ).astype(int)
    found = []
    for frame, centres, spread, slope, level, n_steps in zip(
        task.frames, noised, spreads, gradient, np.exp(task.log_s), lengths, strict=True
    ):
        answer = -(spread**2) * slope
        fluid.tether(centres, float(spread))
        length = np.linalg.norm(answer, axis=1, keepdims=True)
        guess = answer * np.minimum(1.0, _LONGEST_JUMP * spread / np.maximum(length, 1e-9))
        a = fluid.displacements(frame - centres, n_steps, settle=False) - answer
        b, c = (
            fluid.displacements(guess, n_steps, settle=True)[2:].mean(0) - answer for _ in range(2)
        )
        # Displaced together, the atoms have the same energy: nothing can be learned about that.
        a, b, c = (each - each.mean(axis=-2, keepdims=True) for each in (a, b, c))
        product = float((a.mean(0) * (b + c)).sum())
        found.append(
            [product - (b * c).sum(), 0.5 * product, (a[:2].mean(0) * a[-2:].mean(0)).sum()]
        )
        # 1/2 |gap of the gradient|^2 d(s_eff^2), with d(s_eff^2) = 2 s^2 d(ln s).
        found[-1] = [each * level**2 / spread**4 for each in found[-1]]
    lower, middle, upper = np.array(found).T
    return lower, middle, upper
