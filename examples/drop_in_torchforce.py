"""A learned Hamiltonian in your own OpenMM script, as a TorchForce.

The script builds a System, adds the TorchForce, takes steps, and reads U and dU/dlambda.

Usage: python examples/drop_in_torchforce.py [MODEL], with the model of a finished run, such as
demo-output/model.
"""

import sys

import openmm_nti  # before openmm, so that OpenMM finds its Torch plugin

# isort: split
import openmm
from openmm import unit

from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.md.forces import add_to_system
from openmm_nti.md.readers import dudl

state = openmm_nti.StatePoint(n_particles=40, box_length_sigma=6.0, temperature_star=1.25)
model = openmm_nti.load_model(sys.argv[1] if len(sys.argv) > 1 else "demo-output/model")

system = openmm.System()
for _ in range(state.n_particles):
    system.addParticle(state.mass_dalton)
edge = state.box_length_nm
system.setDefaultPeriodicBoxVectors([edge, 0, 0], [0, edge, 0], [0, 0, edge])
add_to_system(
    system, model, state
)  # checks box and particles; torch_force(model, state) is the bare force

temperature = state.temperature_kelvin * unit.kelvin
integrator = openmm.LangevinMiddleIntegrator(
    temperature, 1 / unit.picosecond, 4 * unit.femtoseconds
)
context = openmm.Context(system, integrator)
context.setPositions(lattice_positions_nm(state, seed=1))
context.setVelocitiesToTemperature(temperature)

for coupling in (0.2, 0.6, 1.0):
    context.setParameter("lambda_nti", coupling)
    integrator.step(100)
    energy = context.getState(getEnergy=True).getPotentialEnergy()
    print(
        f"lambda = {coupling}: U = {energy.format('%.3f')}, dU/dlambda = {dudl(context):.3f} kJ/mol"
    )
