"""A larger box has more noise than the training: a network is given no more than it knows."""

import math

import pytest
import torch
from models import make_random_model, mixture

from openmm_nti import StatePoint, load_model
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.md.openmm_energy import OpenMMEnergy, script
from openmm_nti.model_files import load_any_model, save_model, shipped_models

TRAINED = [StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=1.25) for n in (8, 40)]
LARGER = StatePoint(n_particles=20, box_length_sigma=9.0, temperature_star=1.25)


@pytest.fixture(params=["density", "denoiser"])
def untrained(request):
    return make_random_model(TRAINED[0], kind=request.param)


def gradient(model, sigma, n=3):
    generator = torch.Generator().manual_seed(2)
    box = box_of(LARGER)
    x = torch.rand((n, LARGER.n_particles, 3), generator=generator, dtype=torch.float64) * box
    log_s = torch.full((n,), math.log(sigma), dtype=torch.float64)
    pairs = model.pair_gradient(x, box, log_s)
    end = 1.0
    if model.network.gives_energy:  # the end factor is of the box, not of the network
        end = 1.0 - sigma**2 / 4.5**2
    return (model.gradient(x, box, log_s) - pairs) / end


def test_noise_of_the_training_is_what_it_was_and_no_more_is_known(untrained, tmp_path):
    model = load_any_model(save_model(untrained, tmp_path, trained_on=TRAINED))
    for sigma in (0.1, 1.0, 3.0):
        torch.testing.assert_close(
            gradient(model, sigma), gradient(untrained, sigma), rtol=0, atol=0
        )
    for sigma in (3.2, 4.4):
        torch.testing.assert_close(
            gradient(model, sigma), gradient(model, 3.0), rtol=1e-4, atol=1e-6
        )
        far = (gradient(untrained, sigma) - gradient(untrained, 3.0)).abs().max()
        assert far > 1e-3


def test_in_a_fluid_of_other_lengths_the_noise_is_in_its_units(untrained, tmp_path):
    model = load_any_model(save_model(untrained, tmp_path, trained_on=TRAINED))
    wide = model.bind(mixture(10, 10, sigma=0.45))
    assert wide.scale.length > 1.02
    highest = 3.0 * wide.scale.length
    log_s = torch.tensor([0.999 * highest, highest, 1.3 * highest], dtype=torch.float64).log()
    below, at, beyond = wide.condition(log_s).log_s.tolist()
    assert below < at == pytest.approx(beyond, abs=2e-6) == pytest.approx(math.log(3.0), abs=2e-6)


def test_the_largest_box_of_the_training_decides_and_is_in_the_fingerprint(untrained, tmp_path):
    found = {}
    for name, states in {"6": TRAINED, "9": [*TRAINED, LARGER], "none": []}.items():
        found[name] = load_any_model(save_model(untrained, tmp_path / name, trained_on=states))
    assert found["6"].highest_log_noise == pytest.approx(math.log(3.0), abs=1e-5)
    assert found["9"].highest_log_noise == pytest.approx(math.log(4.5), abs=1e-5)
    assert found["none"].highest_log_noise == math.inf
    assert len({model.fingerprint() for model in found.values()}) == 3
    assert found["none"].fingerprint() == untrained.fingerprint()
    assert found["6"].bind(LARGER).highest_log_noise == found["6"].highest_log_noise


def test_a_torch_force_knows_it_too(tmp_path):
    untrained = make_random_model(TRAINED[0])
    model = load_model(save_model(untrained, tmp_path, trained_on=TRAINED))
    generator = torch.Generator().manual_seed(1)
    x = torch.rand((20, 3), generator=generator, dtype=torch.float64) * LARGER.box_length_nm
    box = torch.eye(3, dtype=torch.float64) * LARGER.box_length_nm
    lam = torch.tensor(0.03, dtype=torch.float64)  # noise of 3.7 sigma
    eager, other = OpenMMEnergy(model, LARGER), OpenMMEnergy(untrained, LARGER)
    assert float(script(eager)(x, box, lam)) == pytest.approx(float(eager(x, box, lam)), rel=1e-6)
    assert abs(float(eager(x, box, lam) - other(x, box, lam))) > 1e-4


def test_the_shipped_denoiser_says_little_beyond_its_noise():
    """Its field would lose 22 kT per unit of ln s at 4.2 sigma, of uniform positions."""
    state = StatePoint(n_particles=500, box_length_sigma=8.55, temperature_star=1.25)
    model = fit_model(load_any_model(shipped_models()["lj-fluid-t1.25"] / "denoiser"), state)
    box = box_of(state)
    x = torch.rand((2, 500, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_s = torch.full((2,), math.log(4.2), dtype=torch.float64)
    field = model.gradient(x * box, box, log_s)
    assert 0.5 * 4.2**2 * float(field.square().sum((1, 2)).mean()) < 1.0
