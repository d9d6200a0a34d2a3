"""The path of a crystal: both ends exact, no shift, forces and slopes, in a TorchForce as well."""

import math

import numpy as np
import pytest
import torch
from contexts import make_context
from models import CRYSTAL
from openmm import unit

from openmm_nti import NetworkConfig, NeuralPath, StatePoint
from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.hamiltonian import build_model
from openmm_nti.hamiltonian.crystals.path import CrystalHamiltonian
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.md.plugin import why_not_torch
from openmm_nti.validation.estimators.crystals.phonons import Phonons
from openmm_nti.validation.sampling.noised_frames import dudl_of_frames

N = CRYSTAL.n_particles
BOX = box_of(CRYSTAL)


@pytest.fixture(scope="module")
def moved():
    """Displacements without a shift, (6, N, 3), sigma."""
    found = 0.05 * np.random.default_rng(1).standard_normal((6, N, 3))
    return found - found.mean(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def path(moved):
    """With random weights everywhere."""
    torch.manual_seed(2)
    config = NetworkConfig(
        kind="density", n_radial=6, n_channels=3, width=8, cutoff_sigma=1.4, dtype="float64"
    )
    model = build_model(CRYSTAL.pair_potential, config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    phonons = Phonons.of(CRYSTAL, moved)
    found = CrystalHamiltonian(model, CRYSTAL, phonons.vectors, phonons.variances)
    return found.eval().requires_grad_(False)


def at(moved, shift=0.0):
    return torch.as_tensor(sites_sigma(CRYSTAL) + moved + shift)


def energies(path, positions, lam):
    return path(positions, BOX, torch.full((len(positions),), lam, dtype=torch.float64))


def test_both_ends_are_exact(path, moved):
    positions = at(moved)
    exact = reduced_potential_numpy(positions.numpy(), CRYSTAL)
    assert energies(path, positions, 1.0).numpy() == pytest.approx(exact, abs=1e-9)
    modes = path.modes(positions, BOX)
    springs = 0.5 * (modes.square() / path.variances).sum(1)
    assert torch.equal(energies(path, positions, 0.0), springs)
    between = energies(path, positions, 0.5)
    assert not torch.allclose(between, springs, atol=1.0)
    d = 3 * (N - 1)
    assert modes.shape[1] == d
    gaussian = -0.5 * (d * math.log(2 * math.pi) + math.fsum(np.log(path.variances.numpy())))
    assert path.minus_log_z_rel == pytest.approx(gaussian)
    assert torch.allclose(
        path.energies_at(positions, BOX, torch.tensor([0.0, 0.5, 1.0]))[:, 1], between
    )


def test_shifts_and_periodic_images_change_nothing(path, moved):
    for lam in (0.0, 0.3, 0.8, 1.0):
        here = energies(path, at(moved), lam)
        shifted = at(moved, np.array([0.3, -2.0, 11.0]))
        wrapped = shifted % BOX
        assert torch.allclose(energies(path, shifted, lam), here, atol=1e-8)
        assert torch.allclose(energies(path, wrapped, lam), here, atol=1e-8)


@pytest.mark.parametrize("lam", [0.05, 0.35, 0.6, 0.95])
def test_forces_and_slopes_are_finite_differences(path, moved, lam):
    positions = at(moved[:2])
    step, direction = 1e-6, torch.randn(positions.shape, dtype=torch.float64)
    leaf = positions.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(energies(path, leaf, lam).sum(), leaf)
    assert torch.allclose(gradient.sum(1), torch.zeros(2, 3, dtype=torch.float64), atol=1e-7)
    ahead, behind = (energies(path, positions + way * step * direction, lam) for way in (1, -1))
    along = (gradient * direction).sum((1, 2))
    assert along.numpy() == pytest.approx(((ahead - behind) / (2 * step)).numpy(), rel=1e-4)
    slope = dudl_of_frames(path, positions, CRYSTAL, lam)
    later, sooner = (energies(path, positions, lam + way * 1e-5) for way in (1, -1))
    # The table of the two-body term is piecewise linear in ln s.
    assert slope == pytest.approx(((later - sooner) / 2e-5).numpy(), rel=2e-3)


def test_noise_keeps_the_amplitudes(path, moved):
    """In the units of lambda, frames of the phonons stay frames of the phonons."""
    generator = torch.Generator().manual_seed(3)
    shape = (400, len(path.variances))
    modes, noise = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    positions = at((modes * path.variances.sqrt() @ path.vectors.t()).reshape(400, N, 3).numpy())
    for lam in (0.0, 0.4):
        noised = path.noised(positions, BOX, torch.full((400,), lam), noise)
        spread = path.modes(noised, BOX).square().mean(0) / path.variances
        assert float(spread.mean()) == pytest.approx(1, abs=0.02)
        assert not torch.allclose(noised, positions)


@pytest.mark.parametrize("implementation", ["torch", "python"])
def test_it_is_an_openmm_force_with_its_slope(path, moved, implementation):
    if implementation == "torch" and why_not_torch():
        pytest.skip("no TorchForce here")
    context = make_context(
        NeuralPath(path, CRYSTAL).create_system(0.3, implementation=implementation),
        at(moved)[0].numpy() * CRYSTAL.sigma_nm,
    )
    state = context.getState(getEnergy=True, getParameterDerivatives=implementation == "torch")
    found = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    expected = float(energies(path, at(moved[:1]), 0.3)) * CRYSTAL.kt_kj_mol
    assert found == pytest.approx(expected, rel=1e-5)
    if implementation == "torch":
        slope = state.getEnergyParameterDerivatives()["lambda_nti"] / CRYSTAL.kt_kj_mol
        assert slope == pytest.approx(
            dudl_of_frames(path, at(moved[:1]), CRYSTAL, 0.3)[0], rel=1e-4
        )


def test_it_has_no_native_pair_force(path):
    with pytest.raises(TypeError, match="the path of a crystal is no sum over pairs"):
        NeuralPath(path, CRYSTAL).native_pair_force()


def test_it_belongs_to_one_crystal(path):
    other = StatePoint(**{**CRYSTAL.model_dump(), "temperature_star": 0.8})
    with pytest.raises(ValueError, match="the path is of .* make one for it"):
        path.bind(other)
    with pytest.raises(ValueError, match="variances must be above 0"):
        CrystalHamiltonian(path.model, CRYSTAL, path.vectors, 0 * path.variances)
    assert path.bind(CRYSTAL) is path
    changed = CrystalHamiltonian(path.model, CRYSTAL, path.vectors, 2 * path.variances)
    assert changed.fingerprint() != path.fingerprint()
