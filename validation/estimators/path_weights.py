r"""Exact free energies from the weights of noising and denoising paths: one reference simulation,
nothing in between.

Noise levels 0 = v_0 < v_1 < ... < v_K. A forward path starts from data and adds Gaussian
increments; a reverse path starts uniform in the box and follows the model's denoising kernels. Both
are Gaussian in the unwrapped increments D_k = x_{k+1} - x_k, so the logarithm of the ratio of their
densities is a plain sum,

.. math:: \omega = \beta U_{LJ}(x_0) + \sum_k \ln \frac{N(x_k; \, x_{k+1} - \delta_k \nabla U(x_{k+1}), \, r_k)}
          {N(x_{k+1}; \, x_k, \, \delta_k)}, \qquad \delta_k = v_{k+1} - v_k ,

which is the work of a switching process: E_reverse[exp(-omega)] = exp(-beta F_ex) = 1 /
E_forward[exp(omega)] for any model and any number of steps (Crooks 1999), and

.. math:: E_{forward}[\omega] \le \beta F_{ex} \le E_{reverse}[\omega].

Bennett's acceptance ratio joins both sets of works. Where the levels v_k lie and what the variances
r_k are (`noising_paths`) is a question of overlap, not of exactness. Only scores are used, so a
denoiser, which has no energies but the better score, will do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.model_files import check_model_fits, weights_fingerprint
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed, run_tasks
from openmm_nti.validation.sampling.noising_paths import PathBatch, run_batch, schedule

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 1280
_PILOT_FRAMES = 16
_FEWEST_FRAMES = 12
_N_BOOTSTRAP = 200
SMALLEST_OVERLAP = (
    0.05  # below, the works of the two directions hardly meet, and no error bar can be trusted
)


class PathConfig(BaseModel):
    """Effort spent on path weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_paths: int = Field(default=64, ge=8, description="Paths in each direction.")
    n_steps: int = Field(
        default=300, ge=10, description="Steps of a path, where denoising loses most the closest."
    )
    first_noise_sigma: float = Field(
        default=0.004, gt=0, lt=0.1, description="Noise of the first level, in sigma."
    )


@dataclass(frozen=True)
class Works:
    """omega of the forward and of the reverse paths, (n_paths,) each, kT."""

    state: StatePoint
    forward: Array
    reverse: Array

    def save(self, path: str | Path) -> None:
        """Write the works to `path` (.npz), atomically, for figures and for others' analysis."""
        with atomic_path(path) as temporary:
            np.savez(temporary, allow_pickle=False, forward=self.forward, reverse=self.reverse)


