r"""Equation of state: beta F_ex of the bulk fluid by Kolafa and Nezbeda, in a state's convention.

An equation of state describes the full Lennard-Jones potential. What the convention's cutoff and
switching removed is taken away from it in the mean field (g(r) = 1 there),

.. math::

    \beta F_{conv} = N \alpha_r(T^*, \rho^*)
    - \beta N \frac{\rho}{2} \int (u_{LJ} - u_{conv}) \, 4 \pi r^2 dr .

It knows nothing of the box: finite size, and the two-phase region, where a small periodic box is
still one fluid, are not in it. (J. Kolafa, I. Nezbeda, Fluid Phase Equilib. 100, 1 (1994); M. Thol
et al., J. Phys. Chem. Ref. Data 45, 023101 (2016); both as implemented in teqp.)
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import Diagnostics, FreeEnergy, Quantity, Verdict
from openmm_nti.settings import Settings
from openmm_nti.validation.estimators.base import Estimator, Job

_CRITICAL_TEMPERATURE, _CRITICAL_DENSITY = 1.3396, 0.3108  # of Kolafa and Nezbeda
_MEAN_FIELD_SHARE = 0.02  # of the tail: about how far g(r) is from 1 beyond 2.5 sigma


class EosConfig(Settings):
    """The equation of state has nothing to choose."""


class EosDiagnostics(Diagnostics):
    """Parts of the estimate.

    Attributes
    ----------
    full_potential_kt
        Of the full potential, kT.
    tail_kt
        What the convention's cutoff takes away from it, kT.
    coexistence_densities
        rho* of vapour and liquid at this temperature.
    """

    full_potential_kt: float
    tail_kt: float
    coexistence_densities: list[float]


def estimate(state: StatePoint) -> FreeEnergy:
    """Return beta F_ex by the equation of state; method `eos`.

    The standard error is systematic: the difference to the equation of Thol et al., and 2 % of the
    tail.

    Raises
    ------
    ValueError
        If the pair potential is not Lennard-Jones.
    RuntimeError
        If teqp is not installed.
    """
    _check(state)
    equation, other = _equations()
    bulk, second, tail = _parts(equation, other, state, state.n_particles)
    return _result(state, equation, bulk, second, tail, "beta_f_ex")


def chemical_potential(state: StatePoint) -> FreeEnergy:
    """Return beta mu_ex = beta F_ex(N + 1) - beta F_ex(N) in the same box; see `estimate`."""
    _check(state)
    equation, other = _equations()
    before, after = (_parts(equation, other, state, state.n_particles + more) for more in (0, 1))
    bulk, second, tail = (last - first for first, last in zip(before, after, strict=True))
    return _result(state, equation, bulk, second, tail, "beta_mu_ex")


def _check(state: StatePoint) -> None:
    """Refuse a fluid that the equation of state does not describe."""
    Eos().check_species(state)
    if state.pair_potential.potential.type != "lennard_jones":
        raise ValueError(
            f"potential = {state.potential.type}: eos knows the Lennard-Jones fluid alone; leave "
            "eos out, or compare with bar_chain"
        )


def _parts(
    equation: Any, other: Any, state: StatePoint, n_particles: int
) -> tuple[float, float, float]:
    """Return beta F_ex of n particles in the box by both equations, and the tail in them, kT."""
    density = n_particles / state.volume_sigma3
    point = (state.temperature_star, density, np.array([1.0]))
    bulk, second = (n_particles * float(model.get_Ar00(*point)) for model in (equation, other))
    tail = 0.5 * n_particles * density * removed_integral(state) / state.temperature_star
    return bulk, second, tail


def _result(
    state: StatePoint, equation: Any, bulk: float, second: float, tail: float, quantity: Quantity
) -> FreeEnergy:
    vapour, liquid = coexistence(equation, state.temperature_star)
    return FreeEnergy(
        value=bulk - tail,
        std_err=math.hypot(bulk - second, _MEAN_FIELD_SHARE * tail),
        method="eos",
        convention=state.convention,
        n_particles=state.n_particles,
        quantity=quantity,
        verdict=_verdict(state.density_star, vapour, liquid),
        diagnostics=EosDiagnostics(
            full_potential_kt=bulk, tail_kt=tail, coexistence_densities=[vapour, liquid]
        ),
    )


def _verdict(density_star: float, vapour: float, liquid: float) -> Verdict:
    inside = f"unreliable: inside the two-phase region, {vapour:.3g} < rho* < {liquid:.3g}"
    is_known = 0 < vapour <= liquid < math.inf
    is_outside = is_known and (density_star <= vapour or density_star >= liquid)
    return Verdict.good_if(
        is_outside, "good (outside of the two-phase region)", Verdict("bad", inside)
    )


def removed_integral(state: StatePoint) -> float:
    """Return the integral of u_LJ - u_conv over space, epsilon sigma^3; it is negative."""
    cutoff = state.cutoff_sigma
    # A shift reaches everywhere: as if g(r) were 0 within sigma and 1 beyond.
    start = 1.0 if state.convention in ("shifted", "force_shifted") else state.switch_sigma
    r = np.linspace(start, cutoff, 4001)
    full = 4.0 * (r**-12 - r**-6)
    shell = 4.0 * math.pi * r**2 * (full - pair_energy(r**2, state))
    shell[-1] = 0.0 if state.convention == "truncated" else shell[-1]
    beyond = 16.0 * math.pi * (cutoff**-9 / 9.0 - cutoff**-3 / 3.0)
    return float(np.trapezoid(shell, r) + beyond)


def coexistence(equation: Any, temperature_star: float) -> tuple[float, float]:
    """Return the densities rho* of vapour and liquid at coexistence.

    Above the critical temperature both are the critical one.
    """
    distance = 1.0 - temperature_star / _CRITICAL_TEMPERATURE
    if distance <= 1e-3:
        return _CRITICAL_DENSITY, _CRITICAL_DENSITY
    liquid = _CRITICAL_DENSITY * (1.0 + 1.9 * distance**0.34 + 0.6 * distance)
    vapour = max(_CRITICAL_DENSITY * (1.0 - 1.9 * distance**0.34 + 0.6 * distance), 1e-4)
    found = equation.pure_VLE_T(temperature_star, liquid, vapour, 50)
    return float(found[1]), float(found[0])


def _equations() -> tuple[Any, Any]:
    """Return Kolafa and Nezbeda's equation, and that of Thol et al. to compare with."""
    try:
        teqp = importlib.import_module("teqp")
    except ImportError as error:
        raise RuntimeError(
            "the equation of state needs teqp: pip install teqp, or openmm-nti[eos]"
        ) from error
    kinds = ("LJ126_KolafaNezbeda1994", "LJ126_TholJPCRD2016")
    first, second = (teqp.make_model({"kind": kind, "model": {}}) for kind in kinds)
    return first, second


class Eos(Estimator):
    """The equation of state of the bulk fluid."""

    name = "eos"
    section = "eos"
    Config = EosConfig
    Diagnostics = EosDiagnostics
    kind = "insertion"
    summary = "Equation of state of the bulk fluid, tail taken off in the mean field"
    caveat = "the equation of state knows no small box."
    order = 140
    one_species = True

    def estimate(self, job: Job, config: EosConfig) -> FreeEnergy:
        """Return beta F_ex of the state point."""
        del config
        return estimate(job.state)


ESTIMATORS = (Eos(),)
