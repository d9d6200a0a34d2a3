"""Your own trajectory of the fluid in, its excess free energy out, with a trained model and no further simulation.

Usage: python examples/own_trajectory.py TRAJECTORY [TOPOLOGY] [MODEL] [PATHS], where TOPOLOGY is `-` for formats that
hold their own. The trajectory is of 40 argon atoms at constant volume: change the state below to what you simulated.
"""

import sys
import tempfile

import openmm_nti
from openmm_nti.reference_md import from_trajectory
from openmm_nti.validation import path_weights
from openmm_nti.validation.path_weights import PathConfig

if len(sys.argv) < 2:
    sys.exit(__doc__)
trajectory, topology, name, n_paths = (*sys.argv[1:], *("-", "lj-fluid-t1.25", "64")[len(sys.argv) - 2 :])
model = openmm_nti.load_model(name)
state = openmm_nti.StatePoint(n_particles=40, box_length_sigma=6.0, **model.potential.model_dump())

ensemble = from_trajectory(trajectory, None if topology == "-" else topology, state)
print(f"{ensemble.n_frames} decorrelated frames, <beta U> = {ensemble.reduced_potentials.mean():.2f}")
with tempfile.TemporaryDirectory() as directory:
    config = PathConfig(n_paths=int(n_paths))
    works = path_weights.sample(model, ensemble, config, seed=1, directory=directory, progress=False)
print(path_weights.estimate_bracket(works))
print(path_weights.estimate_bar(works, seed=1))
