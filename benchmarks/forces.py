"""Energy and forces of the default model, side by side in one process: OpenMM's own Lennard-Jones force is 1.

Prints milliseconds for one energy and force at N = 40 and 200 (L = 6 sigma) and ratios; a shared machine's absolute
times mean little, the ratios are taken in turn. Usage: python benchmarks/forces.py [repeats]
"""

import sys

import openmm
import torch
from timing import median_times

from openmm_nti import LambdaHamiltonian, NetworkConfig, StatePoint
from openmm_nti.forces import create_system, python_force, torch_force
from openmm_nti.lj_fluid import lattice_positions_nm, lj_system
from openmm_nti.native_pair import native_pair_force
from openmm_nti.openmm_energy import OpenMMEnergy
from openmm_nti.platforms import fastest_platform, platform_properties


def context_call(system: openmm.System, positions):
    """A function that makes OpenMM compute energy and forces anew."""
    platform = fastest_platform()
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform, platform_properties(platform))

    def call() -> None:
        context.setPositions(positions)
        context.getState(getEnergy=True, getForces=True)

    return call


def eager_call(model: LambdaHamiltonian, state: StatePoint, positions):
    """The bare module with autograd, as a floor for the two forces."""
    module = OpenMMEnergy(model, state)
    box = torch.eye(3, dtype=torch.float64) * state.box_length_nm

    def call() -> None:
        x = torch.tensor(positions, requires_grad=True)
        torch.autograd.grad(module(x, box, torch.tensor(0.5, dtype=torch.float64)), x)

    return call


def main() -> None:
    """Time all variants in turn and print medians and ratios."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    torch.set_num_threads(1)
    print(f"platform {fastest_platform().getName()}, torch on CPU with 1 thread, {repeats} rounds")
    for n_particles in (40, 200):
        state = StatePoint(n_particles=n_particles, box_length_sigma=6.0, temperature_star=1.25)
        positions = lattice_positions_nm(state, seed=1)
        torch.manual_seed(0)
        model = LambdaHamiltonian(state.pair_potential, NetworkConfig()).eval().requires_grad_(False)
        calls = {
            "OpenMM Lennard-Jones": context_call(lj_system(state), positions),
            "two-body path, OpenMM": context_call(create_system(state, native_pair_force(model, state)), positions),
            "two-body path, eager": eager_call(LambdaHamiltonian(state.pair_potential), state, positions),
            "model, eager": eager_call(model, state, positions),
            "model, TorchForce": context_call(create_system(state, torch_force(model, state)), positions),
            "model, PythonForce": context_call(create_system(state, python_force(model, state)), positions),
        }
        times = median_times(calls, repeats, warm_up=3)  # TorchScript compiles in the first rounds
        base = times["OpenMM Lennard-Jones"]
        print(f"N = {n_particles}")
        for name, median in times.items():
            print(f"  {name:22s} {1e3 * median:8.2f} ms   {median / base:8.1f} x OpenMM LJ")
        ratio = times["model, TorchForce"] / times["model, eager"]
        print(f"  TorchForce takes {ratio:.2f} x the bare module's energy and gradient")


if __name__ == "__main__":
    main()
