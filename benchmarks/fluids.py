"""The gap of models in mixtures and in fluids of other potentials, which none was trained on.

The truth is `mbar_softcore`, which uses no network. The gap is how far the rigorous lower bound of
a model's denoiser lies below it. Finished parts are read from OUTPUT, so a second model costs its
bounds alone. Usage:

    python benchmarks/fluids.py OUTPUT --models lj-fluid-t1.25 [DIR ...] [--only NAME ...]
    [--frames 300] [--pairs 128]

Mixtures have N = 120. NAME at 0.8 is as dense as one fluid of rho* = 0.8: sum_ab x_a x_b
sigma_ab^3 N / V. Sizes and energies of `random` mixtures were drawn once.
"""

import argparse
import math
from pathlib import Path
from typing import Any

from openmm_nti import StatePoint
from openmm_nti.fluid.units import GAS_CONSTANT_KJ_MOL_K
from openmm_nti.model_files import load_denoiser
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators import softcore
from openmm_nti.validation.estimators.model_bound import model_bound
from openmm_nti.validation.estimators.softcore import SoftcoreConfig

SIGMA, EPSILON, N = 0.3405, 0.99607, 120
# Size and energy of the second species, its share, and T* of the first.
MIXTURES = {
    "argon-krypton": (1.067, 1.369, 0.5, 1.25),
    "small-deep": (0.9, 1.3, 0.5, 1.25),
    "random-1": (0.78, 0.62, 0.35, 1.1),
    "random-2": (1.22, 1.77, 0.3, 2.2),
}
POTENTIALS = {
    "mie-10": ({"type": "mie", "repulsive": 10}, 1.25, 160),
    "mie-14": ({"type": "mie", "repulsive": 14}, 1.25, 160),
    "wca": ({"type": "wca"}, 1.25, 160),
    "uhlenbeck-ford-25": ({"type": "uhlenbeck_ford"}, 1 / 25, 150),
}


def mixture(size: float, energy: float, share: float, t: float, packing: float) -> StatePoint:
    """Return a mixture of N atoms as dense as one fluid of rho* = `packing`."""
    x, n = (1 - share, share), (round(N * (1 - share)), round(N * share))
    mean = x[0] ** 2 + 2 * x[0] * x[1] * ((1 + size) / 2) ** 3 + x[1] ** 2 * size**3
    edge = (N * mean / packing) ** (1 / 3)
    cutoff = min(3.0 * max(1.0, size), 0.4999 * edge)
    atoms = {"mass_dalton": 39.948}
    return StatePoint.model_validate(
        {
            "temperature_kelvin": t * EPSILON / GAS_CONSTANT_KJ_MOL_K,
            "box_length_nm": edge * SIGMA,
            "species": {
                "A": {"n_particles": n[0], "sigma_nm": SIGMA, "epsilon_kj_mol": EPSILON, **atoms},
                "B": {
                    "n_particles": n[1],
                    "sigma_nm": size * SIGMA,
                    "epsilon_kj_mol": energy * EPSILON,
                    **atoms,
                },
            },
            "potential": {
                "type": "lennard_jones",
                "cutoff_nm": cutoff * SIGMA,
                "switch_nm": 0.85 * cutoff * SIGMA,
            },
        }
    )


def states() -> dict[str, StatePoint]:
    """Return all state points by their names."""
    found = {
        f"{name} at {packing:g}": mixture(*facts, packing)
        for packing in (0.45, 0.8)
        for name, facts in MIXTURES.items()
    }
    for name, (potential, t, n) in POTENTIALS.items():
        # Two soft atoms of this depth have 2 kT at 1.6 sigma, and the network sees 2.3 of those.
        edge = 7.9 if name == "uhlenbeck-ford-25" else 6.0
        facts: dict[str, Any] = {"n_particles": n, "box_length_sigma": edge, "temperature_star": t}
        found[name] = StatePoint.model_validate({**facts, "potential": potential})
    return found


def main() -> None:
    """Print the table: beta F_ex by soft-core windows, and each model's gap, in kT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--models", nargs="+", default=["lj-fluid-t1.25"])
    parser.add_argument("--only", nargs="+", default=None)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--chain-frames", type=int, default=25)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    models = {str(name): load_denoiser(name) for name in options.models}
    config = SoftcoreConfig(n_frames=options.chain_frames)
    print(f"{'fluid':22s} {'beta F_ex':>15s}  gap of {', '.join(models)}", flush=True)
    for name, state in states().items():
        if options.only is not None and name not in options.only:
            continue
        execution = Execution(options.seed, 1, options.output / name.replace(" ", "_"), True)
        reference = ReferenceConfig(n_frames=options.frames)
        (ensemble,) = generate([state], reference, execution.folder("reference"))
        truth = softcore.estimate(state, config, execution=execution.folder("softcore"))
        gaps = []
        for number, model in enumerate(models.values()):
            folder = execution.child("bound").folder(number)  # the same noise for all
            bound = model_bound(model, ensemble, 24, options.pairs, execution=folder)
            error = math.hypot(bound.std_err, truth.std_err)
            gaps.append(f"{truth.value - bound.value:6.2f}({error:.2f})")
        print(
            f"{name:22s} {truth.value:8.2f}({truth.std_err:.2f})  {'  '.join(gaps)}  "
            f"{ensemble.n_independent:.0f} frames, {truth.verdict.text}",
            flush=True,
        )


if __name__ == "__main__":
    main()
