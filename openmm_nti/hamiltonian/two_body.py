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
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.hamiltonian.geometry import Pairs, lengths, take
from openmm_nti.hamiltonian.pair_energy import PairEnergy, switching_function
from openmm_nti.kernels import CompiledModule, applies_to_double
from openmm_nti.references.noise import NOISE_MIN_SIGMA, effective_variance

Array = NDArray[np.float64]
NOISE_GATE_SIGMA = 0.8  # s_g; less where the cutoff is short
_SHELL_NOISE_SIGMA = 0.05  # s_b
_N_NOISE = 160
_R_STEP = 0.01
_SHELL_WIDTH = 0.5
# Beyond this energy the core continues linearly: exp(-600) is zero to any estimator, and the spline
# stays smooth.
_CORE_KT = 600.0


class TwoBodyTerm(CompiledModule):
    """Computes pair energies Phi(r, s) in kT, differentiable in r and in ln s.

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
        log_s, r, values = two_body_table(potential)
        self.log_s_min = float(log_s[0])
        self.log_s_step = float(log_s[1] - log_s[0])
        self.r_step = float(r[1] - r[0])
        self.cutoff = potential.cutoff_sigma
        spline_r = CubicSpline(r, values, axis=1)
        spline_s = CubicSpline(log_s, values, axis=0)
        slope_rs = CubicSpline(log_s, spline_r(r, 1), axis=0)(log_s, 1)
        steps = self.log_s_step * self.r_step
        values_and_slopes = (
            cubics(values, spline_r(r, 1) * self.r_step),
            cubics(spline_s(log_s, 1) * self.log_s_step, slope_rs * steps),
        )
        shells = 4.0 * math.pi * r**2 * np.expm1(-values)
        mayer = CubicSpline(r, shells, axis=1).integrate(r[0], r[-1])
        mayer_slopes = CubicSpline(log_s, mayer)(log_s, 1) * self.log_s_step
        # For every noise level: the function, then its derivative by ln s. A Hermite spline between
        # two levels takes four of these.
        self._constant("cubics", np.stack(values_and_slopes, axis=1).reshape(2 * log_s.size, -1))
        self._constant("mayer", np.stack([mayer, mayer_slopes], axis=1).reshape(-1))
        self._constant("four", np.arange(4))

    def rows(self, log_s: Tensor) -> Tensor:
        """Return the cubic polynomials of the radial intervals at noise levels `log_s` (B,).

        These are the coefficients of the powers 0 to 3, (4, B, n_r - 1).
        """
        index, weights = self._noise_bracket(log_s)
        rows = torch.bmm(weights.unsqueeze(1), self.cubics[index])
        return rows.reshape(log_s.shape[0], 4, -1).transpose(0, 1).contiguous()

    def end_row(self) -> Tensor:
        """Return `rows` without noise, which is the pair potential, (4, 1, n_r - 1)."""
        return self.cubics[0].reshape(4, 1, -1)

    def free_energy(self, log_s: Tensor, volume: Tensor) -> Tensor:
        """Return the free energy f_2(s) of two particles in a box, (B,), kT.

        Parameters
        ----------
        log_s
            Noise levels ln s, (B,).
        volume
            Volume of the box, 0-dim, sigma^3.
        """
        index, weights = self._noise_bracket(log_s)
        return -torch.log1p((weights * self.mayer[index]).sum(1) / volume)

    def free_energy_at_end(self, volume: Tensor) -> Tensor:
        """Return `free_energy` without noise, 0-dim, kT."""
        return -torch.log1p(self.mayer[0] / volume)

    def _constant(self, name: str, values: NDArray[Any]) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)

    def _noise_bracket(self, log_s: Tensor) -> tuple[Tensor, Tensor]:
        """Return the four tabulated functions that make up each level (B,), and their weights."""
        n_noise = self.mayer.shape[0] // 2
        # A level beyond the last row takes the last row, which is zero.
        x = ((log_s - self.log_s_min) / self.log_s_step).clamp(0.0, n_noise - 1.0)
        row = x.detach().floor().clamp(max=n_noise - 2.0)
        return 2 * row.to(torch.long).unsqueeze(1) + self.four, hermite_weights(x - row)

    def sums(self, pairs: Pairs, configuration: Tensor, rows: Tensor) -> Tensor:
        """Return the energies of configurations, (B,), kT, summed over pairs below the cutoff.

        Arguments are those of `forward`, with the pairs in place of their distances.
        """
        if self.compiled and applies_to_double(pairs.vectors):
            return torch.ops.openmm_nti.table_sums(
                pairs.vectors, pairs.r, configuration, rows, self.r_step
            )
        total = torch.zeros(rows.shape[1], dtype=rows.dtype, device=rows.device)
        return total.index_add(0, configuration, self(lengths(pairs.vectors), configuration, rows))

    def forward(self, r: Tensor, configuration: Tensor, rows: Tensor) -> Tensor:
        """Return the energies of pairs, (P,), kT.

        Parameters
        ----------
        r
            Distances below the cutoff, (P,), sigma.
        configuration
            Configuration of each pair, which is its row in `rows`, (P,).
        rows
            The output of `rows`, (4, B, n_r - 1).
        """
        interval, x = self._bracket(r, configuration, rows)
        c = take(rows.reshape(4, -1), interval)
        return torch.addcmul(c[0], x, torch.addcmul(c[1], x, torch.addcmul(c[2], x, c[3])))

    def derivative(self, r: Tensor, configuration: Tensor, rows: Tensor) -> Tensor:
        """Return dPhi/dr of pairs, (P,), kT / sigma; arguments as for `forward`."""
        interval, x = self._bracket(r, configuration, rows)
        c = take(rows.reshape(4, -1), interval)
        return (c[1] + x * (2.0 * c[2] + 3.0 * x * c[3])) / self.r_step

    def second_derivative(self, r: Tensor, configuration: Tensor, rows: Tensor) -> Tensor:
        """Return d2Phi/dr2 of pairs, (P,), kT / sigma^2; arguments as for `forward`."""
        interval, x = self._bracket(r, configuration, rows)
        c = take(rows.reshape(4, -1), interval)
        return (2.0 * c[2] + 6.0 * x * c[3]) / self.r_step**2

    def sums_at(self, r: Tensor, configuration: Tensor, n_batch: int, rows: Tensor) -> Tensor:
        """Return the energies of `n_batch` configurations at all K levels of `rows`, in kT.

        The shape is (n_batch, K). The powers of r are summed once in each radial interval, and all
        levels use these sums.
        """
        n_bins = rows.shape[2]
        interval, x = self._bracket(r, configuration, rows)
        powers = torch.stack([torch.ones_like(x), x, x * x, x * x * x])
        sums = torch.zeros(4, n_batch * n_bins, dtype=r.dtype, device=r.device).index_add(
            1, interval, powers
        )
        sums = sums.reshape(4, n_batch, n_bins).transpose(0, 1).reshape(n_batch, 4 * n_bins)
        return sums @ rows.transpose(1, 2).reshape(4 * n_bins, -1)

    def _bracket(self, r: Tensor, configuration: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the interval of each pair in the flattened `rows`, and its place in there.

        The place runs from 0 to 1.
        """
        n_bins = rows.shape[2]
        x = r * (1.0 / self.r_step)
        interval = x.detach().floor().clamp(max=n_bins - 1.0)
        return configuration * n_bins + interval.to(torch.long), x - interval


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


