"""Drawings of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from openmm_nti.validation.plots.drawing import COLOURS, axes_for, noise_axis, with_legend


def training_curve(metrics: Sequence[Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw the loss on training batches and on held-out frames.

    Parameters
    ----------
    metrics
        Lines of metrics.jsonl, with `step`, `loss` and `validation_loss`.
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    steps = [line["step"] for line in metrics]
    for name, colour in (("loss", COLOURS[0]), ("validation_loss", COLOURS[1])):
        ax.plot(steps, [line[name] for line in metrics], color=colour, label=name.replace("_", " "))
    ax.set(xlabel="step", ylabel="loss", title="Training")
    return with_legend(ax)


def gain_by_noise(held_out: Mapping[str, Mapping[str, Any]], ax: Axes | None = None) -> Axes:
    """Draw how far the network raises the denoising bound above that of the two-body path.

    Parameters
    ----------
    held_out
        `held_out` of a line of metrics.jsonl: for each state point `noise_sigma`, `decile_gain_kt`
        and `decile_gain_err`, by tenths of ln s.
    ax
        Where to draw; by default a new figure.
    """
    ax = axes_for(ax)
    for number, (label, gains) in enumerate(held_out.items()):
        ax.errorbar(
            gains["noise_sigma"],
            gains["decile_gain_kt"],
            yerr=2 * np.asarray(gains["decile_gain_err"]),
            color=COLOURS[number % len(COLOURS)],
            marker="os^Dv"[number % 5],
            markersize=3,
            capsize=2,
            label=label.partition("_")[0],
        )
    ax.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    noise_axis(ax)
    ax.set(ylabel="gain / kT", title="Bound gained over the two-body path")
    return with_legend(ax)
