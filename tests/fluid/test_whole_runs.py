"""Whole calculations of three particles agree with exact free energies, whatever the potential."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
import yaml
from tiny import TINY
from typer.testing import CliRunner

from openmm_nti.cli import app
from openmm_nti.cli.exit_codes import ExitCode

SIGMA, LENGTH = 0.34, 3.2
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


def wca(r):
    return np.where(r < 2 ** (1 / 6), 4 * (r**-12 - r**-6) + 1, 0.0)


def force_shifted_mie(r):
    """Return Mie 10-5 with its force shifted at 1.6; both constants by hand."""
    height, slope = 4 * (1.6**-10 - 1.6**-5), 4 * (-10 * 1.6**-11 + 5 * 1.6**-6)
    return np.where(r < 1.6, 4 * (r**-10 - r**-5) - height - slope * (r - 1.6), 0.0)


def shifted_yukawa(r):
    return np.where(r < 1.6, np.exp(2 * (1 - r)) / r - np.exp(2 * (1 - 1.6)) / 1.6, 0.0)


def uhlenbeck_ford(r):
    """Return the potential with OpenMM's switching function from 1.3 to 1.6."""
    x = np.clip((r - 1.3) / 0.3, 0, 1)
    return -np.log1p(-np.exp(-(r**2))) * (1 - 10 * x**3 + 15 * x**4 - 6 * x**5)


CUTOFF = {"cutoff_nm": 1.6 * SIGMA, "switch_nm": 1.3 * SIGMA}
FLUIDS = {
    "wca": (wca, {"type": "wca"}),
    "mie": (
        force_shifted_mie,
        {"type": "mie", "repulsive": 10, "attractive": 5, "convention": "force_shifted"},
    ),
    "yukawa": (shifted_yukawa, {"type": "yukawa", "kappa": 2, "convention": "shifted"}),
    "uhlenbeck_ford": (uhlenbeck_ford, {"type": "uhlenbeck_ford"}),
}


def exact(n_particles, energy_of, n_samples=400_000):
    """Return beta F_ex and its error by uniform sampling, from the formula of the potential.

    `n_particles` may be a string of species: `energy_of` is then called with two of them as well.
    """
    rng = np.random.default_rng(7)
    species = n_particles if isinstance(n_particles, str) else ""
    n_particles = len(species) or n_particles
    positions = rng.uniform(0, LENGTH, (n_samples, n_particles, 3))
    energy = np.zeros(n_samples)
    for first, second in combinations(range(n_particles), 2):
        vectors = positions[:, first] - positions[:, second]
        vectors -= LENGTH * np.round(vectors / LENGTH)
        kinds = (species[first], species[second]) if species else ()
        energy += energy_of(np.sqrt((vectors**2).sum(axis=1)), *kinds)
    weights = np.exp(-energy)
    error = weights.std() / weights.mean() / math.sqrt(n_samples)
    return -math.log(weights.mean()), error


@pytest.mark.parametrize(
    ("name", "sections"),
    [
        pytest.param("wca", ("paths", "widom"), id="wca-quick"),
        *(pytest.param(name, tuple(ESTIMATES), id=name, marks=pytest.mark.slow) for name in FLUIDS),
    ],
)
def test_a_whole_run_agrees_with_exact_free_energies(name, sections, tmp_path):
    """Three particles: every method against uniform sampling, insertion against the fourth."""
    estimates = {name: ESTIMATES[name] if name in sections else None for name in ESTIMATES}
    energy_of, potential = FLUIDS[name]
    atoms = {"n_particles": 3, "mass_dalton": 40, "sigma_nm": SIGMA, "epsilon_kj_mol": 1.0}
    system = {
        "temperature_star": 1.0,
        "box_length_nm": LENGTH * SIGMA,
        "species": {"X": atoms},
        "potential": {**CUTOFF, **potential},
    }
    config = {**TINY, "system": system, "estimates": estimates}
    config["network"] = {**TINY["network"], "cutoff_sigma": 1.5}
    config["reference"] = {**TINY["reference"], "n_frames": 200, "max_steps": 20_000}
    (tmp_path / "fluid.yaml").write_text(yaml.safe_dump(config))
    output = str(tmp_path / "run")
    called = CliRunner().invoke(app, ["run", str(tmp_path / "fluid.yaml"), "--output", output])
    assert called.exit_code == ExitCode.DONE, called.output
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    (state,) = results["state_points"]
    (three, error), (four, other_error) = exact(3, energy_of), exact(4, energy_of)
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
    assert abs(three) > 0.3  # an ideal gas would not do
    if everything:
        bound = state["beta_f_ex"]["neural_ti_tethered"]
        assert bound["value"] < three + 4 * bound["std_err"]