@lru_cache(maxsize=8)
def two_body_table(potential: ReducedPotential) -> tuple[Array, Array, Array]:
    """Return a table of Phi: the grid of ln s, the grid of r in sigma, and the values in kT.

    The shapes are (n_noise,), (n_r,) and (n_noise, n_r); all are float64.
    """
    cutoff = potential.cutoff_sigma
    noise_gate = min(NOISE_GATE_SIGMA, 0.27 * cutoff)
    # The last row is zero, and the box holds two cutoffs: the term is gone before s reaches L / 2.
    log_s = np.linspace(math.log(NOISE_MIN_SIGMA), math.log(2.2 * noise_gate), _N_NOISE)
    r = np.linspace(0.0, cutoff, round(cutoff / _R_STEP) + 1)
    variance = effective_variance(torch.from_numpy(log_s)).numpy()
    switch = switching_function(torch.from_numpy(r), cutoff - _SHELL_WIDTH, cutoff).numpy()
    values = np.empty((_N_NOISE, r.size))
    values[0] = _capped_potential(r, potential)
    for row in range(1, _N_NOISE):
        shell = variance[row] / (variance[row] + _SHELL_NOISE_SIGMA**2)
        gate = math.exp(-((variance[row] / noise_gate**2) ** 2))
        values[row] = (
            smeared_potential(r, variance[row], potential) * (1.0 - shell * (1.0 - switch)) * gate
        )
    values[-1] = 0.0
    return log_s, r, values


def smeared_potential(r: Array, variance: float, potential: ReducedPotential) -> Array:
    """Return the pair potential smeared by the noise, -ln (exp(-beta u) * G)(r), in kT.

    Parameters
    ----------
    r
        Distances, (n_r,), sigma.
    variance
        Effective variance s_eff^2 of the noise of one particle, sigma^2.
    potential
        Pair potential, cutoff and temperature.
    """
    width = math.sqrt(2.0 * variance)
    step = min(width / 4.0, 0.016)
    inner = np.arange(0.5, (potential.cutoff_sigma + 10.0 * width) / step) * step
    log_boltzmann = -_capped_potential(inner, potential) + math.log(step)
    out = np.empty(r.size)
    for block in np.array_split(np.arange(r.size), max(1, r.size * inner.size // 1_000_000)):
        exponent = _log_radial_gaussian(r[block, None], inner[None, :], width) + log_boltzmann
        peak = exponent.max(axis=1, keepdims=True)
        out[block] = -(peak[:, 0] + np.log(np.exp(exponent - peak).sum(axis=1)))
    return out


def _log_radial_gaussian(r: Array, inner: Array, width: float) -> Array:
    """Return the log density of distance `inner` after a Gaussian displacement from `r`.

    The displacement is three-dimensional, with standard deviation `width`.
    """
    product = 2.0 * r * inner / width**2
    # (1 - exp(-p)) / p with its limit 1 at r = 0.
    ratio = np.where(product > 1e-12, -np.expm1(-product) / np.maximum(product, 1e-300), 1.0)
    norm = math.log(2.0) - 0.5 * math.log(2.0 * math.pi) - 3.0 * math.log(width)
    return norm + 2.0 * np.log(inner) - 0.5 * ((r - inner) / width) ** 2 + np.log(ratio)


def _capped_potential(r: Array, potential: ReducedPotential) -> Array:
    """Return beta u(r) in kT, continued linearly where it exceeds the core energy."""
    core, slope = potential.pair_in_kt.core(_CORE_KT)
    energy = PairEnergy(potential)(torch.from_numpy(np.maximum(r, core) ** 2)).numpy()
    return energy + slope * np.minimum(r - core, 0.0)
