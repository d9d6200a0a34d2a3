"""Every estimator on samples that a test hands in: NaN, infinity, nothing, or equal ones."""

import math
from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import torch
from crystal_cases import cases as of_crystals
from windows import harmonic_windows

from openmm_nti import LambdaHamiltonian
from openmm_nti.runtime.context import Execution
from openmm_nti.testing.two_particles import TWO_PARTICLES, exact_samples
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import (
    estimate_bar,
    estimate_mbar,
    estimate_ti,
)
from openmm_nti.validation.estimators import (
    bar_chain,
    decoupling,
    denoising_bound,
    eos,
    neural_ti,
    noised_ti,
    path_weights,
    tethered,
    ufm_switching,
    widom,
)
from openmm_nti.validation.estimators.staged import path_stages
from openmm_nti.validation.sampling.insertion import Works as ChainWorks
from openmm_nti.validation.sampling.paths.stages import Staged, StageWorks
from openmm_nti.validation.sampling.reverse_diffusion import ReverseDiffusion, Trajectories
from openmm_nti.validation.sampling.uhlenbeck_ford.path import UhlenbeckFordPath

STATE = TWO_PARTICLES
DATA = exact_samples(40, np.random.default_rng(1))
MODEL = LambdaHamiltonian(STATE.pair_potential).eval().requires_grad_(False)


@dataclass(frozen=True)
class Case:
    """One estimator: samples that are fine, and the estimate from samples."""

    samples: dict
    run: object  # from the arrays by name


def windows(**arrays):
    lambdas, chain = np.linspace(0, 1, 4), np.repeat(np.arange(8), 4)
    return WindowData(lambdas, chain=chain, **arrays)


def window_samples():
    data, _ = harmonic_windows(np.random.default_rng(2), n=32, n_windows=4, dimensions=3)
    controls = np.random.default_rng(3).standard_normal((4, 32, 1))
    return {"u_kln": data.u_kln, "dudl": data.dudl, "control_variates": controls}


def ufm_samples():
    data, _ = harmonic_windows(np.random.default_rng(2), n=32, n_windows=5, dimensions=3)
    return {"u_kln": data.u_kln, "dudl": data.dudl} | path_samples()


def ufm_estimate(u_kln, dudl, forward, reverse):
    lambdas, chain = np.linspace(0, 1, 5), np.repeat(np.arange(8), 4)
    data = WindowData(lambdas, u_kln, dudl, chain)
    path = UhlenbeckFordPath(STATE, 50, 0.5)
    ramps = {"forward": forward, "reverse": -reverse}
    return ufm_switching.from_samples(data, ramps, path, Execution())


def works(forward, reverse):
    return path_weights.Works(STATE, forward, reverse)


def path_samples():
    rng = np.random.default_rng(4)
    return {"forward": rng.normal(-3.5, 1.0, 64), "reverse": rng.normal(-2.5, 1.0, 64)}


def staged(forward, reverse, drift_z):
    chain = np.arange(len(forward))
    stage = StageWorks(forward, reverse, chain, chain)
    cuts = np.array([0.0, 0.2, 3.0])
    return path_stages.estimate(Staged([stage, stage], cuts, drift_z), STATE, seed=1)


def chain_estimate(insertions, removals, drift_z):
    one = ChainWorks(insertions, removals, float(drift_z[0]))
    return bar_chain.estimate_chain([one, one], STATE, seed=1)


def chain_samples():
    rng = np.random.default_rng(5)
    return {
        "insertions": rng.normal(0.5, 1.0, (16, 400)),
        "removals": rng.normal(-0.5, 1.0, (16, 20)),
        "drift_z": np.array([0.3]),
    }


def reverse_diffusion(dudl, work):
    found = Trajectories(dudl, work, np.zeros((len(dudl), 2, 3)))
    config = neural_ti.NeuralTIConfig(n_samples=16, n_steps=10, corrector_steps=0)
    with patch.object(ReverseDiffusion, "run", lambda *_: found):
        return neural_ti.estimate(MODEL, STATE, config, seed=1)


def noised(dudl):
    config = noised_ti.NoisedTIConfig(n_levels=8)
    with patch.object(noised_ti, "_slopes", lambda *_: dudl):
        return noised_ti.estimate(MODEL, DATA, config, seed=1)


def insertions(factors):
    with patch.object(widom, "_boltzmann_factors", lambda *_: factors):
        return widom.estimate(DATA, seed=1)


