"""Simulation of some windows of the learned path, by whichever engine was asked for.

A part is what is sampled together: one window by MD, a batch of windows by Monte Carlo, or some
chains of all windows where these exchange configurations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.md.platforms import description_of_fastest
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis import control_variates
from openmm_nti.validation.sampling import exchange, hmc, langevin
from openmm_nti.validation.sampling.noised_frames import (
    dudl_of_frames,
    noised_frames,
    reduced_potentials,
)
from openmm_nti.validation.sampling.placement import WindowsConfig

Array = NDArray[np.float64]


@dataclass(frozen=True)
class WindowPart:
    """Some chains of neighbouring windows, and everything that decides their samples.

    Attributes
    ----------
    windows, chains
        Numbers of the windows and of the chains.
    lambdas
        Of all K windows, (K,).
    n_frames
        Frames to keep of each chain.
    model, ensemble, config
        As for `windows.sample`.
    execution
        Its seed decides all random numbers.
    """

    windows: range
    chains: range
    lambdas: Array
    n_frames: int
    model: LambdaHamiltonian = field(repr=False)
    ensemble: Ensemble = field(repr=False)
    config: WindowsConfig = field(repr=False)
    execution: Execution = field(repr=False)

    @property
    def own_lambdas(self) -> Array:
        """Lambdas of the part's windows, (k,)."""
        return self.lambdas[self.windows]

    @cached_property
    def placed(self) -> LambdaHamiltonian:
        """The model on the device of this process."""
        return self.execution.place(self.model)

    @property
    def place(self) -> tuple[int, ...]:
        """Numbers that give the part random numbers of its own."""
        return (self.windows[0], self.chains[0]) if self.config.exchange else (self.windows[0],)

    @property
    def box(self) -> Tensor:
        """Edges of the box, (3,), sigma."""
        return box_of(self.ensemble.state)


