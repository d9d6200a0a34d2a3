"""Checks that potentials, networks and estimators keep the rules the package relies on.

They are for code outside of the package too, in its own tests::

    from openmm_nti.testing import check_estimator, check_network, check_potential

    def test_my_potential():
        check_potential(MyPotential(sigma_nm=0.34, epsilon_kj_mol=1.0))

    def test_my_network():
        check_network(MyConfig(width=8))

    def test_my_estimator():
        check_estimator(MyEstimator(), MyConfig(n_samples=1000))

A check returns nothing, or raises `ConformanceError` with the rule that is broken and by how much.
Nothing here is imported before it is asked for: a check of a network does without `validation`.
"""

from __future__ import annotations

import importlib
from typing import Any

from openmm_nti.testing.errors import ConformanceError

__all__ = ["ConformanceError", "check_estimator", "check_network", "check_potential"]

_MODULES = {
    "check_estimator": "openmm_nti.validation.testing",
    "check_network": "openmm_nti.testing.network",
    "check_potential": "openmm_nti.testing.potential",
}


def __getattr__(name: str) -> Any:
    """Import the module of a check when it is asked for."""
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
