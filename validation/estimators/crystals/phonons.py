r"""Phonons: the Gaussian density of a crystal's displacements, from its normal modes and frames.

The eigenvectors of the second derivatives of the energy at rest are the modes. Modes of one
eigenvalue are alike by symmetry, so they share one mean square amplitude, which frames give:

.. math:: g_v(u) = \prod_j N(q_j; \, 0, C_j + v), \qquad q = V^T u,

is the density of displacements u with noise of variance v if they are Gaussian. It is exact for a
crystal of springs. The d = 3 (N - 1) coordinates q have no shift of the crystal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from openmm_nti.ensemble import Ensemble
from openmm_nti.fluid.displacements import check_mean_positions, displacements
from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.analysis.regression import require_frames
from openmm_nti.validation.estimators.crystals.lattice_modes import hessian

_ALIKE = 1e-6  # difference of equal eigenvalues, in units of the largest


@dataclass(frozen=True)
class Phonons:
    """A Gaussian of displacements.

    Attributes
    ----------
    vectors
        The modes V, (3N, d).
    variances
        Mean square amplitudes C of the modes, (d,), sigma^2.
    """

    vectors: Tensor
    variances: Tensor

    @classmethod
    def of(cls, state: StatePoint, moved: np.ndarray) -> Self:
        """Return the phonons of a crystal.

        Parameters
        ----------
        state
            The crystal. Its lattice may be unstable at rest, as frames have the amplitudes.
        moved
            Displacements from `fluid.displacements`, (F, N, 3), sigma.

        Raises
        ------
        ValueError
            If the state is a fluid or too large for normal modes, or frames do not move at all.
        """
        matrix = hessian(state)
        largest = float(np.abs(matrix).sum(axis=1).max())
        shift = np.kron(np.ones((state.n_particles,) * 2), np.eye(3)) / state.n_particles
        values, vectors = np.linalg.eigh(matrix + 2 * largest * shift)
        values, vectors = values[:-3], vectors[:, :-3]  # shifts come last
        space = np.concatenate([[0], np.cumsum(np.diff(values) > _ALIKE * largest)])
        squares = ((moved.reshape(len(moved), -1) @ vectors) ** 2).mean(axis=0)
        if not squares.min() > 0:
            raise ValueError("the frames do not move: atoms of a crystal vibrate; simulate longer")
        means = np.bincount(space, squares) / np.bincount(space)
        return cls(torch.as_tensor(vectors), torch.as_tensor(means[space]))

    @property
    def mean_variance(self) -> float:
        """Mean square displacement c of a coordinate, <|u|^2> / d, sigma^2."""
        return float(self.variances.mean())

    def modes(self, moved: Tensor) -> Tensor:
        """Return the amplitudes q of displacements (B, N, 3), (B, d), sigma."""
        return moved.reshape(len(moved), -1) @ self.vectors

    def displacements(self, modes: Tensor) -> Tensor:
        """Return the displacements of amplitudes (B, d), (B, N, 3), sigma."""
        return (modes @ self.vectors.T).reshape(len(modes), -1, 3)

    def log_density(self, modes: Tensor, variance: float = 0.0) -> Tensor:
        """Return ln g_v of amplitudes (B, d), (B,), lengths in sigma."""
        width = self.variances + variance
        normal = 0.5 * (math.log(2 * math.pi) + torch.log(width)).sum()
        return -normal - 0.5 * (modes.square() / width).sum(1)


def checked_displacements(method: str, ensemble: Ensemble, fewest: int) -> np.ndarray:
    """Return the displacements of frames that can give an error, (F, N, 3), sigma.

    Raises
    ------
    ValueError
        If there are fewer than `fewest` different ones, or they are not of the crystal.
    """
    require_frames(method, ensemble.positions_sigma, fewest)
    moved = displacements(ensemble.positions_sigma, ensemble.state)
    check_mean_positions(moved, ensemble.state)
    return moved
