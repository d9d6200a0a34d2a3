"""The calls whose time `speed.py` measures, and their clock.

Each time is the lowest of its rounds: processor time of the process with one thread on a CPU, wall
time otherwise.
"""

import time
from collections.abc import Callable

import numpy as np
import openmm
import torch
from torch import Tensor

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.hamiltonian.geometry import Pairs
from openmm_nti.kernels import use_compiled
from openmm_nti.md.openmm_energy import OpenMMEnergy, script
from openmm_nti.md.platforms import fastest_platform, platform_properties

MODEL = "lj-fluid-t1.25"
DENSE = StatePoint(n_particles=200, box_length_sigma=6.0, temperature_star=1.25)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Calls = dict[str, Callable[[], object]]


class AllPairs(LambdaHamiltonian):
    """A model written simply: all atoms are neighbours, and autograd computes all derivatives.

    It uses no compiled operations.
    """

    def __init__(self, model: LambdaHamiltonian) -> None:
        super().__init__(model.potential, model.network_config)
        self.load_state_dict(model.state_dict())
        self.reach = 1e6  # sigma: everywhere
        use_compiled(self, False)

    def near(self, pairs: Pairs, n_atoms: int) -> Pairs:
        """Return all pairs, so that every atom has N - 1 neighbours."""
        del n_atoms
        return pairs

    def gradient(
        self, positions: Tensor, box: Tensor, log_s: Tensor, create_graph: bool = False
    ) -> Tensor:
        """Return the gradient of the whole energy by autograd."""
        positions = positions.detach().requires_grad_(True)
        learned = self._learned(
            positions, box, log_s, self.search.pairs(positions, box, self.reach)
        )
        energy = self.pair_energy(positions, box, log_s) + learned
        return torch.autograd.grad(energy.sum(), positions, create_graph=create_graph)[0]


def disordered_nm(state: StatePoint, seed: int) -> np.ndarray:
    """Return a lattice under noise of 0.1 sigma, (N, 3), nm."""
    noise = np.random.default_rng(seed).normal(
        scale=0.1 * state.sigma_nm, size=(state.n_particles, 3)
    )
    return lattice_positions_nm(state, seed) + noise


def lowest_times(calls: Calls, rounds: int, warm_up: int = 3) -> dict[str, float]:
    """Return the lowest seconds of each call over rounds in which the calls alternate.

    The first rounds do not count, because TorchScript compiles in them.
    """
    clock = (
        time.process_time if DEVICE == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    )
    times: dict[str, list[float]] = {name: [] for name in calls}
    for round_number in range(-warm_up, rounds):
        for name, call in calls.items():
            # In a simulation the call before was the same, and its data are in the cache.
            call()
            began = clock()
            call()
            if round_number >= 0:
                times[name].append(clock() - began)
    return {name: min(values) for name, values in times.items()}


def context_of(system: openmm.System, state: StatePoint) -> openmm.Context:
    """Return a Context of `system` on the fastest platform, with a thermostat and positions."""
    name = fastest_platform()
    integrator = openmm.LangevinMiddleIntegrator(
        state.temperature_kelvin, 1.0 / state.time_unit_ps, 0.004 * state.time_unit_ps
    )
    context = openmm.Context(system, integrator, name, platform_properties(name))
    n_replicas = system.getNumParticles() // state.n_particles
    context.setPositions(np.concatenate([disordered_nm(state, seed) for seed in range(n_replicas)]))
    return context


def evaluation(system: openmm.System, state: StatePoint) -> Callable[[], object]:
    """Return a function that makes OpenMM compute energy and forces anew."""
    context = context_of(system, state)
    positions = context.getState(getPositions=True).getPositions(asNumpy=True)

    def call() -> None:
        context.setPositions(positions)
        context.getState(getEnergy=True, getForces=True)

    return call


def bare_evaluation(
    model: LambdaHamiltonian, state: StatePoint, *, scripted: bool = False, slope: bool = False
) -> Callable[[], object]:
    """Return a function that computes energy and gradient of the bare module.

    With `slope` it computes dU/dlambda as well.
    """
    module = OpenMMEnergy(model, state).to(DEVICE)
    module = script(module) if scripted else module
    positions = torch.tensor(disordered_nm(state, seed=1), device=DEVICE)
    box = torch.eye(3, dtype=torch.float64, device=DEVICE) * state.box_length_nm
    lam = torch.tensor(0.5, dtype=torch.float64, device=DEVICE, requires_grad=slope)

    def call() -> None:
        x = positions.clone().requires_grad_(True)
        torch.autograd.grad(module(x, box, lam), [x, lam] if slope else x)[0].cpu()

    return call