def sample(
    model: NoisedFluid,
    ensemble: Ensemble,
    config: PathConfig,
    *,
    seed: int,
    directory: str | Path,
    workers: int = 1,
    progress: bool = True,
) -> Works:
    """Works of `n_paths` reverse paths, and of as many forward paths or one for each frame.

    Finished batches in `directory`/path_weights are not run again.

    Raises
    ------
    ValueError
        If model and ensemble are of different pair potentials, or there are too few frames.
    """
    state = ensemble.state
    check_model_fits(model, state)
    if ensemble.n_frames < _FEWEST_FRAMES:
        raise ValueError(
            f"{ensemble.n_frames} frames are too few for path weights: {_FEWEST_FRAMES} or more "
            "are needed"
        )
    n_pilot = min(_PILOT_FRAMES, ensemble.n_frames // 4)
    n_forward = min(
        config.n_paths, ensemble.n_frames - n_pilot
    )  # a frame starts one path, or they would be correlated
    generator = torch.Generator().manual_seed(derive_seed(seed, "paths", state.label))
    order = torch.randperm(ensemble.n_frames, generator=generator).numpy()
    frames = ensemble.positions_sigma[order[: n_forward + n_pilot]]
    name = fingerprint(
        [
            state.model_dump(),
            config.model_dump(),
            seed,
            weights_fingerprint(model),
            float(frames.sum()),
        ]
    )
    folder = Path(directory) / "path_weights"
    stored = folder / f"{name}_schedule.npz"
    if not stored.is_file():
        with atomic_path(stored) as temporary:
            found = schedule(
                model,
                state,
                config.n_steps,
                config.first_noise_sigma,
                frames[n_forward:],
                generator,
            )
            np.savez(
                temporary,
                allow_pickle=False,
                **dict(zip(("levels", "variances"), found, strict=True)),
            )
    levels, variances = read_arrays(stored, ("levels", "variances")).values()
    name = fingerprint(
        [name, levels.tolist(), variances.tolist()]
    )  # works of other steps must not mix with these
    size = max(1, _ATOMS_PER_BATCH // state.n_particles)
    tasks = []
    for direction, n_paths in (("forward", n_forward), ("reverse", config.n_paths)):
        for number, start in enumerate(range(0, n_paths, size)):
            count = min(size, n_paths - start)
            starts = frames[start : start + count] if direction == "forward" else None
            path = folder / f"{name}_{direction}_{number:03d}.npz"
            tasks.append(
                PathBatch(
                    direction, number, starts, count, levels, variances, model, state, seed, path
                )
            )
    works = run_tasks(
        run_batch, tasks, workers=workers, description="path weights", progress=progress
    )
    parts = {
        direction: [
            work for task, work in zip(tasks, works, strict=True) if task.direction == direction
        ]
        for direction in ("forward", "reverse")
    }
    return Works(state, np.concatenate(parts["forward"]), np.concatenate(parts["reverse"]))


def estimate_bar(works: Works, *, seed: int) -> FreeEnergy:
    """Beta F_ex by Bennett's acceptance ratio between both directions; method `path_bar`, exact for
    any model.

    The standard error is a bootstrap over paths. Where the works of the two directions hardly
    overlap, that would be far too small: half the bracket is taken in its place, and the verdict
    says so.
    """
    value, bounds = _bar(works.forward, works.reverse), _bounds(works)
    rng = np.random.default_rng(derive_seed(seed, "path bootstrap"))
    resampled = [
        _bar(
            rng.choice(works.forward, works.forward.size),
            rng.choice(works.reverse, works.reverse.size),
        )
        for _ in range(_N_BOOTSTRAP)
    ]
    bootstrap_err, overlap = float(np.std(resampled, ddof=1)), _overlap(works, value)
    std_err, verdict = bootstrap_err, f"good (overlap {overlap:.2f})"
    if overlap < SMALLEST_OVERLAP:
        std_err = max(bootstrap_err, 0.5 * (bounds["upper"] - bounds["lower"]))
        verdict = (
            f"unreliable: overlap {overlap:.3f}, under {SMALLEST_OVERLAP}; the error is half the "
            "bracket"
        )
    return FreeEnergy(
        value=value,
        std_err=std_err,
        method="path_bar",
        convention=works.state.convention,
        n_particles=works.state.n_particles,
        diagnostics={
            **bounds,
            "overlap": overlap,
            "bootstrap_err": bootstrap_err,
            "verdict": verdict,
        },
    )


def estimate_bracket(works: Works) -> FreeEnergy:
    """Middle of the rigorous bounds E_forward[omega] <= beta F_ex <= E_reverse[omega]; method
    `path_bracket`.

    Were the works Gaussian, a quarter of the difference of the two variances would be the
    midpoint's error: it is taken for the systematic part of `std_err`. Diagnostics hold the bounds
    with their standard errors.
    """
    bounds = _bounds(works)
    systematic = abs(works.reverse.var(ddof=1) - works.forward.var(ddof=1)) / 4.0
    statistical = 0.5 * math.hypot(bounds["lower_err"], bounds["upper_err"])
    return FreeEnergy(
        value=0.5 * (bounds["lower"] + bounds["upper"]),
        std_err=math.hypot(statistical, systematic),
        method="path_bracket",
        convention=works.state.convention,
        n_particles=works.state.n_particles,
        diagnostics={**bounds, "statistical_err": statistical, "systematic_err": float(systematic)},
    )


def _bounds(works: Works) -> dict[str, float]:
    return {
        "lower": float(works.forward.mean()),
        "lower_err": float(works.forward.std(ddof=1) / math.sqrt(works.forward.size)),
        "upper": float(works.reverse.mean()),
        "upper_err": float(works.reverse.std(ddof=1) / math.sqrt(works.reverse.size)),
    }


def _bar(forward: Array, reverse: Array) -> float:
    """The root of Bennett's equation: works from the ideal gas are omega, works back are -omega."""
    from pymbar import (
        bar,
    )  # not in the worker processes: pymbar greets with a banner wherever it is imported first

    return float(bar(reverse, -forward, compute_uncertainty=False)["Delta_f"])


def _overlap(works: Works, free_energy: float) -> float:
    """How much the two directions overlap, as in MBAR's overlap matrix: 1 for equal distributions,
    0 for disjoint.
    """
    ratio = np.exp(
        np.clip(free_energy - np.concatenate([works.forward, works.reverse]), -700.0, 700.0)
    )
    n_forward, n_reverse = works.forward.size, works.reverse.size
    weight = 1.0 / (n_reverse + n_forward * ratio)
    return float((n_forward + n_reverse) * np.sum(weight * weight * ratio))
