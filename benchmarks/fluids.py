"""Models in mixtures and in fluids of other potentials, which none was trained on.

Each fluid has reference data of its own. Exact free energies are by `path_bar` with the last model
and, for mixtures, by `mbar_softcore`, which uses no network. The gap of a model is how far the
rigorous lower bound of its denoiser lies below their mean. `neural_ti_tethered` with the last model
stands beside, with the gap by its chains. With --without-lengths a further gap is that of the last
model if it saw all pairs in units of sigma. --chain-frames 0 leaves out the soft-core windows.
Drops need a longer --chain-equilibration, in MD steps, to condense. Finished parts are read from
OUTPUT. Usage:

    python benchmarks/fluids.py OUTPUT --models lj-fluid-t1.25 [DIR ...] [--only NAME ...]
    [--frames 300] [--pairs 128] [--tethered] [--without-lengths] [--chain-frames 0]
    [--chain-equilibration 6000]

Mixtures have N = 120. NAME at 0.8 is as dense as one fluid of rho* = 0.8: sum_ab x_a x_b
sigma_ab^3 N / V. Sizes and energies of `random` mixtures were drawn once. The free energy of the
soft atoms of Uhlenbeck and Ford is the published one (docs/published.md).
"""

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from openmm_nti import StatePoint
from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.units import GAS_CONSTANT_KJ_MOL_K
from openmm_nti.free_energy import FreeEnergy, Verdict
from openmm_nti.hamiltonian import NoisedFluid
from openmm_nti.hamiltonian.length_scale import LengthScale
from openmm_nti.model_files import load_denoiser
from openmm_nti.reference_md import ReferenceConfig, generate
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.estimators import softcore
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.model_bound import model_bound
from openmm_nti.validation.estimators.path_weights import PathConfig
from openmm_nti.validation.estimators.registry import estimator, section_config
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

SOFT_DENSITY = math.pi**-1.5  # the scaled density x = (pi sigma^2)^(3/2) rho / 2 is 1/2
# N a_ex of arXiv 2204.06744, and for the fixed N ln(chi) / 2 with chi = rho kT kappa_T = 0.043.
PUBLISHED = {"uhlenbeck-ford-25": (150 * 6.033 + 0.5 * math.log(0.043), 0.2)}


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
        edge = (n / SOFT_DENSITY) ** (1 / 3) if name in PUBLISHED else 6.0
        facts: dict[str, Any] = {"n_particles": n, "box_length_sigma": edge, "temperature_star": t}
        found[name] = StatePoint.model_validate({**facts, "potential": potential})
    return found


def unscaled(model: NoisedFluid) -> NoisedFluid:
    """Return the model with every pair in units of sigma, whatever its distance of 2 kT."""
    for module in model.modules():
        if isinstance(module, LengthScale):
            module.differs, module.length, module.log_length, module.longest = False, 1.0, 0.0, 1.0
    return model


def exact(name: str, job: Job, options: argparse.Namespace) -> dict[str, FreeEnergy]:
    """Return the free energies by the methods that fit the fluid, by name."""
    state = job.state
    if name in PUBLISHED:
        value, error = PUBLISHED[name]
        facts = {"convention": state.convention, "n_particles": state.n_particles}
        known = Verdict("none", "of the bulk")
        return {"published": FreeEnergy(value, error, method="published", verdict=known, **facts)}
    settings = PathConfig(n_paths=options.paths, n_steps=options.steps)
    found = {"path_bar": estimator("path_bar").estimate(job, settings)}
    if state.is_mixture and options.chain_frames:
        config = SoftcoreConfig(
            n_frames=options.chain_frames, equilibration=options.chain_equilibration
        )
        execution = job.execution.folder("softcore")
        found["mbar_softcore"] = softcore.estimate(state, config, execution=execution)
    return found


def mean(found: list[FreeEnergy]) -> FreeEnergy:
    """Return the mean of independent estimates, weighted by their errors."""
    weights = [one.std_err**-2 for one in found]
    value = sum(w * one.value for w, one in zip(weights, found, strict=True)) / sum(weights)
    return replace(found[0], value=value, std_err=sum(weights) ** -0.5)


def gap(
    model: NoisedFluid, ensemble: Ensemble, truth: FreeEnergy, n_pairs: int, execution: Execution
) -> str:
    """Return the gap of a model with its error, as text."""
    bound = model_bound(model, ensemble, 24, n_pairs, execution=execution)
    error = math.hypot(bound.std_err, truth.std_err)
    return f"{truth.value - bound.value:6.2f}({error:.2f})"


def main() -> None:
    """Print the table: free energies, and each model's gap, in kT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--models", nargs="+", default=["lj-fluid-t1.25"])
    parser.add_argument("--only", nargs="+", default=None)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=128)
    parser.add_argument("--paths", type=int, default=48)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--chain-frames", type=int, default=25)
    usual = SoftcoreConfig().equilibration
    parser.add_argument("--chain-equilibration", type=int, default=usual)
    parser.add_argument("--tethered", action="store_true")
    parser.add_argument("--without-lengths", action="store_true")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    for name, state in states().items():
        if options.only is not None and name not in options.only:
            continue
        execution = Execution(options.seed, 1, options.output / name.replace(" ", "_"), True)
        reference = ReferenceConfig(n_frames=options.frames)
        (ensemble,) = generate([state], reference, execution.folder("reference"))
        models = [load_denoiser(one) for one in options.models]
        job = Job(state, ensemble, models[-1], execution.folder("exact"))
        found = exact(name, job, options)
        truth = mean(list(found.values()))
        for method, one in found.items():
            print(
                f"{name:22s} {method:18s} {one.value:8.2f}({one.std_err:.2f})  {one.verdict.text}",
                flush=True,
            )
        for number, model in enumerate(models):
            folder = execution.child("bound").folder(number)  # the same noise for all
            print(
                f"{name:22s} gap of {options.models[number]:30s} "
                f"{gap(model, ensemble, truth, options.pairs, folder)}",
                flush=True,
            )
        if options.without_lengths:
            model = unscaled(load_denoiser(options.models[-1]).bind(state))
            folder = execution.child("bound").folder("unscaled")
            text = gap(model, ensemble, truth, options.pairs, folder)
            print(f"{name:22s} the same without lengths {text}", flush=True)
        if options.tethered:
            known = estimator("neural_ti_tethered")
            one = known.estimate(
                replace(job, execution=execution.folder("tethered")), section_config("bound")()
            )
            print(
                f"{name:22s} {known.name:18s} {one.value:8.2f}({one.std_err:.2f})  "
                f"{one.verdict.text}; gap {one.diagnostics.gap:.2f}({one.diagnostics.gap_err:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
