"""The pieces of the calculation: each a task that writes its own JSON, and arrays beside it, and is
skipped when done.

A file holds `estimates` (`FreeEnergy` as dictionaries), `facts`, the `warnings` of the calculation
and its `cpu_seconds`. A method that cannot be used at all leaves a file with `refused`, the reason,
and no estimates: it stays visible in the table. Delete a file to have it made again.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path, finite, read_json, write_json
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import LambdaHamiltonian, NoisedFluid
from openmm_nti.model_files import load_denoiser, load_model
from openmm_nti.runtime.stored import read_arrays
from openmm_nti.runtime.tasks import derive_seed
from openmm_nti.validation.analysis import gr, window_estimates
from openmm_nti.validation.analysis.observables import PAPER_OFFSET
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.estimators import denoising_bound, eos, path_weights, softcore, widom
from openmm_nti.validation.estimators import neural_ti as reverse
from openmm_nti.validation.paper import toy
from openmm_nti.validation.paper.presets import PaperPreset
from openmm_nti.validation.sampling import grand_canonical, windows

_G_RANGE = (0.8, 3.0)  # sigma; where g(r) of data and samples are compared
_NOISE = (DeprecationWarning, FutureWarning)  # of libraries: nothing a reader of numbers must know


@dataclass(frozen=True)
class Work:
    """What all tasks of a directory share."""

    preset: PaperPreset
    model: str
    seed: int
    directory: Path

    @property
    def hamiltonian(self) -> LambdaHamiltonian:
        """The trained model."""
        return _hamiltonian(self.model)

    @property
    def denoiser(self) -> NoisedFluid:
        """The best score there is: the model's companion, or the model."""
        return _denoiser(self.model)

    def state(self, n_particles: int) -> StatePoint:
        """The state point of N particles."""
        return self.preset.state(n_particles, self.hamiltonian.potential)

    def ensemble(self, n_particles: int) -> Ensemble:
        """Reference data, which must be there."""
        return Ensemble.load(self.directory / "reference" / f"{self.state(n_particles).label}.h5")

    def folder(self, n_particles: int) -> Path:
        """Keeps the batches and windows of one N."""
        return self.directory / "work" / f"N{n_particles}"

    def path(self, kind: str, name: object) -> Path:
        """The JSON of one task."""
        return self.directory / "tasks" / f"{kind}_{name}.json"


@dataclass(frozen=True)
class PaperTask:
    """One piece: a kind of calculation at one N, or at one chemical potential of the
    grand-canonical check.
    """

    kind: str
    at: float
    work: Work = field(repr=False)

    @property
    def n(self) -> int:
        """N of the task."""
        return int(self.at)

    @property
    def path(self) -> Path:
        """Where the result goes."""
        return self.work.path(self.kind, f"{self.at:g}")

    @property
    def seed(self) -> int:
        """Its own random numbers."""
        return derive_seed(self.work.seed, self.kind, f"{self.at:g}")


@dataclass
class Found:
    """What a task found."""

    estimates: Sequence[FreeEnergy] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def run_task(task: PaperTask) -> None:
    """Compute and write `task.path`, unless it is there."""
    if task.path.is_file():
        return
    started, found, refused = time.process_time(), Found(), None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = KINDS[task.kind](task)
        except (ValueError, RuntimeError) as error:
            refused = str(error)
    if found.arrays:
        with atomic_path(task.path.with_suffix(".npz")) as temporary:
            np.savez(temporary, allow_pickle=False, **found.arrays)
    content = {
        "kind": task.kind,
        "at": task.at,
        "estimates": [estimate.to_dict() for estimate in found.estimates],
        "facts": found.facts,
        "refused": refused,
        "warnings": sorted(
            {str(one.message) for one in caught if not issubclass(one.category, _NOISE)}
        ),
        "cpu_seconds": round(time.process_time() - started, 2),
    }
    write_json(task.path, finite(content))


def read_estimates(path: Path) -> list[FreeEnergy]:
    """The estimates in the file of a task; none where there is no file."""
    if not path.is_file():
        return []
    unknown = {"std_err": float("inf")}
    return [
        FreeEnergy.from_dict({**one, **(unknown if one["std_err"] is None else {})})
        for one in read_json(path)["estimates"]
    ]


@lru_cache(maxsize=2)
def _hamiltonian(name: str) -> LambdaHamiltonian:
    return load_model(name)


@lru_cache(maxsize=2)
def _denoiser(name: str) -> NoisedFluid:
    return load_denoiser(name)


def _bound(task: PaperTask) -> Found:
    work = task.work
    return Found(
        [
            denoising_bound.estimate(
                work.denoiser, work.ensemble(task.n), work.preset.bound, seed=task.seed
            )
        ]
    )


def _neural_ti(task: PaperTask) -> Found:
    work, folder = task.work, task.work.folder(task.n)
    estimate = reverse.estimate(
        work.hamiltonian,
        work.state(task.n),
        work.preset.neural_ti,
        seed=task.seed,
        directory=folder,
        progress=False,
    )
    return Found(
        [estimate],
        {},
        read_arrays(folder / "neural_ti.npz", ("lambdas", "dudl_mean", "positions_sigma")),
    )


def _path_bar(task: PaperTask) -> Found:
    work = task.work
    works = path_weights.sample(
        work.denoiser,
        work.ensemble(task.n),
        work.preset.paths,
        seed=task.seed,
        directory=work.folder(task.n),
        progress=False,
    )
    return Found(
        [path_weights.estimate_bar(works, seed=task.seed), path_weights.estimate_bracket(works)]
    )


