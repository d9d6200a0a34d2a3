"""Estimators of crystals on samples that a test hands in, and a crystal with frames."""

from unittest.mock import patch

import numpy as np
from models import CRYSTAL

from openmm_nti import Ensemble, LambdaHamiltonian
from openmm_nti.fluid.displacements import sites_sigma
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.works import Works
from openmm_nti.validation.estimators.base import Job
from openmm_nti.validation.estimators.crystals import (
    crystal_bound,
    crystal_path_bar,
    crystal_tethered,
    frenkel_ladd,
    frenkel_ladd_ramps,
    mbar_crystal,
)
from openmm_nti.validation.estimators.tethered import Gap


def crystal_frames(seed, state=CRYSTAL):
    """Frames of independent vibrations, which are none of this potential's."""
    moved = 0.03 * np.random.default_rng(seed).standard_normal((40, state.n_particles, 3))
    positions = sites_sigma(state) + moved - moved.mean(axis=1, keepdims=True)
    energies = reduced_potential_numpy(positions, state)
    return Ensemble(state, positions * state.sigma_nm, energies, {})


DATA = crystal_frames(1)
MODEL = LambdaHamiltonian(CRYSTAL.pair_potential).eval().requires_grad_(False)


def path_bar(forward, reverse):
    with patch.object(crystal_path_bar, "sample", lambda *_: Works(CRYSTAL, forward, reverse)):
        return crystal_path_bar.estimate(MODEL, DATA, crystal_path_bar.CrystalPathConfig(), seed=1)


def ramps(forward, reverse):
    known = frenkel_ladd_ramps.FrenkelLaddRamps()
    with patch.object(frenkel_ladd_ramps, "sample", lambda *_: Works(CRYSTAL, forward, reverse)):
        return known.estimate(Job(CRYSTAL, None, None, Execution(1)), known.Config())


def windows(estimator, known, config, u_kln, dudl):
    lambdas, chain = np.linspace(0, 1, 4), np.repeat(np.arange(8), 4)
    with patch.object(known, "sample", lambda *_: WindowData(lambdas, u_kln, dudl, chain)):
        return estimator.estimate(Job(CRYSTAL, DATA, MODEL, Execution(1)), config)


def bound(bound, of_frames):
    noise = np.linspace(0, 0.3, bound.size // 2)
    halves = [
        crystal_bound.Curve(noise, *rows)
        for rows in zip(np.split(bound, 2), np.split(of_frames, 2), strict=True)
    ]
    with patch.object(crystal_bound, "_curve", lambda *_: halves.pop()):
        return crystal_bound.estimate(MODEL, DATA, crystal_bound.CrystalBoundConfig(), seed=1)


def tethered(lower, middle, upper):
    noise, weight = np.geomspace(0.03, 0.4, len(lower)), np.full(len(lower), 2.6)
    gap = Gap(noise, lower, middle, upper, weight)
    alone = bound(np.full(10, -200.0), np.tile([0.01, -0.02], (10, 10)))
    with (
        patch.object(crystal_tethered, "measure", lambda *_: gap),
        patch.object(crystal_bound, "estimate", lambda *_: alone),
    ):
        config = crystal_tethered.CrystalTetheredConfig()
        return crystal_tethered.estimate(MODEL, DATA, config, seed=1)


def cases(window_samples, path_samples):
    """Return samples that are fine, and the estimate from them, by the name of the method."""
    rng, in_windows = np.random.default_rng(8), window_samples()
    in_windows.pop("control_variates")
    mbar, ladd = mbar_crystal.MbarCrystal(), frenkel_ladd.FrenkelLadd()
    return {
        "crystal_path_bar": (path_samples(), path_bar),
        "frenkel_ladd_ramps": (path_samples(), ramps),
        "mbar_crystal": (
            in_windows,
            lambda **a: windows(mbar, mbar_crystal, mbar.Config(), **a),
        ),
        "frenkel_ladd": (
            in_windows,
            lambda **a: windows(ladd, frenkel_ladd, ladd.Config(variance=0.01), **a),
        ),
        "crystal_tethered": (
            dict(zip(("lower", "middle", "upper"), rng.normal(0.5, 0.2, (3, 40)), strict=True)),
            tethered,
        ),
        "crystal_bound": (
            {
                "bound": np.repeat(rng.normal(-200, 0.01, 1), 10) + rng.normal(0, 0.001, 10),
                "of_frames": rng.normal(0, 0.02, (10, 20)),
            },
            bound,
        ),
    }
