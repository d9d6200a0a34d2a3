"""Mixtures whose pairs end in units of their own sigma, such as that of Kob and Andersen."""

import math

import numpy as np
import pytest
import torch
from contexts import by_openmm
from pydantic import ValidationError

from openmm_nti import LambdaHamiltonian, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.virial import virials
from openmm_nti.md.fluid_system import fluid_system
from openmm_nti.reference_md.configurational import curvature
from openmm_nti.validation.sampling.softcore_fluid import PARAMETER, soft_potential, soft_system

CONVENTIONS = ["shifted", "force_shifted", "switched"]
SIGMAS = (1.0, 0.8, 0.88)  # AA, AB, BB
EPSILONS = (1.0, 1.5, 0.5)


def kob_andersen(n_a, n_b, convention="shifted", edge=5.5, **ends):
    ends = ends or {"cutoff_sigma": 2.5, "switch_sigma": 2.0}
    a, b = (
        {"n_particles": n, "mass_dalton": 40, "sigma_nm": 0.34 * sigma, "epsilon_kj_mol": epsilon}
        for n, sigma, epsilon in ((n_a, 1.0, 1.0), (n_b, 0.88, 0.5))
    )
    return StatePoint(
        temperature_kelvin=240.0,
        box_length_nm=0.34 * edge,
        species={"A": a, "B": b},
        pairs={"A-B": {"sigma_nm": 0.34 * 0.8, "epsilon_kj_mol": 1.5}},
        potential={"type": "lennard_jones", "convention": convention, **ends},
    )


def scattered(n, edge=5.5, n_frames=1):
    rng = np.random.default_rng(n)
    sites = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    start = sites[rng.permutation(125)[:n]] * edge / 5
    return start + rng.uniform(-0.1, 0.1, (n_frames, n, 3))


def by_hand(r, kind, convention):
    """u(r) of a kind of pair in epsilon of AA, written from the formula."""
    sigma, epsilon = SIGMAS[kind], EPSILONS[kind]
    end, start = 2.5 * sigma, 2.0 * sigma

    def bare(r):
        return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6)

    slope = 4 * epsilon * (-12 * sigma**12 / end**13 + 6 * sigma**6 / end**7)
    if convention == "switched":
        x = np.clip((r - start) / (end - start), 0, 1)
        u = bare(r) * (1 - 6 * x**5 + 15 * x**4 - 10 * x**3)
    else:
        u = bare(r) - bare(end) - (convention == "force_shifted") * (r - end) * slope
    return np.where(r < end, u, 0.0)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("counts", [(2, 0), (1, 1), (0, 2)])
def test_each_pair_ends_in_units_of_its_own_sigma_everywhere(convention, counts):
    state = kob_andersen(1, 1, convention).with_numbers(counts)
    kind = {(2, 0): 0, (1, 1): 1, (0, 2): 2}[counts]
    r = np.linspace(0.75, 2.74, 400)
    expected = by_hand(r, kind, convention) / state.temperature_star
    x = np.zeros((len(r), 2, 3))
    x[:, 1, 0] = r
    np.testing.assert_allclose(reduced_potential_numpy(x, state), expected, atol=1e-12)
    model = LambdaHamiltonian(state.pair_potential).bind(state)
    end = model.end.energy(torch.as_tensor(x), torch.full((3,), 5.5, dtype=torch.float64))
    np.testing.assert_allclose(end, expected, atol=1e-10)


