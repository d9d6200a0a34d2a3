"""The figure of a phase diagram: the binodal, and p(N) of the two phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.phases.coexistence import Coexistence
from openmm_nti.validation.plots.drawing import COLOURS, with_legend

_SMALLEST = 1e-4  # of the largest p(N)


def draw(
    states: Sequence[Sequence[StatePoint]],
    phases: Sequence[Coexistence],
    published: Sequence[Mapping[str, float]],
) -> Axes:
    """Return the first Axes of a figure: T* against the densities, and p(N) at equal weight.

    Parameters
    ----------
    states
        State points that were simulated, a list for each temperature.
    phases
        What follows at each temperature; one without two phases is left out.
    published
        Known points: mappings with `temperature_star`, `rho_vapour` and `rho_liquid`.
    """
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    binodal, peaks = figure.subplots(1, 2)
    temperatures = [row[0].temperature_star for row in states]
    for row, temperature in zip(states, temperatures, strict=True):
        densities = [state.density_star for state in row]
        at = [temperature] * len(row)
        label = "simulated" if temperature == temperatures[0] else None
        binodal.plot(densities, at, ".", color="0.8", ms=4, zorder=0, label=label)
    for name in ("rho_vapour", "rho_liquid"):
        binodal.errorbar(
            [phase.values[name] for phase in phases],
            temperatures,
            xerr=[phase.errors[name] if np.isfinite(phase.errors[name]) else 0 for phase in phases],
            fmt="o",
            color=COLOURS[0],
            label="this work" if name == "rho_vapour" else None,
        )
        if published:
            binodal.plot(
                [point[name] for point in published],
                [point["temperature_star"] for point in published],
                "x",
                color=COLOURS[1],
                label="published" if name == "rho_vapour" else None,
            )
    binodal.set(xlabel="ρ σ³", ylabel="T* = kT / ε")
    with_legend(binodal)
    _draw_peaks(peaks, states, phases)
    axes: Axes = binodal
    return axes


def _draw_peaks(
    ax: Axes, states: Sequence[Sequence[StatePoint]], phases: Sequence[Coexistence]
) -> None:
    """Draw ln p(N) of both phases at each temperature, up to a constant."""
    volume = states[0][0].volume_sigma3
    for number, (row, phase) in enumerate(zip(states, phases, strict=True)):
        for peak in (phase.vapour, phase.liquid):
            if not len(peak.numbers):
                continue
            height = np.exp(peak.log_p - max(phase.vapour.log_p.max(), phase.liquid.log_p.max()))
            shown = height > _SMALLEST
            label = f"T* = {row[0].temperature_star:g}" if peak is phase.vapour else None
            ax.plot(
                peak.numbers[shown] / volume,
                height[shown],
                color=COLOURS[number % len(COLOURS)],
                alpha=1 - 0.6 * number / len(states),
                label=label,
            )
    ax.set(xlabel="N σ³ / V", ylabel="p(N) at equal weight", yscale="log")
    with_legend(ax)
