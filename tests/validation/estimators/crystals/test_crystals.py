"""Methods for crystals against normal modes; who serves crystals and who does not."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import CRYSTAL as LENNARD_JONES

from openmm_nti import Ensemble, StatePoint
from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.references.einstein_crystal import beta_f_ex
from openmm_nti.references.noise import NOISE_MIN_SIGMA
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.tasks import TaskError
from openmm_nti.testing.spring_crystal import (
    SpringModel,
    exact_minus_log_z_rel,
    spring_crystal,
    spring_frames,
    spring_matrix,
)
from openmm_nti.validation.analysis.works import Works
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.crystals import (
    crystal_bound,
    crystal_paths,
    frenkel_ladd,
    harmonic,
)
from openmm_nti.validation.estimators.crystals.crystal_paths import CrystalPathConfig, CrystalSteps
from openmm_nti.validation.estimators.crystals.frenkel_ladd import FrenkelLaddConfig
from openmm_nti.validation.estimators.crystals.lattice_modes import einstein_variance, hessian
from openmm_nti.validation.estimators.crystals.phonons import Phonons
from openmm_nti.validation.estimators.crystals.site_field import SiteField
from openmm_nti.validation.estimators.path_weights import estimate_bar
from openmm_nti.validation.estimators.registry import all_estimators, estimator
from openmm_nti.validation.sweep.beside import usual_method

SPRINGS = spring_crystal()
EXACT = exact_minus_log_z_rel(SPRINGS)
FLUID = StatePoint(n_particles=20, box_length_sigma=6.0, temperature_star=1.25)
QUICK = FrenkelLaddConfig(
    n_windows=6,
    n_chains=2,
    n_frames=80,
    steps_between=8,
    equilibration=50,
    friction_star=30.0,
    platform="CPU",
)


def test_second_derivatives_are_those_of_springs():
    assert hessian(SPRINGS) == pytest.approx(np.kron(spring_matrix(SPRINGS), np.eye(3)), abs=1e-3)
    assert einstein_variance(SPRINGS) == pytest.approx(1 / (8 * 2000.0))


def test_the_harmonic_approximation_is_exact_for_springs():
    found = harmonic.estimate(SPRINGS)
    assert found.diagnostics.minus_log_z_rel == pytest.approx(EXACT, abs=1e-6)
    assert found.std_err == math.inf
    assert found.verdict.level == "warn"


@pytest.mark.slow
def test_the_harmonic_approximation_is_that_of_cold_lennard_jones():
    """At T* = 0.01 what it leaves out, which is of the order of T, is small."""
    cold = StatePoint(**{**LENNARD_JONES.model_dump(), "temperature_star": 0.01})
    rough = QUICK.model_copy(update={"n_frames": 20})
    found = frenkel_ladd.estimate(cold, rough, seed=1)
    left = found.value - harmonic.estimate(cold).value
    assert abs(left) < 5 * found.std_err + 0.2
    assert found.std_err < 1.0


def test_frenkel_ladd_is_exact_for_springs():
    found = frenkel_ladd.estimate(SPRINGS, QUICK, seed=1)
    assert found.diagnostics.min_neighbour_overlap > 0.03
    assert found.std_err < 0.2
    assert abs(found.diagnostics.minus_log_z_rel - EXACT) < 5 * found.std_err
    assert found.value == pytest.approx(
        harmonic.estimate(SPRINGS).value + found.diagnostics.minus_log_z_rel - EXACT, abs=1e-6
    )


def test_frenkel_ladd_does_not_know_the_springs():
    """Softer springs have another path to the same free energy."""
    softer = QUICK.model_copy(update={"variance": 1.5 * einstein_variance(SPRINGS)})
    found = frenkel_ladd.estimate(SPRINGS, softer, seed=2)
    assert abs(found.diagnostics.minus_log_z_rel - EXACT) < 5 * found.std_err
    assert found.std_err < 0.3


def test_frenkel_ladd_goes_on_from_its_files(tmp_path):
    execution = Execution(seed=3, directory=tmp_path)
    known = estimator("frenkel_ladd")
    job = Job(SPRINGS, None, None, execution)
    few = QUICK.model_copy(update={"n_frames": 20})
    first = known.estimate(job, few)
    files = sorted(path for path in tmp_path.rglob("*.npz") if path.parent != tmp_path)
    assert len(files) > 6
    for path in files[::2]:
        path.unlink()
    assert known.estimate(job, few) == first
    other = known.estimate(replace(job, execution=replace(execution, seed=4)), few)
    assert other.value != first.value


def test_a_crystal_that_melts_is_refused():
    """A simple cubic crystal of Lennard-Jones has negative modes at rest; warm bcc falls apart."""
    simple = {"lattice": "sc", "cells": (3, 3, 3)}
    state = {"temperature_star": 0.7, "cutoff_sigma": 1.5, "switch_sigma": 1.25}
    with pytest.raises(ValueError, match="the lattice is unstable"):
        harmonic.estimate(StatePoint(crystal=simple, density_star=0.95, **state))
    hot = {**state, "temperature_star": 4.0, "density_star": 0.8, "crystal": simple}
    settings = QUICK.model_copy(update={"variance": 0.01, "equilibration": 300})
    with pytest.raises(TaskError, match="has melted or has another lattice|has left its site"):
        frenkel_ladd.estimate(StatePoint(**hot), settings, seed=1)


def test_truncated_crystals_are_refused():
    jumping = StatePoint(**{**LENNARD_JONES.model_dump(), "convention": "truncated"})
    with pytest.raises(ValueError, match="convention = truncated: .* use switched"):
        frenkel_ladd.estimate(jumping, QUICK, seed=1)


@pytest.mark.parametrize("name", all_estimators())
def test_methods_refuse_the_other_phase_at_once(name):
    known = estimator(name)
    other = LENNARD_JONES if known.phase == "fluid" else FLUID
    message = f"{name} serves {known.phase}s, and the state point is a"
    for refuse in (
        lambda: known.estimate(Job(other, None, None, Execution()), known.Config()),
        lambda: known.check_phase(other),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            refuse()
        assert "\n" not in str(refused.value)


def exact_phonons(frames):
    """Phonons with their exact variances, and the displacements of the frames."""
    moved = frames.positions_sigma - sites_sigma(SPRINGS)
    phonons = Phonons.of(SPRINGS, moved)
    exact = 1 / np.linalg.eigvalsh(np.kron(spring_matrix(SPRINGS), np.eye(3)))[3:]
    return replace(phonons, variances=torch.as_tensor(exact)), phonons.variances.numpy(), moved


def test_phonons_have_the_variances_of_springs():
    frames = spring_frames(SPRINGS, 400, np.random.default_rng(3))
    phonons, measured, moved = exact_phonons(frames)
    assert measured == pytest.approx(phonons.variances.numpy(), rel=0.2)
    modes = phonons.modes(torch.as_tensor(moved))
    assert phonons.displacements(modes).numpy() == pytest.approx(moved, abs=1e-12)
    # They are the density of the frames, so beta U + ln g is -ln Z_rel for every frame.
    alone = frames.reduced_potentials + phonons.log_density(modes).numpy()
    assert alone == pytest.approx(np.full(400, EXACT), abs=0.01)
    still = np.zeros((3, SPRINGS.n_particles, 3))
    with pytest.raises(ValueError, match="the frames do not move"):
        Phonons.of(SPRINGS, still)


@pytest.mark.parametrize(("share", "widened"), [(1.0, 1.3), (0.7, 1.0)])
def test_bounds_are_below_by_what_phonons_and_field_leave_out(share, widened):
    """Phonons that are too wide at the end, and a field that is too short by a share of itself."""
    frames = spring_frames(SPRINGS, 64, np.random.default_rng(4))
    phonons, _, moved = exact_phonons(frames)
    exact = phonons.variances.numpy()
    phonons = replace(phonons, variances=widened * phonons.variances)
    trusted = 2 * phonons.mean_variance
    edges = np.geomspace(NOISE_MIN_SIGMA, math.sqrt(10 * trusted), 17)
    field = SiteField(SPRINGS, SpringModel(SPRINGS, share), phonons)
    found = crystal_bound._curve(
        field, moved, frames.reduced_potentials, edges, 128, Execution(seed=5)
    )
    v = found.noise[:, None] ** 2
    ratio = (exact + v) / (widened * exact + v)
    end = 0.5 * (ratio - 1 - np.log(ratio)).sum(axis=1)
    within = np.minimum(v, trusted)
    field_left = 0.5 * np.log1p(within / exact) + 0.25 * (1 - ((exact + within) / (exact + v)) ** 2)
    gap = end + (1 - share) ** 2 * field_left.sum(axis=1)
    errors = np.linalg.norm(found.of_frames, axis=1)
    # Beyond the trusted noise, what is left of wrong phonons is taken back as if they were right.
    known = (v <= trusted).ravel() if widened > 1 else np.full(len(v), True)
    assert (np.abs(found.bound + gap - EXACT) < 5 * errors + 0.02)[known].all()
    assert gap.max() > 0.3
    assert errors[-1] < 0.3
    assert (found.bound < EXACT + 5 * errors + 0.02).all()


def spring_works(share, n_paths, n_steps):
    """Works of both directions, of a field that is a share of the exact one."""
    frames = spring_frames(SPRINGS, n_paths, np.random.default_rng(6))
    phonons, _, moved = exact_phonons(frames)
    field = SiteField(SPRINGS, SpringModel(SPRINGS, share), phonons)
    config = CrystalPathConfig(n_steps=n_steps)
    schedule = crystal_paths._schedule(field, moved[:8], config, Execution(seed=2))
    steps = CrystalSteps(field, **schedule)
    starts = phonons.modes(torch.as_tensor(moved))
    forward, reverse = (
        crystal_paths._works(steps, Execution(seed=7), (way, 0, start))["omega"]
        for way, start in (("forward", starts), ("reverse", n_paths))
    )
    return Works(SPRINGS, forward, reverse)


def test_works_of_phonons_are_all_the_free_energy():
    """Where phonons are exact, so is each step of any length, and every path has the same work."""
    works = spring_works(1.0, 16, 10)
    assert works.forward == pytest.approx(np.full(16, EXACT), abs=0.05)
    assert works.reverse == pytest.approx(np.full(16, EXACT), abs=0.05)


def test_path_weights_are_exact_for_a_wrong_field():
    works = spring_works(0.8, 300, 30)
    found = estimate_bar(works, seed=1)
    assert found.verdict.level == "good"
    assert abs(found.value - EXACT) < 5 * found.std_err
    assert found.std_err < 0.1
    assert works.forward.mean() < EXACT - 0.3
    assert works.reverse.mean() > EXACT + 0.3


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("method", "effort"),
    [
        ("crystal_bound", {"n_levels": 8, "n_pairs": 16, "largest_noise": 0.1}),
        ("crystal_path_bar", {"n_paths": 8, "n_steps": 10}),
    ],
)
def test_the_two_body_model_serves_a_cold_crystal(tmp_path, method, effort):
    """From end to end; files of the first call give the second one its number."""
    rng = np.random.default_rng(1)
    moved = 0.03 * rng.standard_normal((32, 32, 3))
    positions = sites_sigma(LENNARD_JONES) + moved - moved.mean(axis=1, keepdims=True)
    energies = reduced_potential_numpy(positions, LENNARD_JONES)
    data = Ensemble(LENNARD_JONES, positions * LENNARD_JONES.sigma_nm, energies, {})
    model = LambdaHamiltonian(LENNARD_JONES.pair_potential).eval().requires_grad_(False)
    known = estimator(method)
    job = Job(LENNARD_JONES, data, model, Execution(seed=1, directory=tmp_path))
    config = known.Config(**effort)
    found = known.estimate(job, config)
    assert known.estimate(job, config) == found
    assert 0 < found.std_err < 300
    below = known.bounds(found).lower[0]
    assert below <= found.value
    numbers = found.diagnostics
    assert beta_f_ex(numbers.minus_log_z_rel, LENNARD_JONES) == pytest.approx(found.value)
    for path in job.execution.directory.glob("*.npz"):
        assert [figure.name for figure in known.figures(found, tmp_path)] == ["works"], path
    spoilt = data.positions_nm.copy()
    spoilt[3, 0] = spoilt[3, 1]
    with pytest.raises(ValueError, match="frame 3: atom 0 has left its site"):
        known.estimate(replace(job, data=replace(data, positions_nm=spoilt)), config)
    few = replace(data, positions_nm=data.positions_nm[:8], reduced_potentials=energies[:8])
    with pytest.raises(ValueError, match="8 different frames are too few"):
        known.estimate(replace(job, data=few), config)


def test_usual_methods_are_of_their_phase():
    for phase in ("fluid", "crystal"):
        for with_model in (True, False):
            known = estimator(usual_method(phase, with_model=with_model))
            assert (known.phase, known.kind, known.needs_model) == (phase, "exact", with_model)
