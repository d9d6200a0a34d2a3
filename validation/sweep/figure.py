"""The figure of a sweep: free energy, energy, entropy, heat capacity and pressure against T*."""

from __future__ import annotations

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


def draw(curve: Thermodynamics, table: Thermodynamics, state: StatePoint) -> Axes:
    """Return the first Axes of a figure: curves with bands of one error, points where MD ran."""
    shown = [name for name in _PANELS if np.isfinite(table.values[name]).all()]
    figure = Figure(figsize=(7.2, 4.6), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True).ravel()
    for ax, name in zip(axes, shown, strict=False):
        share = 1 if name == "pressure_star" else state.n_particles
        value, error = curve.values[name] / share, curve.errors[name] / share
        ax.plot(curve.temperatures, value, color=COLOURS[0])
        if np.isfinite(error).all():
            ax.fill_between(
                curve.temperatures, value - error, value + error, color=COLOURS[0], alpha=0.25
            )
        ax.plot(table.temperatures, table.values[name] / share, "o", color=COLOURS[0])
        ax.set(ylabel=_PANELS[name], xlabel="T* = kT / ε")
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    figure.suptitle(f"N = {state.n_particles}, ρ* = {state.density_star:.4g}")
    first: Axes = axes[0]
    return first
