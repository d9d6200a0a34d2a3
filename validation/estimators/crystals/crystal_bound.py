r"""Lower bound on the free energy of a crystal by denoising, with a Gaussian end.

Noise of variance v = s_eff^2 makes the density q_v of the displacements u wider. De Bruijn's
identity says how its entropy grows, and a Gaussian has the largest entropy of all densities with
given second moments. So with d = 3 (N - 1) and the mean square displacement c = <|u|^2> / d of the
frames,

.. math::
    -\ln Z_{rel} \ge \langle \beta U \rangle - \frac{d}{2} \ln \left[ 2 \pi e (c + v_1) \right]
    + \frac12 \int_0^{v_1} \left( 2 E[f \cdot g^*] - E|f|^2 \right) dv

for any noise v_1 at the end and any field f, here the gradient of a model, with the target
g* = z / s of noise z (`model_bound`). The forces of a model add up to zero, so it does not matter
that the noise has a shift. With the field of a Gaussian, u / (c + v), the integral goes on as the
logarithm does: the end v_1 is where the Gaussian takes over from the model.

A model of the fluid knows a crystal at small noise. At larger noise it takes neighbours for atoms
that may be exchanged. So the bound first grows with v_1 and then falls. Half of the frames choose
v_1; the bound is that of the other half, and stays a bound.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.displacements import check_mean_positions, displacements, sites_sigma
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.references.noise import NOISE_MIN_SIGMA
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis.regression import require_frames
from openmm_nti.validation.estimators.base import Bounds, Estimator, Job
from openmm_nti.validation.estimators.crystals.conventions import (
    CrystalDiagnostics,
    crystal_free_energy,
    crystal_numbers,
)
from openmm_nti.validation.estimators.model_bound import Frames, information
from openmm_nti.validation.pace import Pace

Array = NDArray[np.float64]
_FEWEST_FRAMES = 32


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
    largest_noise: float = Field(
        default=0.25, gt=0.01, le=5, description="Largest noise of the model that is tried, sigma."
    )


class CrystalBoundDiagnostics(CrystalDiagnostics):
    """Facts beside the bound of a crystal.

    Attributes
    ----------
    mean_square_displacement
        c, of a coordinate, in sigma^2.
    noise_sigma, bound_kt, bound_err
        The bound of -ln Z_rel by the noise s_1 at which the Gaussian takes over, kT.
    chosen_noise_sigma
        s_1 for either half of the frames, as the other half chose it.
    """

    mean_square_displacement: float
    noise_sigma: list[float]
    bound_kt: list[float]
    bound_err: list[float]
    chosen_noise_sigma: list[float]


class Curve(NamedTuple):
    """Bounds of -ln Z_rel from some frames by the noise at the end, (K,), kT.

    `of_frames` is by how much each frame moves each of them, (K, F).
    """

    noise: Array
    bound: Array
    of_frames: Array

    @property
    def errors(self) -> Array:
        """Standard errors of the bounds, (K,), kT, of independent frames."""
        return np.asarray(np.linalg.norm(self.of_frames, axis=1))


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
    require_frames(CrystalBound.name, ensemble.positions_sigma, _FEWEST_FRAMES)
    moved = displacements(ensemble.positions_sigma, state)
    check_mean_positions(moved, state)
    halves = [
        Curve(
            **execution.folder(CrystalBound.name).stored(
                f"half{half}",
                [model, ensemble, config],
                lambda half=half: _curve(  # type: ignore[misc]
                    model, _every_other(ensemble, half), config, execution.child("half", half)
                )._asdict(),
            )
        )
        for half in (0, 1)
    ]
    chosen = [int(np.argmax(other.bound)) for other in reversed(halves)]
    both = [(half.bound[k], half.errors[k]) for half, k in zip(halves, chosen, strict=True)]
    # Errors are of independent frames; what is left of correlation counts as fewer of them.
    thinned = math.sqrt(ensemble.n_frames / ensemble.n_independent)
    bound = sum(value for value, _ in both) / 2
    std_err = thinned * math.hypot(*(error for _, error in both)) / 2
    facts = CrystalBoundDiagnostics(
        **crystal_numbers(bound, std_err, state),
        mean_square_displacement=_variance(moved),
        noise_sigma=halves[0].noise.tolist(),
        bound_kt=np.mean([half.bound for half in halves], axis=0).tolist(),
        bound_err=(thinned * np.linalg.norm([half.errors for half in halves], axis=0) / 2).tolist(),
        chosen_noise_sigma=[float(halves[0].noise[k]) for k in chosen],
    )
    verdict = _verdict(chosen, len(halves[0].noise), std_err)
    return crystal_free_energy(bound, std_err, state, CrystalBound.name, facts, verdict)


def _verdict(chosen: list[int], n_edges: int, std_err: float) -> Verdict:
    """Return whether the end of the noise was found."""
    otherwise = Verdict("warn", "poor: the bound still grows at the largest noise; raise it")
    if not 0 < std_err < math.inf:
        return Verdict("bad", "unreliable: the frames give no error")
    return Verdict.good_if(max(chosen) < n_edges - 1, "good: a lower bound", otherwise)


def _every_other(ensemble: Ensemble, first: int) -> Ensemble:
    return Ensemble(
        ensemble.state,
        ensemble.positions_nm[first::2],
        ensemble.reduced_potentials[first::2],
        ensemble.provenance,
    )


def _variance(moved: Array) -> float:
    """Return the mean square displacement of a coordinate if no shift is possible, sigma^2."""
    return float((moved**2).sum() / (len(moved) * 3 * (moved.shape[1] - 1)))


def _curve(
    model: NoisedFluid, ensemble: Ensemble, config: CrystalBoundConfig, execution: Execution
) -> Curve:
    """Return the bounds at the edges of the quadrature's panels, the first without a model."""
    state, energies = ensemble.state, ensemble.reduced_potentials
    moved = displacements(ensemble.positions_sigma, state)
    frames = Frames(
        torch.as_tensor(sites_sigma(state) + moved),
        box_of(state),
        energies - energies.mean(),
    )
    n_panels = config.n_levels // 2
    edges = np.linspace(math.log(NOISE_MIN_SIGMA), math.log(config.largest_noise), n_panels + 1)
    half_width = 0.5 * (edges[1] - edges[0])
    nodes = (edges[:-1, None] + half_width * (1 + np.array([-1, 1]) / math.sqrt(3))).ravel()
    weights = half_width * np.exp(2 * nodes)  # d(s_eff^2) / 2 = s^2 d(ln s)
    model = execution.place(model)
    generator = execution.torch_random("crystal_bound")
    order = torch.randperm(len(energies), generator=generator)
    chosen = order[torch.arange(config.n_pairs) % len(order)]
    levels = execution.track(nodes.tolist(), "noise levels")
    fits = [information(model, frames, chosen, level, generator) for level in levels]
    means, _, slopes, pulls = (np.array(column) for column in zip(*fits, strict=True))
    # What the levels add up to, from one edge to the next.
    added = np.concatenate([[0.0], np.cumsum(weights * means)[1::2]])
    slope = np.concatenate([[0.0], np.cumsum(weights * slopes)[1::2]])
    pull = np.cumsum(weights[:, None] * pulls, axis=0)[1::2]
    pull = np.concatenate([np.zeros_like(pull[:1]), pull])
    return _with_gaussian_end(np.exp(edges), added, slope, pull, frames, moved, energies)


def _with_gaussian_end(
    noise: Array,
    added: Array,
    slope: Array,
    pull: Array,
    frames: Frames,
    moved: Array,
    energies: Array,
) -> Curve:
    """Return the bounds, where a Gaussian takes over at each `noise` (K,)."""
    c, d = _variance(moved), 3 * (moved.shape[1] - 1)
    width = c + noise**2 - NOISE_MIN_SIGMA**2
    bound = energies.mean() - 0.5 * d * np.log(2 * np.pi * math.e * width) + added
    squares = (moved**2).sum(axis=(1, 2)) - d * c
    of_frames = (1 + slope)[:, None] * frames.energies - 0.5 * squares / width[:, None]
    return Curve(noise, bound, of_frames / len(energies) + pull)


class CrystalBound(Estimator):
    """The rigorous lower bound of a crystal."""

    name = "crystal_bound"
    section = "crystal_bound"
    phase = "crystal"
    Config = CrystalBoundConfig
    Diagnostics = CrystalBoundDiagnostics
    kind = "bound"
    needs = frozenset({"model", "data"})
    summary = "Lower bound of a crystal from denoising, with a Gaussian end; a fluid's model serves"
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
