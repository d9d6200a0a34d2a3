"""Copies of frames: known in whatever way they were made, and where frames may repeat."""

import numpy as np
import pytest
from contexts import simulated

from openmm_nti import Ensemble, StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy, truncation_log_weights
from openmm_nti.reference_md._motion import distinct_frames
from openmm_nti.reference_md.frame_checks import KEY, checked

STATE = StatePoint(n_particles=40, box_length_sigma=6, temperature_star=1.25)
BOX = STATE.box_length_nm


@pytest.fixture(scope="module")
def frames():
    return simulated(STATE, 60)


@pytest.mark.parametrize(
    "copy",
    [
        lambda xyz: xyz,
        lambda xyz: np.round(xyz, 3),
        lambda xyz: (xyz + BOX / 3) % BOX,
        lambda xyz: xyz[:, ::-1],
        lambda xyz: np.round(xyz[..., [1, 2, 0]] * np.array([-1, 1, 1]), 3),
    ],
    ids=["same", "rounded", "shifted", "renumbered", "turned and mirrored"],
)
def test_copies_are_known_however_they_were_written(copy, frames):
    both = np.concatenate([frames.xyz, copy(frames.xyz)]) / STATE.sigma_nm
    assert distinct_frames(both, STATE).tolist() == list(range(60))


def test_copies_in_a_stored_ensemble_of_a_plain_cutoff(frames):
    """Drawn by weight, a frame may be there twice in a row: more often, or later, is a copy."""
    state = STATE.model_copy(update={"convention": "truncated"})
    log_weights = truncation_log_weights(frames.xyz / state.sigma_nm, state)
    drawn = np.repeat(np.arange(60), 1 + (np.arange(60) == np.argmax(log_weights)))
    copied = np.concatenate([drawn, np.repeat(59, 20), np.arange(30)])

    def left_out(chosen):
        positions = frames.xyz[chosen].astype(np.float64)
        energies = reduced_potential_numpy(positions / state.sigma_nm, state)
        return checked(Ensemble(state, positions, energies, {}), "file").provenance[KEY]

    assert left_out(drawn).get("n_repeated", 0) == 0
    assert left_out(copied)["n_repeated"] in {49, 50}
