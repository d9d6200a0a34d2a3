"""A test of the errors of one short chain: 200 stretches of one long trajectory, of each length.

The trajectory is of the shipped model's fluid at N = 40, a frame every picosecond. Each stretch is
treated as `from_trajectory` does with a user's own: equilibration, thinning, and the estimators.
The truth is the same estimate from all frames. The number to look at is the root mean square of
(value - truth) / error: 1 is honest, 2 means errors that are too small by two. Stretches without an
error count in `unknown`.

Works, bounds and insertions have random numbers of their own, of which small settings take few. So
frames are as large a part of the errors as they can be. Usage:

    python benchmarks/short_chains.py OUTPUT [--methods energies widom path_bar bound]
        [--frames 40000] [--stretches 200] [--lengths 20 40 60 100 200 400]
"""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import openmm
import torch

from openmm_nti import StatePoint, load_model
from openmm_nti.ensemble import Ensemble
from openmm_nti.files import write_json
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.fluid_system import LJFluid
from openmm_nti.reference_md._thinning import thin
from openmm_nti.reference_md.statistics import statistical_inefficiency
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.works import Works, bar
from openmm_nti.validation.estimators import path_weights, widom
from openmm_nti.validation.estimators.model_bound import model_bound
from openmm_nti.validation.sampling.noising_paths import (
    PathBatch,
    PathConfig,
    path_works,
)
from openmm_nti.validation.sampling.paths.schedule import path_steps, schedule

STATE = StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)
MODEL = "lj-fluid-t1.25"
STEPS_BETWEEN = 100
PATHS = PathConfig(n_paths=64, n_steps=20)
INSERTIONS = 400
LEVELS, PAIRS = 4, 32  # of the bound
POOL, BATCH = 2048, 64  # works of each direction that tell the truth, and works at once
FEWEST_FRAMES, PILOT_FRAMES, FEWEST_OF_BOUND = 12, 16, 8  # as the estimators have them


def trajectory(path: Path, n_frames: int) -> np.ndarray:
    """Return positions of a long run, (F, N, 3) in nm, from its file if there."""
    if path.is_file():
        return np.load(path)
    integrator = openmm.LangevinMiddleIntegrator(STATE.temperature_kelvin, 2.0, 0.01)
    integrator.setRandomNumberSeed(11)
    platform = openmm.Platform.getPlatformByName("CPU")
    context = openmm.Context(LJFluid(STATE).create_system(), integrator, platform)
    context.setPositions(lattice_positions_nm(STATE, 3))
    context.setVelocitiesToTemperature(STATE.temperature_kelvin, 5)
    integrator.step(20_000)
    frames = np.empty((n_frames, STATE.n_particles, 3), dtype=np.float32)
    for frame in frames:
        integrator.step(STEPS_BETWEEN)
        frame[:] = (
            context.getState(positions=True).getPositions(asNumpy=True) / openmm.unit.nanometer
        )
    np.save(path, frames)
    return frames


def stretches(frames: np.ndarray, energies: np.ndarray, n: int, count: int) -> list[Ensemble]:
    """Return `count` stretches of n frames, evenly spread, as `from_trajectory` thins them."""
    starts = np.linspace(0, len(frames) - n, count).astype(int)
    weights = np.zeros((1, n))
    return [
        thin(
            STATE,
            frames[np.newaxis, start : start + n],
            energies[np.newaxis, start : start + n],
            weights,
            n_frames=n,
            provenance={},
        )
        for start in starts
    ]


class Energies:
    """The mean energy, as the provenance tells it."""

    def __init__(self, _frames: np.ndarray, energies: np.ndarray) -> None:
        self.truth = float(energies.mean())

    def estimate(self, ensemble: Ensemble, seed: int) -> tuple[float, float]:
        """Return value and error."""
        del seed
        mean, error = ensemble.provenance["mean_reduced_potential"]
        return mean, math.inf if error is None else error


class Widom:
    """The chemical potential by insertion."""

    def __init__(self, frames: np.ndarray, energies: np.ndarray) -> None:
        every = Ensemble(STATE, frames[::2], energies[::2], {})
        self.truth = widom.estimate(every, INSERTIONS, execution=Execution(0)).value

    def estimate(self, ensemble: Ensemble, seed: int) -> tuple[float, float]:
        """Return value and error."""
        found = widom.estimate(ensemble, INSERTIONS, execution=Execution(seed))
        return found.value, found.std_err