def two_kinds(r, first, second):
    """Return Lennard-Jones of A (1, 1) and B (0.85, 0.6), of unlike ones (0.95, 1.1), switched."""
    sigma, epsilon = {"AA": (1, 1), "BB": (0.85, 0.6)}.get(first + second, (0.95, 1.1))
    x = np.clip((r - 1.3) / 0.3, 0, 1)
    switch = 1 - 10 * x**3 + 15 * x**4 - 6 * x**5
    return 4 * epsilon * ((sigma / r) ** 12 - (sigma / r) ** 6) * switch


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param(("paths", "widom"), id="quick"),
        pytest.param(tuple(ESTIMATES), id="everything", marks=pytest.mark.slow),
    ],
)
def test_a_whole_run_of_a_mixture_agrees_with_exact_free_energies(sections, tmp_path):
    """Two A and one B: every method against uniform sampling, both chemical potentials too."""
    kelvin = 1 / 0.00831446261815324  # kT = 1 kJ/mol
    system = {
        "temperature_kelvin": kelvin,
        "box_length_nm": LENGTH * SIGMA,
        "species": {
            name: {
                "n_particles": n,
                "mass_dalton": mass,
                "sigma_nm": sigma * SIGMA,
                "epsilon_kj_mol": epsilon,
            }
            for name, n, mass, sigma, epsilon in (("A", 2, 40, 1, 1), ("B", 1, 20, 0.85, 0.6))
        },
        "potential": CUTOFF,
        "pairs": {"A-B": {"sigma_nm": 0.95 * SIGMA, "epsilon_kj_mol": 1.1}},
    }
    config = {
        **TINY,
        "system": system,
        "estimates": {name: ESTIMATES[name] if name in sections else None for name in ESTIMATES},
        "network": {**TINY["network"], "cutoff_sigma": 1.5},
        "reference": {**TINY["reference"], "n_frames": 200, "max_steps": 20_000},
    }
    (tmp_path / "fluid.yaml").write_text(yaml.safe_dump(config))
    output = str(tmp_path / "run")
    called = CliRunner().invoke(app, ["run", str(tmp_path / "fluid.yaml"), "--output", output])
    assert called.exit_code == ExitCode.DONE, called.output
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    (state,) = results["state_points"]
    three, error = exact("AAB", two_kinds)
    assert abs(three) > 0.1
    everything = "bar_chain" in sections
    classical = ("mbar_softcore", "bar_chain", "mbar_neural") if everything else ()
    for method in ("path_bar", *classical):
        found = state["beta_f_ex"][method]
        assert 0 < found["std_err"] < (0.2 if method == "mbar_neural" else 0.06), method
        both = math.hypot(found["std_err"], error)
        assert found["value"] == pytest.approx(three, abs=4 * both), method
    for species in "AB":
        four, other_error = exact("AAB" + species, two_kinds)
        for method in ("widom", "mu_decoupling") if everything else ("widom",):
            found = state["beta_mu_ex"][f"{method} ({species})"]
            assert found["species"] == species
            assert 0 < found["std_err"] < 0.06, method
            both = math.hypot(found["std_err"], error, other_error)
            assert found["value"] == pytest.approx(four - three, abs=4 * both), (method, species)
