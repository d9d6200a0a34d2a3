r"""Thermodynamics along an isochore, from frames at several temperatures and one free energy.

All frames, of any temperature, are weighted to each temperature by MBAR in beta = 1 / kT: frame n
has the reduced potentials beta_k U_n. With f(beta) = -ln int exp(-beta U),

.. math:: \beta F_{ex}(\beta) = \beta F_{ex}(\beta_a) + f(\beta) - f(\beta_a)

at the same N and V; beta U is its derivative by ln beta, S_ex / k = beta U - beta F_ex, and the
excess heat capacity at constant volume is C_v,ex / k = beta^2 (<U^2> - <U>^2). Errors are by
bootstrap over independent frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.special import logsumexp

from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.fluid.virial import pressure_star, virials
from openmm_nti.free_energy import Verdict
from openmm_nti.reference_md.statistics import finite, is_constant
from openmm_nti.runtime.quiet import pymbar
from openmm_nti.validation.analysis import mbar_equations
from openmm_nti.validation.analysis.window_diagnostics import GOOD_OVERLAP, NO_OVERLAP

N_BOOTSTRAPS = 100
_FEWEST_INDEPENDENT = 8.0  # frames at a temperature; fewer know no error
QUANTITIES = ("beta_f_ex", "beta_u_ex", "s_ex", "c_v_ex", "c_v", "pressure_star")


@dataclass(frozen=True)
class Anchor:
    """The known free energy: beta F_ex with its standard error, at a temperature T*."""

    temperature_star: float
    value: float
    std_err: float
    source: str = "given"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and 0 <= self.std_err < math.inf):
            raise ValueError(
                f"the anchor, {self.value:g} with error {self.std_err:g}, must be two finite "
                "numbers"
            )


@dataclass(frozen=True, eq=False)
class Frames:
    """What the frames of one fluid at several temperatures contribute.

    Attributes
    ----------
    state
        The fluid; its own temperature does not matter.
    temperatures
        T* of each simulation, ascending. Shape (K,).
    energies
        U of the frames of each simulation, (n_k,), epsilon.
    virials
        W of the same frames, epsilon; None where frames have no pressure.
    independent
        For how many independent frames those of each simulation count. Shape (K,).
    """

    state: StatePoint
    temperatures: np.ndarray
    energies: Sequence[np.ndarray]
    virials: Sequence[np.ndarray] | None
    independent: np.ndarray

    def __post_init__(self) -> None:
        if len(self.temperatures) < 2 or not (np.diff(self.temperatures) > 0).all():
            raise ValueError(
                f"temperatures = {list(self.temperatures)} must be two or more, and different"
            )
        for series in self.energies:
            finite(series)

    @property
    def counts(self) -> np.ndarray:
        """Number of frames of each simulation, (K,)."""
        return np.array([len(series) for series in self.energies])

    @property
    def u_kn(self) -> np.ndarray:
        """Reduced potentials of all frames at each simulated temperature, (K, frames)."""
        return np.concatenate(self.energies) / self.temperatures[:, None]

    @classmethod
    def of(cls, state: StatePoint, sampled: Sequence[tuple[float, np.ndarray, float]]) -> Frames:
        """Return the frames of simulations: T*, positions (n, N, 3) in sigma, independent ones."""
        ordered = sorted(sampled, key=lambda one: one[0])
        energies = [
            reduced_potential_numpy(positions, state) * state.temperature_star
            for _, positions, _ in ordered
        ]
        pressures = [virials(p, state) for _, p, _ in ordered] if state.is_continuous else None
        temperatures, independent = (np.array([one[i] for one in ordered]) for i in (0, 2))
        return cls(state, temperatures, energies, pressures, independent)


@dataclass(frozen=True, eq=False)
class Thermodynamics:
    """Thermodynamics at some temperatures.

    Attributes
    ----------
    temperatures
        T*, (T,).
    values, errors
        By the names in `QUANTITIES`, (T,) each: beta F_ex, beta U, S_ex / k, excess and total
        C_v / k of all N particles, and p sigma^3 / epsilon. NaN where there is none; an error is
        infinite where the frames do not determine it.
    overlap
        Of each simulation with the next, (K - 1,).
    verdict
        Whether neighbours overlap and errors are known.
    """

    temperatures: np.ndarray
    values: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    overlap: np.ndarray
    verdict: Verdict

    def part(self, some: slice) -> Thermodynamics:
        """Return the same at some of the temperatures."""
        values, errors = (
            {name: array[some] for name, array in arrays.items()}
            for arrays in (self.values, self.errors)
        )
        return replace(self, temperatures=self.temperatures[some], values=values, errors=errors)

    def rows(self) -> list[dict[str, Any]]:
        """Return a mapping for each temperature, ready for `files.finite` and JSON."""
        return [
            {"temperature_star": float(temperature)}
            | {
                name: {"value": float(value[i]), "std_err": float(self.errors[name][i])}
                for name, value in self.values.items()
                if np.isfinite(value[i])
            }
            for i, temperature in enumerate(self.temperatures)
        ]


def thermodynamics(
    frames: Frames, anchor: Anchor, temperatures: np.ndarray, rng: np.random.Generator
) -> Thermodynamics:
    """Return the thermodynamics at `temperatures` (T*) between those of the simulations.

    Raises
    ------
    ValueError
        If a temperature or the anchor's lies outside of the simulated ones.
    RuntimeError
        If the MBAR equations cannot be solved.
    """
    asked = np.append(np.asarray(temperatures, dtype=np.float64), anchor.temperature_star)
    lowest, highest = frames.temperatures[[0, -1]] * (1 - 1e-9, 1 + 1e-9)
    if not ((asked >= lowest) & (asked <= highest)).all():
        raise ValueError(
            f"temperatures {asked.tolist()} must lie between the simulated ones, "
            f"{frames.temperatures[0]:g} and {frames.temperatures[-1]:g}"
        )
    f_k, overlap = _solve(frames)
    p_kn = mbar_equations.assignments(frames.u_kn - np.log(frames.counts)[:, None], f_k)
    moments = _moments(frames, f_k, 1 / asked, np.ones(p_kn.shape[1]))
    resampled = []
    for _ in range(N_BOOTSTRAPS):
        weights = _draw(frames, rng)
        shift = mbar_equations.newton_shift(p_kn, weights, frames.counts)
        resampled.append(_moments(frames, f_k + shift, 1 / asked, weights))
    values = _quantities(frames, moments, asked, anchor.value)
    spread = [_quantities(frames, one, asked, anchor.value) for one in resampled]
    errors = {name: np.std([one[name] for one in spread], axis=0, ddof=1) for name in QUANTITIES}
    for name in ("beta_f_ex", "s_ex"):
        errors[name] = np.hypot(errors[name], anchor.std_err)
    verdict = _verdict(frames, overlap)
    if verdict.level == "bad":
        errors = {name: np.full_like(error, np.inf) for name, error in errors.items()}
    return Thermodynamics(
        asked[:-1],
        {name: value[:-1] for name, value in values.items()},
        {name: error[:-1] for name, error in errors.items()},
        overlap,
        verdict,
    )


def _solve(frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Return f_k of the simulations (K,), and the overlaps of neighbours (K - 1,)."""
    means = np.array([series.mean() for series in frames.energies])
    start = cumulative_trapezoid(means, 1 / frames.temperatures, initial=0)
    with mbar_equations.quiet_pymbar():
        try:
            mbar = pymbar().MBAR(
                frames.u_kn, frames.counts, solver_protocol="robust", initial_f_k=start
            )
            matrix = mbar.compute_overlap()["matrix"]
        except Exception as error:  # pymbar raises many kinds; here each means the same
            reason = " ".join(str(error).split())
            raise RuntimeError(
                f"MBAR failed ({reason}): the temperatures may not overlap; add some in between"
            ) from error
    return mbar.f_k, np.minimum(np.diagonal(matrix, 1), np.diagonal(matrix, -1))


