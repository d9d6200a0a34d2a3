"""A free energy of a small box beside the published one of the bulk fluid with the full potential.

In a box that is wide beside the correlations, the canonical free energy of N particles differs from
that of the bulk by the fluctuations of N that it leaves out, those of the ideal gas likewise:

    beta F_ex = N a_ex + ln(chi) / 2,    chi = rho kT kappa_T

What the cutoff took off comes back by <W> - var(W) / 2 per particle, with the energy W of pairs in
the full potential less that in the run's. FRAMES are of a larger box, in which pairs are counted to
half of its edge; g(r) = 1 beyond. Potentials that end by themselves (`force_shifted` as published)
need no frames. Usage:

    openmm-nti generate benchmarks/published/mie.yaml --set system.n_particles=500
    --set reference.n_frames=40 --output large
    python benchmarks/published/compare.py mie14 VALUE STD_ERR N [large/reference/*.h5]
"""

import argparse
import math
from pathlib import Path

import numpy as np

from openmm_nti import Ensemble, StatePoint
from openmm_nti.files import read_json
from openmm_nti.fluid.energy import pair_energy, squared_distances

ROWS = Path(__file__).parent / "values.json"
_FAR = 60.0  # sigma


def size_correction(chi: float, n_particles: int) -> float:
    """Return what the bulk adds to beta F_ex / N of a box; exact for hard rods on a ring."""
    return -0.5 * math.log(chi) / n_particles


def removed(r_squared: np.ndarray, state: StatePoint) -> np.ndarray:
    """Return the pair energy in the full potential less that in the state's, kT; any shape."""
    full = state.pair_potential.pair.energy_numpy(r_squared)
    return (full - pair_energy(r_squared, state)) / state.temperature_star


def cutoff_correction(ensemble: Ensemble) -> tuple[float, float]:
    """Return what the full potential adds to a_ex, and the standard error of its mean, kT."""
    state = ensemble.state
    half, n = 0.5 * state.shortest_edge_sigma, state.n_particles
    inside = np.zeros(len(ensemble.positions_sigma))
    for r_squared in squared_distances(ensemble.positions_sigma, state):
        inside += np.where(r_squared < half**2, removed(r_squared, state), 0.0).sum(axis=-1)
    r = np.geomspace(half, _FAR, 4001)
    shell = 2 * math.pi * state.density_star * r**2 * removed(r**2, state)
    beyond = float(np.trapezoid(shell, r))
    error = inside.std(ddof=1) / math.sqrt(len(inside))
    return (inside.mean() - 0.5 * inside.var(ddof=1)) / n + beyond, error / n


def main() -> None:
    """Print a row of the table: published, own with its error, and whether they agree."""
    rows = read_json(ROWS)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=rows)
    parser.add_argument("value", type=float, help="beta F_ex of the run")
    parser.add_argument("std_err", type=float)
    parser.add_argument("n_particles", type=int)
    parser.add_argument("frames", type=Path, nargs="?")
    options = parser.parse_args()
    row, n = rows[options.name], options.n_particles
    of_size = size_correction(row["chi"], n)
    of_cutoff, error = (
        cutoff_correction(Ensemble.load(options.frames)) if options.frames else (0.0, 0.0)
    )
    own = options.value / n + of_size + of_cutoff
    error = math.hypot(error, options.std_err / n)
    agrees = abs(own - row["a_ex"]) <= row["tolerance"] + 2 * error
    print(
        f"{options.name}: {options.value / n:.4f} of the box {of_size:+.4f} for its size "
        f"{of_cutoff:+.4f} for the cutoff = {own:.4f}({error:.4f}); published {row['a_ex']} "
        f"within {row['tolerance']}: {'agrees' if agrees else 'DIFFERS'}"
    )


if __name__ == "__main__":
    main()
