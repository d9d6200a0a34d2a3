"""A pair potential from a table of distances and energies."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from openmm_nti.fluid.potentials.base import PairPotential

Number = Annotated[float, Field(allow_inf_nan=False)]
_FEWEST = 10
_MOST = 20_001
_LARGEST_JUMP = 1.8  # of neighbouring spacings: a row that is missing doubles one
_WALL_KT, _SOFT_SHARE = 20.0, 0.02
_COARSE_KT, _SEEN_KT = 0.1, 10.0
_TAIL_KT = 0.05
_FUNCTION = "pair_table"


class Table(PairPotential):
    """The spline through a table of u(r): natural and cubic, on evenly spaced distances.

    Rows that are not evenly spaced are first brought to the smallest of their spacings. Within the
    first distance the energy goes on as a straight line. Beyond the last one it is zero.
    """

    type: Literal["table"] = "table"
    r_nm: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        description="Distances, in nm, increasing; or give `file`, a CSV file of r and u."
    )
    u_kj_mol: tuple[Number, ...] = Field(description="Energies at these distances, in kJ/mol.")

    @model_validator(mode="after")
    def _is_a_function(self) -> Table:
        n = len(self.r_nm)
        if n < _FEWEST or len(self.u_kj_mol) != n:
            raise ValueError(
                f"the table has {n} distances and {len(self.u_kj_mol)} energies: give as many of "
                f"both, {_FEWEST} or more"
            )
        steps = np.diff(self.r_nm)
        if not (steps > 0).all():
            row = int(np.argmax(~(steps > 0))) + 1
            raise ValueError(
                f"r = {self.r_nm[row]:g} follows r = {self.r_nm[row - 1]:g} in the table: sort the "
                "rows by distance and give each distance once"
            )
        around = np.maximum(np.append(steps[1:], steps[-2]), np.append(steps[1], steps[:-1]))
        if (steps > _LARGEST_JUMP * around).any():
            row = int(np.argmax(steps / around))
            raise ValueError(
                f"the table has a hole between r = {self.r_nm[row]:g} and {self.r_nm[row + 1]:g}: "
                "add the rows that are missing"
            )
        return self

    @classmethod
    def read(cls, file: str | Path) -> dict[str, tuple[float, ...]]:
        """Return `r_nm` and `u_kj_mol` from a text file of two columns, with or without a header.

        Raises
        ------
        ValueError
            In one line with the file and the row, for anything else.
        """
        path = Path(file)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise ValueError(f"file = {path}: there is no such file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"file = {path} cannot be read as text: {error}") from None
        rows: list[tuple[float, float]] = []
        for number, line in enumerate(lines, 1):
            cells = [cell for cell in re.split(r"[,;\s]+", line.partition("#")[0].strip()) if cell]
            if not cells:
                continue
            try:
                r, u = (float(cell) for cell in cells)
            except ValueError:
                if rows or any(_is_number(cell) for cell in cells):
                    raise ValueError(
                        f"file = {path}, row {number}: {line.strip()[:60]!r} must be two numbers, "
                        "r in nm and u in kJ/mol"
                    ) from None
                continue  # a header
            if not (np.isfinite(r) and np.isfinite(u)):
                raise ValueError(
                    f"file = {path}, row {number}: {line.strip()[:60]!r} leaves a hole in the "
                    "table: give numbers that are finite"
                )
            rows.append((r, u))
        if not rows:
            raise ValueError(f"file = {path} has no rows: give r in nm and u in kJ/mol")
        r_nm, u_kj_mol = zip(*rows, strict=True)
        return {"r_nm": r_nm, "u_kj_mol": u_kj_mol}

    def natural_units(self) -> dict[str, float]:
        """Return the size and the energy in which the potential is best counted."""
        outside = [u for r, u in zip(self.r_nm, self.u_kj_mol, strict=True) if r >= self.size]
        depth, at_size = -min(outside), abs(float(self.energy_numpy(np.array(self.size**2))))
        return {"sigma_nm": self.size, "epsilon_kj_mol": max(depth, at_size) or 1.0}

    @property
    def size(self) -> float:
        """Where the energy first falls to zero, or a third of the range if it never does."""
        below = np.flatnonzero(np.asarray(self.u_kj_mol) <= 0)
        return self.r_nm[below[0]] if below.size and below[0] else self.r_nm[-1] / 3.0

    def check_end(self, cutoff_nm: float, kt_kj_mol: float, convention: str) -> None:
        """Refuse a table that says too little at this temperature, or less than the cutoff asks."""
        from scipy.interpolate import CubicSpline

        r, u = np.asarray(self.r_nm), np.asarray(self.u_kj_mol) / kt_kj_mol
        if r[-1] < cutoff_nm * (1 - 1e-6):
            raise ValueError(
                f"the table ends at {r[-1]:g} nm, within the cutoff of {cutoff_nm:g} nm: lower "
                "cutoff_nm, or add rows"
            )
        if u[0] < _WALL_KT and r[0] > _SOFT_SHARE * r[-1]:
            raise ValueError(
                f"the table begins at {r[0]:g} nm with {u[0]:.3g} kT, where atoms still come: add "
                f"rows up to {_WALL_KT:g} kT, or down to r = 0"
            )
        seen = u < _SEEN_KT
        coarse = CubicSpline(r[::2], u[::2])(r) - u
        error = float(np.abs(coarse[seen & (r <= r[::2][-1])]).max(initial=0.0)) / 16.0
        if not error < _COARSE_KT:
            raise ValueError(
                f"the table is too coarse: between its rows a spline is off by about {error:.2g} "
                "kT; add rows"
            )
        tail = float(self.energy_numpy(np.array(cutoff_nm**2 * (1 - 1e-9)))) / kt_kj_mol
        if convention in ("switched", "truncated") and tail > _TAIL_KT:
            raise ValueError(
                f"the table has a positive tail, {tail:.3g} kT at the cutoff of {cutoff_nm:g} nm: "
                "raise cutoff_nm, or choose convention: shifted"
            )

    def energy(self, r_squared: Any) -> Any:
        """Return u(r) from squared distances; see `PairPotential.energy`."""
        if isinstance(r_squared, float | int | np.ndarray | np.generic):
            return self.energy_numpy(np.asarray(r_squared))
        start, step, spline = _spline(self.r_nm, self.u_kj_mol)
        r = r_squared.double().sqrt()
        rows = r.new_tensor(spline.c.T.copy())
        inside = r.clamp(start, start + step * len(rows))
        index = ((inside - start) / step).floor().long().clamp(0, len(rows) - 1)
        x = inside - (start + step * index.double())
        cubic, square, linear, constant = rows[index].unbind(-1)
        energy = ((cubic * x + square) * x + linear) * x + constant
        energy = energy + float(spline.c[2, 0]) * (r - inside) * (r < start)
        return (energy * (r <= self.r_nm[-1])).to(r_squared.dtype)

    def energy_numpy(self, r_squared: np.ndarray) -> np.ndarray:
        """Return u(r) of an array."""
        start, step, spline = _spline(self.r_nm, self.u_kj_mol)
        r = np.sqrt(r_squared)
        place = (np.clip(r, start, self.r_nm[-1]) - start) / step
        # Evenly spaced: the row is known, where the spline itself would search for it.
        row = np.minimum(place.astype(np.intp), spline.c.shape[1] - 1)
        x = (place - row) * step
        cubic, square, linear, constant = spline.c
        energy = ((cubic[row] * x + square[row]) * x + linear[row]) * x + constant[row]
        energy += linear[0] * np.minimum(r - start, 0.0)
        return np.asarray(energy * (r <= self.r_nm[-1]))

    def slope(self, r_squared: np.ndarray) -> np.ndarray:
        """Return du/d(r^2)."""
        start, _, spline = _spline(self.r_nm, self.u_kj_mol)
        r = np.sqrt(r_squared)
        return np.asarray(spline(np.maximum(r, start), 1) * (r <= self.r_nm[-1]) / (2.0 * r))

    def openmm_expression(self, r: str = "r") -> str:
        """Return u(r) in kJ/mol for OpenMM's custom forces, by a tabulated function."""
        start, _, spline = _spline(self.r_nm, self.u_kj_mol)
        return f"{_FUNCTION}(max({r}, {start!r})) + {float(spline.c[2, 0])!r}*min({r}-{start!r}, 0)"

    def openmm_functions(self) -> dict[str, tuple[list[float], float, float]]:
        """Return the table, of which OpenMM makes the same spline, in nm and kJ/mol."""
        start, _, spline = _spline(self.r_nm, self.u_kj_mol)
        return {_FUNCTION: (spline(spline.x).tolist(), start, float(spline.x[-1]))}


@lru_cache(maxsize=32)
def _spline(r: tuple[float, ...], u: tuple[float, ...]) -> tuple[float, float, Any]:
    """Return the first distance, the spacing and the natural spline on evenly spaced distances."""
    from scipy.interpolate import CubicSpline

    distances, energies = np.asarray(r), np.asarray(u)
    step = float(np.diff(distances).min())
    n = min(_MOST, round((r[-1] - r[0]) / step) + 1)
    even = np.linspace(r[0], r[-1], n)
    if n != len(r) or not np.allclose(even, distances, rtol=0, atol=1e-6 * step):
        energies = CubicSpline(distances, energies)(even)
    return r[0], float(even[1] - even[0]), CubicSpline(even, energies, bc_type="natural")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
