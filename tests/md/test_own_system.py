"""A System of one's own: read as a fluid or refused with the reason, and the path put into it."""

import numpy as np
import openmm
import pytest
from openmm import app, unit
from own_systems import KELVIN, MIE, N, custom, frames, lennard_jones, system_of, topology

from openmm_nti import LambdaHamiltonian, LJFluid, NeuralPath, StatePoint, read_system
from openmm_nti.md.own_system.comparison import compare_energies
from openmm_nti.md.own_system.reading import describe_system


@pytest.mark.parametrize("edges", [[6, 6, 6], [6, 7, 6.5]])
def test_lennard_jones_is_read_as_it_is(edges):
    state = StatePoint(n_particles=40, box_sigma=edges, temperature_star=1.25)
    fluid = LJFluid(state)
    kelvin = state.temperature_kelvin * unit.kelvin
    found = read_system(fluid.create_system(), fluid.topology, temperature=kelvin)
    assert found.pair_potential.differing(state.pair_potential) == []
    assert (found.n_particles, found.species_name) == (40, "Ar")
    assert found.edges_sigma == pytest.approx(edges, abs=1e-12)
    assert (found.box_sigma is None) == (len(set(edges)) == 1)


@pytest.mark.parametrize("method", ["PME", "Ewald"])
def test_ewald_sums_of_no_charges_are_a_plain_cutoff(method):
    force = lennard_jones(NonbondedMethod=getattr(openmm.NonbondedForce, method))
    reading = describe_system(system_of(force), temperature=KELVIN)
    assert reading.state.potential.type == "lennard_jones"
    compare_energies(system_of(force), reading, frames(reading.state))


@pytest.mark.parametrize(
    "forces",
    [
        [custom()],
        [custom(switch=False)],
        [custom("eps1*exp(-r/sig2)/r - eps1*exp(-1/sig2)", switch=False)],
        [lennard_jones(), custom("0.3*eps1*exp(-(r-0.5)^2/0.02)")],
        [custom(), custom("2*eps1*exp(-r/sig1)")],
        [custom("60*eps1/(1+(r/sig1)^9)")],
    ],
    ids=["mie", "truncated", "ends at zero", "lj and more", "two", "soft"],
)
def test_energies_by_the_system_and_by_what_was_read_agree(forces):
    system = system_of(*forces)
    reading = describe_system(system, topology(), temperature=KELVIN)
    assert reading.replaced == tuple(range(len(forces)))
    assert reading.table_error_kt < 1e-4
    compared = compare_energies(system, reading, frames(reading.state))
    assert compared.largest_kt < 1e-3
    assert abs(compared.by_state).max() > 0.1
    jumps = len(forces) == 1 and forces[0].getEnergyFunction() == MIE
    jumps = jumps and not forces[0].getUseSwitchingFunction()
    assert reading.state.convention == ("truncated" if jumps else "shifted")


def test_tabulated_functions_and_globals_are_read():
    force = custom("scale*wall(r)*eps1")
    r = np.linspace(0.1, 1.2, 400)
    wall = openmm.Continuous1DFunction(((0.34 / r) ** 9).tolist(), 0.1, 1.2)
    force.addTabulatedFunction("wall", wall)
    force.addGlobalParameter("scale", 2.5)
    reading = describe_system(system_of(force), temperature=KELVIN)
    pair = reading.state.pairs[0]
    assert float(pair.energy_numpy(np.array(0.25))) == pytest.approx(
        2.5 * (0.34 / 0.5) ** 9, rel=1e-4
    )


def test_long_range_corrections_are_a_constant_apart():
    plain, corrected = lennard_jones(), lennard_jones(UseDispersionCorrection=True)
    reading = describe_system(system_of(corrected), temperature=KELVIN)
    assert reading.state == read_system(system_of(plain), temperature=KELVIN)
    # 8 pi N^2 / V [S9 - S3]: negative, and small with a cutoff of three sizes
    assert -1.0 < reading.correction_kj_mol < -1e-3
    compared = compare_energies(system_of(corrected), reading, frames(reading.state))
    assert compared.largest_kt < 1e-4


def with_exception():
    force = lennard_jones()
    force.addException(0, 1, 0.0, 0.34, 0.0)
    return system_of(force)


def with_offset():
    force = lennard_jones()
    force.addGlobalParameter("scale", 1.0)
    force.addParticleParameterOffset("scale", 0, 0.0, 0.0, 0.1)
    return system_of(force)


def with_exclusion():
    force = custom()
    force.addExclusion(0, 1)
    return system_of(force)


def with_groups():
    force = custom()
    force.addInteractionGroup([0, 1, 2], range(3, N))
    return system_of(force)


