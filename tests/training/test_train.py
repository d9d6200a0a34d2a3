"""Training lowers the loss, repeats, survives being killed at any checkpoint, and refuses what does
not belong.
"""

import json
import math
import shutil
import sys

import pytest
import torch
from exact import exact_ensemble
from models import make_random_model

from openmm_nti import LambdaHamiltonian, NetworkConfig, StatePoint, load_model
from openmm_nti.model_files import read_card, training_core_seconds, write_card
from openmm_nti.training import TrainingConfig, train
from openmm_nti.training.checkpoint import CHECKPOINT_FILE
from openmm_nti.training.held_out import HeldOut
from openmm_nti.training.loss import score_loss
from openmm_nti.training.targets import (
    CleanData,
    antithetic_batch,
    noise_batch,
    stratified_log_noise,
)
from openmm_nti.validation.estimators import denoising_bound

NETWORK = NetworkConfig(n_radial=6, n_channels=3, width=16, n_refinements=1)
CONFIG = TrainingConfig(n_steps=12, validate_every=4, atoms_per_step=32, warmup_steps=2)
STATES = [StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=1.25) for n in (2, 3)]


@pytest.fixture(scope="module")
def ensembles():
    return [exact_ensemble(state, 60) for state in STATES]


@pytest.fixture(scope="module")
def undisturbed(ensembles, tmp_path_factory):
    directory = tmp_path_factory.mktemp("undisturbed")
    return train(ensembles, NETWORK, CONFIG, seed=4, directory=directory, progress=False), directory


def weights(model):
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


def validation_losses(directory):
    return [
        json.loads(line)["validation_loss"]
        for line in (directory / "metrics.jsonl").read_text().splitlines()
    ]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("steps_before", [3, 4, 9])
def test_a_killed_training_resumes_to_the_same_weights(
    steps_before, ensembles, undisturbed, tmp_path, monkeypatch
):
    module = sys.modules["openmm_nti.training.train"]
    step = module._Training._take_step
    taken = []

    def interrupted(self, share):
        if len(taken) == steps_before:
            raise Killed
        taken.append(share)
        return step(self, share)

    monkeypatch.setattr(module._Training, "_take_step", interrupted)
    with pytest.raises(Killed):
        train(ensembles, NETWORK, CONFIG, seed=4, directory=tmp_path, progress=False)
    monkeypatch.setattr(module._Training, "_take_step", step)
    model = train(ensembles, NETWORK, CONFIG, seed=4, directory=tmp_path, progress=False)
    assert torch.equal(weights(model), weights(undisturbed[0]))
    assert validation_losses(tmp_path) == validation_losses(undisturbed[1])


def test_a_finished_training_is_taken_up(ensembles, undisturbed):
    again = train(ensembles, NETWORK, CONFIG, seed=4, directory=undisturbed[1], progress=False)
    assert torch.equal(weights(again), weights(undisturbed[0]))


def test_another_seed_gives_another_model(ensembles, undisturbed, tmp_path):
    other = train(ensembles, NETWORK, CONFIG, seed=5, directory=tmp_path, progress=False)
    assert not torch.allclose(weights(other), weights(undisturbed[0]))


def test_the_card_says_what_the_model_is(undisturbed):
    card = read_card(undisturbed[1])
    assert [state["n_particles"] for state in card["trained_on"]] == [2, 3]
    assert card["training"]["steps"] == 12
    assert card["provenance"]["seed"] == 4


@pytest.mark.parametrize("kind", ["density", "denoiser"])
def test_training_lowers_the_held_out_loss(kind, tmp_path):
    """What the network learns helps on frames it never saw: a compressed trio, where many-body
    terms are large.
    """
    state = StatePoint(
        n_particles=3,
        box_length_sigma=2.6,
        temperature_star=1.25,
        cutoff_sigma=1.3,
        switch_sigma=1.2,
    )
    training = TrainingConfig(n_steps=200, validate_every=100, atoms_per_step=192, ema_decay=0.98)
    ensemble = exact_ensemble(state, 400)
    network = NETWORK.model_copy(update={"kind": kind})
    model = train([ensemble], network, training, seed=1, directory=tmp_path, progress=False)
    bare = held_out_loss_of(LambdaHamiltonian(state.pair_potential), ensemble)
    assert held_out_loss_of(model, ensemble) < bare - 0.002


