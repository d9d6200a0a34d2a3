r"""The bound of a crystal, raised by what tethered chains know beyond its field.

As for a fluid (`validation.estimators.tethered`): given a noised configuration y, the crystal it
came from is distributed as exp(-beta U(x) - |x - y|^2 / 2v), MD of which needs springs to y. Chains
from the true crystal and from where phonons expect it give products whose mean is the gap of the
field, 1/2 int E|f - f*|^2 dv, or less. Added to `crystal_bound`, it makes a bound for chains of any
length. Atoms belong to their sites, and there are no trades.

Chains are made at noise of 0.4 to 6 root mean square displacements. Phonons and frames are of
different halves, as in the bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.md.platforms import description_of_fastest
from openmm_nti.references.einstein_crystal import beta_f_ex
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.training.targets import stratified_log_noise
from openmm_nti.validation.analysis.regression import require_finite
from openmm_nti.validation.analysis.window_data import platform_of
from openmm_nti.validation.estimators import tethered
from openmm_nti.validation.estimators.base import Bounds, Estimator, Job
from openmm_nti.validation.estimators.crystals import crystal_bound
from openmm_nti.validation.estimators.crystals.conventions import (
    CrystalDiagnostics,
    crystal_free_energy,
    crystal_numbers,
)
from openmm_nti.validation.estimators.crystals.crystal_bound import CrystalBoundConfig
from openmm_nti.validation.estimators.crystals.phonons import Phonons, checked_displacements
from openmm_nti.validation.estimators.crystals.site_field import SiteField
from openmm_nti.validation.estimators.denoising_bound import from_chains
from openmm_nti.validation.pace import Pace
from openmm_nti.validation.plots.bounds import gap_figure
from openmm_nti.validation.plots.figure import Figure
from openmm_nti.validation.sampling.tethered_fluid import TetheredFluid, platform_for, products

Array = NDArray[np.float64]
NOISE = (0.4, 6.0)  # root mean square displacements
_FEWEST_FRAMES = 32
_FRAMES_PER_TASK = 4


class CrystalTetheredConfig(CrystalBoundConfig):
    """Effort spent on the bound of a crystal and on tethered chains."""

    n_tethered: int = Field(
        default=64, ge=4, le=1_000_000, description="Noised frames, with three chains each."
    )
    tethered_steps: int = Field(
        default=400, ge=240, le=100_000_000, description="MD steps of a chain; more below N = 160."
    )


class CrystalTetheredDiagnostics(tethered.ChainDiagnostics, CrystalDiagnostics):
    """Facts from tethered chains of a crystal; `lower` and `upper` are of beta F_ex, kT.

    Attributes
    ----------
    field_bound, field_bound_err
        The bound of the field alone, in beta F_ex, kT.
    """

    field_bound: float
    field_bound_err: float


@dataclass(frozen=True)
class _Part:
    """Some frames of one half: their displacements (n, N, 3) in sigma, and ln of their noise."""

    number: int
    half: int
    moved: Array
    log_noise: Array


@takes_execution
def estimate(
    model: NoisedFluid, ensemble: Ensemble, config: CrystalTetheredConfig, execution: Execution
) -> FreeEnergy:
    """Return a lower bound on beta F_ex of a crystal, raised by tethered chains.

    Arguments are those of `crystal_bound.estimate`.

    Raises
    ------
    ValueError
        As `crystal_bound.estimate`, or if the energy jumps at the cutoff.
    """
    gap = measure(model, ensemble, config.n_tethered, config.tethered_steps, execution)
    advice = "look for overlapping particles in the frames"
    require_finite(
        CrystalTethered.name, advice, lower=gap.lower, middle=gap.middle, upper=gap.upper
    )
    of_bound = CrystalBoundConfig(**config.model_dump(include=set(CrystalBoundConfig.model_fields)))
    alone = crystal_bound.estimate(model, ensemble, of_bound, execution)
    facts, verdict = from_chains(alone, gap, config.n_tethered, config.tethered_steps)
    state, bound = ensemble.state, facts.lower - beta_f_ex(0.0, ensemble.state)
    std_err = math.inf if gap.is_constant else facts.lower_err
    all_facts = CrystalTetheredDiagnostics(
        **facts.model_dump(),
        **crystal_numbers(bound, std_err, state),
        field_bound=alone.value,
        field_bound_err=alone.std_err,
    )
    return crystal_free_energy(bound, std_err, state, CrystalTethered.name, all_facts, verdict)


@takes_execution
def measure(
    model: NoisedFluid, ensemble: Ensemble, n_frames: int, n_steps: int, execution: Execution
) -> tethered.Gap:
    """Return the gap of the field of a crystal, by three chains for each of `n_frames`.

    Finished ones are kept below `crystal_tethered` in the folder of `execution`.
    """
    state = ensemble.state
    if not state.is_continuous:
        raise ValueError(
            f"convention = {state.convention}: tethered chains need an energy without jumps; use "
            "switched, shifted or force_shifted, or crystal_bound"
        )
    model = fit_model(model, state)
    moved = checked_displacements(CrystalTethered.name, ensemble, _FEWEST_FRAMES)
    fields = [
        SiteField(state, execution.place(model), Phonons.of(state, moved[1 - half :: 2]))
        for half in (0, 1)
    ]
    width = math.sqrt((moved**2).sum() / (len(moved) * 3 * (state.n_particles - 1)))
    low, high = (math.log(width * edge) for edge in NOISE)
    generator = execution.torch_random("crystal_tethered", state.label)
    levels = stratified_log_noise(n_frames, low, high, generator).numpy()
    order = torch.randperm(len(moved), generator=generator).numpy()
    chosen = np.resize(order, n_frames)
    parts: list[_Part] = []
    for half in (0, 1):  # frames of even numbers have the phonons of odd ones
        rows = np.flatnonzero(chosen % 2 == half)
        for start in range(0, len(rows), _FRAMES_PER_TASK):
            some = rows[start : start + _FRAMES_PER_TASK]
            parts.append(_Part(len(parts), half, moved[chosen[some]], levels[some]))
    found = execution.map_stored(
        partial(_gaps, fields, tethered.steps(n_steps, state.n_particles), execution),
        parts,
        name=CrystalTethered.name,
        inputs=[model, ensemble, n_frames, n_steps],
        description="tethered chains of the crystal",
        labels=[f"tethered chains {part.number}" for part in parts],
    )
    names = ("lower", "middle", "upper")
    values = {name: np.concatenate([part[name] for part in found]) for name in names}
    noise = np.exp(np.concatenate([part.log_noise for part in parts]))
    weight = np.full(n_frames, high - low)
    return tethered.Gap(noise, **values, weight=weight, platform=platform_of(found))


def _gaps(
    fields: list[SiteField], n_steps: int, execution: Execution, part: _Part
) -> dict[str, NDArray[Any]]:
    """Return `lower`, `middle` and `upper` of each frame of `part`, (n,) each, per unit of ln s."""
    field, own = fields[part.half], execution.child("crystal_tethered", part.number)
    state, generator = field.state, own.torch_random("noise")
    fluid = TetheredFluid(state, own)
    rows = []
    for moved, log_noise in zip(part.moved, part.log_noise, strict=True):
        spread = math.exp(log_noise)
        clean = field.phonons.modes(torch.as_tensor(moved[None]))
        noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        noised = clean + spread * noise
        back, of_phonons = (
            -(spread**2) * gradient(noised, spread**2)
            for gradient in (field.gradient, field.gaussian)
        )
        start, answer, guess = (
            field.phonons.displacements(modes)[0].numpy()
            for modes in (clean - noised, back, of_phonons)
        )
        fluid.tether(field.positions(noised)[0].numpy(), spread)
        found = products(fluid, start, answer, spread, n_steps, guess)
        # 1/2 |gap of the gradient|^2 dv, with dv = 2 v d(ln s).
        rows.append([product / spread**2 for product in found])
    lower, middle, upper = np.array(rows).T
    platform = np.array([description_of_fastest(platform_for(state.n_particles))])
    return {"lower": lower, "middle": middle, "upper": upper, "platform": platform}


class CrystalTethered(Estimator):
    """The rigorous lower bound of a crystal, raised by tethered chains."""

    name = "crystal_tethered"
    section = "crystal_tethered"
    phase = "crystal"
    Config = CrystalTetheredConfig
    Diagnostics = CrystalTetheredDiagnostics
    kind = "bound"
    needs = frozenset({"model", "data"})
    summary = "That bound raised by tethered chains, which also tell the gap that is left"
    order = 14

    def estimate(self, job: Job, config: CrystalTetheredConfig) -> FreeEnergy:
        """Return the bound."""
        return estimate(job.score, job.ensemble, config, job.execution)

    def seconds(self, config: CrystalTetheredConfig, n: int, pace: Pace) -> float:
        """Return the time of the gradients and of the chains."""
        chains = 3 * config.n_tethered * tethered.steps(config.tethered_steps, n)
        pairs = 4.0 * config.n_levels * config.n_pairs
        return pairs * pace.gradient(n) + 1.3 * chains * pace.md_step(n)

    def bounds(self, found: FreeEnergy) -> Bounds:
        """Return the bound itself."""
        return Bounds(lower=(found.value, found.std_err) if found.has_error else None)

    def figures(self, found: FreeEnergy, folder: Path) -> Iterator[Figure]:
        """Yield where the gap of the field lies."""
        del folder
        if "gap_noise_sigma" in found.diagnostics:
            yield gap_figure(found.diagnostics)


ESTIMATORS = (CrystalTethered(),)
