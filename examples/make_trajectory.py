"""Simulate 40 argon atoms in plain OpenMM: a trajectory to try the other examples on.

Usage: python examples/make_trajectory.py [STEPS [ATOMS [KELVIN]]]. Writes argon.dcd, argon.pdb and
the System, argon.xml, in the current directory. The box is 6 sigma wide, the temperature 149.75 K,
and the pair potential is switched off from 2.5 to 3 sigma, as the shipped model assumes.
"""

import sys
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

sigma_nm, epsilon_kj_mol = 0.3405, 0.9960726
box_nm = 6.0 * sigma_nm
steps, atoms, kelvin = (*sys.argv[1:], *("210000", "40", "149.75")[len(sys.argv) - 1 :])
n_steps, n_atoms, temperature_kelvin = int(steps), int(atoms), float(kelvin)

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
width = round(np.ceil(n_atoms ** (1 / 3)))
grid = np.stack(np.meshgrid(*[np.arange(width)] * 3), axis=-1).reshape(-1, 3)
simulation.context.setPositions((grid[:n_atoms] + 0.5) * box_nm / width)
simulation.context.setVelocitiesToTemperature(temperature_kelvin, 1)
simulation.step(n_steps // 20)  # forget the lattice
positions = simulation.context.getState(getPositions=True).getPositions()
with Path("argon.pdb").open("w", encoding="utf-8") as file:
    app.PDBFile.writeFile(topology, positions, file)
Path("argon.xml").write_text(openmm.XmlSerializer.serialize(system), encoding="utf-8")
simulation.reporters.append(app.DCDReporter("argon.dcd", 250))
simulation.step(n_steps)
print(f"argon.dcd: {n_steps // 250} frames; argon.pdb: the atoms; argon.xml: the System")
