"""Drawings as inline SVG and numbers as CSV, for pages that need no other file."""

from __future__ import annotations

import csv
import io
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_TEXT_COLOUR = "#010203"  # replaced by the colour of the page's text
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "openmm-nti",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.4,
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"),
        _TEXT_COLOUR,
    ),
}


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]], digits: int = 8) -> str:
    """Return a table as CSV: floats with `digits` digits, None as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_cell(value, digits) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any, digits: int) -> str | int:
    if value is None:
        return ""
    return value if isinstance(value, str | int) else f"{value:.{digits}g}"


def data_address(text: str, kind: str) -> str:
    """Return `text` as a data: address of the media type `kind`."""
    return f"data:{kind};base64,{b64encode(text.encode()).decode()}"


def svg(draw: Callable[[Axes], Axes], name: str, label: str) -> Markup:
    """Return what `draw` draws as SVG for the inside of a page: transparent, in the text's colour.

    Parameters
    ----------
    draw
        Draws into the Axes it is given.
    name
        Unique on the page; it begins the identifiers of the parts.
    label
        What a screen reader says.
    """
    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.4, 3.1), layout="constrained")
        draw(figure.add_subplot())
        figure.savefig(
            text, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    body = text.getvalue()
    body = body[body.index("<svg") :].replace(_TEXT_COLOUR, "currentColor")
    body = re.sub(r' (width|height)="[0-9.]+pt"', "", body, count=2)  # the page decides the size
    # Matplotlib numbers the parts of every figure from 1; on one page they need names of their own.
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    opening = f'<svg role="img" aria-label="{escape(label)}"'
    return Markup(opening + body.removeprefix("<svg"))  # noqa: S704  matplotlib escapes its text
