"""`Figure`: something to draw, and the numbers it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes


@dataclass(frozen=True)
class Figure:
    """One drawing of a report.

    Attributes
    ----------
    name
        Of the file of its numbers.
    caption
        The line below it.
    draw
        Draws into the Axes it is given and returns them.
    header, rows
        The numbers as a table.
    """

    name: str
    caption: str
    draw: Callable[[Axes], Axes]
    header: Sequence[str]
    rows: Iterable[Sequence[Any]]