def _draw(frames: Frames, rng: np.random.Generator) -> np.ndarray:
    """Return a weight for each frame: how often it is drawn, times a factor.

    As many are drawn as are independent, so that the spread is that of the mean; the factor keeps
    the sum of each simulation.
    """
    weights = []
    for count, independent in zip(frames.counts, frames.independent, strict=True):
        size = max(2, round(min(independent, count)))
        weights.append(rng.multinomial(size, np.full(count, 1 / count)) * (count / size))
    return np.concatenate(weights)


def _moments(frames: Frames, f_k: np.ndarray, betas: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return f, <U>, the variance of U and <W> at each beta, (4, T), in units of epsilon."""
    energy = np.concatenate(frames.energies)
    none = np.full_like(energy, np.nan)
    virial = none if frames.virials is None else np.concatenate(frames.virials)
    own = (np.log(frames.counts) + f_k)[:, None] - frames.u_kn
    with np.errstate(divide="ignore"):  # the logarithm of a frame that was not drawn
        shared = np.log(weights) - logsumexp(own, axis=0)
    log_weights = shared - betas[:, None] * energy
    f = -logsumexp(log_weights, axis=1)
    shares = np.exp(log_weights + f[:, None])
    mean = shares @ energy
    variance = (shares * (energy - mean[:, None]) ** 2).sum(axis=1)
    return np.array([f, mean, variance, shares @ virial])


def _quantities(
    frames: Frames, moments: np.ndarray, temperatures: np.ndarray, anchor: float
) -> dict[str, np.ndarray]:
    """Return the quantities by name, (T,) each; the last temperature is the anchor's."""
    f, mean, variance, virial = moments
    free_energy = anchor + f - f[-1]
    energy, heat = mean / temperatures, variance / temperatures**2
    values = (
        free_energy,
        energy,
        energy - free_energy,
        heat,
        heat + 1.5 * frames.state.n_particles,
        np.array(
            [pressure_star(w, t, frames.state) for w, t in zip(virial, temperatures, strict=True)]
        ),
    )
    return dict(zip(QUANTITIES, values, strict=True))


def _verdict(frames: Frames, overlap: np.ndarray) -> Verdict:
    """Return whether the frames determine anything; without it there are no errors."""
    worst = int(np.argmin(overlap))
    low, high = frames.temperatures[worst : worst + 2]
    where = f"smallest overlap of neighbours {overlap[worst]:.2g}, from T* = {low:g} to {high:g}"
    if not overlap[worst] >= NO_OVERLAP:
        return Verdict("bad", f"unreliable: {where}; add temperatures in between")
    for temperature, count, energies in zip(
        frames.temperatures, frames.independent, frames.energies, strict=True
    ):
        if not count >= _FEWEST_INDEPENDENT:
            count_text = f"{count:.0f} independent frames at T* = {temperature:g}"
            return Verdict("bad", f"unreliable: {count_text}; record more")
        if is_constant(energies):
            same = f"the energy is the same in all frames at T* = {temperature:g}"
            return Verdict("bad", f"unreliable: {same}")
    if not overlap[worst] >= GOOD_OVERLAP:
        return Verdict("warn", f"poor overlap: {where}; add temperatures in between")
    return Verdict("good", f"good ({where})")