def held_out_loss_of(model, ensemble):
    """Mean loss over frames of another seed, with the same noise for every model."""
    fresh = CleanData.from_ensemble(exact_ensemble(ensemble.state, 2000, seed=9), model, "cpu")
    generator = torch.Generator().manual_seed(2)
    levels = stratified_log_noise(2000, -4.0, 0.0, generator)
    z = torch.randn(fresh.positions.shape, generator=generator, dtype=torch.float64)
    losses = [
        score_loss(model, batch, create_graph=False)
        for batch in noise_batch(fresh, levels, z).split(500)
    ]
    return float(torch.stack(losses).mean())


@pytest.mark.slow
def test_the_gain_on_held_out_frames_is_the_difference_of_two_bounds():
    state = StatePoint(
        n_particles=3,
        box_length_sigma=2.6,
        temperature_star=1.25,
        cutoff_sigma=1.3,
        switch_sigma=1.2,
    )
    ensemble = exact_ensemble(state, 3000)
    bare, model = LambdaHamiltonian(state.pair_potential), make_random_model(state)
    for parameter in model.parameters():
        parameter.mul_(0.5)
    clean = CleanData.from_ensemble(ensemble, model, "cpu")
    low, high = math.log(0.006), math.log(1.3)
    generator = torch.Generator().manual_seed(3)
    gains = [HeldOut("trio", clean, model, low, high, generator).evaluate(model) for _ in range(40)]
    mean = sum(gain["gain_kt"] for gain in gains) / len(gains)
    error = math.hypot(*(gain["gain_err"] for gain in gains)) / len(gains)
    effort = denoising_bound.BoundConfig(n_levels=24, n_pairs=1500, n_tethered=0)
    difference = [
        denoising_bound.estimate(each, ensemble, effort, seed=2) for each in (model, bare)
    ]
    expected = difference[0].value - difference[1].value
    assert error < 0.2 * abs(expected)
    assert abs(mean - expected) < 3 * math.hypot(
        error, difference[0].std_err, difference[1].std_err
    )
    of_itself = HeldOut("trio", clean, bare, low, high, generator).evaluate(bare)["gain_kt"]
    assert of_itself == pytest.approx(0.0, abs=1e-12)


def test_a_training_may_start_from_a_finished_model(ensembles, undisturbed, tmp_path):
    """One step of no size leaves its weights, in another fluid too; another network is refused."""
    start = tmp_path / "start"
    shutil.copytree(undisturbed[1], start)
    card = read_card(start)
    write_card(start, {**card, "training": {**card["training"], "core_seconds": 1000.0}})
    again = CONFIG.model_copy(
        update={"start_from": str(start), "n_steps": 1, "learning_rate": 1e-12}
    )
    model = train(ensembles, NETWORK, again, seed=5, directory=tmp_path, progress=False)
    torch.testing.assert_close(weights(model), weights(undisturbed[0]), rtol=1e-6, atol=1e-6)
    cost = read_card(tmp_path)["training"]["seconds"]
    assert training_core_seconds(tmp_path) == pytest.approx(
        training_core_seconds(start) + cost, abs=0.11
    )
    hotter = exact_ensemble(STATES[0].model_copy(update={"temperature_star": 2.0}), 20)
    model = train([hotter], NETWORK, again, seed=5, directory=tmp_path / "hot", progress=False)
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, undisturbed[0].network.state_dict()[name])
    wider = NETWORK.model_copy(update={"width": 24})
    with pytest.raises(ValueError, match="start_from: the model at .* is of another network"):
        train(ensembles, wider, again, seed=5, directory=tmp_path / "wider", progress=False)


