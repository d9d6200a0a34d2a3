r"""Where noised atoms came from, by molecular dynamics: a model's gap without any reference value.

What a noised configuration y = x_0 + s_eff z may have come from is distributed as

.. math:: p(x | y) \propto \exp(-\beta U_{LJ}(x) - |x - y|^2 / 2 s_{eff}^2),

the fluid with every atom tethered to its noised position, and its mean gives the exact score, grad U* =
(y - E[x | y]) / s_eff^2 (Robbins 1956; Miyasawa 1961). With the displacements from y that the model (f), a chain from
the true x_0 (a) and two chains from the model's answer (b, c) find on average, the gap of the denoising bound at one
noise level, |f - E[x - y | y]|^2 / s_eff^4, is measured in three ways:

`lower`
    (a - f).(b + c - 2 f) - (b - f).(c - f). A chain from x_0 is in equilibrium at once, so a has no bias; and what
    chains from the model find on average depends on y alone: it is one more denoiser, whose bound is above the model's
    by just this. A bound it stays, however short the chains.
`upper`
    (a_early - f).(a_late - f): larger than the gap by what a chain remembers, positive for reversible dynamics.
`middle`
    (a - f).(b + c - 2 f) / 2: the gap as soon as either kind of chain has forgotten where it began.

These are products of independent answers, so the chains' thermal noise has no mean and short chains will do. But a
dense fluid under noise of a quarter of the atoms' distance does not forget which atom is whose: two that were to change
places would have to squeeze past each other. They are identical, though, so exchanging two neighbours costs the energy
of the tethers alone, and trades by Metropolis' rule do it at once (compare swap Monte Carlo: Grigera, Parisi, Phys.
Rev. E 63, 045102 (2001)).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import openmm
import torch
from numpy.typing import NDArray
from openmm import unit

from openmm_nti.ensemble import Ensemble
from openmm_nti.files import atomic_path, fingerprint
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.hamiltonian.noise import effective_variance
from openmm_nti.lj_fluid import lj_system
from openmm_nti.model_files import weights_fingerprint
from openmm_nti.platforms import fastest_platform, platform_properties
from openmm_nti.state import StatePoint
from openmm_nti.tasks import derive_seed, run_tasks
from openmm_nti.training.targets import stratified_log_noise
from openmm_nti.validation.window_data import read_arrays

Array = NDArray[np.float64]
NOISE_SIGMA = (0.08, 1.0)  # below and above, models have next to no gap
_FOCUS_SIGMA, _FOCUS_SHARE = (0.15, 0.4), 0.6  # where most of it lies
_FRAMES_PER_TASK = 4
_TIMESTEP_STAR, _FRICTION_STAR = 0.008, 1.0
_N_BLOCKS = 6  # of a chain; the first two of a chain from the model's answer are left out
_STEPS_BETWEEN_POSITIONS, _STEPS_BETWEEN_TRADES = 10, 40
_REACH_SIGMA = 1.7  # of a trade: the first shell of neighbours
_LONG_SIGMA = 0.4  # tethers on which every pair is visited, at most
_LONGEST_JUMP = 4.0  # of a model's answer, in units of the noise: a bad one must not tear the fluid apart
_FEW = 40  # atoms up to which the Reference platform is the quickest: others spend more time on threads or launches
_FORCE_TOLERANCE = 50.0  # kJ/mol/nm where a start has no overlaps left; thermal forces are as large
_N_GROUPS = 8  # of frames of like noise, to show where a gap lies
_VELOCITY = unit.nanometer / unit.picosecond


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

        Levels are stratified, one to a stratum: neighbours in noise differ by their scatter and little else.
        """
        weighted = (self.weight * values)[np.argsort(self.noise_sigma)]
        n_pairs = len(weighted) // 2
        variance = np.square(np.diff(weighted[: 2 * n_pairs].reshape(-1, 2), axis=1)).sum() / (2 * n_pairs)
        return float(weighted.mean()), math.sqrt(variance / len(weighted))

    def profile(self, values: Array) -> tuple[Array, Array, Array]:
        """Where `values` (n,) lie: ln s in groups of about as many frames, their means and standard errors, (b,) each.

        A density: kT by unit of ln s. The noise levels are in sigma.
        """
        n_groups = max(1, min(_N_GROUPS, len(values) // 2))
        groups = np.array_split(np.argsort(self.noise_sigma), n_groups)
        noise = [math.exp(np.log(self.noise_sigma[group]).mean()) for group in groups]
        errors = [values[group].std(ddof=1) / math.sqrt(len(group)) for group in groups]
        return np.array(noise), np.array([values[group].mean() for group in groups]), np.array(errors)


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
        Effort: chains of n_steps steps of 0.008 sigma sqrt(m / epsilon).
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
    if state.convention != "switched":
        raise ValueError(f"tethered chains need continuous forces, those of {state} jump at the cutoff: use `switched`")
    generator = torch.Generator().manual_seed(derive_seed(seed, "tethered", state.label))
    low, high = (math.log(limit) for limit in NOISE_SIGMA)
    inner = tuple(math.log(limit) for limit in _FOCUS_SIGMA)
    levels = stratified_log_noise(
        n_frames, low, high, generator, focus=(inner[0], inner[1]), focus_share=_FOCUS_SHARE
    ).numpy()
    width = inner[1] - inner[0]
    focused = (levels >= inner[0]) & (levels < inner[1])
    weight = np.where(focused, width / _FOCUS_SHARE, (high - low - width) / (1.0 - _FOCUS_SHARE))
    order = torch.randperm(len(ensemble.positions_sigma), generator=generator).numpy()
    frames = ensemble.positions_sigma[np.resize(order, n_frames)]
    name = fingerprint([state.model_dump(), n_frames, n_steps, seed, weights_fingerprint(model), float(frames.sum())])
    parts = [slice(start, start + _FRAMES_PER_TASK) for start in range(0, n_frames, _FRAMES_PER_TASK)]
    tasks = [
        _Task(
            number, frames[part], levels[part], model, state, n_steps, seed,
            directory / "tethered" / f"{name}_{number:03d}.npz",
        )
        for number, part in enumerate(parts)
    ]  # fmt: skip
    found = run_tasks(_run, tasks, workers=workers, description="tethered chains", progress=progress)
    lower, middle, upper = (np.concatenate(values) for values in zip(*found, strict=True))
    return Gap(np.exp(levels), lower, middle, upper, weight)


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
    found = []
    for frame, centres, spread, slope, level in zip(
        task.frames, noised, spreads, gradient, np.exp(task.log_s), strict=True
    ):
        answer = -(spread**2) * slope
        fluid.tether(centres, float(spread))
        length = np.linalg.norm(answer, axis=1, keepdims=True)
        guess = answer * np.minimum(1.0, _LONGEST_JUMP * spread / np.maximum(length, 1e-9))
        a = fluid.displacements(frame - centres, task.n_steps, settle=False) - answer
        b, c = (fluid.displacements(guess, task.n_steps, settle=True)[2:].mean(0) - answer for _ in range(2))
        # Displaced together, the atoms have the same energy: nothing can be learned about that.
        a, b, c = (each - each.mean(axis=-2, keepdims=True) for each in (a, b, c))
        product = float((a.mean(0) * (b + c)).sum())
        found.append([product - (b * c).sum(), 0.5 * product, (a[:2].mean(0) * a[-2:].mean(0)).sum()])
        # 1/2 |gap of the gradient|^2 d(s_eff^2), with d(s_eff^2) = 2 s^2 d(ln s).
        found[-1] = [each * level**2 / spread**4 for each in found[-1]]
    lower, middle, upper = np.array(found).T
    return lower, middle, upper


class TetheredFluid:
    """Langevin dynamics of the Lennard-Jones fluid with every atom on a spring, and trades of the springs' ends.

    Parameters
    ----------
    state
        The fluid.
    seed
        Of velocities, thermostat and trades.
    """

    def __init__(self, state: StatePoint, seed: int) -> None:
        self._state, self._rng = state, np.random.default_rng(seed)
        self._force = openmm.CustomExternalForce("0.5 * spring * ((x - x0)^2 + (y - y0)^2 + (z - z0)^2)")
        self._force.addGlobalParameter("spring", 0.0)
        for name in ("x0", "y0", "z0"):
            self._force.addPerParticleParameter(name)
        for particle in range(state.n_particles):
            self._force.addParticle(particle, [0.0, 0.0, 0.0])
        system = lj_system(state)
        system.addForce(self._force)
        self._integrator = openmm.LangevinMiddleIntegrator(
            state.temperature_kelvin * unit.kelvin,
            _FRICTION_STAR / state.time_unit_ps / unit.picosecond,
            _TIMESTEP_STAR * state.time_unit_ps * unit.picosecond,
        )
        self._integrator.setRandomNumberSeed(derive_seed(seed, "thermostat"))
        fastest = fastest_platform("Reference" if state.n_particles <= _FEW else None)
        self._context = openmm.Context(system, self._integrator, fastest, platform_properties(fastest))
        self._centres, self._spread = np.zeros((state.n_particles, 3)), math.inf

    def tether(self, centres: Array, spread: float) -> None:
        """Tether the atoms to `centres` (N, 3) with energy |x - centre|^2 / 2 spread^2 in kT; sigma."""
        self._centres, self._spread = centres, spread
        for particle, centre in enumerate(centres * self._state.sigma_nm):
            self._force.setParticleParameters(particle, particle, centre)
        self._force.updateParametersInContext(self._context)
        self._context.setParameter("spring", self._state.kt_kj_mol / (spread * self._state.sigma_nm) ** 2)

    def displacements(self, start: Array, n_steps: int, *, settle: bool) -> Array:
        """Mean displacements from the centres in each of six consecutive parts of a chain, (6, N, 3), sigma.

        Parameters
        ----------
        start
            Displacements (N, 3) that the chain begins with, sigma.
        n_steps
            Its length.
        settle
            Push overlapping atoms apart first.
        """
        self._place(self._centres + start)
        if settle:
            openmm.LocalEnergyMinimizer.minimize(self._context, _FORCE_TOLERANCE)
        seed = int(self._rng.integers(1, 2**31 - 1))
        self._context.setVelocitiesToTemperature(self._state.temperature_kelvin * unit.kelvin, seed)
        n_rounds = max(_N_BLOCKS, n_steps // _STEPS_BETWEEN_TRADES)
        rounds = np.array([self._round() for _ in range(n_rounds)])
        return np.array([part.mean(axis=0) for part in np.array_split(rounds, _N_BLOCKS)])

    def _round(self) -> Array:
        """Some steps, then trades: the mean displacement, (N, 3), sigma."""
        total, n_reads = np.zeros_like(self._centres), _STEPS_BETWEEN_TRADES // _STEPS_BETWEEN_POSITIONS
        for _ in range(n_reads):
            self._integrator.step(_STEPS_BETWEEN_POSITIONS)
            positions = self._positions()
            total += positions - self._centres
        self._trade(positions)
        return total / n_reads

    def _positions(self) -> Array:
        now = self._context.getState(positions=True)
        return np.asarray(now.getPositions(asNumpy=True).value_in_unit(unit.nanometer)) / self._state.sigma_nm

    def _place(self, positions: Array) -> None:
        self._context.setPositions(positions * self._state.sigma_nm)

    def _trade(self, positions: Array) -> None:
        """Let neighbours change places by Metropolis' rule."""
        edge = self._state.box_length_sigma
        whose = trades(positions, self._centres, self._spread, edge, self._rng)
        if (whose == np.arange(len(whose))).all():
            return
        velocities = self._context.getState(velocities=True).getVelocities(asNumpy=True).value_in_unit(_VELOCITY)
        away, moved = np.empty_like(positions), np.empty_like(positions)
        away[whose], moved[whose] = positions - self._centres[whose], velocities
        self._place(self._centres + away - edge * np.round(away / edge))
        self._context.setVelocities(moved)


def trades(positions: Array, centres: Array, spread: float, edge: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Which atom sits at each of the N places after a sweep of trades between neighbours, (N,).

    Every pair of places within 1.7 sigma is visited once, in random order, and its atoms change places with probability
    min(1, exp(-change of |x - centre|^2 / 2 spread^2)): detailed balance holds, for the places stay where they are. On
    tethers longer than 0.4 sigma most trades succeed, and a share of the pairs is enough.

    Parameters
    ----------
    positions
        The places, (N, 3), sigma; atom i is at place i at first.
    centres
        Where each atom is tethered, (N, 3), sigma.
    spread
        Of the tethers, sigma.
    edge
        Of the box, sigma.
    rng
        Decides.
    """
    first, second = _near(positions, min(1.0, (_LONG_SIGMA / spread) ** 4), edge, rng)
    whose = np.arange(len(positions))
    thresholds = -2.0 * spread**2 * np.log1p(-rng.random(len(first)))  # of the change of squared lengths

    def accepted(these: slice | NDArray[np.int64]) -> NDArray[np.bool_]:
        a, b = first[these], second[these]
        own, other = centres[whose[a]], centres[whose[b]]
        here = _squared(positions[a] - own, edge) + _squared(positions[b] - other, edge)
        traded = _squared(positions[b] - own, edge) + _squared(positions[a] - other, edge)
        return np.asarray(traded - here < thresholds[these])

    # Few trades succeed: decide all pairs at once, and again those that a success has changed.
    verdicts, at = accepted(slice(None)), 0
    while at < len(first) and verdicts[at:].any():
        at += int(verdicts[at:].argmax())
        a, b = first[at], second[at]
        whose[[a, b]] = whose[[b, a]]
        at += 1
        later = at + np.flatnonzero(np.isin(first[at:], (a, b)) | np.isin(second[at:], (a, b)))
        verdicts[later] = accepted(later)
    return whose


def _near(
    positions: Array, share: float, edge: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A share of the pairs of places within reach of a trade, in random order."""
    first, second = np.triu_indices(len(positions), 1)
    near = np.flatnonzero(_squared(positions[first] - positions[second], edge) < _REACH_SIGMA**2)
    near = rng.permutation(near)[: math.ceil(share * len(near))]
    return first[near], second[near]


def _squared(vectors: Array, edge: float) -> Array:
    """Squared lengths (n,) of vectors (n, 3) to the nearest image."""
    vectors = vectors - edge * np.round(vectors / edge)
    return np.asarray(np.einsum("ij,ij->i", vectors, vectors))
