r"""Noising and denoising paths of a crystal, between its frames and its phonons.

As `sampling.noising_paths`, in the amplitudes q of the phonons. A forward path starts from a frame
and adds Gaussian increments of variance delta_k = v_{k+1} - v_k. A reverse path starts from phonons
at the last noise, and follows the field f of `site_field` back. The works

.. math::
    \omega = \beta U(q_0) + \ln g_{v_K}(q_K) + \sum_k \ln \frac
        {N(q_k; \, q_{k+1} - \delta_k f(q_{k+1}), \, r_k)}{N(q_{k+1}; \, q_k, \, \delta_k)}

obey E_reverse[exp(-omega)] = Z_rel = 1 / E_forward[exp(omega)] for any field, so that
E_forward[omega] <= -ln Z_rel <= E_reverse[omega]. Each mode has its own variance,

.. math:: r_k = \delta_k \left( 1 - \frac{\delta_k I_k}{C + v_{k+1}} \right).

For phonons alone, I_k = 1, a step of any length is exact. I_k > 1 is by how much E|f|^2 exceeds
theirs. Steps are short where the second derivatives differ from those of phonons. Phonons, levels
and variances come from frames that no path starts from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.works import Works
from openmm_nti.validation.estimators.crystals.phonons import Phonons, checked_displacements
from openmm_nti.validation.estimators.crystals.site_field import SiteField
from openmm_nti.validation.sampling.noising_paths import PathConfig
from openmm_nti.validation.sampling.paths.schedule import equal_losses

Array = NDArray[np.float64]
_ATOMS_PER_BATCH = 2560
_FEWEST_FRAMES = 32
_PILOT_FRAMES = 8
_PILOT_LEVELS = 12
_WIDTHS = 6.0  # noise at the end, in root mean square displacements


class CrystalPathConfig(PathConfig):
    """Effort spent on path weights of a crystal."""

    n_steps: int = Field(
        default=150,
        ge=10,
        le=1_000_000,
        description="Steps of a path, where denoising loses most the closest.",
    )


@dataclass(frozen=True)
class CrystalSteps:
    """The steps that all paths share.

    Attributes
    ----------
    field
        The field.
    levels
        Variances v_0 = 0 to v_K, (K + 1,), sigma^2.
    reverse_variances
        r_k of the reverse steps, (K, d), sigma^2.
    """

    field: SiteField
    levels: Array
    reverse_variances: Array


@takes_execution
def sample(
    model: NoisedFluid, ensemble: Ensemble, config: PathConfig, execution: Execution
) -> Works:
    """Return the works of `n_paths` reverse paths, and of as many forward ones, in -ln Z_rel.

    No more than half of the frames start a forward path. Finished batches are kept below
    `crystal_paths` in the folder of `execution`.

    Raises
    ------
    ValueError
        If the frames are fewer than 32, or not of the crystal, or a work is not finite.
    """
    state = ensemble.state
    model = fit_model(model, state)
    moved = checked_displacements("paths of a crystal", ensemble, _FEWEST_FRAMES)
    order = execution.random("paths", state.label).permutation(len(moved))
    n_forward = min(config.n_paths, len(moved) // 2)
    starts, others = moved[order[:n_forward]], moved[order[n_forward:]]
    field = SiteField(state, execution.place(model), Phonons.of(state, others))
    inputs = [model, ensemble, config]
    levels = execution.folder("crystal_paths").stored(
        "schedule",
        inputs,
        lambda: _schedule(field, others[:_PILOT_FRAMES], config, execution),
    )
    size = max(1, _ATOMS_PER_BATCH // state.n_particles)
    modes = field.phonons.modes(torch.as_tensor(starts))
    batches: list[tuple[str, int, Tensor | int]] = [
        *(("forward", k, part) for k, part in enumerate(modes.split(size))),
        *(
            ("reverse", k, min(size, config.n_paths - first))
            for k, first in enumerate(range(0, config.n_paths, size))
        ),
    ]
    found = execution.map_stored(
        partial(_works, CrystalSteps(field, **levels), execution),
        batches,
        name="crystal_paths",
        inputs=[*inputs, levels],
        description="paths of the crystal",
        labels=[f"{direction} paths {number}" for direction, number, _ in batches],
    )
    forward, reverse = (
        np.concatenate(
            [part["omega"] for batch, part in zip(batches, found, strict=True) if batch[0] == way]
        )
        for way in ("forward", "reverse")
    )
    return Works(state, forward, reverse)


def _schedule(
    field: SiteField, moved: Array, config: PathConfig, execution: Execution
) -> dict[str, Array]:
    """Return `levels` (K + 1,) and `reverse_variances` (K, d), from displacements (F, N, 3)."""
    generator = execution.torch_random("schedule")
    modes = field.phonons.modes(torch.as_tensor(moved))
    widths = field.phonons.variances.numpy()
    last = 0.5 * math.log(_WIDTHS**2 * field.phonons.mean_variance)
    first = min(math.log(config.first_noise_sigma), last - 1.0)
    pilot = np.linspace(first, last, _PILOT_LEVELS)
    rows = [_pilot(field, modes, variance, generator) for variance in np.exp(2 * pilot)]
    information, loss = (np.array(column) for column in zip(*rows, strict=True))
    log_s = equal_losses(pilot, loss, config.n_steps)
    levels = np.concatenate([[0.0], np.exp(2 * log_s)])
    steps = np.diff(levels)[:, None]
    curved = np.interp(log_s, pilot, information)[:, None] / (widths + levels[1:, None])
    return {"levels": levels, "reverse_variances": steps * np.maximum(1 - steps * curved, 0.05)}


def _pilot(
    field: SiteField, modes: Tensor, variance: float, generator: torch.Generator
) -> tuple[float, float]:
    """Return E|f|^2 over that of phonons, and v^2 tr (H - H_phonons)^2, at noise of `variance`.

    H z for a random z has the square norm tr H^2 on average.
    """
    z, direction = torch.randn((2, *modes.shape), generator=generator, dtype=torch.float64)
    widths = field.phonons.variances + variance
    noised = modes + math.sqrt(variance) * z
    reach = 0.2 * math.sqrt(variance) * direction
    gaussian, excess = field.gaussian(noised, variance), field.excess(noised, variance)
    # What phonons give is known. So where they are exact, the ratio is 1 without any scatter.
    more = (excess * (2 * gaussian + excess)).sum(1).mean()
    information = max(1.0 + float(more / (1 / widths).sum()), 0.0)
    bent = field.excess(noised + reach, variance) - excess
    # The mean of the second derivatives is in the variances of the reverse steps.
    beyond = bent / (0.2 * math.sqrt(variance)) - (information - 1.0) * direction / widths
    return information, variance**2 * float(beyond.square().sum(1).mean())


def _works(
    steps: CrystalSteps, execution: Execution, batch: tuple[str, int, Tensor | int]
) -> dict[str, Array]:
    """Return `omega`, the works of paths, (n_paths,), kT.

    `batch` is the direction, a number, and amplitudes (n_paths, d) to start from or how many paths.
    """
    direction, number, start = batch
    generator = execution.torch_random(direction, number)
    if isinstance(start, Tensor):
        return {"omega": _forward_works(steps, start, generator)}
    return {"omega": _reverse_works(steps, start, generator)}


def _forward_works(steps: CrystalSteps, modes: Tensor, generator: torch.Generator) -> Array:
    omega = _end_energy(steps, modes)
    for step, variance in enumerate(torch.as_tensor(steps.reverse_variances)):
        delta = float(steps.levels[step + 1] - steps.levels[step])
        noise = torch.randn(modes.shape, generator=generator, dtype=torch.float64)
        increment = math.sqrt(delta) * noise
        modes = modes + increment
        gradient = steps.field.gradient(modes, float(steps.levels[step + 1]))
        omega = omega + _log_ratio(increment, gradient, delta, variance)
    omega = omega + steps.field.phonons.log_density(modes, float(steps.levels[-1]))
    return np.asarray(omega.numpy())


def _reverse_works(steps: CrystalSteps, n_paths: int, generator: torch.Generator) -> Array:
    phonons, last = steps.field.phonons, float(steps.levels[-1])
    shape = (n_paths, len(phonons.variances))
    modes = torch.randn(shape, generator=generator, dtype=torch.float64)
    modes = modes * torch.sqrt(phonons.variances + last)
    omega = phonons.log_density(modes, last)
    for step in reversed(range(len(steps.reverse_variances))):
        variance = torch.as_tensor(steps.reverse_variances[step])
        delta = float(steps.levels[step + 1] - steps.levels[step])
        gradient = steps.field.gradient(modes, float(steps.levels[step + 1]))
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        increment = delta * gradient - torch.sqrt(variance) * noise
        modes = modes - increment
        omega = omega + _log_ratio(increment, gradient, delta, variance)
    return np.asarray((omega + _end_energy(steps, modes)).numpy())


def _end_energy(steps: CrystalSteps, modes: Tensor) -> Tensor:
    """Return beta U of amplitudes (B, d), (B,), kT."""
    field = steps.field
    return field.model.end.energy(field.positions(modes), box_of(field.state))


def _log_ratio(increment: Tensor, gradient: Tensor, delta: float, variance: Tensor) -> Tensor:
    """Return ln(reverse density / forward density) of forward increments (B, d), as (B,)."""
    forward = increment.square() / delta
    reverse = (increment - delta * gradient).square() / variance
    return 0.5 * (forward - reverse + torch.log(delta / variance)).sum(1)
