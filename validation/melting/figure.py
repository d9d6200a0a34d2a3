"""The figure of a fluid and its crystal: pressures, and where the chemical potentials cross."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openmm_nti.validation.melting.equation import Equation
from openmm_nti.validation.melting.states import PhaseName
from openmm_nti.validation.melting.tangent import Coexistence
from openmm_nti.validation.plots.drawing import COLOURS, with_legend


def draw(curves: Mapping[PhaseName, Equation], both: Coexistence, temperature_star: float) -> Axes:
    """Return the first Axes of a figure: p against rho, and beta mu against p.

    Parameters
    ----------
    curves
        The equations of `fluid` and `crystal`.
    both
        Where they coexist.
    temperature_star
        T*.
    """
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    by_density, by_pressure = figure.subplots(1, 2)
    for (name, curve), colour in zip(curves.items(), COLOURS, strict=False):
        density = np.linspace(curve.lowest, curve.highest, 60)
        pressure = temperature_star * curve.beta_pressure(density)
        by_density.plot(density, pressure, color=colour, label=name)
        by_pressure.plot(pressure, curve.beta_mu(density), color=colour, label=name)
        place = both.values[f"rho_{name}"], both.values["pressure_star"]
        if np.isfinite(place).all():
            by_density.plot(*place, "o", color=colour)
    where = both.values["pressure_star"], both.values["beta_mu"]
    if np.isfinite(where).all():
        by_pressure.plot(*where, "o", color="0.3")
    by_density.set(xlabel="ρ σ³", ylabel="p σ³ / ε")
    by_pressure.set(xlabel="p σ³ / ε", ylabel="β μ, Λ = σ")
    axes: Axes = with_legend(by_density)
    return axes
