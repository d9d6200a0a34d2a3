"""Window samples as the pandas frames of alchemlyb, to compare its estimators with ours.

`alchemlyb.estimators.MBAR` solves the same equations as `window_estimates.estimate_mbar`. It knows
no control variates: its number is ours without them (`value_without` in the diagnostics).
`alchemlyb.estimators.TI` is the trapezoidal rule. `window_estimates.estimate_ti` integrates a
spline through the same means, so the two differ by the rule.
(https://alchemlyb.readthedocs.io/en/latest/parsing.html describes the frames.)
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.analysis.window_data import WindowData

_NO_WEIGHT = (
    1e5  # kT above the smallest: in place of infinity, which arithmetic of frames turns into NaN
)


def to_alchemlyb(data: WindowData, state: StatePoint) -> tuple[Any, Any]:
    """Return u_nk and dHdl of `data`, for `MBAR().fit(u_nk)` and `TI().fit(dHdl)`.

    Parameters
    ----------
    data
        Samples of all windows.
    state
        The state point that was sampled, for the temperature.

    Returns
    -------
    u_nk, dHdl
        Frames with the index (time, lambdas), `time` counting the samples of a window; reduced
        potentials at all K lambdas, and dU/dlambda at the window's own, in kT. Their attrs hold
        `temperature`, K, and `energy_unit`, kT.

    Raises
    ------
    RuntimeError
        If pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as error:
        raise RuntimeError(
            "frames for alchemlyb need pandas: pip install openmm-nti[alchemlyb]"
        ) from error
    k, n = data.n_windows, data.n_samples
    times, lambdas = np.tile(np.arange(n, dtype=np.float64), k), np.repeat(data.lambdas, n)
    index = pandas.MultiIndex.from_arrays([times, lambdas], names=["time", "lambdas"])
    potentials = data.u_kln.reshape(k * n, k)
    finite = np.minimum(potentials, potentials.min(axis=1, keepdims=True) + _NO_WEIGHT)
    u_nk = pandas.DataFrame(finite, index=index, columns=data.lambdas)
    dhdl = pandas.DataFrame({"dudl": data.dudl.reshape(k * n)}, index=index)
    for frame in (u_nk, dhdl):
        frame.attrs.update(temperature=state.temperature_kelvin, energy_unit="kT")
    return u_nk, dhdl
