"""The potentials and the ways to end them: rules, known numbers, OpenMM, and what is refused."""

import math

import numpy as np
import openmm
import pytest
import torch
from pydantic import ValidationError

from openmm_nti import LJFluid, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.potentials.lennard_jones import LennardJones
from openmm_nti.fluid.potentials.mie import Mie
from openmm_nti.fluid.potentials.table import Table
from openmm_nti.fluid.potentials.uhlenbeck_ford import UhlenbeckFord
from openmm_nti.fluid.potentials.yukawa import Yukawa
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.hamiltonian.pair_energy import PairEnergy
from openmm_nti.hamiltonian.two_body import TwoBodyTerm
from openmm_nti.reference_md.configurational import curvature
from openmm_nti.testing import check_potential
from openmm_nti.validation.sampling.softcore_fluid import soft_pair

ATOM = {"sigma_nm": 0.34, "epsilon_kj_mol": 1.0}
SHIFTS = ["shifted", "force_shifted"]


def state_of(**changes):
    given = {"n_particles": 30, "density_star": 0.2, "temperature_star": 1.25, "cutoff_sigma": 2.5}
    return StatePoint(**{**given, **changes})


def lj_rows(start=0.2, end=1.1, n=901):
    r = np.linspace(start, end, n)
    return r, 4.0 * ((0.34 / r) ** 12 - (0.34 / r) ** 6)


@pytest.mark.parametrize(
    ("potential", "temperature_star"),
    [
        (Mie(**ATOM, repulsive=14), 1.25),
        (Mie(**ATOM, repulsive=24.5, attractive=7), 1.25),
        (Yukawa(**ATOM, kappa=4), 0.5),
        (UhlenbeckFord(**ATOM), 1.0),
        (UhlenbeckFord(**ATOM), 1 / 50),
        (Table(**dict(zip(("r_nm", "u_kj_mol"), map(tuple, lj_rows()), strict=True))), 1.25),
    ],
    ids=["mie", "mie-24-7", "yukawa", "uhlenbeck_ford", "uhlenbeck_ford-50", "table"],
)
def test_they_keep_the_rules(potential, temperature_star):
    check_potential(potential, temperature_star=temperature_star)


def test_mie_12_6_is_lennard_jones_and_epsilon_is_its_depth():
    r2 = np.linspace(0.3, 1.0, 40) ** 2
    mie, lj = Mie(**ATOM, repulsive=12), LennardJones(**ATOM)
    np.testing.assert_allclose(mie.energy_numpy(r2), lj.energy_numpy(r2), rtol=1e-12, atol=1e-12)
    steep = Mie(**ATOM, repulsive=24, attractive=8)
    minimum = 0.34 * (24 / 8) ** (1 / (24 - 8))
    assert steep.energy_numpy(minimum**2) == pytest.approx(-1.0, abs=1e-12)
    assert steep.energy_numpy(0.34**2) == pytest.approx(0.0, abs=1e-12)


def test_uhlenbeck_ford_has_its_known_second_virial_coefficient():
    """For p = 1 the Mayer function is -exp(-r^2), with the integral -(pi sigma^2)^(3/2)."""
    state = StatePoint(
        n_particles=2,
        box_length_sigma=12.0,
        temperature_star=1.0,
        cutoff_sigma=6.0,
        convention="truncated",
        potential={"type": "uhlenbeck_ford"},
    )
    volume = torch.tensor(12.0**3, dtype=torch.float64)
    free_energy = float(TwoBodyTerm(state.pair_potential).free_energy_at_end(volume))
    assert float(volume) * math.expm1(-free_energy) == pytest.approx(-(math.pi**1.5), rel=1e-5)


def test_the_shift_of_lennard_jones_at_3_sigma_is_the_published_one():
    """NIST's linear-force-shifted fluid: u(3) = -5.47944e-3 and u'(3) = 1.09438e-2."""
    r = np.array([1.1, 2.0, 2.9])
    lj = 4 * (r**-12 - r**-6)
    found = {
        convention: state_of(
            convention=convention, cutoff_sigma=3.0, n_particles=60
        ).pair_potential.pair_energy(r**2)
        for convention in SHIFTS
    }
    np.testing.assert_allclose(found["shifted"], lj + 5.47944e-3, atol=1e-8)
    line = -5.47944e-3 + 1.09438e-2 * (r - 3)
    np.testing.assert_allclose(found["force_shifted"], lj - line, atol=1e-7)


@pytest.mark.parametrize("potential", [{"type": "lennard_jones"}, {"type": "mie", "repulsive": 9}])
@pytest.mark.parametrize("convention", SHIFTS)
def test_shifted_fluids_have_one_energy_and_one_force_everywhere(potential, convention):
    state = state_of(convention=convention, potential=potential)
    assert state.is_continuous
    assert StatePoint(**state.model_dump()) == state
    positions = np.asarray(LJFluid(state).positions._value) / state.sigma_nm
    platform = openmm.Platform.getPlatform("Reference")
    system = LJFluid(state).create_system()
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions * state.sigma_nm)
    found = context.getState(energy=True, forces=True)
    (expected,) = reduced_potential_numpy(positions[None], state)
    assert found.getPotentialEnergy()._value / state.kt_kj_mol == pytest.approx(expected, abs=1e-6)
    end, box = PairEnergy(state.pair_potential), cubic_box(state.box_length_sigma)
    tensor = torch.from_numpy(positions[None])
    assert end.energy(tensor, box).item() == pytest.approx(expected, abs=1e-9)
    gradient = end.gradient(tensor, box).numpy()[0]
    forces = -found.getForces(asNumpy=True)._value * state.sigma_nm / state.kt_kj_mol
    np.testing.assert_allclose(gradient, forces, atol=1e-5)
    squared = (curvature(positions[None], state).squared_gradient / state.temperature_star**2)[0]
    assert squared == pytest.approx((gradient**2).sum(), rel=1e-9)


