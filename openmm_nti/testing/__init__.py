"""Checks that potentials, networks and estimators keep the rules the package relies on.

They are for code outside of the package too, in its own tests::

    from openmm_nti.testing import check_network

    def test_my_network():
        check_network(MyConfig(width=8))

A check returns nothing, or raises `ConformanceError` with the rule that is broken and by how much.
Nothing here is imported before it is asked for: a check of a network does without `validation`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from openmm_nti.testing.errors import ConformanceError

if TYPE_CHECKING:
    from openmm_nti.testing.estimator import check_estimator
    from openmm_nti.testing.network import check_network
    from openmm_nti.testing.potential import check_potential

__all__ = ["ConformanceError", "check_estimator", "check_network", "check_potential"]

_MODULES = {
    "check_estimator": "estimator",
    "check_network": "network",
    "check_potential": "potential",
}


def __getattr__(name: str) -> Any:
    """Import the module of a check when it is asked for."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
