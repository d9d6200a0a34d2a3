"""Networks against each other at equal time: how far each raises the lower bound on beta F_ex, at
every N.

Each is trained alone for the same minutes on the frames in DATA, from the same seed. Printed is the
gain over the two-body path's bound on held-out frames under the same noise for all, in kT, with its
standard error: differences between rows are far better known than the gains. Trainings that are
done are not repeated. Usage:

    openmm-nti generate examples/lj_pretrained.yaml --output pretrained OMP_NUM_THREADS=1 python
    benchmarks/networks.py networks pretrained/reference [--minutes 10] [--networks energy ...]
"""

import argparse
from pathlib import Path

from openmm_nti import Ensemble, NetworkConfig
from openmm_nti.model_files import read_card
from openmm_nti.training import TrainingConfig, train

_SEEN = {"cutoff_sigma": 1.8, "n_radial": 10, "n_channels": 12, "width": 128}
NETWORKS = {
    "energy": NetworkConfig(**_SEEN, n_refinements=2, n_moves=3),
    "energy, none moves": NetworkConfig(**_SEEN, n_refinements=0),
    "energy, 4 refinements": NetworkConfig(**_SEEN, n_refinements=4, n_moves=3),
    "painn": NetworkConfig(
        kind="painn", cutoff_sigma=2.0, n_radial=10, n_channels=32, n_refinements=3
    ),
    "denoiser": NetworkConfig(kind="denoiser", **_SEEN, n_refinements=2, n_moves=3),
    "denoiser, relaxations": NetworkConfig(
        kind="denoiser", **_SEEN, n_refinements=2, n_moves=3, n_relaxations=4
    ),
    "denoiser, 4 refinements": NetworkConfig(kind="denoiser", **_SEEN, n_refinements=4, n_moves=3),
}


def main() -> None:
    """Train what is not on disk, and print a row for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--atoms", type=int, default=800)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    ensembles = sorted(
        (Ensemble.load(path) for path in options.data.glob("*.h5")),
        key=lambda e: e.state.n_particles,
    )
    config = TrainingConfig(
        n_steps=10**6,
        max_minutes=options.minutes,
        atoms_per_step=options.atoms,
        validate_every=10**6,
    )
    print(
        f"{'network':25s} {'steps':>7s} "
        + " ".join(f"{f'N = {e.state.n_particles}':>12s}" for e in ensembles)
    )
    for name in options.networks:
        folder = options.output / name.replace(", ", "_").replace(" ", "_")
        train(ensembles, NETWORKS[name], config, seed=1, directory=folder, progress=True)
        facts = read_card(folder)["training"]
        gains = (facts["held_out"][ensemble.state.label] for ensemble in ensembles)
        cells = " ".join(f"{gain['gain_kt']:7.2f}({gain['gain_err']:.2f})" for gain in gains)
        print(f"{name:25s} {facts['steps']:7d} {cells}", flush=True)


if __name__ == "__main__":
    main()
