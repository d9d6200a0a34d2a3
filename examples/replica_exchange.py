"""Hamiltonian replica exchange along lambda, and MBAR of what it collects.

Usage: python examples/replica_exchange.py [MODEL] [ITERATIONS]
"""

import sys

import openmm_nti  # before openmm, so that OpenMM finds its Torch plugin

# isort: split
import numpy as np
import openmm
import pymbar

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.forces import create_system, torch_force
from openmm_nti.md.replica_exchange import ReplicaExchange

model = openmm_nti.load_model(sys.argv[1] if len(sys.argv) > 1 else "lj-fluid-t1.25")
n_iterations = int(sys.argv[2]) if len(sys.argv) > 2 else 100
state = openmm_nti.StatePoint(n_particles=40, box_length_sigma=6.0, **model.potential.model_dump())
integrator = openmm.LangevinMiddleIntegrator(state.temperature_kelvin, 1.0, 0.004)
integrator.setRandomNumberSeed(1)
context = openmm.Context(create_system(state, torch_force(model, state)), integrator)
context.setPositions(lattice_positions_nm(state, seed=1))
context.setVelocitiesToTemperature(state.temperature_kelvin, 1)

lambdas = np.linspace(0.0, 1.0, 12)
exchange = ReplicaExchange(context, lambdas, seed=1)
exchange.run(n_iterations // 5, steps=25)  # into equilibrium
found = exchange.run(n_iterations, steps=25)
print("accepted trades:", " ".join(f"{share:.2f}" for share in found.acceptance))

u_kn = found.u_kln.transpose(1, 0, 2).reshape(len(lambdas), -1)
g = max(
    pymbar.timeseries.statistical_inefficiency(found.u_kln[k, k]) for k in range(1, len(lambdas))
)
kept = np.tile(np.arange(n_iterations) % int(np.ceil(g)) == 0, len(lambdas))
counts = np.full(len(lambdas), kept.sum() // len(lambdas))
mbar = pymbar.MBAR(u_kn[:, kept], counts, solver_protocol="robust")
result = mbar.compute_free_energy_differences()
print(f"beta F_ex = {result['Delta_f'][0, -1]:.2f} ± {result['dDelta_f'][0, -1]:.2f} kT")