def sample_part(part: WindowPart) -> dict[str, NDArray[Any]]:
    """Return the arrays of `WindowData` for the k windows and the chains of a part."""
    state, own = part.ensemble.state, torch.as_tensor(part.own_lambdas)
    positions, found = _simulated(part)
    couplings = own.repeat_interleave(len(positions) // len(own))
    if "u_kln" not in found:
        found["u_kln"] = reduced_potentials(part.placed, positions, state, part.lambdas)
    found["dudl"] = dudl_of_frames(part.placed, positions, state, couplings)
    if part.config.controls(part.model):
        generator = _generator(part, "probes", *part.place)
        found["control_variates"] = control_variates.functions(
            part.placed, positions, part.box, couplings, generator
        )
    if part.config.engine == "openmm" and part.windows[-1] > 0:
        found["platform"] = np.array([description_of_fastest(part.config.platform)])
    for name in ("u_kln", "dudl", "control_variates"):
        if name in found:
            found[name] = found[name].reshape(len(own), -1, *found[name].shape[1:])
    return found


def _generator(part: WindowPart, *names: object) -> torch.Generator:
    return torch.Generator().manual_seed(part.execution.seed_of(*names))


def _simulated(part: WindowPart) -> tuple[Tensor, dict[str, Array]]:
    """Return frames (k * chains * n_frames, N, 3), sigma, with acceptance and time steps (k,).

    These are NaN where no moves are made.
    """
    if part.config.exchange:
        return _exchanging(part)
    if part.windows[0] == 0:
        return _ideal_gas(part)
    return _monte_carlo(part) if part.config.engine == "torch" else _molecular_dynamics(part)


def _ideal_gas(part: WindowPart) -> tuple[Tensor, dict[str, Array]]:
    """Return what `_simulated` does, at lambda = 0, where no simulation is needed."""
    state = part.ensemble.state
    n_frames, box = part.config.n_chains * part.n_frames, box_of(state)
    generator = _generator(part, "ideal gas")
    drawn = part.model.reference.sample(n_frames, state.n_particles, box, generator)
    nothing = {"acceptance": np.full(1, np.nan), "timestep_star": np.full(1, np.nan)}
    return drawn, nothing


def _starts(part: WindowPart, windows: range) -> Tensor:
    """Return where the part's chains of some windows begin, (windows, chains, N, 3), sigma."""
    chains = slice(part.chains[0], part.chains[-1] + 1)
    starts = [
        noised_frames(
            part.ensemble,
            float(part.lambdas[window]),
            part.config.n_chains,
            _generator(part, "start", window),
        )[chains]
        for window in windows
    ]
    return torch.stack(starts)


def _moves(part: WindowPart, windows: range) -> dict[str, Any]:
    """Return what Hamiltonian Monte Carlo of some windows needs; see `hmc.sample`."""
    return {
        "potential": part.placed,
        "box": part.box,
        "lambdas": torch.as_tensor(part.lambdas[windows]),
        "start": _starts(part, windows),
        "n_steps": part.config.steps_between,
        "equilibration_steps": part.config.equilibration_steps,
        "execution": part.execution.child("moves", *part.place),
    }


def _monte_carlo(part: WindowPart) -> tuple[Tensor, dict[str, Array]]:
    """Return what `_simulated` does, by Hamiltonian Monte Carlo of all windows at once."""
    found = hmc.sample(**_moves(part, part.windows), n_frames=part.n_frames)
    timestep_star = _in_md_units(found.step, part.ensemble.state)
    return found.positions.flatten(0, 2), {
        "acceptance": found.acceptance.numpy(),
        "timestep_star": timestep_star,
    }


def _in_md_units(step: Tensor, state: StatePoint) -> Array:
    """Return time steps in sigma sqrt(m / epsilon), from sigma sqrt(m / kT)."""
    return np.asarray(step.numpy() / math.sqrt(state.temperature_star))


def _langevin(part: WindowPart, windows: range) -> langevin.Chains:
    """Return chains of Langevin dynamics in OpenMM, where they begin."""
    config = part.config
    return langevin.Chains(
        part.model,
        part.ensemble.state,
        part.lambdas[windows],
        _starts(part, windows),
        torch.as_tensor(part.ensemble.positions_sigma[: config.n_chains]),
        langevin.Settings(
            config.timestep_star, config.friction_star, config.force, config.platform
        ),
        part.execution.child("moves", *part.place),
    )


def _molecular_dynamics(part: WindowPart) -> tuple[Tensor, dict[str, Array]]:
    """Return what `_simulated` does, of one window, by OpenMM."""
    config, chains = part.config, _langevin(part, part.windows)
    chains.advance(config.equilibration_steps)
    frames = []
    for _ in range(part.n_frames):
        chains.advance(config.steps_between)
        frames.append(chains.positions)
    positions = torch.stack(frames, dim=2).flatten(0, 2)
    return positions, {"acceptance": np.full(1, np.nan), "timestep_star": chains.timestep_star}


def _exchanging(part: WindowPart) -> tuple[Tensor, dict[str, Array]]:
    """Return what `_simulated` does, with trades of neighbours and the potentials that decided."""
    state, config, above = part.ensemble.state, part.config, part.windows[1:]
    dynamics: exchange.Dynamics
    if config.engine == "torch":
        dynamics = moves = hmc.equilibrated(**_moves(part, above))
        timestep_star = _in_md_units(moves.step, state)
    else:
        dynamics = chains = _langevin(part, above)
        chains.advance(config.equilibration_steps)
        timestep_star = chains.timestep_star
    found = exchange.sample(
        dynamics,
        lambda positions: reduced_potentials(part.placed, positions, state, part.lambdas),
        state.edges_sigma,
        n_frames=part.n_frames,
        n_steps=config.steps_between,
        execution=part.execution.child("trades", *part.place),
    )
    return found.positions.flatten(0, 2), {
        "u_kln": found.potentials.reshape(-1, len(part.lambdas)),
        "acceptance": found.acceptance,
        "timestep_star": np.concatenate([[np.nan], timestep_star]),
        "tried": found.tried,
        "traded": found.traded,
    }