@pytest.mark.parametrize("convention", SHIFTS)
def test_a_shift_leaves_no_jump(convention):
    state = state_of(convention=convention)
    inside = np.array([(2.5 - 1e-6) ** 2])
    force = 5.0 * state.pair_potential.pair.slope(inside)
    assert abs(state.pair_potential.pair_energy(inside)) < 1e-6
    assert (abs(force) < 1e-4) == (convention == "force_shifted")
    # The soft core keeps atoms apart, and so ends before the cutoff: there too without a jump.
    r = np.linspace(2.0, 2.6, 20_001)
    energies = soft_pair(r**2, state, np.array([0.3, 0.8]))[0]
    assert energies.shape == (2, 20_001)
    assert np.abs(np.diff(energies)).max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"potential": {"type": "mie"}}, "mie needs repulsive"),
        ({"potential": {"type": "mie", "repulsive": 6}}, "attractive = 6 must be below"),
        ({"potential": {"type": "mie", "repulsive": float("nan")}}, "repulsive"),
        ({"potential": {"type": "yukawa", "kapa": 3}}, "did you mean kappa"),
        ({"potential": {"type": "yukawa", "kappa": -1}}, "kappa"),
        ({"convention": "shift"}, "convention"),
    ],
)
def test_nonsense_is_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        state_of(**changes)


def table_state(file, **changes):
    species = {"X": {"n_particles": 40, "mass_dalton": 40}}
    potential = {"type": "table", "file": str(file), "cutoff_nm": 1.0, "switch_nm": 0.8}
    given = {"temperature_kelvin": 150, "box_length_nm": 2.1, "species": species}
    return StatePoint(**{**given, "potential": {**potential, **changes}})


def write_table(folder, rows, header="r_nm, u_kj_mol  # of argon"):
    file = folder / "u.csv"
    lines = [header, "", *(f"{r:.9g}, {u:.12g}" for r, u in zip(*rows, strict=True))]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.mark.parametrize("spacing", ["even", "growing"])
def test_a_table_of_lennard_jones_is_lennard_jones(tmp_path, spacing):
    r, u = lj_rows()
    if spacing == "growing":
        r = np.geomspace(0.2, 1.1, 900)
        u = 4.0 * ((0.34 / r) ** 12 - (0.34 / r) ** 6)
    state = table_state(write_table(tmp_path, (r, u)))
    assert state.sigma_nm == pytest.approx(0.34, abs=1e-3)
    assert state.epsilon_kj_mol == pytest.approx(1, abs=1e-3)
    assert StatePoint.model_validate_json(state.model_dump_json()) == state
    (tmp_path / "u.csv").unlink()  # whatever is stored holds the numbers themselves
    plain = StatePoint(
        n_particles=40,
        temperature_kelvin=150,
        box_length_nm=2.1,
        sigma_nm=0.34,
        epsilon_kj_mol=1.0,
        cutoff_sigma=1 / 0.34,
        switch_sigma=0.8 / 0.34,
    )
    positions = np.asarray(LJFluid(plain).positions._value)
    energies = []
    for each in (state, plain):
        platform = openmm.Platform.getPlatform("Reference")
        system = LJFluid(each).create_system()
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        context.setPositions(positions)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
        (found,) = reduced_potential_numpy(positions[None] / each.sigma_nm, each) * each.kt_kj_mol
        assert found == pytest.approx(energies[-1], abs=1e-5)
    assert energies[0] == pytest.approx(energies[1], abs=2e-4)


def _without(rows, first, last):
    return tuple(np.delete(each, np.arange(first, last)) for each in rows)


@pytest.mark.parametrize(
    ("rows", "changes", "message"),
    [
        (_without(lj_rows(), 300, 301), {}, "a hole between r = 0.499 and 0.501"),
        (_without(lj_rows(), 300, 340), {}, "a hole between r = 0.499 and 0.54"),
        (_without(lj_rows(), 5, 901), {}, "has 5 distances"),
        (lj_rows(end=0.9), {}, "ends at 0.9 nm, within the cutoff of 1 nm"),
        (lj_rows(start=0.33), {}, "begins at 0.33 nm with .* kT, where atoms still come"),
        (lj_rows(n=19), {}, "too coarse"),
        (tuple(each[::-1] for each in lj_rows()), {}, "sort the rows by distance"),
        ((lj_rows()[0], -lj_rows()[1] * 60), {}, "begins at"),
        ((lj_rows()[0], 3 / lj_rows()[0] ** 3), {"convention": "truncated"}, "a positive tail"),
        ((lj_rows()[0], np.full(901, np.nan)), {}, "row 3: .* leaves a hole"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, rows, changes, message):
    with pytest.raises(ValidationError, match=message) as refused:
        table_state(write_table(tmp_path, rows), **changes)
    (error,) = refused.value.errors()
    assert "\n" not in error["msg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "there is no such file"),
        ("", "has no rows"),
        ("r, u\n0.2, 5\n0.3, x\n", "row 3: '0.3, x' must be two numbers"),
        ("1, 0.2, 5\n", "row 1: .* must be two numbers"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    file = tmp_path / "u.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ValidationError, match=message) as refused:
        table_state(file)
    assert str(file) in str(refused.value)
