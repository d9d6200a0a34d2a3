r"""`coexistence`: vapour and liquid in equilibrium, from beta F_ex(N) in one box at one T.

A box that is open to a reservoir holds N particles with the probability p(N) of `observables`.
Below the critical temperature p(N) has two peaks. At one chemical potential both have the same
weight: there the phases coexist. The mean N of each peak gives its density, and the weight its
pressure, for the empty box has the weight 1:

.. math:: \beta p V = \ln \sum_{N \in \text{phase}} \frac{V^N}{N!}
          \exp(N \beta\mu - \beta F_{ex}(N)) .

All free energies are absolute, so no state between the phases is needed. There a box may hold a
drop or a bubble, and its free energy is no longer that of one phase. A polynomial through all N
shows about where the phases are; then each phase has its own (`branch`), through the N of its peak,
and through the pressures of the same frames where there are any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from openmm_nti.free_energy import Verdict
from openmm_nti.validation.phases.branch import FEWEST, Branch
from openmm_nti.validation.phases.isotherm import Isotherm
from openmm_nti.validation.phases.peaks import Phase, Window, at_equal_weight, log_weights

QUANTITIES = (
    "rho_vapour",
    "rho_liquid",
    "beta_mu",
    "beta_mu_ex_vapour",
    "beta_mu_ex_liquid",
    "beta_p",
    "a_vapour",
    "a_liquid",
)
N_BOOTSTRAPS = 100
_EDGE = 0.05  # p(N) at the edge of a phase over that of its peak
_MOST_FAILED = 0.05  # share of the resampled curves in which a phase is missing
_GOOD_FIT = 3.0  # chi^2 for each degree of freedom


@dataclass(frozen=True, eq=False)
class Coexistence:
    """Vapour and liquid in equilibrium.

    Attributes
    ----------
    values, errors
        By the names of `QUANTITIES`: densities, sigma^-3; beta mu = ln(rho sigma^3) + beta mu_ex
        and beta mu_ex, kT; beta p, sigma^-3; a = beta F_ex / N, kT. NaN where there is one phase.
    vapour, liquid
        The two peaks of p(N).
    used
        N of the curve that the fits of the two phases took.
    verdict
        Whether there are two phases, both are whole, and the polynomials fit.
    """

    values: dict[str, float]
    errors: dict[str, float]
    vapour: Phase
    liquid: Phase
    used: tuple[int, ...]
    verdict: Verdict


def coexistence(isotherm: Isotherm, rng: np.random.Generator) -> Coexistence:
    """Return the phases that coexist in the box of an isotherm.

    Errors are the spread over isotherms that are drawn anew within their errors, each with its own
    fits.
    """
    k = len(isotherm.n_particles)
    if k < 2 * FEWEST:
        text = f"{k} numbers of particles have a free energy with an error, and {2 * FEWEST} are"
        return _none(isotherm, f"{text} needed: {FEWEST} of the vapour and {FEWEST} of the liquid")
    window = Window.first(Branch.of_both(isotherm), int(isotherm.n_particles[-1]))
    if window is None:
        return _none(isotherm, "one phase: p(N) has one peak at any chemical potential")
    look = _look(isotherm, window)
    if isinstance(look, _Look):  # once more, where the peaks have been seen
        look = _look(isotherm, look.window)
    if not isinstance(look, _Look):
        return _none(isotherm, look)
    errors, failed = _spread(look, rng)
    worst = max(Branch.vapour(look.vapour).reduced, Branch.liquid(look.liquid).reduced)
    numbers = (*look.vapour.n_particles.tolist(), *look.liquid.n_particles.tolist())
    verdict = _verdict(look.peaks, failed, worst)
    return Coexistence(look.values, errors, *look.peaks, numbers, verdict)


@dataclass(frozen=True, eq=False)
class _Look:
    """Both phases in a window: their part of the curve, what follows, and where the peaks are."""

    vapour: Isotherm
    liquid: Isotherm
    looked_in: Window
    values: dict[str, float]
    peaks: tuple[Phase, Phase]

    @property
    def window(self) -> Window:
        """Where the peaks are."""
        middle = int(self.vapour.n_particles[-1] + self.liquid.n_particles[0]) // 2
        return Window.around(*self.peaks, (middle, middle + 1))


def _look(isotherm: Isotherm, window: Window) -> _Look | str:
    """Return both phases in the window, or why there are none."""
    parts = isotherm.between(2, window.vapour), isotherm.between(window.liquid, window.densest)
    for name, part, where in zip(("vapour", "liquid"), parts, window.words, strict=True):
        if len(part) < FEWEST:
            there = ", ".join(map(str, isotherm.n_particles[part])) or "none"
            return f"the {name} needs {FEWEST} N {where}, and has {there}: add some"
    vapour, liquid = (isotherm.some(part) for part in parts)
    found = _equilibrium(vapour, liquid, window)
    if found is None:
        return "one phase: no chemical potential gives both the same weight"
    return _Look(vapour, liquid, window, *found)


def _equilibrium(
    vapour: Isotherm, liquid: Isotherm, window: Window
) -> tuple[dict[str, float], tuple[Phase, Phase]] | None:
    """Return the quantities and the peaks at equal weight; None if there is no such potential."""
    fits = Branch.vapour(vapour), Branch.liquid(liquid)
    volume = vapour.box_length_sigma**3
    numbers = np.arange(window.vapour + 1), np.arange(window.liquid, liquid.n_particles[-1] + 1)
    phases = [Phase(n, log_weights(n, fit)) for n, fit in zip(numbers, fits, strict=True)]
    found = at_equal_weight(phases[0], phases[1])
    if found is None:
        return None
    beta_mu, *peaks = found
    values: dict[str, float] = {"beta_mu": beta_mu}
    for name, peak, fit in zip(("vapour", "liquid"), peaks, fits, strict=True):
        mean = peak.mean
        values[f"rho_{name}"] = mean / volume
        values[f"beta_mu_ex_{name}"] = beta_mu - math.log(mean / volume)
        values[f"a_{name}"] = float(fit.values(np.array([mean]))[0]) / mean
        values["beta_p"] = peak.log_weight / volume
    return values, (peaks[0], peaks[1])


def _spread(look: _Look, rng: np.random.Generator) -> tuple[dict[str, float], float]:
    """Return standard errors, and the share of the drawn curves in which there is no equilibrium.

    A curve that its polynomial misses is drawn with larger errors, by the root of chi^2 for each
    degree of freedom.
    """
    found = []
    vapour, liquid = look.vapour, look.liquid
    fits = Branch.vapour(vapour), Branch.liquid(liquid)
    scales = [max(1.0, fit.reduced) for fit in fits]
    for _ in range(N_BOOTSTRAPS):
        drawn = [
            part.drawn(scale, rng) for part, scale in zip((vapour, liquid), scales, strict=True)
        ]
        one = _equilibrium(drawn[0], drawn[1], look.looked_in)
        if one is not None:
            found.append([one[0][name] for name in QUANTITIES])
    failed = 1 - len(found) / N_BOOTSTRAPS
    if not failed <= _MOST_FAILED:
        return dict.fromkeys(QUANTITIES, math.inf), failed
    errors = np.std(found, axis=0, ddof=1)
    return dict(zip(QUANTITIES, errors.tolist(), strict=True)), failed


def _none(isotherm: Isotherm, text: str) -> Coexistence:
    none = dict.fromkeys(QUANTITIES, math.nan)
    empty = Phase(np.empty(0), np.empty(0))
    used = tuple(isotherm.n_particles.tolist())
    return Coexistence(none, none, empty, empty, used, Verdict("bad", text))


def _verdict(phases: tuple[Phase, Phase], failed: float, reduced: float) -> Verdict:
    """Return whether both phases are there, whole and apart, and the polynomials fit."""
    if not failed <= _MOST_FAILED:
        text = f"unreliable: {failed:.0%} of the curves within the errors have one phase"
        return Verdict("bad", f"{text}; raise the effort of the method, or lower the temperature")
    vapour, liquid = phases
    text = f"N = {liquid.numbers[-1]} has {liquid.edges[1]:.2g} of the liquid's largest p(N)"
    if not liquid.edges[1] <= _EDGE:
        return Verdict("bad", f"unreliable: {text}; add larger N")
    inner = max(vapour.edges[1], liquid.edges[0])
    if not inner <= _EDGE:
        text = f"the phases are hardly apart: p(N) between them is {inner:.2g} of the peak"
        return Verdict("warn", f"{text}; take a larger box or a lower temperature")
    if not reduced <= _GOOD_FIT:
        text = f"a polynomial misses the free energies: chi^2 = {reduced:.1f} for each"
        return Verdict("warn", f"{text}; errors are raised by it")
    text = f"p(N) at the edges of the phases is {inner:.1g} of the peak, chi^2 = {reduced:.2g}"
    return Verdict("good", f"good ({text} for each degree of freedom)")
