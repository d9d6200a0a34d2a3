r"""Equilibrium simulation of windows along the learned path: exact for any network.

Windows are spaced by thermodynamic length, in essence the integral of std(dU/dlambda), measured on
noised reference frames before any MD (`placement`). In every window several chains start from
different noised frames, which a good model has near equilibrium already. They run side by side as
replicas in one OpenMM Context under the TorchForce (`langevin`), or windows and chains together as
one batch of Hamiltonian Monte Carlo (`hmc`), if asked for with replica exchange between windows
(`exchange`). All samples are then evaluated at all windows: MBAR, BAR and TI (`window_estimates`)
follow from the same data. At lambda = 0 positions are uniform: no simulation is needed.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.validation.analysis.window_data import WindowData, platform_of
from openmm_nti.validation.sampling import hmc
from openmm_nti.validation.sampling.placement import WindowsConfig, frames_needed, place_windows
from openmm_nti.validation.sampling.window_parts import WindowPart, sample_part

__all__ = ["WindowsConfig", "frames_needed", "place_windows", "sample"]

Array = NDArray[np.float64]
# Chains of all windows in one part, where windows exchange.
_LADDERS = 4
_FOLDER = "neural_windows"


@takes_execution
def sample(
    model: LambdaHamiltonian, ensemble: Ensemble, config: WindowsConfig, execution: Execution
) -> WindowData:
    """Return samples of all windows along the path of `model`.

    Parameters
    ----------
    model
        Any `LambdaHamiltonian` of the ensemble's pair potential.
    ensemble
        Reference frames to start from.
    config
        Effort.
    execution
        Its seed decides starts and thermostats: the same seed gives the same samples on the same
        platform. Its folder keeps one file for each window, or a batch of them, or some chains of
        all windows where these exchange, in `neural_windows/`.

    Returns
    -------
    WindowData
        K windows of n_chains * n_frames samples. A warning is given where hardly any moves of Monte
        Carlo were accepted.

    Raises
    ------
    ValueError
        If the box is too small for the model.
    """
    model = fit_model(model, ensemble.state)
    inputs = [model, ensemble, config]
    lambdas, n_frames = _placed(model, ensemble, config, execution, inputs)
    shares = _shared_out(len(lambdas), ensemble.state, config)
    parts = [
        WindowPart(*share, lambdas, n_frames, model, ensemble, config, execution)
        for share in shares
    ]
    results = execution.map_stored(
        sample_part,
        parts,
        name=_FOLDER,
        inputs=[*inputs, lambdas, n_frames, [[list(some) for some in share] for share in shares]],
        description="lambda windows",
        labels=[f"windows {part.windows[0]} to {part.windows[-1]}" for part in parts],
    )
    platform = platform_of(results)
    arrays = _ladders_together(results) if config.exchange else _windows_together(results)
    if config.engine == "openmm":
        del arrays["acceptance"]
    chain = np.repeat(np.arange(config.n_chains), n_frames)
    data = WindowData(lambdas=lambdas, chain=chain, **arrays, platform=platform)
    if data.few_accepted:
        warnings.warn(data.few_accepted, stacklevel=3)
    return data


def _placed(
    model: LambdaHamiltonian,
    ensemble: Ensemble,
    config: WindowsConfig,
    execution: Execution,
    inputs: list[Any],
) -> tuple[Array, int]:
    """Return the lambdas, and how many frames of each chain to keep."""

    def place() -> dict[str, Any]:
        lambdas, length = place_windows(model, ensemble, config, execution)
        return {"lambdas": lambdas, "length": length}

    placed = execution.folder(_FOLDER).stored("placement", inputs, place)
    lambdas = placed["lambdas"]
    return lambdas, config.n_frames or frames_needed(float(placed["length"]), len(lambdas), config)


def _windows_together(results: list[dict[str, np.ndarray]]) -> dict[str, Array]:
    """Return the arrays of parts of all chains of some windows each, in order."""
    names = (name for name in results[0] if name != "platform")
    return {name: np.concatenate([part[name] for part in results]) for name in names}


def _ladders_together(results: list[dict[str, np.ndarray]]) -> dict[str, Array]:
    """Return the arrays of parts of some chains of all windows each."""
    arrays: dict[str, Array] = {}
    for name in ("u_kln", "dudl", "control_variates"):
        if name in results[0]:
            arrays[name] = np.concatenate([part[name] for part in results], axis=1)
    for name in ("acceptance", "timestep_star"):
        arrays[name] = np.mean([part[name] for part in results], axis=0)
    tried, traded = (
        np.sum([part[name] for part in results], axis=0) for name in ("tried", "traded")
    )
    arrays["exchange"] = traded / np.maximum(tried, 1)
    return arrays


def _shared_out(
    n_windows: int, state: StatePoint, config: WindowsConfig
) -> list[tuple[range, range]]:
    """Return windows and chains of each part.

    With OpenMM a part is a window. With torch it is the ideal gas, and then as many windows as one
    batch holds. Where windows exchange, it is some chains of all of them.
    """
    windows, chains = range(n_windows), range(config.n_chains)
    if config.exchange:
        return [(windows, chains[start : start + _LADDERS]) for start in chains[::_LADDERS]]
    in_batch = max(1, hmc.ATOMS_PER_BATCH // (config.n_chains * state.n_particles))
    size = 1 if config.engine == "openmm" else in_batch
    batches = [windows[:1], *(windows[start : start + size] for start in windows[1::size])]
    return [(batch, chains) for batch in batches]
