"""Which forces depend on a global parameter, and whether OpenMM computes the derivative by it.

OpenMM returns 0.0 for a derivative that a force does not compute, without a word. A force may also
hold other forces, which it shows only when asked: CustomCVForce and ATMForce do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openmm

from openmm_nti.md.plugin import openmmtorch


def typed(force: Any) -> Any:
    """Return `force` with its own type: OpenMM returns a TorchForce as a bare Force."""
    if type(force) is not openmm.Force:
        return force
    torch_force_type = openmmtorch().TorchForce  # only plugins' forces come out untyped
    return torch_force_type.cast(force) if torch_force_type.isinstance(force) else force


def forces_of(system: openmm.System) -> list[Any]:
    """Return the forces of a System, each with its own type."""
    return [typed(force) for force in system.getForces()]


def inner_forces(force: Any) -> Iterator[Any]:
    """Yield the forces that `force` holds, each with its own type."""
    if isinstance(force, openmm.CustomCVForce):
        numbers = range(force.getNumCollectiveVariables())
        yield from (typed(force.getCollectiveVariable(number)) for number in numbers)
    elif hasattr(force, "getForce"):
        yield from (typed(force.getForce(number)) for number in range(force.getNumForces()))


def depends_on(force: Any, parameter: str) -> bool:
    """Return whether `force`, or a force in it, depends on the global parameter."""
    if type(force) is openmm.Force:  # of a plugin without Python types: its XML names parameters
        return f'"{parameter}"' in openmm.XmlSerializer.serialize(force)
    return parameter in _own_parameters(force) or any(
        depends_on(inner, parameter) for inner in inner_forces(force)
    )


def check_derivative(force: Any, parameter: str) -> None:
    """Refuse a force that depends on the parameter if OpenMM finds no derivative, or half of it.

    Raises
    ------
    ValueError
        With the force, and what to do about it.
    """
    name = _name(force)
    derives = parameter in _own_derivatives(force)
    if any(depends_on(inner, parameter) for inner in inner_forces(force)):
        if not isinstance(force, openmm.CustomCVForce):
            raise ValueError(
                f"{name} holds a force that depends on {parameter}, and OpenMM does not pass the "
                f"derivative by it on: put that force into the System itself, or take differences "
                "of energies at two values of the parameter"
            )
        if not derives:
            raise ValueError(
                f"{name} holds a force that depends on {parameter}, and passes the derivative by "
                f"it on only if asked: call its addGlobalParameter({parameter!r}, 1.0) and "
                f"addEnergyParameterDerivative({parameter!r}) before the Context is made"
            )
        for inner in inner_forces(force):
            if depends_on(inner, parameter):
                check_derivative(inner, parameter)
        return
    if derives:
        return
    advice = (
        f"call addEnergyParameterDerivative({parameter!r}) before the Context is made"
        if hasattr(force, "addEnergyParameterDerivative")
        else "OpenMM cannot compute it for this kind of force; take differences of energies"
    )
    raise ValueError(f"{name} depends on {parameter} but reports no derivative by it: {advice}")


def _name(force: Any) -> str:
    kind = type(force).__name__
    return f"force {kind}" if force.getName() in {"", kind} else f"{kind} {force.getName()}"


def _own_parameters(force: Any) -> list[str]:
    if isinstance(force, openmm.PythonForce):
        return list(force.getGlobalParameters())
    if not hasattr(force, "getNumGlobalParameters"):
        return []
    return [force.getGlobalParameterName(i) for i in range(force.getNumGlobalParameters())]


def _own_derivatives(force: Any) -> list[str]:
    if not hasattr(force, "getNumEnergyParameterDerivatives"):
        return []
    numbers = range(force.getNumEnergyParameterDerivatives())
    return [force.getEnergyParameterDerivativeName(number) for number in numbers]
