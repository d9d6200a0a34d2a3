"""A repulsive solute that grows in a Lennard-Jones fluid, beside the published free energy.

The solute of Wirnsberger and others (J. Chem. Phys. 153, 144112 (2020), arXiv 2002.04913) sits in
the middle of 125 atoms and pushes them away by a WCA potential, whose diameter grows from 2.5974 to
2.8444 sigma. Their MBAR says 33.4468(51) kT. The numbers are those of the input of LAMMPS that was
published with the paper. As there, the solute does not move, so it is a field for the atoms. Here
windows are at equal steps of the diameter, with MBAR over all of them. Usage:

    python benchmarks/published/solute.py OUTPUT [--frames 160] [--windows 14] [--seed 1]
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import openmm

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import nearest_image
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.md.langevin import frames_sigma, langevin_context
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar

PUBLISHED = (33.4468, 0.0051)
DIAMETERS = (2.5974, 2.8444)  # sigma
_CHAINS, _BETWEEN, _EQUILIBRATION = 8, 100, 6000
_KT = 300 * 0.001987204 / 0.1854
SOLVENT = StatePoint(
    n_particles=125,
    box_length_sigma=22.28 / 3.542,
    temperature_star=_KT,
    cutoff_sigma=11.14 / 3.542,
    convention="shifted",
)


def solute_energy(positions_sigma: np.ndarray, diameters: np.ndarray) -> np.ndarray:
    """Return the energy of frames (F, N, 3) with a solute of each diameter, (F, K), kT."""
    r = np.linalg.norm(nearest_image(positions_sigma, SOLVENT.edges_sigma), axis=-1)[..., None]
    y = (diameters / r) ** 6
    return ((4 * y * (y - 1) + 1) * (r < 2 ** (1 / 6) * diameters)).sum(axis=1) / _KT


def solute_system() -> openmm.System:
    """Return the fluid around a solute at the origin, whose `diameter` is a global parameter."""
    system = fluid_system(SOLVENT)
    r = "r = periodicdistance(x, y, z, 0, 0, 0)"
    within = "step(2^(1/6)*d - r)*epsilon*(4*w*(w - 1) + 1)"
    force = openmm.CustomExternalForce(f"{within}; w = (d/r)^6; d = sigma*diameter; {r}")
    force.addGlobalParameter("sigma", SOLVENT.sigma_nm)
    force.addGlobalParameter("epsilon", SOLVENT.epsilon_kj_mol)
    force.addGlobalParameter("diameter", DIAMETERS[0])
    for atom in range(SOLVENT.n_particles):
        force.addParticle(atom, [])
    system.addForce(force)
    return system


def start() -> np.ndarray:
    """Return positions between which the solute has room, (N, 3), nm."""
    per_edge = 8
    grid = (np.stack(np.meshgrid(*[np.arange(per_edge)] * 3), -1).reshape(-1, 3) + 0.5) / per_edge
    away = np.linalg.norm(grid - np.round(grid), axis=-1)
    return grid[np.argsort(-away)[: SOLVENT.n_particles]] * SOLVENT.edges_nm


def sample_window(diameters: np.ndarray, frames: int, execution: Execution, k: int) -> dict:
    """Return the energies of the solute (n, K) in window k, kT."""
    chains = []
    for chain in range(_CHAINS):
        context = langevin_context(
            solute_system(),
            SOLVENT,
            timestep_star=0.004,
            friction_star=1.0,
            platform=None,
            thermostat_seed=execution.child(k, chain).seed,
        )
        context.setPositions(start())
        openmm.LocalEnergyMinimizer.minimize(context, maxIterations=100)
        for diameter in np.linspace(diameters[0], diameters[k], 20):
            context.setParameter("diameter", diameter)
            context.getIntegrator().step(_EQUILIBRATION // 20)
        chains.append(frames_sigma(context, SOLVENT, frames, _BETWEEN))
    return {"u": solute_energy(np.concatenate(chains), diameters)}


def main() -> None:
    """Print the free energy of growth beside the published one, in kT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--windows", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    execution = Execution(options.seed, 1, options.output, progress=True)
    lambdas = np.linspace(0.0, 1.0, options.windows)
    diameters = DIAMETERS[0] + lambdas * (DIAMETERS[1] - DIAMETERS[0])
    windows = execution.map_stored(
        partial(sample_window, diameters, options.frames, execution),
        range(options.windows),
        name="solute",
        inputs=[SOLVENT, diameters, options.frames, _CHAINS, _BETWEEN, _EQUILIBRATION],
        description="a solute that grows",
    )
    u_kln = np.stack([window["u"] for window in windows])
    slope = np.stack([np.gradient(u, lambdas, axis=1)[:, k] for k, u in enumerate(u_kln)])
    data = WindowData(lambdas, u_kln, slope, np.repeat(np.arange(_CHAINS), options.frames))
    found = estimate_mbar(data, SOLVENT, method="growth", execution=execution)
    value, error = PUBLISHED
    print(
        f"{DIAMETERS[0]} to {DIAMETERS[1]} sigma: {found.value:.3f}({found.std_err:.3f}) kT, "
        f"{found.verdict.text}; published {value}({error}), "
        f"{abs(found.value - value) / np.hypot(found.std_err, error):.1f} errors away"
    )


if __name__ == "__main__":
    main()
