"""`WindowData`: samples at K values of lambda, each evaluated at all K of them.

That is all that MBAR, BAR and thermodynamic integration need.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openmm_nti.runtime.stored import fingerprint, read_arrays, write_arrays

_ARRAYS = ("lambdas", "u_kln", "dudl", "chain")
_OF_MOVES = ("acceptance", "timestep_star")
_OPTIONAL = (*_OF_MOVES, "control_variates", "exchange")
_FEW_ACCEPTED = 0.3


def platform_of(parts: Sequence[Mapping[str, np.ndarray]]) -> str | None:
    """Return where MD made some parts of the samples, from their arrays `platform`.

    Parts that were taken from disk may come from other machines: then all are named.
    """
    names = {str(name) for part in parts for name in part.get("platform", ())}
    return ", ".join(sorted(names)) or None


@dataclass(frozen=True, eq=False)
class WindowData:
    """Reduced potentials and their lambda derivatives along a path of Hamiltonians.

    Attributes
    ----------
    lambdas
        The windows, ascending from 0 to 1. Shape (K,).
    u_kln
        Reduced potential of sample n of window k at lambda l. Shape (K, n, K), kT. May be +infinity
        where l is not k: a configuration that another window forbids.
    dudl
        dU/dlambda of sample n of window k, at lambda k. Shape (K, n), kT.
    chain
        Which independent chain a sample belongs to; the same layout in every window. Shape (n,),
        integer.
    acceptance
        Mean probability with which the moves of Monte Carlo were accepted, NaN in windows without
        any; None where no window has any. Shape (K,).
    timestep_star
        Time step of those moves, or of MD, NaN in windows without either. Shape (K,), sigma sqrt(m
        / epsilon).
    control_variates
        Functions whose mean in the ensemble of window k is zero, at its samples; None for none.
        Shape (K, n, M).
    exchange
        Share of accepted trades between windows k and k + 1, where chain c of one window trades
        configurations with chain c of its neighbours; None where windows are independent of each
        other. Shape (K - 1,).
    platform
        Where MD made the samples: OpenMM's platform, with device and precision; None without MD.

    Raises
    ------
    ValueError
        If shapes disagree, the windows do not ascend from 0 to 1, or a number is NaN or infinite
        where it must not be.
    """

    lambdas: np.ndarray
    u_kln: np.ndarray
    dudl: np.ndarray
    chain: np.ndarray
    acceptance: np.ndarray | None = None
    timestep_star: np.ndarray | None = None
    control_variates: np.ndarray | None = None
    exchange: np.ndarray | None = None
    platform: str | None = None

    def __post_init__(self) -> None:
        for name in ("lambdas", "u_kln", "dudl", *self._given(_OPTIONAL)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        object.__setattr__(self, "chain", np.asarray(self.chain, dtype=np.int64))
        self._check_shapes()
        self._check_numbers()

    @property
    def n_windows(self) -> int:
        """Number of windows K."""
        return len(self.lambdas)

    @property
    def n_samples(self) -> int:
        """Number of samples n in each window."""
        return len(self.chain)

    @property
    def n_chains(self) -> int:
        """Number of independent chains in each window."""
        return len(np.unique(self.chain))

    @property
    def few_accepted(self) -> str:
        """Say where hardly any moves of Monte Carlo were accepted and what to do, or nothing."""
        if self.acceptance is None or np.isnan(self.acceptance).all():
            return ""
        worst = int(np.nanargmin(self.acceptance))
        if self.acceptance[worst] >= _FEW_ACCEPTED:
            return ""
        return (
            f"few moves accepted ({self.acceptance[worst]:.0%} at lambda "
            f"{self.lambdas[worst]:.3g}): raise "
            "equilibration_steps, in which the steps adapt, or n_chains, by which they are judged"
        )

    @property
    def move_diagnostics(self) -> dict[str, list[float | None]]:
        """Acceptance and steps of Monte Carlo moves, and of trades, ready for JSON."""
        return {
            name: [None if np.isnan(x) else float(x) for x in getattr(self, name)]
            for name in self._given((*_OF_MOVES, "exchange"))
        }

    @property
    def is_constant(self) -> bool:
        """Whether dU/dlambda, or all steps to other windows, never change: nothing was sampled."""
        return any(bool((np.ptp(each, axis=1) == 0).all()) for each in (self.dudl, self._steps))

    @property
    def _steps(self) -> np.ndarray:
        """Return the energies of samples (K, n) in every window less those in their own, kT."""
        own = np.diagonal(self.u_kln, axis1=0, axis2=2).T[:, :, np.newaxis]
        return np.minimum(self.u_kln - own, sys.float_info.max)

    @property
    def frozen_windows(self) -> np.ndarray:
        """Numbers of windows whose samples are all the same, though something interacts in them.

        Where nothing interacts yet, dU/dlambda is zero and energies do not change with lambda. At
        lambda = 0 it may be one number for all samples, while their energies in other windows
        differ.
        """
        same = (np.ptp(self.dudl, axis=1) == 0) & (self.dudl[:, 0] != 0)
        same &= (np.ptp(self._steps, axis=1) == 0).all(axis=1)
        return np.flatnonzero(same)

    def select(self, samples: np.ndarray) -> WindowData:
        """Return some of the samples, by index or mask, the same in every window."""
        controls = None if self.control_variates is None else self.control_variates[:, samples]
        u_kln, dudl, chain = self.u_kln[:, samples], self.dudl[:, samples], self.chain[samples]
        return replace(self, u_kln=u_kln, dudl=dudl, chain=chain, control_variates=controls)

    def fingerprint(self) -> str:
        """Return a short hash of all arrays: equal samples, equal hash."""
        return fingerprint(self._arrays())

    def save(self, path: str | Path) -> None:
        """Write all arrays to `path` (.npz), atomically."""
        write_arrays(path, self._arrays())

    @classmethod
    def load(cls, path: str | Path) -> WindowData:
        """Return what `save` wrote.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is truncated, lacks an array, or fails the checks of this class.
        """
        arrays = read_arrays(path, _ARRAYS, (*_OPTIONAL, "platform"))
        platform = arrays.pop("platform", None)
        return cls(**arrays, platform=None if platform is None else str(platform))

    def _arrays(self) -> dict[str, np.ndarray]:
        names = (*_ARRAYS, *self._given((*_OPTIONAL, "platform")))
        return {name: np.asarray(getattr(self, name)) for name in names}

    def _given(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if getattr(self, name) is not None]

    def _check_shapes(self) -> None:
        k, n = self.lambdas.size, self.chain.size
        expected: dict[str, tuple[int, ...]] = {
            "lambdas": (k,),
            "u_kln": (k, n, k),
            "dudl": (k, n),
            "chain": (n,),
        }
        expected |= dict.fromkeys(self._given(_OF_MOVES), (k,)) | dict.fromkeys(
            self._given(("exchange",)), (k - 1,)
        )
        if self.control_variates is not None:
            expected["control_variates"] = (k, n, self.control_variates.shape[-1])
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}, expected {shape} for K = {k} "
                    f"lambdas and n = {n} "
                    "entries of chain: give every window the same samples"
                )
        if k < 2 or n < 2:
            raise ValueError(
                f"{k} windows of {n} samples: at least 2 windows of 2 samples are needed"
            )

    def _check_numbers(self) -> None:
        if self.lambdas[0] != 0 or self.lambdas[-1] != 1 or not (np.diff(self.lambdas) > 0).all():
            raise ValueError(
                f"lambdas = {self.lambdas.tolist()} must ascend from exactly 0 to exactly 1"
            )
        own = np.diagonal(self.u_kln, axis1=0, axis2=2)
        finite = {"u_kln at its own lambda": own, "dudl": self.dudl}
        if self.control_variates is not None:
            finite["control_variates"] = self.control_variates
        for name, numbers in finite.items():
            if not np.isfinite(numbers).all():
                raise ValueError(
                    f"{name} holds NaN or infinity: the simulation of that window failed; sample "
                    "it again"
                )
        if np.isnan(self.u_kln).any() or np.isneginf(self.u_kln).any():
            raise ValueError(
                "u_kln holds NaN or -infinity: evaluate it in float64 with a guard for overlapping "
                "particles"
            )
