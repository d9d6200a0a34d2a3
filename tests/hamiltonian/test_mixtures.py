"""Models of mixtures: exact for two and three atoms, blind to labels, exact at both ends."""

import math

import numpy as np
import pytest
import torch
from models import make_random_model, mixture

from openmm_nti import LambdaHamiltonian, StatePoint, load_model
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.md.openmm_energy import OpenMMEnergy, script
from openmm_nti.model_files import load_denoiser
from openmm_nti.references.noise import log_noise

LAM = torch.tensor([0.25, 0.6, 0.95], dtype=torch.float64)
BOX = cubic_box(6.0)


def some_positions(n, seed=0):
    """One configuration of n atoms without overlaps, (1, n, 3), sigma."""
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return torch.tensor(sites[rng.permutation(64)[:n]] * 1.5 + rng.uniform(-0.2, 0.2, (n, 3)))[None]


@pytest.mark.parametrize("counts", [(1, 1), (0, 2), (2, 0)])
@pytest.mark.parametrize("lam", [0.15, 0.5, 0.8, 1.0])
def test_the_free_energy_of_two_atoms_is_that_of_the_path_by_quadrature(counts, lam):
    state = mixture(1, 1).with_numbers(counts)
    model = LambdaHamiltonian(state.pair_potential).bind(state)
    r = torch.linspace(1e-3, 3.0, 3000, dtype=torch.float64)
    x = torch.zeros(len(r), 2, 3, dtype=torch.float64)
    x[:, 1, 0] = r
    coupling = torch.full((len(r),), lam, dtype=torch.float64)
    u = model(x, BOX, coupling).numpy()
    gauge = float(model(x[-1:] * 0.999999, BOX, coupling[:1])[0])  # no pair energy at the cutoff
    mayer = np.trapezoid(4 * math.pi * r.numpy() ** 2 * np.expm1(-(u - gauge)), r.numpy())
    found = gauge - math.log1p(mayer / 216.0)
    end = LambdaHamiltonian(state.pair_potential).two_body.free_energy_at_end(BOX.prod())
    kind = {(1, 1): 1, (0, 2): 2, (2, 0): 0}[counts]
    assert found == pytest.approx(lam * float(end[kind]), abs=1e-4)


def test_three_atoms_of_two_kinds_follow_the_smeared_pairs():
    state = mixture(2, 1)
    model = LambdaHamiltonian(state.pair_potential).bind(state)
    x = some_positions(3) * 0.4
    log_s = log_noise(LAM, BOX)
    alone = [
        model.bind(state.with_numbers(numbers)).pair_energy(
            x[:, pair].expand(3, -1, -1), BOX, log_s
        )
        for numbers, pair in (((2, 0), [0, 1]), ((1, 1), [0, 2]), ((1, 1), [1, 2]))
    ]
    together = model.pair_energy(x.expand(3, -1, -1), BOX, log_s)
    torch.testing.assert_close(together, sum(alone), rtol=1e-9, atol=1e-9)


def test_equal_species_are_one_species():
    state = mixture(20, 40, sigma=0.3405, epsilon=0.99607)
    one = StatePoint(n_particles=60, box_length_sigma=6.0, temperature_star=state.temperature_star)
    x = some_positions(60).expand(3, -1, -1)
    log_s = torch.tensor([-3.0, -1.0, 0.5], dtype=torch.float64)
    model, denoiser = load_model("lj-fluid-t1.25"), load_denoiser("lj-fluid-t1.25")
    for each in (model, denoiser):
        found = each.bind(state).gradient(x, BOX, log_s)
        torch.testing.assert_close(found, each.bind(one).gradient(x, BOX, log_s), rtol=0, atol=0)
    energies = [model.bind(each).energies_at(x, BOX, LAM) for each in (state, one)]
    torch.testing.assert_close(*energies, rtol=1e-12, atol=1e-12)


def test_names_and_their_order_do_not_matter():
    state, swapped = mixture(3, 5), mixture(3, 5, order=("Kr", "Ar"))
    x = some_positions(8)
    back = torch.cat([x[:, 3:], x[:, :3]], dim=1)
    ratio = state.sigma_nm / swapped.sigma_nm
    found = LambdaHamiltonian(state.pair_potential).bind(state).end.energy(x, BOX)
    other = LambdaHamiltonian(swapped.pair_potential).bind(swapped)
    torch.testing.assert_close(
        other.end.energy(back * ratio, BOX * ratio), found, rtol=1e-9, atol=0
    )


def test_both_ends_are_exact_and_the_gradient_is_that_of_the_energy():
    state = mixture(5, 7)
    model = make_random_model(state, dtype="float64").bind(state)
    assert model.scale.differs
    x = some_positions(12)
    assert float(model(x, BOX, torch.zeros(1))) == 0.0
    exact = reduced_potential_numpy(x.numpy(), state)
    np.testing.assert_allclose(model(x, BOX, torch.ones(1)).numpy(), exact, rtol=1e-10)
    lam = torch.tensor([0.7], dtype=torch.float64)
    gradient = model.gradient(x, BOX, log_noise(lam, BOX))
    for atom, axis in ((1, 0), (8, 2)):
        step = torch.zeros_like(x)
        step[0, atom, axis] = 1e-5
        slope = (model(x + step, BOX, lam) - model(x - step, BOX, lam)) / 2e-5
        assert float(slope) == pytest.approx(float(gradient[0, atom, axis]), abs=1e-5)
    at_levels = model.energies_at(x, BOX, LAM)[0]
    torch.testing.assert_close(at_levels, model(x.expand(3, -1, -1), BOX, LAM), rtol=0, atol=1e-9)


def test_torchscript_and_python_agree_for_a_mixture():
    state = mixture(5, 7)
    model = make_random_model(state).bind(state)
    x = some_positions(12)
    scripted = script(OpenMMEnergy(model, state), portable=True)
    vectors = torch.eye(3, dtype=torch.float64) * state.box_length_nm
    for lam in (0.0, 0.6, 1.0):
        coupling = torch.tensor(lam, dtype=torch.float64)
        found = scripted(x[0] * state.sigma_nm, vectors, coupling) / state.kt_kj_mol
        expected = model(x, cubic_box(state.box_length_sigma), coupling[None])[0]
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_model_of_a_mixture_wants_its_number_of_atoms():
    state = mixture(5, 7)
    model = LambdaHamiltonian(state.pair_potential)
    with pytest.raises(ValueError, match=r"take model\.bind\(state\)"):
        model(some_positions(12), BOX, torch.ones(1))
    with pytest.raises(ValueError, match=r"take model\.bind\(state\)"):
        model.bind(state)(some_positions(11), BOX, torch.ones(1))


def test_a_box_too_small_for_the_network_is_refused():
    state = mixture(5, 7, sigma=0.6, cutoff_nm=1.0215)
    with pytest.raises(ValueError, match="the model's network sees pairs up to"):
        load_model("lj-fluid-t1.25").bind(state)