def _mbar_neural(task: PaperTask) -> Found:
    work = task.work
    data = windows.sample(
        work.hamiltonian,
        work.ensemble(task.n),
        work.preset.windows,
        seed=task.seed,
        directory=work.folder(task.n),
        progress=False,
    )
    state = work.state(task.n)
    return Found(
        [
            window_estimates.estimate_mbar(data, state, method="mbar_neural", seed=task.seed),
            window_estimates.estimate_ti(data, state, method="ti_neural_md", seed=task.seed),
        ]
    )


def _softcore(task: PaperTask) -> Found:
    """MBAR over all windows, and TI over some of them as if no others had been simulated."""
    work, state = task.work, task.work.state(task.n)
    data = softcore.sample(
        state,
        work.preset.softcore,
        seed=task.seed,
        directory=work.folder(task.n) / "softcore",
        progress=False,
    )
    estimates = [
        window_estimates.estimate_mbar(data, state, method="mbar_softcore", seed=task.seed)
    ]
    trapezoids = {}
    for count in work.preset.softcore_subsets:
        if count <= data.n_windows:
            some = subset(data, count)
            estimates.append(
                window_estimates.estimate_ti(
                    some, state, method=f"ti_softcore_{count}", seed=task.seed
                )
            )
            trapezoids[str(count)] = float(np.trapezoid(some.dudl.mean(axis=1), some.lambdas))
    return Found(estimates, {"trapezoid": trapezoids})


def subset(data: WindowData, count: int) -> WindowData:
    """`count` of the windows, as evenly as their numbers allow, both ends included."""
    kept = np.rint(np.linspace(0, data.n_windows - 1, count)).astype(int)
    return WindowData(data.lambdas[kept], data.u_kln[kept][:, :, kept], data.dudl[kept], data.chain)


def _widom(task: PaperTask) -> Found:
    insertions = task.work.preset.n_insertions
    return Found(
        [
            widom.estimate(
                task.work.ensemble(task.n), seed=task.seed, n_insertions_per_frame=insertions
            )
        ]
    )


def _eos(task: PaperTask) -> Found:
    state = task.work.state(task.n)
    return Found([eos.estimate(state), eos.chemical_potential(state)])


def _gr(task: PaperTask) -> Found:
    """g(r) and energies of the data and of the reverse-diffusion samples that `neural_ti` left."""
    state, ensemble = task.work.state(task.n), task.work.ensemble(task.n)
    samples_file = task.work.path("neural_ti", task.n).with_suffix(".npz")
    if not samples_file.is_file():
        raise ValueError("neural_ti has left no samples here: see its own file for the reason")
    samples = read_arrays(samples_file, ("positions_sigma",))
    sets = {"data": ensemble.positions_sigma, "samples": samples["positions_sigma"]}
    arrays: dict[str, np.ndarray] = {}
    energies = {}
    for name, positions in sets.items():
        single = [gr.radial_distribution(one[None], state.box_length_sigma) for one in positions]
        g = np.array([one for _, one in single])
        arrays |= {"r": single[0][0], f"g_{name}": g.mean(axis=0)}
        arrays[f"err_{name}"] = g.std(axis=0, ddof=1) / np.sqrt(len(g))
        energies[name] = reduced_potential_numpy(positions, state) / state.n_particles
    inside = (arrays["r"] >= _G_RANGE[0]) & (arrays["r"] <= _G_RANGE[1])
    difference = (arrays["g_samples"] - arrays["g_data"])[inside]
    noise = (arrays["err_samples"] ** 2 + arrays["err_data"] ** 2)[inside]
    errors = [float(one.std(ddof=1)) / len(one) ** 0.5 for one in energies.values()]
    facts = {
        "density_star": state.density_star,
        "n_frames": len(sets["data"]),
        "n_samples": len(sets["samples"]),
        "rms": float(np.sqrt((difference**2).mean())),
        "rms_expected_of_noise": float(np.sqrt(noise.mean())),
        "energy_difference_kt": float(energies["samples"].mean() - energies["data"].mean()),
        "energy_difference_err": float(np.hypot(*errors)),
        "energy_difference_median_kt": float(
            np.median(energies["samples"]) - np.median(energies["data"])
        ),
    }
    return Found([], facts, arrays)


def _gcmc(task: PaperTask) -> Found:
    work = task.work
    box = grand_canonical.sample(
        work.state(work.preset.grid[0]), task.at + PAPER_OFFSET, work.preset.gcmc, seed=task.seed
    )
    facts = {
        "beta_mu": box.beta_mu,
        "mean_number": box.mean_number,
        "std_err": box.std_err,
        "drift": box.drift,
    }
    return Found([], facts, {"p": box.distribution})


def _toy(task: PaperTask) -> Found:
    found = toy.run(task.work.preset.toy, seed=task.seed)
    facts = {name: getattr(found, name) for name in ("noised", "noised_err", "exact", "exact_err")}
    arrays = {name: getattr(found, name) for name in ("lambdas", "slope_noised", "slope_exact")}
    return Found([], {**facts, "log_z": toy.LOG_Z}, arrays)


KINDS: dict[str, Callable[[PaperTask], Found]] = {
    "bound": _bound,
    "neural_ti": _neural_ti,
    "path_bar": _path_bar,
    "mbar_neural": _mbar_neural,
    "softcore": _softcore,
    "widom": _widom,
    "eos": _eos,
    "gcmc": _gcmc,
    "toy": _toy,
    "gr": _gr,
}
