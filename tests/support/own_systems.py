"""Systems of a user's own, with one force or several, their topologies and some frames."""

import copy

import mdtraj
import numpy as np
import openmm
import yaml
from openmm import app

from openmm_nti import LJFluid
from openmm_nti.md.fluid_system import fluid_topology

N, EDGE, KELVIN = 20, 2.4, 150.0
MIE = "6.75*eps*((sig/r)^9-(sig/r)^6); eps=sqrt(eps1*eps2); sig=0.5*(sig1+sig2)"


def system_of(*forces, masses=None, edges=(EDGE,) * 3):
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*np.diag(edges))
    for mass in masses or [40.0] * N:
        system.addParticle(mass)
    for force in forces:
        system.addForce(copy.deepcopy(force))
    return system


def lennard_jones(charge=0.0, **changes):
    force = openmm.NonbondedForce()
    for _ in range(N):
        force.addParticle(charge, 0.34, 1.0)
    settings = {
        "NonbondedMethod": force.CutoffPeriodic,
        "CutoffDistance": 1.0,
        "SwitchingDistance": 0.8,
        "UseSwitchingFunction": True,
        "UseDispersionCorrection": False,
    }
    for name, value in (settings | changes).items():
        getattr(force, f"set{name}")(value)
    return force


def custom(expression=MIE, kinds=((1.0, 0.34),) * N, switch=True, cutoff=1.0):
    force = openmm.CustomNonbondedForce(expression)
    force.addPerParticleParameter("eps")
    force.addPerParticleParameter("sig")
    for kind in kinds:
        force.addParticle(kind)
    force.setNonbondedMethod(force.CutoffPeriodic)
    force.setCutoffDistance(cutoff)
    force.setUseSwitchingFunction(switch)
    force.setSwitchingDistance(0.8)
    return force


def frames(state):
    positions = np.asarray(LJFluid(state).positions._value)
    noise = np.random.default_rng(1).normal(scale=0.02, size=(3, *positions.shape))
    return positions + noise


def topology(bonds=0, names=("B",)):
    top = app.Topology()
    chain = top.addChain()
    atoms = []
    for index in range(N):
        residue = top.addResidue("BEA", chain)
        name = names[index % len(names)]
        atoms.append(top.addAtom(name, app.Element.getBySymbol("Ar"), residue))
    for index in range(bonds):
        top.addBond(atoms[index], atoms[index + 1])
    return top


def write_own(folder, sections, state, ensemble, system):
    """Write a DCD, a PDB, a System and the configuration of `sections` that names them."""
    n_frames = ensemble.n_frames
    frames = mdtraj.Trajectory(
        ensemble.positions_nm,
        mdtraj.Topology.from_openmm(fluid_topology(state)),
        time=np.arange(float(n_frames)),
        unitcell_lengths=np.tile(state.edges_nm, (n_frames, 1)),
        unitcell_angles=np.full((n_frames, 3), 90.0),
    )
    frames.save_dcd(str(folder / "run.dcd"))
    frames[0].save_pdb(str(folder / "run.pdb"))
    (folder / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
    described = {
        "from": "system.xml",
        "topology": "run.pdb",
        "temperature_kelvin": state.temperature_kelvin,
    }
    (folder / "own.yaml").write_text(yaml.safe_dump({**sections, "system": described}))
