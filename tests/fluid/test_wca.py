"""WCA, the second potential: its own form, the rules, and a whole calculation that agrees."""

import json
import math
from itertools import combinations

import numpy as np
import openmm
import pytest
import torch
import yaml
from tiny import TINY
from typer.testing import CliRunner

from openmm_nti import LambdaHamiltonian, StatePoint, create_system
from openmm_nti.cli import app
from openmm_nti.cli.exit_codes import ExitCode
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
ESTIMATES = {
    **dict.fromkeys(TINY["estimates"]),
    "paths": {"n_paths": 400, "n_steps": 10},
    "windows": {
        **TINY["estimates"]["windows"],
        "engine": "torch",
        "n_windows": 3,
        "n_chains": 16,
        "n_frames": 20,
        "steps_between": 8,
        "equilibration_steps": 16,
    },
    "softcore": {**TINY["estimates"]["softcore"], "n_chains": 4, "n_frames": 60},
    "bound": TINY["estimates"]["bound"],
    "decoupling": {**TINY["estimates"]["decoupling"], "n_chains": 4, "n_frames": 60},
    "widom": {"n_insertions_per_frame": 500},
    "bar_chain": {**TINY["estimates"]["bar_chain"], "n_walkers": 32, "n_frames": 40},
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


def exact(n_particles, n_samples=400_000):
    """Return beta F_ex and its error by uniform sampling, from the formula of the potential."""
    length, rng = SYSTEM["box_length_nm"] / 0.34, np.random.default_rng(7)
    positions = rng.uniform(0, length, (n_samples, n_particles, 3))
    energy = np.zeros(n_samples)
    for first, second in combinations(range(n_particles), 2):
        vectors = positions[:, first] - positions[:, second]
        vectors -= length * np.round(vectors / length)
        r = np.sqrt((vectors**2).sum(axis=1))
        energy += np.where(r < 2 ** (1 / 6), 4 * (r**-12 - r**-6) + 1, 0.0)
    weights = np.exp(-energy)
    error = weights.std() / weights.mean() / math.sqrt(n_samples)
    return -math.log(weights.mean()), error


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param(("paths", "widom"), id="quick"),
        pytest.param(tuple(ESTIMATES), id="all", marks=pytest.mark.slow),
    ],
)
def test_a_whole_run_agrees_with_exact_free_energies(sections, tmp_path):
    """Three particles: every method against uniform sampling, insertion against the fourth."""
    estimates = {name: ESTIMATES[name] if name in sections else None for name in ESTIMATES}
    config = {**TINY, "system": SYSTEM, "estimates": estimates}
    config["network"] = {**TINY["network"], "cutoff_sigma": 1.5}
    config["reference"] = {**TINY["reference"], "n_frames": 200, "max_steps": 20_000}
    (tmp_path / "wca.yaml").write_text(yaml.safe_dump(config))
    output = str(tmp_path / "run")
    called = CliRunner().invoke(app, ["run", str(tmp_path / "wca.yaml"), "--output", output])
    assert called.exit_code == ExitCode.DONE, called.output
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    (state,) = results["state_points"]
    (three, error), (four, other_error) = exact(3), exact(4)
    everything = "bar_chain" in sections
    classical = ("mbar_softcore", "bar_chain", "mbar_neural") if everything else ()
    for method in ("path_bar", *classical):
        found = state["beta_f_ex"][method]
        assert 0 < found["std_err"] < 0.06, method
        both = math.hypot(found["std_err"], error)
        assert found["value"] == pytest.approx(three, abs=4 * both), method
    for method in ("widom", "mu_decoupling") if everything else ("widom",):
        found = state["beta_mu_ex"][method]
        assert 0 < found["std_err"] < 0.06, method
        both = math.hypot(found["std_err"], error, other_error)
        assert found["value"] == pytest.approx(four - three, abs=4 * both), method
    assert three > 0.3  # an ideal gas would not do
    if everything:
        bound = state["beta_f_ex"]["neural_ti_tethered"]
        assert bound["value"] < three + 4 * bound["std_err"]
