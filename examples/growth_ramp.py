"""Alchemical growth: ramps of lambda from the ideal gas to the fluid and back.

Bennett's acceptance ratio of their works gives the free energy.

Usage: python examples/growth_ramp.py [MODEL] [RAMPS] [STEPS PER CHANGE OF LAMBDA]
"""

import sys

import openmm_nti  # before openmm, so that OpenMM finds its Torch plugin

# isort: split
import numpy as np
import openmm
import pymbar

from openmm_nti.md.forces import create_system, torch_force
from openmm_nti.md.switching import switch

model = openmm_nti.load_model(sys.argv[1] if len(sys.argv) > 1 else "lj-fluid-t1.25")
n_ramps = int(sys.argv[2]) if len(sys.argv) > 2 else 10
n_steps = int(sys.argv[3]) if len(sys.argv) > 3 else 20
state = openmm_nti.StatePoint(n_particles=40, box_length_sigma=6.0, **model.potential.model_dump())
integrator = openmm.LangevinMiddleIntegrator(state.temperature_kelvin, 1.0, 0.004)
integrator.setRandomNumberSeed(1)
context = openmm.Context(create_system(state, torch_force(model, state)), integrator)
lambdas = np.linspace(0.0, 1.0, 51)
random = np.random.default_rng(1)
growth, decay = [], []
for number in range(n_ramps):
    context.setPositions(
        random.uniform(0.0, state.box_length_nm, (state.n_particles, 3))
    )  # an ideal gas
    context.setVelocitiesToTemperature(state.temperature_kelvin, number + 1)
    growth.append(switch(context, lambdas, n_steps)[-1])
    integrator.step(25 * n_steps)  # equilibrium of the fluid, from which the ramp back starts
    decay.append(switch(context, lambdas[::-1], n_steps)[-1])
    print(f"ramp {number + 1}: growth costs {growth[-1]:.2f} kT, the way back {decay[-1]:.2f} kT")
result = pymbar.bar(np.array(growth), np.array(decay))
print(f"beta F_ex = {result['Delta_f']:.2f} ± {result['dDelta_f']:.2f} kT")