@pytest.mark.parametrize(
    ("kind", "n_relaxations"), [("density", 0), ("denoiser", 0), ("denoiser", 2)]
)
def test_a_larger_network_starts_as_the_smaller_one(kind, n_relaxations, ensembles, tmp_path):
    """The same gradients before the first step, and others after it."""
    small = NETWORK.model_copy(update={"kind": kind})
    before = train(ensembles, small, CONFIG, seed=4, directory=tmp_path / "small", progress=False)
    larger = small.model_copy(update={"n_refinements": 3, "n_relaxations": n_relaxations})
    clean, generator = (
        CleanData.from_ensemble(ensembles[1], before, "cpu"),
        torch.Generator().manual_seed(1),
    )
    batch = antithetic_batch(
        clean, torch.arange(8), torch.full((8,), -1.5, dtype=torch.float64), generator
    )
    gradients = [before.gradient(batch.positions, batch.box, batch.log_s)]
    for rate in (1e-12, 1e-2):
        config = CONFIG.model_copy(
            update={"start_from": str(tmp_path / "small"), "n_steps": 2, "learning_rate": rate}
        )
        after = train(
            ensembles, larger, config, seed=5, directory=tmp_path / str(rate), progress=False
        )
        gradients.append(after.gradient(batch.positions, batch.box, batch.log_s))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-6)
    assert (gradients[2] - gradients[0]).abs().max() > 1e-3
    again = CONFIG.model_copy(update={"start_from": str(tmp_path / "0.01")})
    with pytest.raises(
        ValueError,
        match="only n_refinements may be larger here, and n_relaxations or conditioned where",
    ):
        train(ensembles, small, again, seed=5, directory=tmp_path / "smaller", progress=False)


def test_a_time_budget_ends_the_training(ensembles, tmp_path):
    config = CONFIG.model_copy(update={"n_steps": 10**6, "max_minutes": 1e-3})
    train(ensembles, NETWORK, config, seed=1, directory=tmp_path, progress=False)
    assert read_card(tmp_path)["training"]["steps"] < 10**5


def test_other_inputs_in_the_directory_are_refused(ensembles, undisturbed):
    with pytest.raises(ValueError, match="another configuration or other data"):
        train(ensembles[:1], NETWORK, CONFIG, seed=4, directory=undisturbed[1], progress=False)


def test_a_truncated_checkpoint_is_named(ensembles, undisturbed, tmp_path):
    whole = (undisturbed[1] / CHECKPOINT_FILE).read_bytes()
    (tmp_path / CHECKPOINT_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated or no checkpoint.*delete it"):
        train(ensembles, NETWORK, CONFIG, seed=4, directory=tmp_path, progress=False)


def test_mixed_potentials_are_refused(ensembles, tmp_path):
    warm = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=2.0)
    with pytest.raises(ValueError, match="differ in temperature"):
        train(
            [*ensembles, exact_ensemble(warm, 10)],
            NETWORK,
            CONFIG,
            seed=1,
            directory=tmp_path,
            progress=False,
        )


def test_a_saved_model_comes_back_whole(undisturbed, tmp_path):
    model, directory = undisturbed
    assert (
        len({(directory / name).stat().st_mode for name in ("model.json", "model.safetensors")})
        == 1
    )
    positions = torch.rand(3, 5, 3, dtype=torch.float64) * 6
    box, lam = (
        torch.full((3,), 6.0, dtype=torch.float64),
        torch.tensor([0.2, 0.6, 1.0], dtype=torch.float64),
    )
    loaded = load_model(directory / "model.json")
    assert torch.equal(loaded(positions, box, lam), model(positions, box, lam))
    damaged = (directory / "model.safetensors").read_bytes()[:-100]
    (tmp_path / "model.safetensors").write_bytes(damaged)
    (tmp_path / "model.json").write_text((directory / "model.json").read_text())
    with pytest.raises(ValueError, match="truncated or damaged"):
        load_model(tmp_path)
    with pytest.raises(ValueError, match="no model at"):
        load_model(tmp_path / "elsewhere" / "nothing")
    assert isinstance(loaded, LambdaHamiltonian)
