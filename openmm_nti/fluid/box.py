"""The box of a state point: three edges, of which a cube needs one number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from openmm_nti.fluid.units import number_for_a_box, positive_number
from openmm_nti.settings import Settings

SIZES = ("box_length_sigma", "box_length_nm", "box_sigma", "box_nm", "density_star")
Edges = tuple[float, float, float]


class OfBox(Settings):
    """The part of `StatePoint` that is about the box, which is rectangular."""

    if TYPE_CHECKING:  # fields of `StatePoint`
        box_length_sigma: float
        box_sigma: Edges | None
        sigma_nm: float

    @property
    def edges_sigma(self) -> np.ndarray:
        """Edges of the box, (3,), sigma."""
        return np.array(self.box_sigma or [self.box_length_sigma] * 3)

    @property
    def edges_nm(self) -> np.ndarray:
        """Edges of the box, (3,), nm."""
        return self.edges_sigma * self.sigma_nm

    @property
    def shortest_edge_sigma(self) -> float:
        """The shortest edge, in sigma; no pair is seen beyond half of it."""
        return float(self.edges_sigma.min())

    @property
    def volume_sigma3(self) -> float:
        """Volume of the box, in sigma^3."""
        return self.box_length_sigma**3

    @property
    def box_length_nm(self) -> float:
        """Edge of the cube of the box's volume, in nm."""
        return self.box_length_sigma * self.sigma_nm

    @property
    def box_text(self) -> str:
        """The edges in sigma as text: `6`, or `6.9x6x5.3`."""
        return "x".join(f"{edge:.6g}" for edge in self.box_sigma or (self.box_length_sigma,))


def reduced_box(data: dict[str, Any], sigma_nm: float) -> dict[str, Any]:
    """Return the box of `data`, which has one of `SIZES`, as the fields of `StatePoint`.

    Three equal edges are those of a cube.

    Raises
    ------
    ValueError
        If the size is no positive number, or no three of them.
    """
    for name, unit in (("box_sigma", 1.0), ("box_nm", sigma_nm)):
        if name in data:
            edges = three_edges(name, data[name])
            if len(set(edges)) == 1:
                return {"box_length_sigma": edges[0] / unit}
            x, y, z = (edge / unit for edge in edges)
            return {"box_length_sigma": (x * y * z) ** (1 / 3), "box_sigma": (x, y, z)}
    if "box_length_nm" in data:
        return {
            "box_length_sigma": positive_number("box_length_nm", data["box_length_nm"]) / sigma_nm
        }
    if "density_star" in data:
        density = positive_number("density_star", data["density_star"], largest=10.0)
        return {"box_length_sigma": (number_for_a_box(data) / density) ** (1 / 3)}
    return {"box_length_sigma": data["box_length_sigma"]}


def three_edges(name: str, value: Any) -> Edges:
    """Return three positive numbers; ValueError with their `name` for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ValueError(f"{name} = {value!r} must be the three edges of the box: [x, y, z]")
    x, y, z = (positive_number(name, edge) for edge in value)
    return x, y, z
