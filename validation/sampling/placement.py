"""Settings of the windows along the learned path, and where their lambdas lie."""

from __future__ import annotations

import math
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator

from openmm_nti.ensemble import Ensemble
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.md.platforms import PlatformName
from openmm_nti.reference_md.statistics import MIN_CHAINS
from openmm_nti.runtime.context import Execution, takes_execution
from openmm_nti.settings import Settings
from openmm_nti.validation.analysis import control_variates
from openmm_nti.validation.sampling.noised_frames import dudl_of_frames, noised_frames

Array = NDArray[np.float64]
_PILOT_LAMBDAS = 49
_MAX_FRAMES = 200


class WindowsConfig(Settings):
    """Effort spent on MD along the learned path."""

    engine: Literal["openmm", "torch"] = Field(
        default="openmm",
        description="openmm: MD in Contexts with the force; torch: Hamiltonian Monte Carlo, many "
        "windows in one batch, without OpenMM, which finds its steps itself and is exact at any.",
    )
    n_windows: int | None = Field(
        default=None,
        ge=3,
        le=10_000,
        description="Windows, both ends included; empty: as many as `window_length` asks for.",
    )
    window_length: float = Field(
        default=1.0,
        gt=0,
        le=20,
        description="Thermodynamic length between neighbouring windows, about std(Delta U) in kT.",
    )
    n_chains: int = Field(
        default=32, ge=2, le=10_000, description="Independent chains in each window."
    )
    n_frames: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Frames kept of each chain; empty: as many as `target_error` asks for.",
    )
    exchange: bool = Field(
        default=False,
        description="Hamiltonian replica exchange: after every frame, chains of neighbouring "
        "windows may trade places.",
    )
    target_error: float = Field(
        default=0.2,
        gt=0,
        le=100,
        description="Standard error of beta F_ex aimed at, in kT; forecast from the pilot.",
    )
    steps_between: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Steps between frames; with `torch`, of one move.",
    )
    equilibration_steps: int = Field(
        default=80, ge=0, le=100_000_000, description="Steps before the first frame."
    )
    timestep_star: float = Field(
        default=0.006,
        gt=0,
        lt=0.02,
        description="Time step of `openmm` at lambda = 1, in sigma sqrt(m / epsilon); longer where "
        "forces are weaker.",
    )
    friction_star: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description="Langevin friction of `openmm`, in the inverse of that time.",
    )
    control_variates: bool = Field(
        default=True,
        description="Subtract functions of zero mean, where the potential is `switched`: fewer "
        "samples do.",
    )
    pilot_frames: int = Field(
        default=32,
        ge=4,
        le=100_000,
        description="Noised frames per lambda to place the windows with.",
    )
    force: Literal["torch", "python"] = Field(
        default="torch", description="TorchForce, or PythonForce where it lacks."
    )
    platform: PlatformName | None = Field(
        default=None, description="OpenMM platform; empty: the fastest."
    )

    @model_validator(mode="after")
    def _ladders_are_enough_for_errors(self) -> Self:
        if self.exchange and self.n_chains < MIN_CHAINS:
            raise ValueError(
                f"exchange with n_chains = {self.n_chains}: chains of exchanging windows are the "
                f"bootstrap's units, give {MIN_CHAINS} or more"
            )
        return self

    def controls(self, model: LambdaHamiltonian) -> bool:
        """Return whether control variates are asked for and `model` has any."""
        return self.control_variates and control_variates.apply_to(model)


def frames_needed(length: float, n_windows: int, config: WindowsConfig) -> int:
    """Return the frames of each chain for `target_error`, from the length of the path.

    `place_windows` returns that length.

    K - 1 gaps of std(Delta U) = length / (K - 1) and n decorrelated samples a window give the
    variance length^2 / ((K - 1) n); of neighbouring frames about two in five count. The error
    reported is the measured one.
    """
    samples = 2.5 * length**2 / ((n_windows - 1) * config.target_error**2)
    return min(_MAX_FRAMES, max(4, math.ceil(samples / config.n_chains)))


@takes_execution
def place_windows(
    model: LambdaHamiltonian, ensemble: Ensemble, config: WindowsConfig, execution: Execution
) -> tuple[Array, float]:
    """Return lambdas (K,) from 0 to 1, spaced by what noised frames show, and the path's length.

    The thermodynamic length is the integral of std(dU/dlambda), of what control variates leave of
    it; the effort can be judged by it. Windows are equidistant in one of element
    sqrt(var(dU/dlambda) + |d<dU/dlambda>/dlambda|) dlambda: the first term keeps neighbours
    overlapping for MBAR, the second keeps the mean resolved for TI where it varies and hardly
    fluctuates.
    """
    pilot = np.linspace(0.0, 1.0, _PILOT_LAMBDAS)
    dudl, left = _pilot(model, ensemble, config, execution, pilot)
    variance = dudl.var(axis=1, ddof=1)
    speed = np.sqrt(variance + np.abs(np.gradient(dudl.mean(axis=1), pilot)))
    length = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(pilot))])
    count = config.n_windows or max(4, 1 + math.ceil(length[-1] / config.window_length))
    # A little length everywhere, so that flat stretches of the path get windows too.
    length = length / length[-1] + 0.15 * pilot
    lambdas = np.interp(np.linspace(0.0, length[-1], count), length, pilot)
    lambdas[0], lambdas[-1] = 0.0, 1.0
    return lambdas, float(np.trapezoid(np.sqrt(variance) * left, pilot))


def _pilot(
    model: LambdaHamiltonian,
    ensemble: Ensemble,
    config: WindowsConfig,
    execution: Execution,
    lambdas: Array,
) -> tuple[Array, Array]:
    """Return dU/dlambda of noised frames at each lambda (K, n), and what control variates leave.

    The latter is a share of the standard deviation, (K,).
    """
    model = execution.place(model)
    slopes, functions, box = [], [], box_of(ensemble.state)
    for value in lambdas:
        # The same frames and noise at every lambda: their mean then varies smoothly.
        generator = torch.Generator().manual_seed(execution.seed_of("pilot"))
        positions = noised_frames(ensemble, value, config.pilot_frames, generator)
        slopes.append(dudl_of_frames(model, positions, ensemble.state, value))
        if config.controls(model):
            couplings = torch.full((len(positions),), value, dtype=torch.float64)
            directions = torch.Generator().manual_seed(execution.seed)
            functions.append(
                control_variates.functions(model, positions, box, couplings, directions)
            )
    dudl = np.array(slopes)
    if not functions:
        return dudl, np.ones(len(lambdas))
    return dudl, control_variates.share_left(dudl, np.array(functions))
