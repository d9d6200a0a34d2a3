r"""The gap of a model's denoising bound, measured by harmonically restrained molecular dynamics.

A noised configuration y = x_0 + s_eff z comes from configurations x that are distributed as

.. math:: p(x | y) \propto \exp(-\beta U_{LJ}(x) - |x - y|^2 / 2 s_{eff}^2).

This is the fluid with every atom harmonically restrained (tethered) to its noised position. Its
mean gives the exact score, grad U* = (y - E[x | y]) / s_eff^2 (Robbins 1956; Miyasawa 1961).

There are four mean displacements from y: the model's (f), that of a chain from the true x_0 (a),
and those of two chains from the model's answer (b, c). The gap of the denoising bound at one noise
level is |f - E[x - y | y]|^2 / s_eff^4. It is measured in three ways:

`lower`
    (a - f).(b + c - 2 f) - (b - f).(c - f). A chain from x_0 is in equilibrium at once, so a has no
    bias. The mean over chains from the model depends on y alone: it is one more denoiser, whose
    bound is above the model's by just this. It stays a bound, however short the chains.
`upper`
    (a_early - f).(a_late - f). It is larger than the gap by what a chain remembers, which is
    positive for reversible dynamics.
`middle`
    (a - f).(b + c - 2 f) / 2. It is the gap once the chains from the model have forgotten their
    start. While they have come a share k of the way, it is k times the gap, and `lower` is
    k (2 - k) times it: `lower` - `middle` is then about what `middle` lacks.

These are products of independent answers. So the thermal noise of the chains averages out, and
short chains are enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import Diagnostics
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.length_scale import packing
from openmm_nti.md.platforms import description_of_fastest
from openmm_nti.reference_md.statistics import is_constant
from openmm_nti.references.noise import NOISE_MIN_SIGMA, effective_variance, log_noise_max
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.training.targets import stratified_log_noise
from openmm_nti.validation.analysis.regression import require_finite
from openmm_nti.validation.analysis.window_data import platform_of
from openmm_nti.validation.sampling.tethered_fluid import (
    TetheredFluid,
    longest_step_ps,
    platform_for,
    products,
)

Array = NDArray[np.float64]
# Below and above, models have next to no gap in fluids like those of their training. Where the gap
# goes on at an end, it is measured beyond, by a quarter of the frames more.
NOISE_SIGMA = (0.08, 1.0)
# The noise is divided at these levels. On short tethers the products of chains hardly scatter. In a
# dense fluid they scatter most on tethers as long as the cages of its atoms, otherwise on longer
# ones. So half of the frames, or 85 % near freezing, have tethers of the middle lengths.
_DIVIDED_SIGMA, _SHORT_OF_REST = (0.16, 0.35), 0.3
_MIDDLE, _CROWDING = (0.5, 0.85), (0.47, 0.77)  # N d^3 / V
_FRAMES_PER_TASK = 4
_LONG_SIGMA, _MOST_STEPS = 0.4, 4.0  # on longer tethers chains are longer, by this factor at most
_FEW_PARTICLES, _MOST_FOR_FEW = 160, 2.5  # so are those of fewer particles, whose steps are cheap
_N_GROUPS = 8  # of frames of like noise, to show where a gap lies


class ChainDiagnostics(Diagnostics):
    """Facts from tethered chains, in kT: bounds from both sides, and the model's gap by noise."""

    n_tethered: int
    tethered_steps: int
    gap: float
    gap_err: float
    gap_missing: float = 0.0  # what `middle` may lack: its distance to `lower` or `upper`
    gap_noise_sigma: list[float]
    gap_density_kt: list[float]
    gap_density_err: list[float]
    lower: float
    lower_err: float
    upper: float
    upper_err: float
    platform: str | None = None  # where MD ran: OpenMM's platform, with device and precision


