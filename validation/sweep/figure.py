"""The figure of a sweep: free energy, energy, entropy, heat capacity and pressure against T*."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.plots.drawing import COLOURS
from openmm_nti.validation.sweep.thermodynamics import Thermodynamics

_PANELS = {
    "beta_f_ex": "βF_ex / N",
    "beta_u_ex": "βU / N",
    "s_ex": "S_ex / N k",
    "c_v_ex": "C_v,ex / N k",
    "pressure_star": "p σ³ / ε",
}


def draw(
    found: Thermodynamics, learned: Thermodynamics | None, states: Sequence[StatePoint]
) -> Axes:
    """Return the first Axes of a figure: curves with bands of one error, points where MD ran.

    `found` is of the data, `learned` of a model; both hold the states first, then the curve.
    """
    shown = [name for name in _PANELS if np.isfinite(found.values[name]).all()]
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True).ravel()
    n = states[0].n_particles
    for ax, name in zip(axes, shown, strict=False):
        share = 1 if name == "pressure_star" else n
        _curve(ax, found, name, share, len(states), (COLOURS[0], "data"))
        if learned is not None:
            _curve(ax, learned, name, share, len(states), (COLOURS[1], "model"))
        ax.set(ylabel=_PANELS[name], xlabel="T* = kT / ε")
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    if learned is not None:
        axes[0].legend()
    figure.suptitle(f"N = {n}, ρ* = {states[0].density_star:.4g}")
    first: Axes = axes[0]
    return first


def _curve(
    ax: Axes, one: Thermodynamics, name: str, share: int, n_states: int, look: tuple[str, str]
) -> None:
    """Draw one quantity of the data or of the model, where it is known."""
    colour, label = look
    value, error = one.values[name] / share, one.errors[name] / share
    if np.isfinite(value[n_states:]).all():
        curve_at = one.temperatures[n_states:]
        ax.plot(curve_at, value[n_states:], color=colour, label=label)
        low, high = (value + sign * error for sign in (-1, 1))
        if np.isfinite(error[n_states:]).all():
            ax.fill_between(curve_at, low[n_states:], high[n_states:], color=colour, alpha=0.25)
    at_states = slice(0, n_states)
    if np.isfinite(value[at_states]).any():
        bars = np.where(np.isfinite(error), error, 0.0)[at_states]
        ax.errorbar(
            one.temperatures[at_states], value[at_states], bars, fmt="o", color=colour, ms=4
        )