def bound(integrand):
    """The first gradients that the bound asks for have `integrand` added."""
    plain, config = MODEL.gradient, denoising_bound.BoundConfig(n_levels=4, n_pairs=8, n_tethered=0)

    def gradient(positions, box, log_s):
        return plain(positions, box, log_s) + torch.from_numpy(integrand[: len(positions)])

    with patch.object(LambdaHamiltonian, "gradient", staticmethod(gradient)):
        return denoising_bound.estimate(MODEL, DATA, config, seed=1)


def chains(lower, middle, upper):
    found = {"lower": lower, "middle": middle, "upper": upper}
    config = denoising_bound.BoundConfig(n_levels=4, n_pairs=8, n_tethered=4)
    with patch.object(tethered, "_gaps", lambda *_: found):
        return denoising_bound.estimate_tethered(MODEL, DATA, config, seed=1)


def equation(bulk, other, densities):
    def fluid(value):
        return SimpleNamespace(
            get_Ar00=lambda *_: value[0], pure_VLE_T=lambda *_: (densities[1], densities[0])
        )

    with patch.object(eos, "_equations", lambda: (fluid(bulk), fluid(other))):
        return eos.estimate(STATE)


RNG = np.random.default_rng(6)
CASES = {
    "path_bar": Case(path_samples(), lambda **a: path_weights.estimate_bar(works(**a), seed=1)),
    "path_bracket": Case(path_samples(), lambda **a: path_weights.estimate_bracket(works(**a))),
    "path_stages": Case(path_samples() | {"drift_z": np.array([0.3])}, staged),
    "mbar_neural": Case(
        window_samples(), lambda **a: estimate_mbar(windows(**a), STATE, method="m", seed=1)
    ),
    "bar_neural": Case(
        window_samples(), lambda **a: estimate_bar(windows(**a), STATE, method="b", seed=1)
    ),
    "ti_neural_md": Case(
        window_samples(), lambda **a: estimate_ti(windows(**a), STATE, method="t", seed=1)
    ),
    "mbar_softcore": Case(
        {name: window_samples()[name] for name in ("u_kln", "dudl")},
        lambda **a: estimate_mbar(windows(**a), STATE, method="s", seed=1),
    ),
    "mu_decoupling": Case(
        {name: window_samples()[name] for name in ("u_kln", "dudl")},
        lambda **a: decoupling.from_windows(windows(**a), STATE, seed=1),
    ),
    "ufm_switching": Case(ufm_samples(), ufm_estimate),
    "bar_chain": Case(chain_samples(), chain_estimate),
    "neural_ti": Case(
        {"dudl": RNG.normal(-1.0, 0.1, (16, 11)), "work": RNG.normal(0.0, 0.1, (16, 10))},
        reverse_diffusion,
    ),
    "neural_ti_noised": Case({"dudl": RNG.normal(-1.0, 0.1, (16, 9))}, noised),
    "widom": Case({"factors": RNG.uniform(0.5, 1.5, (40, 50))}, insertions),
    "neural_ti_bound": Case({"integrand": RNG.normal(0.0, 0.1, (32, 2, 3))}, bound),
    "neural_ti_tethered": Case(
        {name: RNG.normal(0.1, 0.1, 4) for name in ("lower", "middle", "upper")}, chains
    ),
    "eos": Case(
        {
            "bulk": np.array([-0.5]),
            "other": np.array([-0.6]),
            "densities": np.array([0.05, 0.7]),
        },
        equation,
    ),
    **{name: Case(*case) for name, case in of_crystals(window_samples, path_samples).items()},
}
# A neighbour forbids a configuration: +infinity is a sample like others, but for its own window.
MAY_BE_INFINITE = {"u_kln"}
# A density of coexistence decides the verdict of the equation of state, and no error.
DECIDE_THE_VERDICT_ALONE = {"densities"}
# What decides no error: controls, a drift, works of the reverse diffusion, an equation of state.
MAY_BE_CONSTANT = {
    ("path_stages", "drift_z"),
    *((name, "control_variates") for name in ("mbar_neural", "bar_neural", "ti_neural_md")),
    ("bar_chain", "drift_z"),
    ("neural_ti", "work"),
    ("neural_ti_bound", "integrand"),
    ("crystal_bound", "bound"),
    ("eos", "bulk"),
    ("eos", "other"),
    ("eos", "densities"),
}
# The bound's integrand and an equation of state have errors of other sources.
NO_SPREAD_OF_THEIR_OWN = {"neural_ti_bound", "eos"}


def outcome(run):
    """Return `refused` with one line, or the estimate; anything else is raised."""
    try:
        found = run()
    except (ValueError, RuntimeError) as error:
        text = str(error)
        assert len(text.splitlines()) == 1, f"not one line: {text!r}"
        return "refused"
    assert math.isfinite(found.value)
    return found
