"""Which references there are: every file of this folder that defines one.

One that is made of a state point, as the Einstein crystal, is none that a model has by its name.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from inspect import signature
from pathlib import Path

from openmm_nti.references.base import Reference


def reference_named(name: str) -> Reference:
    """Return the reference of this name; ValueError with the names there are if it is unknown."""
    _import_folder()
    known = {
        kind.name: kind for kind in Reference.__subclasses__() if not signature(kind).parameters
    }
    if name not in known:
        raise ValueError(f"reference = {name!r} is unknown: choose from {', '.join(sorted(known))}")
    return known[name]()


@cache
def _import_folder() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
