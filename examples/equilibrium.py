"""Equilibrium at lambda = 0.5: <U> and <dU/dlambda> with their errors, and MBAR's rows as CSV.

Usage: python examples/equilibrium.py [MODEL] [FRAMES]
"""

import csv
import sys
from pathlib import Path

import openmm_nti  # before openmm, so that OpenMM finds its Torch plugin

# isort: split
import numpy as np
import openmm
from openmm import app

from openmm_nti.md.reporters import LambdaReporter
from openmm_nti.reference_md.statistics import mean_and_error

model = openmm_nti.load_model(sys.argv[1] if len(sys.argv) > 1 else "lj-fluid-t1.25")
n_frames = int(sys.argv[2]) if len(sys.argv) > 2 else 200
state = openmm_nti.StatePoint(n_particles=40, box_length_sigma=6.0, **model.potential.model_dump())

integrator = openmm.LangevinMiddleIntegrator(state.temperature_kelvin, 1.0, 0.004)
integrator.setRandomNumberSeed(1)
fluid, path = openmm_nti.LJFluid(state), openmm_nti.NeuralPath(model, state)
simulation = app.Simulation(fluid.topology, path.create_system(0.5), integrator)
simulation.context.setPositions(fluid.positions)
simulation.context.setVelocitiesToTemperature(state.temperature_kelvin, 1)
simulation.step(10 * n_frames)  # from the lattice into equilibrium
simulation.reporters.append(LambdaReporter("equilibrium.csv", 25, lambdas=[0.4, 0.5, 0.6]))
simulation.step(25 * n_frames)

with Path("equilibrium.csv").open(newline="") as file:
    lines = list(csv.DictReader(file))
for column, unit in (("u_0.5", "kT"), ("dudl_kj_mol", "kJ/mol")):
    mean, error = mean_and_error(np.array([float(line[column]) for line in lines]))
    print(f"<{column}> = {mean:.2f} ± {error:.2f} {unit}")
