"""The estimators by name, found in this folder and in those within: the one list of methods."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache

from pydantic import BaseModel

from openmm_nti.validation import estimators
from openmm_nti.validation.estimators.base import Estimator


@cache
def all_estimators() -> dict[str, Estimator]:
    """Return every estimator by the name of its method, in the order of a run."""
    found: dict[str, Estimator] = {}
    for module in pkgutil.walk_packages(estimators.__path__, f"{estimators.__name__}."):
        for one in getattr(importlib.import_module(module.name), "ESTIMATORS", ()):
            if one.name in found:
                raise ValueError(f"two estimators are called {one.name}: rename one of them")
            found[one.name] = one
    return dict(sorted(found.items(), key=lambda item: (item[1].order, item[0])))


def estimator(name: str) -> Estimator:
    """Return the estimator whose method is called `name`; ValueError names the closest ones."""
    known = all_estimators()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise ValueError(f"unknown method {name or repr(name)}{hint} Methods: {', '.join(known)}")
    return known[name]


def exact_estimators() -> list[Estimator]:
    """Return the exact estimators of beta F_ex and beta mu_ex, the preferred reference first."""
    exact = [one for one in all_estimators().values() if one.kind == "exact"]
    return sorted(exact, key=lambda one: one.preference)


def sections() -> dict[str, list[Estimator]]:
    """Return the estimators by their section of the configuration, in the order of a run."""
    found: dict[str, list[Estimator]] = {}
    for one in all_estimators().values():
        found.setdefault(one.section, []).append(one)
    return found


def section_config(section: str) -> type[BaseModel]:
    """Return the class of the settings in `section`."""
    return sections()[section][0].Config
