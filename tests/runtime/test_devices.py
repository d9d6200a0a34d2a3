"""One device for all of torch: chosen in one place, and obeyed by training and every estimate."""

import numpy as np
import pytest
import torch
from exact import exact_ensemble
from models import make_random_model, mixture
from pretended_device import pretended_device

from openmm_nti import LambdaHamiltonian, NetworkConfig, StatePoint
from openmm_nti.hamiltonian.geometry import box_of
from openmm_nti.runtime.context import Execution
from openmm_nti.runtime.devices import WORKER, torch_device
from openmm_nti.training import TrainingConfig, train
from openmm_nti.training.parallel import Processes
from openmm_nti.training.train import _Training
from openmm_nti.validation.estimators import neural_ti, noised_ti, path_weights, tethered
from openmm_nti.validation.estimators.model_bound import model_bound
from openmm_nti.validation.sampling import windows
from openmm_nti.validation.sampling.paths import stages
from openmm_nti.validation.sampling.placement import WindowsConfig

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)
NETWORK = NetworkConfig(n_radial=4, n_channels=2, width=8, n_refinements=0)
WINDOWS = WindowsConfig(
    engine="torch",
    n_windows=4,
    n_chains=4,
    n_frames=4,
    steps_between=4,
    equilibration_steps=8,
    pilot_frames=8,
)


@pytest.fixture(scope="module")
def model():
    return make_random_model(PAIR, scale=0.1)


@pytest.fixture(scope="module")
def ensemble():
    return exact_ensemble(PAIR, 48, seed=1)


def bound(model, ensemble, execution):
    found = model_bound(model, ensemble, 4, 16, execution)
    return found.value, found.std_err, found.diagnostics.contribution_kt


def published(model, ensemble, execution):
    config = neural_ti.NeuralTIConfig(n_samples=8, n_steps=10, corrector_steps=1)
    found = neural_ti.estimate(model, ensemble.state, config, execution)
    return found.value, found.std_err


def noised(model, ensemble, execution):
    config = noised_ti.NoisedTIConfig(n_levels=8, n_frames=8)
    found = noised_ti.estimate(model, ensemble, config, execution)
    return found.value, found.std_err


def paths(model, ensemble, execution):
    config = path_weights.PathConfig(n_paths=8, n_steps=10)
    works = path_weights.sample(model, ensemble, config, execution)
    return works.forward, works.reverse


def staged(model, ensemble, execution):
    config = stages.StagesConfig(
        n_paths=8, n_steps=10, n_stages=2, n_chains=8, equilibration_steps=4, steps_between=2
    )
    found = stages.sample(model, model, ensemble, config, execution).stages
    return [works for stage in found for works in (stage.forward, stage.reverse)]


def gap(model, ensemble, execution):
    found = tethered.measure(model, ensemble, 4, 40, execution)
    return found.lower, found.upper


def monte_carlo(model, ensemble, execution):
    data = windows.sample(model, ensemble, WINDOWS, execution)
    return data.u_kln, data.dudl


def trading(model, ensemble, execution):
    config = WINDOWS.model_copy(update={"exchange": True, "n_chains": 8})
    data = windows.sample(model, ensemble, config, execution)
    return data.u_kln, data.dudl


ESTIMATES = (bound, published, noised, paths, staged, gap, monte_carlo, trading)
SOME_ARE_SLOW = [
    pytest.param(each, marks=[] if each in (bound, noised, gap) else [pytest.mark.slow])
    for each in ESTIMATES
]


def all_numbers(found):
    return np.concatenate([np.ravel(part) for part in found])


@pytest.mark.parametrize("estimate", SOME_ARE_SLOW, ids=lambda function: function.__name__)
def test_an_estimate_computes_on_its_device_and_gives_the_numbers_of_the_cpu(
    model, ensemble, estimate
):
    expected = all_numbers(estimate(model, ensemble, Execution(seed=3, device="cpu")))
    with pretended_device() as device:
        found = all_numbers(estimate(model, ensemble, Execution(seed=3)))
    assert device.operations > 500
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert next(model.parameters()).device.type == "cpu"


def test_the_fluid_of_a_model_elsewhere_takes_positions_from_here():
    state = mixture(3, 2)
    generator = torch.Generator().manual_seed(1)
    x, box = 6.0 * torch.rand((2, 5, 3), generator=generator, dtype=torch.float64), box_of(state)
    end = LambdaHamiltonian(state.pair_potential).bind(state).end
    expected = end.energy(x, box), end.gradient(x, box)
    with pretended_device():
        moved = LambdaHamiltonian(state.pair_potential).bind(state).to("cuda").end
        found = moved.energy(x, box), moved.gradient(x, box)
    for one, other in zip(found, expected, strict=True):
        assert one.device.type == "cpu"
        torch.testing.assert_close(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("estimate", ESTIMATES, ids=lambda function: function.__name__)
def test_an_estimate_on_a_gpu_gives_the_numbers_of_the_cpu(model, ensemble, estimate):
    expected = all_numbers(estimate(model, ensemble, Execution(seed=3, device="cpu")))
    found = all_numbers(estimate(model, ensemble, Execution(seed=3, device="cuda")))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def metrics(ensemble, folder, device):
    config = TrainingConfig(n_steps=12, atoms_per_step=16, validate_every=6)
    execution = Execution(seed=3, directory=folder, device=device)
    trained = train([ensemble], NETWORK, config, execution)
    return torch.cat([each.flatten() for each in trained.parameters()]).detach().numpy()


def test_a_training_obeys_the_device_of_its_run(ensemble, tmp_path):
    expected = metrics(ensemble, tmp_path / "cpu", "cpu")
    with pretended_device() as device:
        found = metrics(ensemble, tmp_path / "gpu", "auto")
    assert device.operations > 500
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_step_of_training_waits_for_the_device_only_to_count_pairs(ensemble, tmp_path):
    with pretended_device() as device:
        config = TrainingConfig(n_steps=12, atoms_per_step=16)
        training = _Training([ensemble], NETWORK, config, Execution(seed=3, directory=tmp_path), "")
        before = device.looks
        training._take_step(0.5)
        assert device.looks - before == 3  # pairs, those near enough for the network, neighbours


def test_each_process_of_a_training_takes_its_gpu_before_they_talk(monkeypatch):
    calls = []
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", calls.append)
    Processes(torch.device("cuda", 1))
    assert calls == [torch.device("cuda", 1), "nccl"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_training_on_a_gpu_gives_the_weights_of_the_cpu(ensemble, tmp_path):
    expected = metrics(ensemble, tmp_path / "cpu", "cpu")
    found = metrics(ensemble, tmp_path / "gpu", "cuda")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_a_device_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto") == torch_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match=rf"device = {name} is not there: .* 0 CUDA device"):
        torch_device(name)
    with pytest.raises(ValueError, match="device = mps has no double precision"):
        torch_device("mps")


@pytest.mark.parametrize("variable", [WORKER, "LOCAL_RANK"])
def test_processes_take_the_gpus_in_turn(variable, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    taken = []
    for number in range(4):
        monkeypatch.setenv(variable, str(number))
        taken.append((torch_device("auto").index, torch_device("cuda:1").index))
    assert taken == [(0, 1), (1, 1), (0, 1), (1, 1)]
