r"""The two-body term: the energy of a pair of noised atoms.

It is exact for two particles at short range. A Gaussian of variance 2 s_eff^2 smears the relative
coordinate of two noised particles, so their density ratio is

.. math:: e^{-\varphi_s(r)} = (e^{-\beta u} * G)(r)
          = \int_0^\infty \frac{r'}{r} \,
            \frac{e^{-(r-r')^2/4s^2} - e^{-(r+r')^2/4s^2}}{\sqrt{4 \pi s^2}}
            \, e^{-\beta u(r')} \, dr' ,

which is one radial integral. It is computed once, in the log domain and float64, on a grid of
(r, ln s), and then interpolated by a bicubic spline. The spline has continuous second derivatives
in both; the derivative by ln s enters dU/dlambda.

The term must be local, so it goes to zero at the cutoff (in the shell [r_s, r_c]). It also goes to
zero at large noise, where a sum of pairs does not describe a dense fluid. The tabulated function is

.. math:: \Phi(r, s) = \varphi_s(r) \, W_s(r) \, e^{-(s_{eff}/s_g)^4}, \qquad
          W_s = 1 - b_s (1 - S(r)), \quad
          b_s = \frac{s_{eff}^2}{s_{eff}^2 + s_b^2},

with S the quintic switch. It is the full pair potential at s_eff = 0. What the two factors remove
biases no estimator along the path, for each accounts for it, and the network may put it back.

The free energy of two particles along this path, f_2(s) = -ln(1 + M(s) / V) with the Mayer integral
M = int (exp(-Phi) - 1) d^3r, would rise in a step where the gate opens. A constant of the
configuration,

.. math:: C(\lambda) = -\frac{N (N - 1)}{2} \, [ f_2(s(\lambda)) - \lambda f_2(s_{min}) ],

zero at both ends, makes it linear in lambda. It exerts no force, and TI needs no windows to resolve
the step.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.hamiltonian.geometry import Pairs, lengths, take
from openmm_nti.hamiltonian.two_body_table import Array, two_body_table
from openmm_nti.kernels import CompiledModule, applies_to_double


class TwoBodyTerm(CompiledModule):
    """Computes pair energies Phi(r, s) in kT, differentiable in r and in ln s.

    There is one function for each kind of pair. Tables of several configurations hold the kinds of
    the first one, then those of the second one, and so on; `PairKinds.rows` gives a pair's row.

    Parameters
    ----------
    potential
        The interacting end of the path.
    """

    cubics: Tensor
    mayer: Tensor
    four: Tensor

    def __init__(self, potential: ReducedPotential) -> None:
        from scipy.interpolate import CubicSpline

        super().__init__()
        tables = [two_body_table(kind, potential.cutoff_sigma) for kind in potential.kinds]
        log_s, r, _ = tables[0]
        self.n_kinds = len(tables)
        self.n_noise = log_s.size
        self.log_s_min = float(log_s[0])
        self.log_s_step = float(log_s[1] - log_s[0])
        self.r_step = float(r[1] - r[0])
        self.cutoff = potential.cutoff_sigma
        steps = self.log_s_step * self.r_step
        all_cubics, all_mayer = [], []
        for _, _, values in tables:
            spline_r = CubicSpline(r, values, axis=1)
            spline_s = CubicSpline(log_s, values, axis=0)
            slope_rs = CubicSpline(log_s, spline_r(r, 1), axis=0)(log_s, 1)
            values_and_slopes = (
                cubics(values, spline_r(r, 1) * self.r_step),
                cubics(spline_s(log_s, 1) * self.log_s_step, slope_rs * steps),
            )
            shells = 4.0 * math.pi * r**2 * np.expm1(-values)
            mayer = CubicSpline(r, shells, axis=1).integrate(r[0], r[-1])
            mayer_slopes = CubicSpline(log_s, mayer)(log_s, 1) * self.log_s_step
            # For every noise level: the function, then its derivative by ln s. A Hermite spline
            # between two levels takes four of these.
            all_cubics.append(np.stack(values_and_slopes, axis=1).reshape(2 * log_s.size, -1))
            all_mayer.append(np.stack([mayer, mayer_slopes], axis=1).reshape(-1))
        self._constant("cubics", np.concatenate(all_cubics, axis=1))
        self._constant("mayer", np.stack(all_mayer))
        self._constant("four", np.arange(4))

    def rows(self, log_s: Tensor) -> Tensor:
        """Return the cubic polynomials of the radial intervals at noise levels `log_s` (B,).

        These are the coefficients of the powers 0 to 3, (4, B n_kinds, n_r - 1).
        """
        index, weights = self._noise_bracket(log_s)
        return self._rows(index, weights)

    def rows_and_free_energy(self, log_s: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Return `rows`, and the free energies f_2(s) of two particles in a box, (B, n_kinds), kT.

        Parameters
        ----------
        log_s
            Noise levels ln s, (B,).
        volume
            Volume of the box, 0-dim, sigma^3.
        """
        index, weights = self._noise_bracket(log_s)
        integrals = (self.mayer[:, index] * weights).sum(2).t()
        return self._rows(index, weights), -torch.log1p(integrals / volume)

    def end_rows(self, n_batch: int) -> Tensor:
        """Return `rows` without noise, the pair potentials, for B configurations."""
        end = self.cubics[0].reshape(self.n_kinds, 4, -1).transpose(0, 1)
        if self.n_kinds == 1:
            return end.expand(-1, n_batch, -1)
        return end.repeat(1, n_batch, 1)

    def free_energy_at_end(self, volume: Tensor) -> Tensor:
        """Return the free energies of two particles without noise, (n_kinds,), kT."""
        return -torch.log1p(self.mayer[:, 0] / volume)

    def _rows(self, index: Tensor, weights: Tensor) -> Tensor:
        rows = torch.bmm(weights.unsqueeze(1), self.cubics[index])
        return rows.reshape(index.shape[0] * self.n_kinds, 4, -1).transpose(0, 1).contiguous()

    def _constant(self, name: str, values: NDArray[Any]) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)

    def _noise_bracket(self, log_s: Tensor) -> tuple[Tensor, Tensor]:
        """Return the four tabulated functions that make up each level (B,), and their weights."""
        n_noise = self.n_noise
        # A level beyond the last row takes the last row, which is zero.
        x = ((log_s - self.log_s_min) / self.log_s_step).clamp(0.0, n_noise - 1.0)
        row = x.detach().floor().clamp(max=n_noise - 2.0)
        return 2 * row.to(torch.long).unsqueeze(1) + self.four, hermite_weights(x - row)

    def sums(self, pairs: Pairs, row: Tensor, rows: Tensor) -> Tensor:
        """Return the energies of configurations, (B,), kT, summed over pairs below the cutoff.

        Arguments are those of `forward`, with the pairs in place of their distances.
        """
        if self.compiled and applies_to_double(pairs.vectors):
            total = torch.ops.openmm_nti.table_sums(pairs.vectors, pairs.r, row, rows, self.r_step)
        else:
            total = torch.zeros(rows.shape[1], dtype=rows.dtype, device=rows.device)
            total = total.index_add(0, row, self(lengths(pairs.vectors), row, rows))
        if self.n_kinds == 1:
            return total
        return total.reshape(-1, self.n_kinds).sum(1)

    def forward(self, r: Tensor, row: Tensor, rows: Tensor) -> Tensor:
        """Return the energies of pairs, (P,), kT.

        Parameters
        ----------
        r
            Distances below the cutoff, (P,), sigma.
        row
            Row of each pair in `rows`, from `PairKinds.rows`, (P,).
        rows
            The output of `rows`, (4, B n_kinds, n_r - 1).
        """
        interval, x = self._bracket(r, row, rows)
        c = take(rows.reshape(4, -1), interval)
        return torch.addcmul(c[0], x, torch.addcmul(c[1], x, torch.addcmul(c[2], x, c[3])))

    def derivative(self, r: Tensor, row: Tensor, rows: Tensor) -> Tensor:
        """Return dPhi/dr of pairs, (P,), kT / sigma; arguments as for `forward`."""
        interval, x = self._bracket(r, row, rows)
        c = take(rows.reshape(4, -1), interval)
        return (c[1] + x * (2.0 * c[2] + 3.0 * x * c[3])) / self.r_step

    def second_derivative(self, r: Tensor, row: Tensor, rows: Tensor) -> Tensor:
        """Return d2Phi/dr2 of pairs, (P,), kT / sigma^2; arguments as for `forward`."""
        interval, x = self._bracket(r, row, rows)
        c = take(rows.reshape(4, -1), interval)
        return (2.0 * c[2] + 6.0 * x * c[3]) / self.r_step**2

    def sums_at(self, r: Tensor, row: Tensor, n_batch: int, rows: Tensor) -> Tensor:
        """Return the energies of `n_batch` configurations at all K levels of `rows`, in kT.

        The shape is (n_batch, K). The powers of r are summed once in each radial interval, and all
        levels use these sums. A pair's `row` is that of its configuration and kind.
        """
        n_bins = rows.shape[2]
        width = self.n_kinds * n_bins
        interval, x = self._bracket(r, row, rows)
        powers = torch.stack([torch.ones_like(x), x, x * x, x * x * x])
        sums = torch.zeros(4, n_batch * width, dtype=r.dtype, device=r.device).index_add(
            1, interval, powers
        )
        sums = sums.reshape(4, n_batch, width).transpose(0, 1).reshape(n_batch, 4 * width)
        levels = rows.reshape(4, -1, width)  # kinds beside each other
        return sums @ levels.transpose(1, 2).reshape(4 * width, -1)

    def _bracket(self, r: Tensor, row: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the interval of each pair in the flattened `rows`, and its place in there.

        The place runs from 0 to 1.
        """
        n_bins = rows.shape[2]
        x = r * (1.0 / self.r_step)
        interval = x.detach().floor().clamp(max=n_bins - 1.0)
        return row * n_bins + interval.to(torch.long), x - interval


def cubics(value: Array, slope: Array) -> Array:
    """Return the cubics that join values and slopes at nodes, each (n_noise, n).

    These are the coefficients of the powers 0 to 3, (n_noise, 4, n - 1).
    """
    left = slope[:, :-1]
    right = slope[:, 1:]
    step = value[:, 1:] - value[:, :-1]
    return np.stack(
        [value[:, :-1], left, 3.0 * step - 2.0 * left - right, left + right - 2.0 * step], axis=1
    )


def hermite_weights(x: Tensor) -> Tensor:
    """Return the weights of value and slope at the left, then at the right node, (B, 4).

    Parameters
    ----------
    x
        Place between the nodes, from 0 to 1, (B,).
    """
    y = 1.0 - x
    left = x * y * y
    right = -x * x * y
    at_left = y * y + 2.0 * left
    return torch.stack([at_left, left, 1.0 - at_left, right], dim=1)
