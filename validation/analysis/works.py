"""Free energies and bounds from the works of a process and of its reverse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from openmm_nti.fluid.state import StatePoint
from openmm_nti.runtime.stored import write_arrays
from openmm_nti.validation.analysis.mbar_equations import bennett
from openmm_nti.validation.analysis.regression import error_of_mean, require_finite

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Works:
    """omega of the forward and of the reverse paths, (n_paths,) each, kT."""

    state: StatePoint
    forward: Array
    reverse: Array

    def __post_init__(self) -> None:
        advice = "look for overlapping particles in the frames, or train the network longer"
        require_finite("path weights", advice, forward_works=self.forward)
        require_finite("path weights", advice, reverse_works=self.reverse)
        if min(self.forward.size, self.reverse.size) < 2:
            raise ValueError(
                f"path weights: {self.forward.size} forward and {self.reverse.size} reverse works "
                "give no error: take 2 or more of each"
            )

    def save(self, path: str | Path) -> None:
        """Write the works to `path` (.npz), atomically, for figures and for others' analysis."""
        write_arrays(path, {"forward": self.forward, "reverse": self.reverse})


def bounds_of(works: Works) -> dict[str, float]:
    """Return the means of the works of both directions with their standard errors, in kT.

    The error of works that are all equal is infinite.
    """
    return {
        "lower": float(works.forward.mean()),
        "lower_err": error_of_mean(works.forward),
        "upper": float(works.reverse.mean()),
        "upper_err": error_of_mean(works.reverse),
    }


def bar(forward: Array, reverse: Array) -> float:
    """Return the root of Bennett's equation: works from the ideal gas are omega, back -omega."""
    return float(bennett([reverse], [-forward])[0])


def overlap_of(works: Works, free_energy: float) -> float:
    """Return the overlap of both directions, as in MBAR's matrix: 1 if equal, 0 if disjoint."""
    exponent = free_energy - np.concatenate([works.forward, works.reverse])
    ratio = np.exp(np.clip(exponent, -700.0, 700.0))
    n_forward = works.forward.size
    n_reverse = works.reverse.size
    weight = 1.0 / (n_reverse + n_forward * ratio)
    return float((n_forward + n_reverse) * np.sum(weight * weight * ratio))
