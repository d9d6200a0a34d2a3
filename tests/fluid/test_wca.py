"""WCA, the second potential: its own form and the rules."""

import numpy as np
import openmm
import pytest
import torch

from openmm_nti import LambdaHamiltonian, StatePoint, create_system
from openmm_nti.fluid.energy import pair_energy
from openmm_nti.fluid.potentials.wca import WCA
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.md.native_pair import native_pair_force
from openmm_nti.references.noise import log_noise
from openmm_nti.testing import check_potential

SYSTEM = {
    "temperature_star": 1.0,
    "box_length_nm": 3.2 * 0.34,
    "species": {
        "X": {"n_particles": 3, "mass_dalton": 40, "sigma_nm": 0.34, "epsilon_kj_mol": 1.0}
    },
    "potential": {"type": "wca", "cutoff_nm": 1.6 * 0.34, "switch_nm": 1.3 * 0.34},
}


def test_it_keeps_the_rules():
    check_potential(WCA(sigma_nm=0.3405, epsilon_kj_mol=0.996))


def test_it_is_lennard_jones_raised_and_cut_at_its_minimum():
    potential = WCA(sigma_nm=1.0, epsilon_kj_mol=2.0)
    r = np.array([0.9, 1.0, 2 ** (1 / 6) - 1e-9, 2 ** (1 / 6) + 1e-9, 3.0])
    expected = [8 * (0.9**-12 - 0.9**-6) + 2, 2.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(potential.energy_numpy(r**2), expected, atol=1e-12)


def test_truncation_leaves_no_jump():
    state = StatePoint(
        n_particles=2,
        box_length_sigma=6,
        temperature_star=1,
        convention="truncated",
        potential={"type": "wca"},
    )
    assert state.is_continuous
    assert np.isposinf(pair_energy(np.zeros(1), state)).all()
    assert StatePoint(**state.model_dump()) == state
    assert state.label == "N2_L6_T1_wca_truncated"


def test_its_two_body_path_runs_in_openmm_without_torch():
    state = StatePoint(**{**SYSTEM, "box_length_nm": 2.0})
    model = LambdaHamiltonian(state.pair_potential)
    system = create_system(state, native_pair_force(model, state))
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    positions = np.array([[0.0, 0, 0], [1.05, 0, 0], [0.3, 1.1, 0]])
    context.setPositions(positions * state.sigma_nm)
    box = cubic_box(state.box_length_sigma)
    for value in (0.5, 0.9, 1.0):
        context.setParameter("lambda_nti", value)
        energy = context.getState(energy=True).getPotentialEnergy()
        found = energy.value_in_unit(openmm.unit.kilojoule_per_mole) / state.kt_kj_mol
        log_s = log_noise(torch.tensor([value], dtype=torch.float64), box)
        expected = model.pair_energy(torch.as_tensor(positions[None]), box, log_s).item()
        assert expected > 0.1
        assert found == pytest.approx(expected, abs=1e-6)
