"""One soft particle in the fluid: energies against OpenMM, and exact chemical potentials of a few
particles.
"""

import math

import numpy as np
import openmm
import pytest
import torch
from exact import exact_ensemble
from models import mixture

from openmm_nti import LambdaHamiltonian
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.lattice import lattice_positions_nm
from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.estimators import decoupling, widom
from openmm_nti.validation.estimators.decoupling import DecouplingConfig
from openmm_nti.validation.sampling.softcore_fluid import PARAMETER

PAIR = StatePoint(
    n_particles=2, box_length_sigma=3, temperature_star=0.8, cutoff_sigma=1.5, switch_sigma=1.2
)
QUICK = DecouplingConfig(
    n_windows=5,
    n_frames=40,
    steps_between=15,
    equilibration=200,
    timestep_star=0.01,
    platform="CPU",
)


@pytest.mark.parametrize("coupling", [0.0, 0.3, 1.0])
def test_the_last_particle_is_soft_and_the_others_are_not(coupling):
    state = StatePoint(n_particles=20, box_length_sigma=6, temperature_star=1.25)
    positions = lattice_positions_nm(state, 1)
    context = openmm.Context(
        decoupling.coupling_system(state),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(positions)
    context.setParameter(PARAMETER, coupling)
    in_openmm = (
        context.getState(energy=True)
        .getPotentialEnergy()
        .value_in_unit(openmm.unit.kilojoule_per_mole)
    )
    frames = positions[None] / state.sigma_nm
    fewer = state.model_copy(update={"n_particles": 19})
    others = reduced_potential_numpy(frames[:, :-1], fewer)[0]
    last = decoupling.particle_energy(frames, state, np.array([coupling]))[0][0, 0]
    assert others + last == pytest.approx(in_openmm / state.kt_kj_mol, rel=1e-9)
    if coupling == 1:
        assert others + last == pytest.approx(reduced_potential_numpy(frames, state)[0], rel=1e-12)
    assert (last == 0) == (coupling == 0)


def test_third_particle_has_its_exact_chemical_potential(tmp_path):
    """Against -ln of mean Boltzmann factors of uniform positions, and against insertion, in the
    same convention.
    """
    result = decoupling.estimate(PAIR, QUICK, seed=2, directory=tmp_path, progress=False)
    trio = PAIR.model_copy(update={"n_particles": 3})
    positions = np.random.default_rng(0).uniform(0, 3, size=(400_000, 3, 3))
    pairs, trios = (
        np.exp(-reduced_potential_numpy(positions[:, : state.n_particles], state))
        for state in (PAIR, trio)
    )
    exact = math.log(pairs.mean()) - math.log(trios.mean())
    assert abs(result.value - exact) < 3 * result.std_err
    assert result.std_err < 0.1
    assert (result.method, result.quantity, result.n_particles) == (
        "mu_decoupling",
        "beta_mu_ex",
        2,
    )
    inserted = widom.estimate(exact_ensemble(PAIR, 2000), seed=1, n_insertions_per_frame=200)
    assert abs(result.value - inserted.value) < 3 * math.hypot(result.std_err, inserted.std_err)


def test_an_interrupted_run_ends_in_the_same_numbers(tmp_path):
    config = QUICK.model_copy(update={"n_windows": 3, "n_chains": 2, "n_frames": 5})
    first = decoupling.sample(PAIR, config, seed=3, directory=tmp_path, progress=False)
    files = sorted((tmp_path / "decoupling_windows").iterdir())
    files[1].unlink()
    again = decoupling.sample(PAIR, config, seed=3, directory=tmp_path, progress=False)
    np.testing.assert_array_equal(first.u_kln, again.u_kln)
    np.testing.assert_array_equal(first.dudl, again.dudl)


def test_a_plain_cutoff_is_refused(tmp_path):
    truncated = PAIR.model_copy(update={"convention": "truncated"})
    with pytest.raises(ValueError, match="convention = truncated: mu_decoupling needs switched"):
        decoupling.sample(truncated, QUICK, seed=1, directory=tmp_path)


def test_one_of_those_present_is_the_next_one_of_a_fluid_without_it(tmp_path):
    config = QUICK.model_copy(update={"n_windows": 3, "n_chains": 2, "n_frames": 5})
    present = config.model_copy(update={"particle": "present"})
    trio = PAIR.model_copy(update={"n_particles": 3})
    arguments = {"seed": 3, "progress": False}
    found = decoupling.estimate(trio, present, directory=tmp_path / "a", **arguments)
    expected = decoupling.estimate(PAIR, config, directory=tmp_path / "b", **arguments)
    assert (found.value, found.n_particles) == (expected.value, 2)


def test_the_only_solute_of_one_atom_has_the_free_energy_of_the_pair(tmp_path):
    state = mixture(1, 1)
    present = QUICK.model_copy(update={"particle": "present"})
    found = decoupling.estimate(state, present, "Kr", seed=2, directory=tmp_path, progress=False)
    kinds = LambdaHamiltonian(state.pair_potential).two_body
    exact = float(kinds.free_energy_at_end(torch.tensor(6.0**3, dtype=torch.float64))[1])
    assert abs(found.value - exact) < 3 * found.std_err
    assert 0 < found.std_err < 0.05
    assert (found.n_particles, found.species) == (1, "Kr")
