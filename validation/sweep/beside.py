r"""A model's own thermodynamics along an isochore: its free energies, and what their slope says.

At each temperature an estimator gives the model's beta F_ex from the frames there. With b = 1 / T*
in units of epsilon, a smooth curve through them,

.. math:: f(b) = c_0 + c_1 b + c_2 b^{2/5} + c_3 b^2 + c_4 b^3 ,

has the slope U = f' and C_v,ex / k = -b^2 f''. The first three terms are the law of Rosenfeld and
Tarazona for dense liquids (Mol. Phys. 95, 141 (1998)). How many are taken, and how wrong so few
are, is seen by the same fit through the free energies of the data, whose energies are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators.base import Estimator, Job
from openmm_nti.validation.estimators.registry import estimator, exact_estimators
from openmm_nti.validation.sweep.thermodynamics import QUANTITIES, Thermodynamics

_POWERS = (0.0, 1.0, 0.4, 2.0, 3.0)
_AGREE = 3.0  # errors between the model and the data


@dataclass(frozen=True)
class Beside:
    """What stands beside the data of a sweep: a model, its name, and an estimator with settings."""

    name: str
    model: NoisedFluid
    method: Estimator
    settings: Any
    denoiser: NoisedFluid | None = None

    @classmethod
    def of(
        cls,
        name: str,
        method: str,
        settings_of: Callable[[Estimator], Any],
        states: Sequence[StatePoint],
        source: str | Path | None = None,
    ) -> Self:
        """Return the model called `name` with a method, and the settings that `settings_of` gives.

        `source` is where to load the model from, if not by its name.

        Raises
        ------
        ValueError
            If there is no such model or method, or they do not fit together or the box.
        """
        known = check_method(estimator(method))
        model, denoiser = known.load(source or name)
        for state in states:
            model.bind(state)
        return cls(name, model, known, settings_of(known), denoiser)

    def estimates(self, ensembles: Sequence[Ensemble], execution: Execution) -> list[FreeEnergy]:
        """Return the model's free energies from the frames of each simulation."""
        jobs = (
            Job(e.state, e, self.model, execution.folder(e.state.label), denoiser=self.denoiser)
            for e in ensembles
        )
        return [self.method.estimate(job, self.settings) for job in jobs]


def check_method(method: Estimator) -> Estimator:
    """Return the estimator; ValueError unless it gives beta F_ex of a model from frames."""
    if method.quantity != "beta_f_ex" or not method.needs_model or "data" not in method.needs:
        raise ValueError(
            f"{method.name} gives no beta F_ex of a model from frames: take path_bar, or another "
            "method that needs a model and data"
        )
    return method


def usual_method(phase: str = "fluid", *, with_model: bool = True, in_stages: bool = False) -> str:
    """Return the name of the exact method for a phase that takes any model, or that needs none.

    `in_stages` asks for one that a dense fluid needs, and that takes models with an energy.
    """
    needs = {"model", "data"} if with_model else set()
    if in_stages:
        needs = {"energy", "denoiser", "data"}
    return next(
        one.name
        for one in exact_estimators()
        if one.phase == phase and one.needs == needs and one.quantity == "beta_f_ex"
    )


def slopes(found: Sequence[FreeEnergy], data: Thermodynamics) -> Thermodynamics:
    """Return the thermodynamics that follow from a model's free energies.

    Parameters
    ----------
    found
        beta F_ex of the model at the first temperatures of `data`; those without an error do not
        count.
    data
        The thermodynamics of the data.

    Returns
    -------
    Thermodynamics
        At the temperatures of `data`, without a pressure. Errors hold those of `found`, and what
        the same fit is wrong by for the data. Where fewer than two of `found` have an error, there
        is no slope: all but their beta F_ex is NaN.
    """
    values = np.array([one.value for one in found])
    errors = np.array([one.std_err for one in found])
    good = np.flatnonzero(np.isfinite(values) & np.isfinite(errors) & (errors > 0))
    none = {name: np.full(data.temperatures.shape, np.nan) for name in QUANTITIES}
    thermodynamics = replace(
        data, values=none, errors={name: array.copy() for name, array in none.items()}
    )
    if len(good) >= 2:
        numbers = range(2, min(len(good), len(_POWERS)) + 1)
        fits = [_fit(n_terms, good, values, errors, data) for n_terms in numbers]
        thermodynamics = min(fits, key=lambda fit: float(np.square(fit.errors["beta_u_ex"]).sum()))
    for kept, array in ((values, thermodynamics.values), (errors, thermodynamics.errors)):
        array["beta_f_ex"][: len(found)] = kept  # as they are, not as fitted
    return replace(thermodynamics, verdict=_verdict(values, errors, data))


def _fit(
    n_terms: int, good: np.ndarray, values: np.ndarray, errors: np.ndarray, data: Thermodynamics
) -> Thermodynamics:
    """Return what a curve of so many terms says, with all its errors."""
    fitted, spread = {}, {}
    b = 1 / data.temperatures
    for name, operator in _operators(n_terms, b[good], errors[good], b).items():
        fitted[name] = operator @ values[good]
        wrong = operator @ data.values["beta_f_ex"][good] - data.values[name]
        spread[name] = np.hypot(np.sqrt(operator**2 @ errors[good] ** 2), wrong)
    fitted["c_v"] = fitted["c_v_ex"] + (data.values["c_v"] - data.values["c_v_ex"])
    spread["c_v"] = spread["c_v_ex"]
    none = np.full(data.temperatures.shape, np.nan)
    fitted["pressure_star"], spread["pressure_star"] = none, none
    return replace(data, values=fitted, errors=spread)


def _operators(
    n_terms: int, known: np.ndarray, errors: np.ndarray, asked: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what turns free energies at b = `known` (K,) into each quantity at `asked`, (T, K)."""
    unit, powers = known.max(), np.array(_POWERS[:n_terms])
    at_known = (known[:, None] / unit) ** powers
    coefficients = np.linalg.pinv(at_known / errors[:, None]) / errors
    b = asked[:, None] / unit
    energy = powers * b**powers @ coefficients  # b f', which is beta U
    heat = -(powers * (powers - 1) * b**powers) @ coefficients
    free_energy = b**powers @ coefficients
    return {
        "beta_f_ex": free_energy,
        "beta_u_ex": energy,
        "s_ex": energy - free_energy,
        "c_v_ex": heat,
    }


def _verdict(values: np.ndarray, errors: np.ndarray, data: Thermodynamics) -> Verdict:
    """Return whether the model's free energies are those of the data."""
    n = len(values)
    pulls = np.abs(values - data.values["beta_f_ex"][:n])
    pulls = pulls / np.hypot(errors, data.errors["beta_f_ex"][:n])
    worst = int(np.argmax(np.where(np.isnan(pulls), np.inf, pulls)))
    text = f"beta F_ex is at most {pulls[worst]:.1f} errors from the data"
    where = f"{text}, at T* = {data.temperatures[worst]:g}"
    has_errors = bool((np.isfinite(errors) & (errors > 0)).all())
    return Verdict.good_if(
        has_errors and bool(pulls[worst] <= _AGREE), f"good ({text})", Verdict("warn", where)
    )
