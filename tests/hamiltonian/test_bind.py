"""Models bound to other states: same weights, other tables; and what the training range allows."""

import math

import pytest
import torch
from models import make_random_model

from openmm_nti import LambdaHamiltonian, StatePoint, load_model, save_model
from openmm_nti.files import read_json, write_json
from openmm_nti.hamiltonian.geometry import cubic_box
from openmm_nti.hamiltonian.training_range import TrainingRange, check_model_fits, fit_model
from openmm_nti.model_files import CARD_FILE

COLD = StatePoint(n_particles=12, box_length_sigma=6.0, temperature_star=1.25)
HOT = COLD.model_copy(update={"temperature_star": 2.0})
LAM = torch.tensor([0.4, 0.9, 1.0], dtype=torch.float64)


def energies(model, positions):
    x = torch.as_tensor(positions[:1])
    with torch.no_grad():
        return model(x.expand(3, -1, -1), cubic_box(6.0), LAM)


def test_a_bound_model_has_the_tables_of_the_state(fluid_positions):
    model = make_random_model(COLD)
    before = energies(model, fluid_positions)
    bound = model.bind(HOT)
    x, box = torch.as_tensor(fluid_positions[:1]).expand(3, -1, -1), cubic_box(6.0)
    log_s = torch.tensor([-3.0, -1.5, 0.0], dtype=torch.float64)
    made = LambdaHamiltonian(HOT.pair_potential)
    assert (bound.pair_energy(x, box, log_s) == made.pair_energy(x, box, log_s)).all()
    assert (bound.end.energy(x, box) == made.end.energy(x, box)).all()
    assert (energies(model, fluid_positions) == before).all()
    assert not (before == energies(bound, fluid_positions)).any()
    assert next(bound.network.parameters()) is next(model.network.parameters())
    assert model.bind(COLD) is model
    assert bound.bind(HOT) is bound


def test_in_another_fluid_the_network_sees_distances_in_units_of_its_pairs(fluid_positions):
    model = make_random_model(COLD)
    bound = model.bind(HOT)
    # 2 kT: r^6 = 2 / (1 + sqrt(1 + T*))
    lengths = [
        (2 / (1 + (1 + state.temperature_star * 2) ** 0.5)) ** (1 / 6) for state in (COLD, HOT)
    ]
    ratio = lengths[1] / lengths[0]
    assert bound.scale.length == pytest.approx(ratio, rel=1e-9)
    assert 0.97 < ratio < 0.99
    x = torch.as_tensor(fluid_positions[:1])
    log_s = torch.tensor([-1.5], dtype=torch.float64)
    scaled = model.network_energy(x / ratio, cubic_box(6.0 / ratio), log_s - math.log(ratio))
    found = bound.network_energy(x, cubic_box(6.0), log_s)
    torch.testing.assert_close(found, scaled, rtol=1e-4, atol=0)  # s_min is not scaled


def test_outside_of_the_training_range_there_is_a_warning():
    check_model_fits(LambdaHamiltonian(COLD.pair_potential), HOT)  # nothing was trained
    model = make_random_model(COLD)
    check_model_fits(model, COLD)
    with pytest.warns(UserWarning, match=r"temperature_star = 1\.25 in the model, 2\.0 in the st"):
        check_model_fits(model, HOT)
    model.training_range = TrainingRange((1.0, 2.5))
    check_model_fits(model, HOT)
    short = HOT.model_copy(update={"cutoff_sigma": 2.8})
    with pytest.warns(UserWarning, match=r"cutoff_sigma = 3\.0 in the model, 2\.8 in the state"):
        assert fit_model(model, short).cutoff == 2.8


def test_the_card_keeps_range_and_potential_and_an_old_card_is_read(tmp_path, fluid_positions):
    model = make_random_model(COLD)
    save_model(model, tmp_path, trained_on=[COLD])
    card = read_json(tmp_path / CARD_FILE)
    assert card["format"] == 3
    assert card["potential"]["potential"] == {"type": "lennard_jones"}
    assert card["range"]["temperature_star"] == [1.25, 1.25]
    loaded = load_model(tmp_path)
    assert loaded.training_range == TrainingRange.of(COLD.pair_potential, [COLD])
    assert (energies(loaded, fluid_positions) == energies(model, fluid_positions)).all()
    old = {
        key: value for key, value in card.items() if key not in ("range", "reference", "checksums")
    }
    del old["potential"]["potential"]
    write_json(tmp_path / CARD_FILE, {**old, "format": 1})
    again = load_model(tmp_path)
    assert again.training_range == loaded.training_range
    assert (energies(again, fluid_positions) == energies(model, fluid_positions)).all()
    write_json(tmp_path / CARD_FILE, {**card, "format": 4})
    with pytest.raises(ValueError, match="not a model card of format 1 or 2 or 3"):
        load_model(tmp_path)