class PathBar:
    """BAR between paths. Every frame has one forward work, and all share a pool of reverse ones."""

    def __init__(self, frames: np.ndarray, energies: np.ndarray) -> None:
        self.frames = frames / np.float32(STATE.sigma_nm)
        self.number = {energy: frame for frame, energy in enumerate(energies)}
        model, generator = load_model(MODEL), torch.Generator().manual_seed(5)
        pilot = self._starts(np.arange(0, len(frames), len(frames) // 16))
        levels = schedule(model, STATE, PATHS.n_steps, PATHS.first_noise_sigma, pilot, generator)
        self.steps = path_steps(model, STATE, levels)
        self.reverse = self._works(PathBatch("reverse", k, BATCH) for k in range(POOL // BATCH))
        self.forward: dict[int, float] = {}
        self._find(np.arange(0, len(frames), len(frames) // POOL))
        self.truth = bar(np.array([*self.forward.values()]), self.reverse)

    def _starts(self, frames: np.ndarray) -> np.ndarray:
        return self.frames[frames].astype(np.float64)

    def _works(self, batches: Iterable[PathBatch]) -> np.ndarray:
        found = [path_works(self.steps, Execution(5), batch)["omega"] for batch in batches]
        return np.concatenate(found)

    def _find(self, numbers: np.ndarray) -> None:
        """Compute the forward works of frames that have none yet."""
        missing = np.array([frame for frame in numbers if frame not in self.forward])
        parts = np.array_split(missing, math.ceil(len(missing) / BATCH)) if len(missing) else []
        batches = [PathBatch("forward", int(k[0]), len(k), self._starts(k)) for k in parts]
        if batches:
            self.forward |= dict(zip(missing.tolist(), self._works(batches), strict=True))

    def prepare(self, ensembles: list[Ensemble]) -> None:
        """Compute works of all frames at once."""
        chosen = [n for ensemble in ensembles for n in self._numbers(ensemble)]
        self._find(np.unique(np.array(chosen, dtype=int)))

    def _numbers(self, ensemble: Ensemble) -> list[int]:
        """Return the frames that start paths, as `sample` chooses their number."""
        n = ensemble.n_frames
        if n < FEWEST_FRAMES:
            return []
        kept = min(PATHS.n_paths, n - min(PILOT_FRAMES, n // 4))
        order = np.random.default_rng(n).permutation(n)[:kept]
        return [self.number[energy] for energy in ensemble.reduced_potentials[order]]

    def estimate(self, ensemble: Ensemble, seed: int) -> tuple[float, float]:
        """Return value and error; infinite where `sample` refuses so few frames."""
        numbers = self._numbers(ensemble)
        if not numbers:
            return math.nan, math.inf
        forward = np.array([self.forward[number] for number in numbers])
        reverse = Execution(seed).random("pool").choice(self.reverse, PATHS.n_paths, replace=False)
        found = path_weights.estimate_bar(Works(STATE, forward, reverse), Execution(seed))
        return found.value, found.std_err


class Bound:
    """The denoising bound of the model alone."""

    def __init__(self, frames: np.ndarray, energies: np.ndarray) -> None:
        self.model = load_model(MODEL)
        some = slice(None, None, max(1, len(frames) // POOL))
        every = Ensemble(STATE, frames[some], energies[some], {})
        found = model_bound(self.model, every, LEVELS, every.n_frames, Execution(0))
        # Their control variate is the energy, whose mean all frames know better.
        self.truth = found.value

    def estimate(self, ensemble: Ensemble, seed: int) -> tuple[float, float]:
        """Return value and error; infinite where it is refused."""
        if ensemble.n_frames < FEWEST_OF_BOUND:
            return math.nan, math.inf
        found = model_bound(self.model, ensemble, LEVELS, PAIRS, Execution(seed))
        return found.value, found.std_err


METHODS = {"energies": Energies, "widom": Widom, "path_bar": PathBar, "bound": Bound}


def row(found: np.ndarray, truth: float) -> dict[str, float]:
    """Return what values and errors (count, 2) say about the errors."""
    known = np.isfinite(found[:, 1])
    count = {"n_stretches": len(found), "unknown": int((~known).sum())}
    if not known.any():
        return count
    deviations = (found[known, 0] - truth) / found[known, 1]
    return {
        **count,
        "rms": float(np.sqrt(np.mean(deviations**2))),
        "mean": float(deviations.mean()),
        "beyond_3": int((np.abs(deviations) > 3).sum()),
        "median_error": float(np.median(found[known, 1])),
    }


def main() -> None:
    """Print the table and write it to OUTPUT/short_chains.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--frames", type=int, default=40_000)
    parser.add_argument("--stretches", type=int, default=200)
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 40, 60, 100, 200, 400])
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    frames = trajectory(options.output / f"frames_{options.frames}.npy", options.frames)
    energies = reduced_potential_numpy(frames.astype(np.float64) / STATE.sigma_nm, STATE)
    print(f"statistical inefficiency of the energy {statistical_inefficiency(energies):.2f}")
    table = {}
    for name in options.methods:
        method = METHODS[name](frames, energies)
        cut = {n: stretches(frames, energies, n, options.stretches) for n in options.lengths}
        if isinstance(method, PathBar):
            method.prepare([ensemble for some in cut.values() for ensemble in some])
        for n, ensembles in cut.items():
            found = np.array([method.estimate(one, seed) for seed, one in enumerate(ensembles)])
            table[f"{name} {n}"] = facts = row(found, method.truth)
            numbers = " ".join(f"{key} {value:.3g}" for key, value in facts.items())
            print(f"{name:10s} n = {n:3d}: {numbers}", flush=True)
            write_json(options.output / "short_chains.json", table)


if __name__ == "__main__":
    main()
