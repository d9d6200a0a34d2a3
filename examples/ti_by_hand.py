"""Thermodynamic integration by hand, in plain OpenMM.

The free energy beta F_ex is the integral of <dU/dlambda> over lambda.

Usage: python examples/ti_by_hand.py [MODEL] [FRAMES]
"""

import sys

import openmm_nti  # before openmm, so that OpenMM finds its Torch plugin

# isort: split
import numpy as np
import openmm

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.forces import create_system, torch_force
from openmm_nti.md.readers import dudl
from openmm_nti.reference_md.statistics import mean_and_error

model = openmm_nti.load_model(sys.argv[1] if len(sys.argv) > 1 else "lj-fluid-t1.25")
n_frames = int(sys.argv[2]) if len(sys.argv) > 2 else 100
state = openmm_nti.StatePoint(n_particles=40, box_length_sigma=6.0, **model.potential.model_dump())
integrator = openmm.LangevinMiddleIntegrator(state.temperature_kelvin, 1.0, 0.004)
integrator.setRandomNumberSeed(1)
context = openmm.Context(create_system(state, torch_force(model, state)), integrator)
context.setPositions(lattice_positions_nm(state, seed=1))
context.setVelocitiesToTemperature(state.temperature_kelvin, 1)

lambdas, weights = np.polynomial.legendre.leggauss(15)  # nodes on [-1, 1]
means, errors = [], []
for coupling in 0.5 * (lambdas + 1.0):
    context.setParameter("lambda_nti", coupling)
    integrator.step(5 * n_frames)  # follow lambda before looking
    series = []
    for _ in range(n_frames):
        integrator.step(25)
        series.append(dudl(context) / state.kt_kj_mol)
    mean, error = mean_and_error(np.array(series))
    means.append(mean)
    errors.append(error)
    print(f"lambda = {coupling:.3f}: <dU/dlambda> = {mean:8.2f} ± {error:.2f} kT")
value, error = 0.5 * weights @ means, 0.5 * np.linalg.norm(weights * errors)
print(f"beta F_ex = {value:.2f} ± {error:.2f} kT")
