"""The figures as SVG, each with its numbers beside it as CSV of the same name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from openmm_nti.free_energy import FreeEnergy
from openmm_nti.validation import plots
from openmm_nti.validation.paper.curves import (
    REFERENCE,
    Estimates,
    MethodCurve,
    densities,
    p_of_n,
)
from openmm_nti.validation.report.judge import best_exact

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "openmm-nti",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
}
_COLOURS = (*plots.COLOURS, "0.3", "C4", "C5")
_DASHES = ("-", "--", ":", "-.", (0, (5, 1)), (0, (1, 1)))
_IN_FIGURE_6 = ("mbar_softcore", "ti_softcore_10", "neural_ti", "neural_ti_bound")
_MU_RANGE = (-29.0, -25.8, 65)  # on the paper's axis


@contextmanager
def style() -> Iterator[None]:
    """Set a style in which text stays text in the SVG, and equal numbers give equal files."""
    with mpl.rc_context(_STYLE):
        yield


def radial_distributions(sets: Mapping[int, Mapping[str, np.ndarray]], path: Path) -> Path:
    """Draw figure 3: g(r) of data and of reverse-diffusion samples, a panel for each N."""
    panels = _panels(len(sets), 1, width=2.4)
    columns: dict[str, np.ndarray] = {}
    for ax, (n, arrays) in zip(panels, sets.items(), strict=True):
        for name, label in (("data", "data"), ("samples", "model")):
            g, error = arrays[f"g_{name}"], arrays[f"err_{name}"]
            plots.radial_distribution(arrays["r"], g, std_err=error, label=label, ax=ax)
        ax.set_title(f"N = {n}")
        columns |= {"r_sigma": arrays["r"]}
        names = ("g_data", "err_data", "g_samples", "err_samples")
        columns |= {f"{name}_N{n}": arrays[name] for name in names}
    return plots.save(panels[0], path, columns)


def number_distributions(
    curves: Mapping[str, MethodCurve], beta_mu_paper: Sequence[float], path: Path
) -> Path:
    """Draw figure 4: p(N), a panel for each chemical potential."""
    panels = _panels(len(beta_mu_paper), 1, width=3.0)
    longest = max(len(curve.n) for curve in curves.values())
    columns = {"N": np.arange(longest, dtype=float)}
    for ax, value in zip(panels, beta_mu_paper, strict=True):
        for number, (name, curve) in enumerate(curves.items()):
            found = p_of_n(curve, value)
            if found is None:
                continue
            colour = _colour(number)
            ax.plot(
                curve.n,
                found[0],
                color=colour,
                linestyle=_DASHES[number % len(_DASHES)],
                label=name,
            )
            low, high = np.maximum(found[0] - 2 * found[1], 0), found[0] + 2 * found[1]
            ax.fill_between(curve.n, low, high, color=colour, alpha=0.2, linewidth=0)
            columns |= {f"p_{name}_at_{value:g}": _padded(found[0], longest)}
            columns |= {f"err_{name}_at_{value:g}": _padded(found[1], longest)}
        ax.set(xlabel="N", ylabel="p(N)", title=f"βμ = {value:g} (paper's axis)")
    _legend(panels[0])
    return plots.save(panels[0], path, columns)


def chemical_potentials(
    curves: Mapping[str, MethodCurve],
    points: Mapping[str, Sequence[tuple[float, FreeEnergy]]],
    path: Path,
) -> Path:
    """Draw figure 5: beta mu_ex(rho) from the fits, and residuals below.

    Widom insertion and the equation of state are shown as points.
    """
    ax, below = _panels(1, 2, width=6.0)
    columns: dict[str, np.ndarray] = {}
    reference = curves.get(REFERENCE)
    longest = max(len(curve.n) for curve in curves.values()) - 2
    for number, (name, curve) in enumerate(curves.items()):
        n, value, error = curve.chemical_potential()
        density = n / curve.fit.box_length_sigma**3
        _band(ax, density, value, error, number, name)
        if reference is not None:
            _band(below, density, _minus(value, reference), error, number, name)
        columns |= {
            f"density_{name}": _padded(density, longest),
            f"beta_mu_ex_{name}": _padded(value, longest),
        }
        columns |= {f"err_{name}": _padded(error, longest)}
    for marker, (name, found) in zip("sx^", points.items(), strict=False):
        shown_points = [(density, one) for density, one in found if np.isfinite(one.std_err)]
        ax.plot(
            [density for density, _ in shown_points],
            [one.value for _, one in shown_points],
            marker,
            color="0.4",
            markersize=4,
            label=name,
        )
    ax.set(ylabel="βμ_ex", title="Excess chemical potential ± 2 errors")
    below.set(xlabel="ρσ³", ylabel="less reference")
    _legend(ax)
    return plots.save(ax, path, columns)


def mean_densities(curves: Mapping[str, MethodCurve], path: Path) -> Path:
    """Draw <rho>(mu) of figure 5, on the axis of the paper."""
    (ax,) = _panels(1, 1, width=5.0)
    axis = np.linspace(*_MU_RANGE[:2], _MU_RANGE[2])
    columns = {"beta_mu_paper": axis}
    for number, (name, curve) in enumerate(curves.items()):
        value, error = densities(curve, axis)
        colour = _colour(number)
        ax.plot(axis, value, color=colour, linestyle=_DASHES[number % len(_DASHES)], label=name)
        ax.fill_between(
            axis, value - 2 * error, value + 2 * error, color=colour, alpha=0.2, linewidth=0
        )
        columns |= {f"density_{name}": value, f"err_{name}": error}
    ax.set(
        xlabel="βμ (paper's axis)", ylabel="⟨ρ⟩σ³", title="Mean density of the open box ± 2 errors"
    )
    _legend(ax)
    return plots.save(ax, path, columns)


def free_energies(estimates: Estimates, path: Path) -> Path:
    """Draw figure 6: -beta F_ex(N), and how far some methods are from it.

    The curve is the number to quote at each N. The CSV beside it has all methods.
    """
    ax, below = _panels(1, 2, width=6.5)
    numbers = np.array(sorted(estimates), dtype=float)
    found = [estimates[n] for n in sorted(estimates)]
    zero, zero_err = _of_method([best_exact(one) for one in found])
    columns = {"N": numbers}
    for name in sorted({name for one in found for name in one}):
        value, error = _of_method([one.get(name) for one in found])
        columns |= {name: value, f"err_{name}": error}
    ax.errorbar(numbers, -zero, yerr=2 * zero_err, color=_colour(0), marker="o", markersize=4)
    ax.set(ylabel="−βF_ex", title="Free energy to quote, and others less it, ± 2 errors")
    below.fill_between(numbers, -2 * zero_err, 2 * zero_err, color=_colour(0), alpha=0.2, lw=0)
    below.axhline(0.0, color=_colour(0), linewidth=0.8, zorder=0)
    shown = [name for name in _IN_FIGURE_6 if name in columns]
    for number, name in enumerate(shown):
        bars = 2 * np.where(np.isfinite(columns[f"err_{name}"]), columns[f"err_{name}"], 0)
        below.errorbar(
            numbers + 1.5 * (number - 0.5 * (len(shown) - 1)),  # beside each other
            columns[name] - zero,
            yerr=bars,
            color=_colour(number + 1),
            marker="sD^v"[number],
            ls="",
            markersize=4,
            label=name,
        )
    below.set(xlabel="N", ylabel="others less it / kT")
    plots.name_at_the_end(below)
    return plots.save(ax, path, columns)


def brackets(estimates: Estimates, path: Path) -> Path:
    """Draw the bounds from path weights over N, as distances from the best exact estimate."""
    (ax,) = _panels(1, 1, width=5.0)
    numbers = [n for n in sorted(estimates) if "path_bracket" in estimates[n]]
    facts = [estimates[n]["path_bracket"].diagnostics for n in numbers]
    columns = {
        name: np.array([one[name] for one in facts])
        for name in ("lower", "upper", "lower_err", "upper_err")
    }
    exact = [best_exact(estimates[n]) for n in numbers]
    reference = np.array([np.nan if one is None else one.value for one in exact])
    n_particles = np.array(numbers, dtype=float)
    plots.bracket(n_particles, **columns, reference=reference, ax=ax)
    return plots.save(ax, path, {"N": n_particles, **columns, "best_exact": reference})


def open_box(
    distributions: Mapping[float, np.ndarray], curve: MethodCurve | None, path: Path
) -> Path:
    """Draw p(N) from grand-canonical Monte Carlo beside that from free energies."""
    (ax,) = _panels(1, 1, width=5.0)
    longest = max(map(len, distributions.values()))
    columns = {"N": np.arange(longest, dtype=float)}
    for number, (value, p) in enumerate(distributions.items()):
        ax.plot(np.arange(len(p)), p, ".", color=_colour(number), label=f"GCMC, βμ = {value:g}")
        columns |= {f"gcmc_at_{value:g}": _padded(p, longest)}
        found = None if curve is None else p_of_n(curve, value)
        if curve is not None and found is not None:
            ax.plot(
                curve.n[:longest],
                found[0][:longest],
                color=_colour(number),
                label="from free energies",
            )
            columns |= {f"p_at_{value:g}": _padded(found[0][:longest], longest)}
    ax.set(xlabel="N", ylabel="p(N)", title="Particles in the open box")
    _legend(ax)
    return plots.save(ax, path, columns)


def toy_profile(arrays: Mapping[str, np.ndarray], path: Path) -> Path:
    """Draw <dU/dlambda> of the one-dimensional example."""
    (ax,) = _panels(1, 1, width=4.5)
    for number, (name, label) in enumerate(
        (("slope_noised", "noised samples"), ("slope_exact", "own samples"))
    ):
        ax.plot(
            arrays["lambdas"],
            arrays[name],
            color=_colour(number),
            linestyle=_DASHES[number],
            label=label,
        )
    ax.set(xlabel="λ", ylabel="⟨dU/dλ⟩ / kT", title="Two Gaussians, ln Z = ln 3")
    _legend(ax)
    return plots.save(ax, path, dict(arrays))


def _band(
    ax: Axes, x: np.ndarray, value: np.ndarray, error: np.ndarray, number: int, name: str
) -> None:
    """Draw a curve with a band of two errors, as far as its values go."""
    x, error = x[: len(value)], error[: len(value)]
    colour = _colour(number)
    ax.plot(x, value, color=colour, linestyle=_DASHES[number % len(_DASHES)], label=name)
    ax.fill_between(x, value - 2 * error, value + 2 * error, color=colour, alpha=0.2, lw=0)


def _of_method(found: Sequence[FreeEnergy | None]) -> tuple[np.ndarray, np.ndarray]:
    """Return values and errors, NaN where there is no estimate."""
    pairs = [(np.nan, np.nan) if one is None else (one.value, one.std_err) for one in found]
    value, error = np.array(pairs, dtype=float).T
    return value, error


def _panels(n_columns: int, n_rows: int, *, width: float) -> list[Axes]:
    figure = Figure(figsize=(width * n_columns, 3.2 if n_rows == 1 else 5.0), layout="constrained")
    heights = [1] if n_rows == 1 else [3, 2]
    grid = figure.subplots(
        n_rows, n_columns, squeeze=False, height_ratios=heights, sharex=n_rows > 1
    )
    return list(grid.ravel())


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False)


def _minus(value: np.ndarray, reference: MethodCurve) -> np.ndarray:
    """Return a method's beta mu_ex less the reference's, as far as both go."""
    other = reference.chemical_potential()[1]
    shared = min(len(value), len(other))
    return np.asarray(value[:shared] - other[:shared])


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(
        np.asarray(values, dtype=float), (0, length - len(values)), constant_values=np.nan
    )
