"""The registry of the kinds of networks in this folder.

A new kind is one file here: a subclass of `LearnedPart` that brings its settings as `Config`, and a
line `NETWORKS = (MyNetwork,)`. Code outside of the package calls `register(MyNetwork)` instead.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from functools import cache
from typing import TypeVar

from openmm_nti.hamiltonian import networks
from openmm_nti.hamiltonian.networks.base import LearnedPart
from openmm_nti.hamiltonian.networks.config import NetworkConfig

NetworkClass = TypeVar("NetworkClass", bound=type[LearnedPart])


@cache
def network_classes() -> dict[str, type[LearnedPart]]:
    """Return every class of networks by its kind."""
    classes: dict[str, type[LearnedPart]] = {}
    for module in pkgutil.iter_modules(networks.__path__, f"{networks.__name__}."):
        for network in getattr(importlib.import_module(module.name), "NETWORKS", ()):
            _add(classes, network)
    return classes


def register(network: NetworkClass) -> NetworkClass:
    """Make the kind of a class from outside of the package known in this process.

    Processes that pickle models or settings must import the module that registers the class.

    Raises
    ------
    ValueError
        If another class has the same kind.
    """
    _add(network_classes(), network)
    return network


def network_class(kind: str) -> type[LearnedPart]:
    """Return the class of networks of `kind`; ValueError names the closest kind."""
    known = network_classes()
    if kind not in known:
        close = difflib.get_close_matches(kind, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(
            f"unknown kind of network {kind!r}: {hint}choose one of {', '.join(known)}"
        )
    return known[kind]


def build_network(config: NetworkConfig, *, gives_energy: bool) -> LearnedPart:
    """Return a network with fresh weights for `config`.

    Raises
    ------
    ValueError
        If it gives no energy where one is wanted, or the other way round.
    """
    network = network_class(config.kind)
    if network.gives_energy != gives_energy:
        wanted = "an energy" if gives_energy else "a score without an energy"
        raise ValueError(
            f"network.kind = {config.kind} does not give {wanted}: use `build_model`, which takes "
            "any kind, or another kind"
        )
    return network(config)


def _add(classes: dict[str, type[LearnedPart]], network: type[LearnedPart]) -> None:
    kind = network.kind()
    if classes.get(kind, network) is not network:
        raise ValueError(f"two classes of networks are of kind {kind}: rename one of them")
    classes[kind] = network