def with_bond(kind=openmm.HarmonicBondForce):
    bonds = kind()
    bonds.addBond(0, 1, 0.3, 100.0)
    return system_of(lennard_jones(), bonds)


def with_site():
    system = system_of(lennard_jones())
    system.setParticleMass(2, 0.0)
    system.setVirtualSite(2, openmm.TwoParticleAverageSite(0, 1, 0.5, 0.5))
    return system


def with_constraint():
    system = system_of(lennard_jones())
    system.addConstraint(0, 1, 0.3)
    return system


def triclinic():
    system = system_of(lennard_jones())
    system.setDefaultPeriodicBoxVectors([2.4, 0, 0], [0.5, 2.4, 0], [0, 0, 2.4])
    return system


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: system_of(lennard_jones(charge=0.5)), "charges of 0.5"),
        (lambda: system_of(lennard_jones(charge=float("nan"))), "charges"),
        (with_exception, "1 exceptions"),
        (with_offset, "offsets"),
        (with_exclusion, "1 exclusions"),
        (with_groups, "interaction groups"),
        (with_bond, "has a HarmonicBondForce"),
        (with_site, "1 virtual sites"),
        (with_constraint, "1 constraints"),
        (triclinic, "triclinic"),
        (lambda: system_of(lennard_jones(), edges=(2.4, 1.9, 3.0)), "shortest edge.*is under two"),
        (lambda: system_of(lennard_jones(), masses=[40.0] * 19 + [0.0]), "particle 19 has no mass"),
        (
            lambda: system_of(custom(kinds=[(1.0 + 0.01 * k, 0.34) for k in range(20)])),
            "the particles are of 20 kinds",
        ),
        (lambda: system_of(lennard_jones(), custom(cutoff=0.9)), "differ in cutoff"),
        (system_of, "no NonbondedForce"),
        (lambda: system_of(lennard_jones(NonbondedMethod=0)), "no periodic cutoff"),
        (lambda: system_of(lennard_jones(NonbondedMethod=5)), "LJPME"),
        (lambda: system_of(lennard_jones(), openmm.GayBerneForce()), "has a GayBerneForce"),
        (lambda: system_of(lennard_jones(), openmm.MonteCarloBarostat(1, 300)), "Barostat"),
        (lambda: system_of(custom("eps1*step(0.5-r)")), "jump or a kink"),
        (lambda: system_of(custom("eps1*log(r-2)")), "not finite"),
        (lambda: system_of(lennard_jones(), edges=(1.9,) * 3), "under two cutoffs"),
    ],
)
def test_what_is_no_fluid_of_pairs_is_refused_with_the_reason(make, message):
    with pytest.raises(ValueError, match=message) as refused:
        read_system(make(), temperature=KELVIN)
    assert "\n  Traceback" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"temperature": -3}, "temperature = -3"),
        ({"temperature": None}, "temperature = None"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"topology": topology(bonds=2)}, "2 bonds"),
        ({"topology": topology(names=("A", "B"))}, "names atoms A, B"),
        ({"topology": app.Topology()}, "0 atoms, and the System 20"),
    ],
)
def test_topology_and_temperature_are_checked(given, message):
    with pytest.raises(ValueError, match=message):
        read_system(system_of(lennard_jones()), **{"temperature": KELVIN, **given})


def test_the_path_stands_in_for_the_pair_forces_and_others_stay():
    wall = openmm.CustomExternalForce("k*z^2")
    wall.addGlobalParameter("k", 3.0)
    for index in range(N):
        wall.addParticle(index, [])
    system = system_of(openmm.CMMotionRemover(), custom(), wall)
    before = openmm.XmlSerializer.serialize(system)
    reading = describe_system(system, temperature=KELVIN)
    assert reading.kept == ("CustomExternalForce",)
    model = LambdaHamiltonian(reading.state.pair_potential)
    path = NeuralPath.from_system(model, system, temperature=KELVIN)
    with_path = path.create_system(implementation="python")
    names = [type(force).__name__ for force in with_path.getForces()]
    assert names == ["CMMotionRemover", "CustomExternalForce", "PythonForce"]
    assert openmm.XmlSerializer.serialize(system) == before
    positions = frames(reading.state)[0]
    platform = openmm.Platform.getPlatform("Reference")
    energies = []
    for each in (system, with_path):
        context = openmm.Context(each, openmm.VerletIntegrator(0.001), platform)
        context.setPositions(positions)
        state = context.getState(energy=True)
        energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
    # lambda = 1 is the fluid with the smallest noise, a little off the fluid itself
    assert energies[1] == pytest.approx(energies[0], abs=0.05)
    context.setParameter("lambda_nti", 0.0)
    context.setParameter("k", 0.0)
    assert context.getState(energy=True).getPotentialEnergy()._value == pytest.approx(0, abs=1e-9)
