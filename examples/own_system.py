"""Simulate a fluid with a pair potential of your own, and write what `openmm-nti analyze` reads.

Usage: python examples/own_system.py [STEPS]. Writes system.xml, own.pdb, own.dcd and own.yaml in
the current directory. The particles attract each other less sharply than argon, by a Mie potential
with the exponents 9 and 6.
"""

import sys
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

n_particles, box_nm, temperature_kelvin = 100, 2.6, 220.0
n_steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000

force = openmm.CustomNonbondedForce("6.75*eps*((sig/r)^9 - (sig/r)^6); eps=1.2; sig=0.36")
force.setNonbondedMethod(force.CutoffPeriodic)
force.setCutoffDistance(1.1)
force.setUseSwitchingFunction(True)
force.setSwitchingDistance(0.9)
system = openmm.System()
system.setDefaultPeriodicBoxVectors(*np.eye(3) * box_nm)
system.addForce(force)
topology = app.Topology()
chain = topology.addChain()
for _ in range(n_particles):
    system.addParticle(50.0)
    force.addParticle([])
    topology.addAtom("B", app.Element.getBySymbol("Ar"), topology.addResidue("BEA", chain))
topology.setPeriodicBoxVectors(np.eye(3) * box_nm * unit.nanometer)

integrator = openmm.LangevinMiddleIntegrator(temperature_kelvin, 1.0, 0.006)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(topology, system, integrator)
grid = np.stack(np.meshgrid(*[np.arange(5)] * 3), axis=-1).reshape(-1, 3)
simulation.context.setPositions((grid[:n_particles] + 0.5) * box_nm / 5)
simulation.context.setVelocitiesToTemperature(temperature_kelvin, 1)
simulation.step(n_steps // 20)  # forget the lattice
positions = simulation.context.getState(getPositions=True).getPositions()
with Path("own.pdb").open("w", encoding="utf-8") as file:
    app.PDBFile.writeFile(topology, positions, file)
simulation.reporters.append(app.DCDReporter("own.dcd", 250))
simulation.step(n_steps)

Path("system.xml").write_text(openmm.XmlSerializer.serialize(system), encoding="utf-8")
Path("own.yaml").write_text(
    "system: {from: system.xml, topology: own.pdb, "
    f"temperature_kelvin: {temperature_kelvin:g}}}\n",
    encoding="utf-8",
)
print(f"own.dcd: {n_steps // 250} frames. Next:")
print("openmm-nti analyze own.yaml --trajectory own.dcd --topology own.pdb --output own")
