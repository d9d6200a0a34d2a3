"""Simulate 40 argon atoms in plain OpenMM: a trajectory to try the other examples on.

Usage: python examples/make_trajectory.py [STEPS]. Writes argon.dcd and argon.pdb in the current
directory. The box is 6 sigma wide, the temperature 149.75 K, and the pair potential is switched
off from 2.5 to 3 sigma, as the shipped model assumes.
"""

import sys
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

n_atoms, sigma_nm, epsilon_kj_mol, temperature_kelvin = 40, 0.3405, 0.9960726, 149.75
box_nm = 6.0 * sigma_nm
n_steps = int(sys.argv[1]) if len(sys.argv) > 1 else 210_000

topology = app.Topology()
chain = topology.addChain()
for _ in range(n_atoms):
    topology.addAtom("Ar", app.Element.getBySymbol("Ar"), topology.addResidue("Ar", chain))
topology.setPeriodicBoxVectors(np.eye(3) * box_nm * unit.nanometer)

force = openmm.NonbondedForce()
force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
force.setCutoffDistance(0.5 * box_nm)
force.setUseSwitchingFunction(True)
force.setSwitchingDistance(2.5 * sigma_nm)
force.setUseDispersionCorrection(False)
system = openmm.System()
system.setDefaultPeriodicBoxVectors(*np.eye(3) * box_nm)
system.addForce(force)
for atom in topology.atoms():
    system.addParticle(atom.element.mass)
    force.addParticle(0.0, sigma_nm, epsilon_kj_mol)

integrator = openmm.LangevinMiddleIntegrator(temperature_kelvin, 1.0, 0.008)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(topology, system, integrator)
grid = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)
simulation.context.setPositions((grid[:n_atoms] + 0.5) * box_nm / 4)
simulation.context.setVelocitiesToTemperature(temperature_kelvin, 1)
simulation.step(n_steps // 20)  # forget the lattice
positions = simulation.context.getState(getPositions=True).getPositions()
with Path("argon.pdb").open("w", encoding="utf-8") as file:
    app.PDBFile.writeFile(topology, positions, file)
simulation.reporters.append(app.DCDReporter("argon.dcd", 250))
simulation.step(n_steps)
print(f"argon.dcd: {n_steps // 250} frames; argon.pdb: the atoms")
