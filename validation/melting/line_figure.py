"""The figure of a melting line: densities of both phases, and the pressure, by temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openmm_nti.validation.melting.states import PHASES, PhaseName
from openmm_nti.validation.melting.surface import Surface
from openmm_nti.validation.melting.tangent import Coexistence, tangent
from openmm_nti.validation.plots.drawing import COLOURS, with_legend

_POINTS = 41
_NAMES = ("rho_fluid", "rho_crystal", "pressure_star")


def draw_line(
    surfaces: Mapping[PhaseName, Surface],
    line: Mapping[float, Coexistence],
    published: Sequence[Mapping[str, float]] = (),
) -> Axes:
    """Return the first Axes of a figure: T* against densities, and against pressure.

    Parameters
    ----------
    surfaces
        The free energies of both phases, for the curves between the temperatures.
    line
        Where both coexist, by T*.
    published
        Known points: mappings with `temperature_star`, `rho_fluid`, `rho_crystal` and
        `pressure_star`.
    """
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    densities, pressures = figure.subplots(1, 2)
    temperatures = np.array(list(line))
    for name, ax, colour in zip(
        _NAMES, (densities, densities, pressures), (COLOURS[0], COLOURS[1], COLOURS[0]), strict=True
    ):
        errors = np.array([one.errors[name] for one in line.values()])
        ax.errorbar(
            [one.values[name] for one in line.values()],
            temperatures,
            xerr=np.where(np.isfinite(errors), errors, 0),
            fmt="o",
            color=colour,
            label=name.removeprefix("rho_") if ax is densities else "this work",
        )
        ax.plot(
            [point[name] for point in published],
            [point["temperature_star"] for point in published],
            "x",
            color="0.3",
            label="published" if published and name != "rho_fluid" else None,
        )
    for name, curve in _curves(surfaces, temperatures).items():
        (pressures if name == "pressure_star" else densities).plot(*curve, color="0.7", zorder=0)
    densities.set(xlabel="ρ σ³", ylabel="T* = kT / ε")
    pressures.set(xlabel="p σ³ / ε", ylabel="T* = kT / ε")
    with_legend(pressures)
    axes: Axes = with_legend(densities)
    return axes


def _curves(
    surfaces: Mapping[PhaseName, Surface], temperatures: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return density or pressure, and T*, along the line; nothing where a phase has no surface."""
    if set(surfaces) != set(PHASES):
        return {}
    rows = []
    for temperature in np.linspace(temperatures.min(), temperatures.max(), _POINTS):
        fluid, crystal = (surfaces[phase].at(temperature) for phase in PHASES)
        found = tangent(fluid, crystal, temperature)
        if found is not None:
            rows.append([*found, temperature])
    columns = np.array(rows).reshape(-1, 5).T
    return {name: (column, columns[-1]) for name, column in zip(_NAMES, columns, strict=False)}
