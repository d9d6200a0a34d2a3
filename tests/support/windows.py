"""Samples of windows along one-dimensional paths whose free energies are known exactly."""

import math

import numpy as np

from openmm_nti.validation.analysis.window_data import WindowData


def harmonic_windows(
    rng, *, n=400, n_windows=9, n_chains=8, memory=0.0, dimensions=10, stiffness=8.0
):
    """U = k(lambda) x^2 / 2 with k = 1 + (stiffness - 1) lambda; exact answer dimensions
    ln(stiffness) / 2.

    `memory` is the correlation of neighbouring samples of a chain.
    """
    lambdas = np.linspace(0, 1, n_windows)
    k = 1 + (stiffness - 1) * lambdas
    length = n // n_chains
    x = np.empty((n_windows, n_chains, length, dimensions))
    x[:, :, 0] = rng.standard_normal(x[:, :, 0].shape)
    for step in range(1, length):
        kick = rng.standard_normal(x[:, :, 0].shape)
        x[:, :, step] = memory * x[:, :, step - 1] + math.sqrt(1 - memory**2) * kick
    half_x2 = 0.5 * (x**2).sum(axis=-1).reshape(n_windows, n) / k[:, None]
    data = WindowData(
        lambdas,
        half_x2[:, :, None] * k,
        (stiffness - 1) * half_x2,
        np.repeat(np.arange(n_chains), length),
    )
    return data, 0.5 * dimensions * math.log(stiffness)


def gaussian_windows(rng, *, spacing, n_windows=6, n=400):
    """Gaussians of unequal widths at distance `spacing`; exact answer ln(sigma_0 / sigma_1). dudl
    is a dummy.
    """
    centres = spacing * np.arange(n_windows)
    widths = np.linspace(1, 2, n_windows)
    x = centres[:, None] + widths[:, None] * rng.standard_normal((n_windows, n))
    u_kln = 0.5 * ((x[:, :, None] - centres) / widths) ** 2
    lambdas = np.linspace(0, 1, n_windows)
    return WindowData(lambdas, u_kln, x, np.repeat(np.arange(8), n // 8)), math.log(
        widths[0] / widths[-1]
    )