@pytest.mark.parametrize("counts", [(2, 0), (1, 1), (0, 2)])
@pytest.mark.parametrize("lam", [0.3, 0.7, 0.95])
def test_the_free_energy_of_two_atoms_is_that_of_the_path_by_quadrature(counts, lam):
    state = kob_andersen(1, 1).with_numbers(counts)
    model = LambdaHamiltonian(state.pair_potential).bind(state)
    r = np.linspace(1e-3, 2.5, 5000)
    x = torch.zeros(len(r), 2, 3, dtype=torch.float64)
    x[:, 1, 0] = torch.as_tensor(r)
    box = torch.full((3,), 5.5, dtype=torch.float64)
    u = model(x, box, torch.full((len(r),), lam, dtype=torch.float64)).numpy()
    mayer = np.trapezoid(4 * math.pi * r**2 * np.expm1(u[-1] - u), r)
    found = u[-1] - math.log1p(mayer / 5.5**3)
    kind = {(2, 0): 0, (1, 1): 1, (0, 2): 2}[counts]
    fine = np.linspace(1e-3, 2.5, 200_001)
    end = np.expm1(-by_hand(fine, kind, "shifted") / state.temperature_star)
    exact = -math.log1p(np.trapezoid(4 * math.pi * fine**2 * end, fine) / 5.5**3)
    assert found == pytest.approx(lam * exact, abs=1e-4)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_openmm_has_the_same_energies_and_soft_core(convention):
    state = kob_andersen(30, 10, convention)
    x = scattered(40)
    lam = 0.4
    energy, _ = by_openmm(fluid_system(state), state, x)
    assert energy == pytest.approx(reduced_potential_numpy(x, state)[0], rel=1e-9)
    soft, _ = by_openmm(soft_system(state), state, x, **{PARAMETER: lam})
    expected = soft_potential(x, state, np.array([lam]))[0][0, 0]
    assert soft == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_virial_and_curvature_are_changes_of_the_energy(convention):
    x, step = scattered(20, n_frames=2), 1e-6
    state = kob_andersen(12, 8, convention)
    t_star = state.temperature_star
    energies = [
        reduced_potential_numpy(x * scale, kob_andersen(12, 8, convention, 5.5 * scale))
        for scale in (1 + step, 1 - step)
    ]
    slopes = t_star * (energies[1] - energies[0]) / (2 * step)
    np.testing.assert_allclose(virials(x, state), slopes, rtol=1e-5)
    squares = np.zeros(2)
    for atom in range(20):
        for axis in range(3):
            moved = np.zeros((20, 3))
            moved[atom, axis] = 1e-5
            both = [reduced_potential_numpy(x + sign * moved, state) for sign in (1, -1)]
            squares += (t_star * (both[0] - both[1]) / 2e-5) ** 2
    np.testing.assert_allclose(curvature(x, state).squared_gradient, squares, rtol=1e-5)


def test_one_species_may_say_it_the_same_way():
    argon = {"n_particles": 40, "mass_dalton": 40, "sigma_nm": 0.34, "epsilon_kj_mol": 1.0}
    by_sigma, by_nm = (
        StatePoint(
            temperature_kelvin=150, box_length_nm=2.04, species={"Ar": argon}, potential=potential
        )
        for potential in (
            {"cutoff_sigma": 2.5, "switch_sigma": 2.0},
            {"cutoff_nm": 0.85, "switch_nm": 0.68},
        )
    )
    assert not by_sigma.pair_potential.differing(by_nm.pair_potential)


def test_alike_atoms_with_their_own_cutoffs_are_a_mixture_with_one_cutoff():
    twin = {"mass_dalton": 40, "sigma_nm": 0.34, "epsilon_kj_mol": 1.0}
    states = [
        StatePoint(
            temperature_kelvin=150,
            box_length_nm=1.9,
            species={"A": {"n_particles": 20, **twin}, "B": {"n_particles": 20, **twin}},
            potential={"convention": "shifted", **ends},
        )
        for ends in ({"cutoff_sigma": 2.5}, {"cutoff_nm": 0.85})
    ]
    x = torch.as_tensor(scattered(40))
    box, lam = torch.full((3,), 1.9 / 0.34, dtype=torch.float64), torch.tensor([0.6])
    found = [LambdaHamiltonian(s.pair_potential).bind(s)(x, box, lam) for s in states]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("convention", "ends", "message"),
    [
        ("switched", {"cutoff_sigma": 2.5, "cutoff_nm": 1.0}, "give both distances in nm, or both"),
        ("switched", {"cutoff_sigma": 2.5, "switch_nm": 0.7}, "give both distances in nm, or both"),
        ("switched", {"cutoff_sigma": -1}, "potential: cutoff_sigma = -1 must be a positive"),
        ("switched", {"cutoff_sigma": 2.0, "switch_sigma": 2.2}, "must be below cutoff"),
        ("switched", {"cutoff_sigma": 3.0}, "under two cutoffs"),
        ("truncated", {"cutoff_sigma": 2.5}, "truncated needs one cutoff for all pairs"),
    ],
)
def test_nonsense_is_refused_with_a_way_out(convention, ends, message):
    with pytest.raises(ValidationError, match=message):
        kob_andersen(4, 1, convention, **ends)
