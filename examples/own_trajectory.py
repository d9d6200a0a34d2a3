"""The excess free energy of your own trajectory of the fluid, with a trained model.

The result is a figure; no more MD is needed.

Usage: python examples/own_trajectory.py TRAJECTORY [TOPOLOGY] [MODEL] [PATHS], where TOPOLOGY is
`-` for formats that contain it. N and the box are read from the trajectory; temperature
and cutoff must be those of the model (for argon and lj-fluid-t1.25: 149.75 K, cutoff 3 sigma,
switching from 2.5 sigma), at constant volume. For other particles than argon, set sigma_nm and
epsilon_kj_mol below. Writes own_trajectory.svg, and own_trajectory.csv with its numbers.
"""

import sys
import tempfile

from matplotlib.figure import Figure

import openmm_nti
from openmm_nti.model_files import load_denoiser
from openmm_nti.reference_md import from_trajectory
from openmm_nti.reference_md.trajectory import load_trajectory
from openmm_nti.validation import plots
from openmm_nti.validation.estimators import denoising_bound, path_weights
from openmm_nti.validation.estimators.denoising_bound import BoundConfig
from openmm_nti.validation.estimators.path_weights import PathConfig

if len(sys.argv) < 2:
    sys.exit(__doc__)
trajectory, topology, name, n_paths = (
    *sys.argv[1:],
    *("-", "lj-fluid-t1.25", "64")[len(sys.argv) - 2 :],
)
top = None if topology == "-" else topology
sigma_nm, epsilon_kj_mol = 0.3405, 0.9960726  # argon
score = load_denoiser(
    name
)  # what bounds and paths need of a model; the shipped one has a companion made for it
try:
    first = load_trajectory(trajectory, top)[0]
except ValueError as error:  # one line that says what to do
    sys.exit(str(error))
if first.unitcell_lengths is None:
    sys.exit(f"{trajectory} has no unit cell: save it with its periodic box")
state = openmm_nti.StatePoint(
    n_particles=first.n_atoms,
    box_sigma=[float(f"{edge / sigma_nm:.5g}") for edge in first.unitcell_lengths[0]],  # rounded
    sigma_nm=sigma_nm,
    epsilon_kj_mol=epsilon_kj_mol,
    **score.potential.model_dump(),
)

try:
    ensemble = from_trajectory(trajectory, top, state)
except ValueError as error:  # one line that says what to do
    sys.exit(str(error))
print(
    f"{state}: {ensemble.n_frames} decorrelated frames, <beta U> = "
    f"{ensemble.reduced_potentials.mean():.2f}"
)
with tempfile.TemporaryDirectory() as directory:
    config = PathConfig(n_paths=int(n_paths))
    works = path_weights.sample(score, ensemble, config, seed=1, directory=directory)
results = [
    denoising_bound.estimate(
        score,
        ensemble,
        BoundConfig(n_pairs=max(8, int(n_paths)), n_tethered=0),
        seed=1,
        progress=True,
    ),
    path_weights.estimate_bracket(works),
    path_weights.estimate_bar(works, seed=1),
]
bound, bracket, exact = results
facts = bracket.diagnostics
print(
    f"lower bound: {max(bound.value, facts['lower']):.2f} kT, upper bound: {facts['upper']:.2f} kT"
)
print(f"quote {exact}: {exact.verdict.text}")

ax = Figure(figsize=(6, 3), layout="constrained").add_subplot()
plots.estimates({result.method: (result.value, result.std_err) for result in results}, ax)
ax.set_title(f"β F_ex of {state.n_particles} particles ± 2 errors")
columns = {"beta_f_ex": [one.value for one in results], "std_err": [one.std_err for one in results]}
print(f"own_trajectory.svg, and its numbers: {plots.save(ax, 'own_trajectory.svg', columns)}")
