"""A System of several kinds of particles: read as species, in any order of the particles."""

import numpy as np
import openmm
import pytest
from openmm import unit
from own_systems import KELVIN, N, custom, frames, lennard_jones, system_of, topology

from openmm_nti import LambdaHamiltonian, NeuralPath, read_system
from openmm_nti.md.own_system.comparison import compare_energies
from openmm_nti.md.own_system.reading import describe_system

KINDS = [(1.0, 0.34), (1.4, 0.36)]


@pytest.mark.parametrize("make", ["lennard_jones", "custom"])
def test_two_kinds_of_particles_are_two_species_in_any_order(make):
    of = [index % 3 == 1 for index in range(N)]  # which particles are of the second kind
    if make == "custom":
        force = custom(kinds=[KINDS[each] for each in of])
    else:
        force = lennard_jones()
        for index, each in enumerate(of):
            force.setParticleParameters(index, 0.0, KINDS[each][1], KINDS[each][0])
    edges = (2.6, 2.4, 2.9)
    system = system_of(force, masses=[80.0 if each else 40.0 for each in of], edges=edges)
    top = topology(names=("B", "C", "B"))
    reading = describe_system(system, top, temperature=KELVIN)
    state = reading.state
    assert state.composition == {"B": 13, "C": 7}
    assert state.edges_nm == pytest.approx(edges, rel=1e-12)
    assert state.masses_dalton.tolist() == [40.0] * 13 + [80.0] * 7
    assert [of[index] for index in reading.particles] == [False] * 13 + [True] * 7
    assert (state.fluid.pair("B", "C").type == "lennard_jones") == (make == "lennard_jones")
    compared = compare_energies(system, reading, frames(state))
    assert compared.largest_kt < 1e-3
    assert abs(compared.by_state).max() > 0.1
    model = LambdaHamiltonian(state.pair_potential)
    path = NeuralPath.from_system(model, system, top, temperature=KELVIN)
    inside = path.create_system(implementation="python")
    positions = np.empty((N, 3))
    positions[list(reading.particles)] = frames(state)[0]
    energies = []
    for each in (system, inside):
        platform = openmm.Platform.getPlatform("Reference")
        context = openmm.Context(each, openmm.VerletIntegrator(0.001), platform)
        context.setPositions(positions)
        energy = context.getState(energy=True).getPotentialEnergy()
        energies.append(energy.value_in_unit(unit.kilojoule_per_mole))
    assert energies[0] == pytest.approx(energies[1], abs=1e-3)


def test_species_want_names_that_tell_them_apart():
    force = custom(kinds=[KINDS[index % 2] for index in range(N)])
    assert read_system(system_of(force), temperature=KELVIN).composition == {"X1": 10, "X2": 10}
    with pytest.raises(ValueError, match="names B, B atoms that interact differently"):
        read_system(system_of(force), topology(), temperature=KELVIN)
    with pytest.raises(ValueError, match="names atoms B, C, which interact alike"):
        read_system(system_of(custom()), topology(names=("B", "C")), temperature=KELVIN)
    nothing = lennard_jones()
    nothing.setParticleParameters(3, 0.0, 0.3, 0.0)
    with pytest.raises(ValueError, match="epsilon = 0 kJ/mol of X2: such particles do not"):
        read_system(system_of(nothing), temperature=KELVIN)