@dataclass(frozen=True)
class Gap:
    """The part of a model's gap at some noise, as tethered chains measure it.

    Attributes
    ----------
    noise_sigma
        Noise level of each frame, (n,), sigma.
    lower, middle, upper
        The gap per unit of ln s from each frame, (n,), kT; see the module.
    weight
        One over the density of levels in ln s, (n,).
    platform
        Where MD ran.
    """

    noise_sigma: Array
    lower: Array
    middle: Array
    upper: Array
    weight: Array
    platform: str | None = None

    @property
    def is_constant(self) -> bool:
        """Whether one of the three is the same for all frames: nothing was sampled."""
        return any(map(is_constant, (self.lower, self.middle, self.upper)))

    def integral(self, values: Array) -> tuple[float, float]:
        """Return the integral of `values` (n,) over ln s and its standard error, kT.

        Levels are stratified, one to a stratum. So neighbours in noise differ by their scatter and
        by little else.
        """
        weighted = (self.weight * values)[np.argsort(self.noise_sigma)]
        n_pairs = len(weighted) // 2
        differences = np.diff(weighted[: 2 * n_pairs].reshape(-1, 2), axis=1)
        variance = np.square(differences).sum() / (2 * n_pairs)
        return float(weighted.mean()), math.sqrt(variance / len(weighted))

    def profile(self, values: Array) -> tuple[Array, Array, Array]:
        """Return the density of `values` (n,) over ln s, in groups of about as many frames.

        Returned are the noise levels in sigma, and means and standard errors in kT per unit of
        ln s, (groups,) each.
        """
        n_groups = max(1, min(_N_GROUPS, len(values) // 2))
        groups = np.array_split(np.argsort(self.noise_sigma), n_groups)
        noise = [math.exp(np.log(self.noise_sigma[group]).mean()) for group in groups]
        means = [values[group].mean() for group in groups]
        errors = [values[group].std(ddof=1) / math.sqrt(len(group)) for group in groups]
        return np.array(noise), np.array(means), np.array(errors)

    def goes_on(self, end: int) -> bool:
        """Whether at the lowest noise (`end` 0) or the highest (-1) the gap is above its error."""
        noise = self.noise_sigma
        n_outer = ((noise < _DIVIDED_SIGMA[0]).sum(), (noise > _DIVIDED_SIGMA[1]).sum())[end]
        n = max(2, min(n_outer // 2, len(noise) // _N_GROUPS))
        order = np.argsort(noise)
        outermost = self.middle[order[:n] if end == 0 else order[-n:]]
        error = outermost.std(ddof=1) / math.sqrt(n)
        return not outermost.mean() <= max(2.0 * error, self.integral(self.middle)[1])

    def joined(self, other: Gap) -> Gap:
        """Return this gap and that at other noise as one."""
        parts = (self, other)
        n_frames = sum(len(part.weight) for part in parts)
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("noise_sigma", "lower", "middle", "upper")
        }
        weight = np.concatenate([part.weight * n_frames / len(part.weight) for part in parts])
        return Gap(**columns, weight=weight, platform=self.platform)


def steps(n_steps: int, n_particles: int) -> int:
    """Return the length of chains on short tethers: `n_steps`, or more for few particles."""
    return round(n_steps * min(max(1.0, _FEW_PARTICLES / n_particles), _MOST_FOR_FEW))


@dataclass(frozen=True)
class _Part:
    """Some of the frames, (n, N, 3) in sigma, and ln s of each, (n,)."""

    name: str
    number: int
    frames: Array
    log_s: Array


@takes_execution
def measure(
    model: NoisedFluid, ensemble: Ensemble, n_frames: int, n_steps: int, execution: Execution
) -> Gap:
    """Return the gap of a model, from three tethered chains for each of `n_frames` noised frames.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` or `Denoiser` of the ensemble's pair potential.
    ensemble
        Decorrelated frames. They must be `switched`, because chains need forces that are the
        gradient of the energy.
    n_frames
        Number of noised frames within `NOISE_SIGMA`, and a quarter more beyond an end of it where
        the gap goes on.
    n_steps
        Length of the chains in steps, up to four times as long on long tethers; see also `steps`.
    execution
        Its folder keeps finished frames below `tethered`.

    Raises
    ------
    ValueError
        If the ensemble is `truncated`, or the chains run into NaN.
    """
    state = ensemble.state
    model = model.bind(state)
    if not state.is_continuous:
        raise ValueError(
            f"tethered chains need continuous forces, those of {state} jump at the cutoff: use "
            "`switched`"
        )
    generator = execution.torch_random("tethered", state.label)
    log_s, weight = _levels(n_frames, packing(state), generator)
    order = torch.randperm(len(ensemble.positions_sigma), generator=generator).numpy()
    chains = _Chains(model, ensemble, order, steps(n_steps, state.n_particles), execution)
    gap = within = chains.gap(log_s, weight, "tethered")
    n_more = max(4, n_frames // 4)
    lowest, highest = 2 * NOISE_MIN_SIGMA, math.exp(log_noise_max(box_of(state)))
    beyond = ((0, "below", lowest, NOISE_SIGMA[0]), (-1, "above", NOISE_SIGMA[1], highest))
    for end, where, low, high in beyond:
        if high > low and within.goes_on(end):
            name, weight = f"tethered_{where}", np.full(n_more, math.log(high / low))
            generator = execution.torch_random(name, state.label)
            log_s = stratified_log_noise(n_more, math.log(low), math.log(high), generator).numpy()
            gap = gap.joined(chains.gap(log_s, weight, name))
    return gap


@dataclass(frozen=True)
class _Chains:
    """What chains are made of: `order` of the frames, and steps on short tethers."""

    model: NoisedFluid
    ensemble: Ensemble
    order: NDArray[np.int64]
    n_steps: int
    execution: Execution

    def gap(self, log_s: Array, weight: Array, name: str) -> Gap:
        """Return the gap at the levels `log_s` (n,); finished frames are kept in folder `name`."""
        state = self.ensemble.state
        frames = self.ensemble.positions_sigma[np.resize(self.order, len(log_s))]
        starts = np.arange(_FRAMES_PER_TASK, len(log_s), _FRAMES_PER_TASK)
        parts = zip(np.split(frames, starts), np.split(log_s, starts), strict=True)
        found = self.execution.map_stored(
            partial(_gaps, self.model, state, self.n_steps, self.execution),
            [_Part(name, number, *part) for number, part in enumerate(parts)],
            name=name,
            inputs=[self.model, self.ensemble, log_s, self.n_steps, longest_step_ps(state)],
            description=f"{name.replace('_', ', ')} chains",
        )
        columns = ("lower", "middle", "upper")
        values = {key: np.concatenate([part[key] for part in found]) for key in columns}
        require_finite("tethered chains", "look for overlapping particles in the frames", **values)
        return Gap(np.exp(log_s), **values, weight=weight, platform=platform_of(found))


def _levels(n_frames: int, crowding: float, generator: torch.Generator) -> tuple[Array, Array]:
    """Return ln s of each of at least four frames, and 1 / (its density), (n,) each."""
    edges = np.log([NOISE_SIGMA[0], *_DIVIDED_SIGMA, NOISE_SIGMA[1]])
    middle = float(np.interp(crowding, _CROWDING, _MIDDLE))
    short = _SHORT_OF_REST * (1.0 - middle)
    ends = np.array([0.0, short, short + middle, 1.0])
    sizes = 1 + np.diff(np.rint((n_frames - 3) * ends)).astype(int)  # one in each band at least
    bands = zip(sizes, pairwise(edges), strict=True)
    levels = [stratified_log_noise(size, low, high, generator) for size, (low, high) in bands]
    return torch.cat(levels).numpy(), np.repeat(np.diff(edges) * n_frames / sizes, sizes)


def _gaps(
    model: NoisedFluid, state: StatePoint, n_steps: int, execution: Execution, part: _Part
) -> dict[str, NDArray[Any]]:
    """Return `lower`, `middle` and `upper` of each frame of `part`, (n,) each, per unit of ln s."""
    execution = execution.child(part.name, part.number)
    rng = np.random.default_rng(execution.seed)
    log_s = torch.from_numpy(part.log_s)
    spreads = effective_variance(log_s).sqrt().numpy()
    noised = part.frames + spreads[:, None, None] * rng.standard_normal(part.frames.shape)
    box = box_of(state)
    with torch.no_grad():
        gradient = execution.place(model).gradient(torch.from_numpy(noised), box, log_s).numpy()
    fluid = TetheredFluid(state, execution)
    lengths = n_steps * np.clip((spreads / _LONG_SIGMA) ** 2, 1.0, _MOST_STEPS)
    # 1/2 |gap of the gradient|^2 d(s_eff^2), with d(s_eff^2) = 2 s^2 d(ln s).
    factors = np.exp(2.0 * part.log_s) / spreads**4
    rows = []
    for number, spread in enumerate(spreads.tolist()):
        answer = -(spread**2) * gradient[number]
        fluid.tether(noised[number], spread)
        start = part.frames[number] - noised[number]
        rows.append(products(fluid, start, answer, spread, round(lengths[number])))
    lower, middle, upper = np.array(rows).T * factors
    platform = np.array([description_of_fastest(platform_for(state.n_particles))])
    return {"lower": lower, "middle": middle, "upper": upper, "platform": platform}
