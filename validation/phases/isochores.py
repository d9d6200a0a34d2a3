"""`Isochore`: one N at all temperatures, where the data join the model's free energies.

Each free energy of the model is a number by itself. How beta F_ex changes with the temperature is
known far better, by MBAR over the frames of all temperatures (`sweep.thermodynamics`). So these
changes are taken from the data, and one constant for all temperatures from the model: the mean of
its free energies less the changes, weighted by their errors. What the model alone says of energy
and entropy stands beside that of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.free_energy import FreeEnergy
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.sweep.beside import slopes
from openmm_nti.validation.sweep.thermodynamics import (
    Anchor,
    Frames,
    Thermodynamics,
    thermodynamics,
)


@dataclass(frozen=True, eq=False)
class Isochore:
    """The free energies of one N at K temperatures, and what they follow from.

    Attributes
    ----------
    n_particles
        N.
    values, errors
        beta F_ex at each temperature, (K,), kT.
    data, model
        Thermodynamics of the frames, anchored at the model's mean, and of the model alone. None at
        one temperature, or where the frames of neighbouring temperatures do not overlap.
    """

    n_particles: int
    values: np.ndarray
    errors: np.ndarray
    data: Thermodynamics | None = None
    model: Thermodynamics | None = None

    @classmethod
    def of(
        cls, ensembles: Sequence[Ensemble], found: Sequence[FreeEnergy], execution: Execution
    ) -> Isochore:
        """Return the isochore of simulations at ascending temperatures, with their estimates."""
        n = ensembles[0].state.n_particles
        values = np.array([one.value for one in found])
        errors = np.array([one.std_err for one in found])
        good = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
        if len(ensembles) < 2 or not good.any():
            return cls(n, values, errors)
        frames = Frames.of(
            ensembles[0].state,
            [(e.state.temperature_star, e.positions_sigma, e.n_independent) for e in ensembles],
        )
        start = Anchor(float(frames.temperatures[0]), 0.0, 0.0)
        changes = thermodynamics(
            frames, start, frames.temperatures, execution.random("isochore", n)
        )
        if changes.verdict.level == "bad":
            return cls(n, values, errors)
        weights = np.where(good, 1 / np.where(good, errors, 1.0) ** 2, 0.0)
        weights /= weights.sum()
        constant = weights[good] @ (values - changes.values["beta_f_ex"])[good]
        own = np.sqrt(weights[good] ** 2 @ errors[good] ** 2)
        anchor = Anchor(start.temperature_star, float(constant), float(own), "the model")
        data = thermodynamics(frames, anchor, frames.temperatures, execution.random("isochore", n))
        joined, spread = data.values["beta_f_ex"], data.errors["beta_f_ex"]
        return cls(n, joined, spread, data, slopes(found, data))

    def rows(self) -> list[dict[str, Any]]:
        """Return what data and model say at each temperature, ready for `files.finite`."""
        if self.data is None or self.model is None:
            return [{} for _ in self.values]
        pairs = zip(self.data.rows(), self.model.rows(), strict=True)
        wanted = ("beta_u_ex", "s_ex", "c_v_ex", "pressure_star")
        return [
            {name: data[name] for name in wanted if name in data}
            | {f"model_{name}": model[name] for name in wanted if name in model}
            for data, model in pairs
        ]
