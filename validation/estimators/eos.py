r"""Equation of state: beta F_ex of the bulk fluid by Kolafa and Nezbeda, brought to the
Hamiltonian's convention.

An equation of state describes the full Lennard-Jones potential. What the convention's cutoff and
switching removed is taken away from it in the mean field (g(r) = 1 there),

.. math:: \beta F_{conv} = N \alpha_r(T^*, \rho^*) - \beta N \frac{\rho}{2} \int (u_{LJ} - u_{conv}) \, 4 \pi r^2 dr .

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
from openmm_nti.free_energy import FreeEnergy, Quantity

_CRITICAL_TEMPERATURE, _CRITICAL_DENSITY = 1.3396, 0.3108  # of Kolafa and Nezbeda
_MEAN_FIELD_SHARE = 0.02  # of the tail: about how far g(r) is from 1 beyond 2.5 sigma


def estimate(state: StatePoint) -> FreeEnergy:
    """Beta F_ex by the equation of state; method `eos`.

    The standard error is systematic: the difference to the equation of Thol et al., and 2 % of the
    tail.

    Raises
    ------
    RuntimeError
        If teqp is not installed.
    """
    equation, other = _equations()
    bulk, second, tail = _parts(equation, other, state, state.n_particles)
    return _result(state, equation, bulk, second, tail, "beta_f_ex")


def chemical_potential(state: StatePoint) -> FreeEnergy:
    """Beta mu_ex = beta F_ex(N + 1) - beta F_ex(N) in the same box by the equation of state; as
    `estimate`.
    """
    equation, other = _equations()
    before, after = (_parts(equation, other, state, state.n_particles + more) for more in (0, 1))
    bulk, second, tail = (last - first for first, last in zip(before, after, strict=True))
    return _result(state, equation, bulk, second, tail, "beta_mu_ex")


def _parts(
    equation: Any, other: Any, state: StatePoint, n_particles: int
) -> tuple[float, float, float]:
    """Beta F_ex of n particles in the box of `state`: of both equations, and the tail that is in
    them, kT.
    """
    density = n_particles / state.box_length_sigma**3
    at = (state.temperature_star, density, np.array([1.0]))
    bulk, second = (n_particles * float(model.get_Ar00(*at)) for model in (equation, other))
    return (
        bulk,
        second,
        0.5 * n_particles * density * removed_integral(state) / state.temperature_star,
    )


def _result(
    state: StatePoint, equation: Any, bulk: float, second: float, tail: float, quantity: Quantity
) -> FreeEnergy:
    vapour, liquid = coexistence(equation, state.temperature_star)
    verdict = "good (outside of the two-phase region)"
    if vapour < state.density_star < liquid:
        verdict = f"unreliable: inside the two-phase region, {vapour:.3g} < rho* < {liquid:.3g}"
    return FreeEnergy(
        value=bulk - tail,
        std_err=math.hypot(bulk - second, _MEAN_FIELD_SHARE * tail),
        method="eos",
        convention=state.convention,
        n_particles=state.n_particles,
        quantity=quantity,
        diagnostics={
            "full_potential_kt": bulk,
            "tail_kt": tail,
            "coexistence_densities": [vapour, liquid],
            "verdict": verdict,
        },
    )


def removed_integral(state: StatePoint) -> float:
    """Integral of u_LJ - u_conv over space, epsilon sigma^3: what cutoff and switching removed
    (negative).
    """
    cutoff = state.cutoff_sigma
    r = np.linspace(state.switch_sigma, cutoff, 4001)
    full = 4.0 * (r**-12 - r**-6)
    shell = 4.0 * math.pi * r**2 * (full - pair_energy(r**2, state))
    shell[-1] = 0.0 if state.convention == "truncated" else shell[-1]
    beyond = 16.0 * math.pi * (cutoff**-9 / 9.0 - cutoff**-3 / 3.0)
    return float(np.trapezoid(shell, r) + beyond)


def coexistence(equation: Any, temperature_star: float) -> tuple[float, float]:
    """Densities rho* of vapour and liquid at coexistence; both the critical one above the critical
    temperature.
    """
    distance = 1.0 - temperature_star / _CRITICAL_TEMPERATURE
    if distance <= 1e-3:
        return _CRITICAL_DENSITY, _CRITICAL_DENSITY
    liquid = _CRITICAL_DENSITY * (1.0 + 1.9 * distance**0.34 + 0.6 * distance)
    vapour = max(_CRITICAL_DENSITY * (1.0 - 1.9 * distance**0.34 + 0.6 * distance), 1e-4)
    found = equation.pure_VLE_T(temperature_star, liquid, vapour, 50)
    return float(found[1]), float(found[0])


def _equations() -> tuple[Any, Any]:
    """Kolafa and Nezbeda's equation, and that of Thol et al. to compare with."""
    try:
        teqp = importlib.import_module("teqp")
    except ImportError as error:
        raise RuntimeError(
            "the equation of state needs teqp: pip install teqp, or openmm-nti[eos]"
        ) from error
    kinds = ("LJ126_KolafaNezbeda1994", "LJ126_TholJPCRD2016")
    first, second = (teqp.make_model({"kind": kind, "model": {}}) for kind in kinds)
    return first, second
