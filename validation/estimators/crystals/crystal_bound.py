r"""Lower bound on the free energy of a crystal by denoising, with phonons as the end.

Noise of variance v makes the density q_v of the displacements wider. De Bruijn's identity says how
its entropy grows, and no field in place of the exact score can make it grow too fast. At the end a
Gaussian g takes over, as the mean of -ln g is never below the entropy. So for any noise v_1 at the
end and any field f,

.. math::
    -\ln Z_{rel} \ge \langle \beta U \rangle + E[\ln g_{v_1}]
    + \frac12 \int_0^{v_1} \left( 2 E[f \cdot z / s] - E|f|^2 \right) dv, \qquad s^2 = v .

Let g_v be that of `phonons`, and f its field q / (C + v) and an excess h. Then what the phonons
give in the integral is known, for each frame by itself, and v_1 drops out:

.. math::
    -\ln Z_{rel} \ge \langle \beta U + \ln g_0 \rangle
    + \frac12 \int_0^{\infty} E \left[ 2 h \cdot \left( \frac{z}{s} - \frac{q}{C + v} \right)
    - |h|^2 \right] dv .

The first term is the bound of phonons alone. The second is what a model knows beyond them
(`site_field`). At large noise it fades, so where the integral ends hardly matters; no end can raise
the bound above the truth. Half of the frames give the amplitudes of the phonons for the other half,
so that they are independent of the frames whose bound it is.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.reference_md.statistics import is_constant
from openmm_nti.references.noise import NOISE_MIN_SIGMA
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.regression import require_finite
from openmm_nti.validation.estimators.base import Bounds, Estimator, Job
from openmm_nti.validation.estimators.crystals.conventions import (
    CrystalDiagnostics,
    crystal_free_energy,
    crystal_numbers,
)
from openmm_nti.validation.estimators.crystals.field_gain import gain
from openmm_nti.validation.estimators.crystals.phonons import Phonons, checked_displacements
from openmm_nti.validation.estimators.crystals.site_field import SiteField
from openmm_nti.validation.pace import Pace

Array = NDArray[np.float64]
_FEWEST_FRAMES = 32
_WIDTHS = 6.0  # noise at the end, in root mean square displacements


class CrystalBoundConfig(Settings):
    """Effort spent on the bound of a crystal."""

    n_levels: int = Field(
        default=32, ge=8, le=1000, description="Noise levels: two in each panel of a quadrature."
    )
    n_pairs: int = Field(
        default=48,
        ge=16,
        le=10_000_000,
        description="Antithetic pairs of noised frames at each level, for each half of the frames.",
    )
    largest_noise: float | None = Field(
        default=None,
        gt=0.01,
        le=5,
        description="Noise up to which the model is asked, in sigma; by default six root mean "
        "square displacements of a coordinate.",
    )


class CrystalBoundDiagnostics(CrystalDiagnostics):
    """Facts beside the bound of a crystal.

    Attributes
    ----------
    mean_square_displacement
        c, of a coordinate, in sigma^2.
    noise_sigma, bound_kt, bound_err
        The bound of -ln Z_rel by the noise at which phonons take over from the model, kT. The first
        one is that of phonons alone, the last one is the result.
    """

    mean_square_displacement: float
    noise_sigma: list[float]
    bound_kt: list[float]
    bound_err: list[float]


class Curve(NamedTuple):
    """Bounds of -ln Z_rel from some frames by the noise at the end, (K,), kT.

    `of_frames` is by how much each frame moves each of them, (K, F).
    """

    noise: Array
    bound: Array
    of_frames: Array


@takes_execution
def estimate(
    model: NoisedFluid, ensemble: Ensemble, config: CrystalBoundConfig, execution: Execution
) -> FreeEnergy:
    """Return a lower bound on beta F_ex of a crystal.

    Parameters
    ----------
    model
        Any model of the pair potential. One of the fluid serves.
    ensemble
        Decorrelated frames of the crystal.
    config
        Effort.
    execution
        Its folder keeps what is finished in `crystal_bound/`.

    Raises
    ------
    ValueError
        If the frames are fewer than 32, or not of the crystal, or the model does not fit.
    """
    state = ensemble.state
    model = fit_model(model, state)
    moved = checked_displacements(CrystalBound.name, ensemble, _FEWEST_FRAMES)
    c = float((moved**2).sum() / (len(moved) * 3 * (state.n_particles - 1)))
    halves = [
        Curve(
            **execution.folder(CrystalBound.name).stored(
                f"with_phonons{half}",
                [model, ensemble, config],
                lambda half=half: _curve(  # type: ignore[misc]
                    SiteField(
                        state, execution.place(model), Phonons.of(state, moved[1 - half :: 2])
                    ),
                    moved[half::2],
                    ensemble.reduced_potentials[half::2],
                    _edges(config, c),
                    config.n_pairs,
                    execution.child("half", half),
                )._asdict(),
            )
        )
        for half in (0, 1)
    ]
    advice = "train the network longer, and look for overlapping particles in the frames"
    for half in halves:
        require_finite(CrystalBound.name, advice, bounds=half.bound, shares=half.of_frames)
    bounds = np.mean([half.bound for half in halves], axis=0)
    # Errors are of independent frames; what is left of correlation counts as fewer of them.
    thinned = math.sqrt(ensemble.n_frames / ensemble.n_independent)
    errors = thinned * np.hypot(*(np.linalg.norm(half.of_frames, axis=1) for half in halves)) / 2
    equal = any(is_constant(half.of_frames[-1]) for half in halves)
    bound, std_err = float(bounds[-1]), math.inf if equal else float(errors[-1])
    facts = CrystalBoundDiagnostics(
        **crystal_numbers(bound, std_err, state),
        mean_square_displacement=c,
        noise_sigma=halves[0].noise.tolist(),
        bound_kt=bounds.tolist(),
        bound_err=errors.tolist(),
    )
    verdict = _verdict(float(abs(bounds[-1] - bounds[-2])), std_err)
    return crystal_free_energy(bound, std_err, state, CrystalBound.name, facts, verdict)


def _verdict(last_panel: float, std_err: float) -> Verdict:
    """Return whether the bound has settled where the noise ends."""
    otherwise = Verdict(
        "warn", f"poor: the last noise still changes the bound by {last_panel:.2g} kT; raise it"
    )
    if not 0 < std_err < math.inf:
        return Verdict("bad", "unreliable: the frames give no error")
    return Verdict.good_if(last_panel <= max(std_err, 0.1), "good: a lower bound", otherwise)


def _edges(config: CrystalBoundConfig, variance: float) -> Array:
    """Return the edges of the panels, equidistant in ln s, sigma; the first one is v = 0."""
    largest = config.largest_noise or _WIDTHS * math.sqrt(variance)
    largest = math.hypot(largest, NOISE_MIN_SIGMA)
    return np.geomspace(NOISE_MIN_SIGMA, largest, config.n_levels // 2 + 1)


def _curve(
    field: SiteField,
    moved: Array,
    energies: Array,
    edges: Array,
    n_pairs: int,
    execution: Execution,
) -> Curve:
    """Return the bounds of frames if phonons take over at each of the `edges`, (K,)."""
    half_width = 0.5 * math.log(edges[1] / edges[0])
    nodes = edges[:-1, None] * np.exp(half_width * (1 + np.array([-1, 1]) / math.sqrt(3)))
    nodes = nodes.ravel()
    weights = half_width * nodes**2  # dv / 2 = s^2 d(ln s)
    modes = field.phonons.modes(torch.as_tensor(moved))
    alone = energies + field.phonons.log_density(modes).numpy()
    generator = execution.torch_random("crystal_bound")
    order = torch.randperm(len(modes), generator=generator)
    chosen = order[torch.arange(n_pairs) % len(order)]
    shifts = alone - alone.mean()
    variances = execution.track((nodes**2 - NOISE_MIN_SIGMA**2).tolist(), "noise levels")
    fits = [gain(field, modes, shifts, chosen, v, generator) for v in variances]
    means, slopes, pulls = (np.array(column) for column in zip(*fits, strict=True))

    def up_to_edges(terms: Array) -> Array:
        sums = np.cumsum(terms, axis=0)[1::2]
        return np.concatenate([np.zeros_like(sums[:1]), sums])

    of_frames = (1 + up_to_edges(weights * slopes))[:, None] * shifts / len(modes)
    return Curve(
        np.sqrt(edges**2 - NOISE_MIN_SIGMA**2),
        alone.mean() + up_to_edges(weights * means),
        of_frames + up_to_edges(weights[:, None] * pulls),
    )


class CrystalBound(Estimator):
    """The rigorous lower bound of a crystal."""

    name = "crystal_bound"
    section = "crystal_bound"
    phase = "crystal"
    Config = CrystalBoundConfig
    Diagnostics = CrystalBoundDiagnostics
    kind = "bound"
    in_runs = True
    needs = frozenset({"model", "data"})
    summary = "Lower bound of a crystal from denoising, with phonons as end; a fluid's model serves"
    order = 12

    def estimate(self, job: Job, config: CrystalBoundConfig) -> FreeEnergy:
        """Return the bound."""
        return estimate(job.score, job.ensemble, config, job.execution)

    def seconds(self, config: CrystalBoundConfig, n: int, pace: Pace) -> float:
        """Return the time of the gradients."""
        return 4.0 * config.n_levels * config.n_pairs * pace.gradient(n)

    def evaluations(self, config: CrystalBoundConfig, found: FreeEnergy) -> int:
        """Return the number of gradients of the model."""
        del found
        return 4 * config.n_levels * config.n_pairs

    def bounds(self, found: FreeEnergy) -> Bounds:
        """Return the bound itself."""
        return Bounds(lower=(found.value, found.std_err) if found.has_error else None)


ESTIMATORS = (CrystalBound(),)
