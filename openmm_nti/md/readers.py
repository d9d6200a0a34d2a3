"""Readers of a Context with a learned force: dU/dlambda, and U at every lambda."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary
from xml.etree import ElementTree as ET

import numpy as np
import openmm
import torch

from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.md.plugin import openmmtorch
from openmm_nti.md.python_energy import PythonEnergy, positions_and_box
from openmm_nti.md.system_checks import check_constant_volume

# OpenMM hands out copies of a force's module and function, slowly: each is read once.
_modules: WeakKeyDictionary[openmm.Context, Any] = WeakKeyDictionary()
_python_functions: WeakKeyDictionary[openmm.Context, dict[int, Any]] = WeakKeyDictionary()


def dudl(context: openmm.Context, parameter: str = LAMBDA) -> float:
    """Return dU/dlambda in kJ/mol, over all forces in `context` that depend on lambda.

    OpenMM reports 0 for a derivative that a force was not asked to compute. A thermodynamic
    integration of such zeros finds a free energy of zero, so they are refused here.

    Parameters
    ----------
    context
        Holds at least one force with the parameter.
    parameter
        Name of lambda in the Context.

    Raises
    ------
    ValueError
        If no force has the parameter, or one that has it does not compute the derivative.
    """
    if parameter not in context.getParameters():
        raise ValueError(
            f"no force in this Context has the parameter {parameter}: add "
            "openmm_nti.md.forces.torch_force"
        )
    total = 0.0
    native = False
    for index, force in enumerate(map(_typed, context.getSystem().getForces())):
        if isinstance(force, openmm.PythonForce):
            total += _python_dudl(force, context, index, parameter)
            continue
        depends, derives = _parameters(force)
        if parameter in depends and parameter not in derives:
            raise ValueError(
                f"force {force.getName()} depends on {parameter} but reports no derivative by it: "
                "call "
                f"addEnergyParameterDerivative({parameter!r}) before the Context is made"
            )
        native = native or parameter in derives
    if native:
        total += context.getState(getParameterDerivatives=True).getEnergyParameterDerivatives()[
            parameter
        ]
    return total


def reduced_potentials(
    context: openmm.Context, lambdas: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Return U(x, lambda) in kT at every lambda for the configuration in `context`.

    These are the numbers that MBAR needs of a frame. The Context's own lambda stays as it is, and
    other forces in the System do not count. What the lambdas share is computed once.

    Parameters
    ----------
    context
        Holds exactly one force made by `torch_force` or `python_force`.
    lambdas
        Values of lambda, (K,).

    Returns
    -------
    numpy.ndarray
        Shape (K,), or (n_replicas, K) where the force holds several replicas. The temperature of
        kT is the model's.

    Raises
    ------
    ValueError
        If there is no such force or more than one, if there is a barostat, or if the model cannot
        take the configuration.
    """
    module = _module(context)
    configuration = positions_and_box(context.getState(getPositions=True))
    fault = module.fault(*configuration)
    if fault:
        raise ValueError(fault)
    positions, box = module.reduced(*configuration)
    couplings = torch.as_tensor(np.asarray(lambdas, dtype=np.float64))
    table = module.model.energies_at(positions, box, couplings).numpy()
    return np.asarray(table[0] if module.n_replicas == 1 else table)


def _module(context: openmm.Context) -> Any:
    """Return the `OpenMMEnergy`, scripted or not, of the one learned force in `context`."""
    if context in _modules:
        return _modules[context]
    check_constant_volume(context.getSystem())
    modules = []
    for index, force in enumerate(map(_typed, context.getSystem().getForces())):
        if isinstance(force, openmm.PythonForce):
            energy = _python_function(force, context, index)
            if isinstance(energy, PythonEnergy):
                modules.append(energy.module)
        elif hasattr(force, "getModule") and LAMBDA in _parameters(force)[0]:
            modules.append(force.getModule())
    if len(modules) != 1:
        raise ValueError(
            f"the Context holds {len(modules)} learned forces where one is expected: add "
            "torch_force once"
        )
    return _modules.setdefault(context, modules[0])


def _typed(force: Any) -> Any:
    """Return `force` with its own type: OpenMM hands out a TorchForce as a bare Force."""
    if type(force) is not openmm.Force:
        return force
    torch_force_type = openmmtorch().TorchForce  # only plugins' forces come out untyped
    return torch_force_type.cast(force) if torch_force_type.isinstance(force) else force


def _parameters(force: Any) -> tuple[list[str], list[str]]:
    """Return the names of a force's global parameters, and of those it differentiates by."""
    if not hasattr(force, "getNumGlobalParameters"):
        return [], []
    depends = [force.getGlobalParameterName(i) for i in range(force.getNumGlobalParameters())]
    if not hasattr(force, "getNumEnergyParameterDerivatives"):
        return depends, []
    return depends, [
        force.getEnergyParameterDerivativeName(i)
        for i in range(force.getNumEnergyParameterDerivatives())
    ]


def _python_dudl(
    force: openmm.PythonForce, context: openmm.Context, index: int, parameter: str
) -> float:
    """Return dU/dlambda of the PythonForce at `index` of the System; 0 if it has no lambda."""
    if parameter not in force.getGlobalParameters():
        return 0.0
    energy = _python_function(force, context, index)
    if not isinstance(energy, PythonEnergy):
        raise ValueError(  # noqa: TRY004 (about the force, not about a type)
            f"PythonForce {force.getName()} depends on {parameter} and cannot report the "
            "derivative by it"
        )
    return energy.dudl(context.getState(getPositions=True, getParameters=True))


def _python_function(force: openmm.PythonForce, context: openmm.Context, index: int) -> Any:
    """Return the Python object that computes the PythonForce at `index` of the System.

    OpenMM's bindings do not hand it out, but the force's XML holds its pickle in hexadecimal.
    """
    known = _python_functions.setdefault(context, {})
    if index not in known:
        # Safe to parse and to unpickle: OpenMM has just written it from an object of this process.
        element = ET.fromstring(openmm.XmlSerializer.serialize(force))  # noqa: S314
        known[index] = pickle.loads(bytes.fromhex(element.get("function", "")))  # noqa: S301
    return known[index]
