"""Readers of a Context with a learned force: dU/dlambda, and U at every lambda."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import openmm
import torch
from openmm import unit

from openmm_nti.md.openmm_energy import LAMBDA
from openmm_nti.md.parameters import check_derivative, depends_on, forces_of
from openmm_nti.md.python_energy import PythonEnergy, function_of, positions_and_box
from openmm_nti.md.system_checks import (
    check_constant_volume,
    check_free,
    check_integrated,
    check_thermostat,
)
from openmm_nti.references.coupling import checked_couplings

# OpenMM returns copies of a force's module and function, slowly: what was read of a Context is
# remembered until it is reinitialized, which alone changes the forces that it computes.
_memory: WeakKeyDictionary[openmm.Context, dict[str, Any]] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Derivative:
    """Who computes the derivative by a parameter: OpenMM, these Python functions, or both."""

    by_openmm: bool
    functions: tuple[PythonEnergy, ...]


def dudl(context: openmm.Context, parameter: str = LAMBDA) -> float:
    """Return dU/dlambda in kJ/mol, over all forces in `context` that depend on lambda.

    OpenMM reports 0 for a derivative that a force was not asked to compute. A thermodynamic
    integration of such zeros finds a free energy of zero, so they are refused here. Forces inside
    a CustomCVForce count; those inside an ATMForce are refused, for OpenMM leaves them out.

    Parameters
    ----------
    context
        Context with at least one force that has the parameter.
    parameter
        Name of lambda in the Context.

    Raises
    ------
    ValueError
        If no force has the parameter, a force depends on it without a derivative that OpenMM
        computes, or lambda is not in [0, 1].
    """
    if parameter not in context.getParameters():
        raise ValueError(
            f"no force in this Context has the parameter {parameter}: add "
            "openmm_nti.md.forces.torch_force"
        )
    if parameter == LAMBDA:
        checked_couplings(context.getParameter(LAMBDA), LAMBDA)
    who = _remembered(
        context, f"derivative by {parameter}", lambda: _who_derives(context, parameter)
    )
    total = 0.0
    if who.functions:
        state = context.getState(getPositions=True, getParameters=True)
        total += sum(function.dudl(state) for function in who.functions)
    if who.by_openmm:
        state = context.getState(getParameterDerivatives=True)
        native = state.getEnergyParameterDerivatives()[parameter]
        if native == 0.0 and not who.functions:
            _check_zero(context, parameter)
        total += native
    return total


def reduced_potentials(
    context: openmm.Context, lambdas: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Return U(x, lambda) in kT at every lambda for the configuration in `context`.

    These are the numbers that MBAR needs of a frame. The Context's own lambda stays as it is, and
    forces that do not depend on lambda do not count. What does not depend on lambda is computed
    once.

    Parameters
    ----------
    context
        Context with exactly one force that depends on lambda, made by `torch_force` or
        `python_force`.
    lambdas
        Values of lambda in [0, 1], (K,).

    Returns
    -------
    numpy.ndarray
        Shape (K,), or (n_replicas, K) where the force holds several replicas. The temperature of
        kT is the model's.

    Raises
    ------
    ValueError
        If there is no such force or more than one, if there is a barostat, if a lambda is not in
        [0, 1], or if the model cannot take the configuration.
    """
    couplings = torch.as_tensor(checked_couplings(lambdas, "lambdas"))
    module = learned_module(context)
    positions, box = _configuration(context, module)
    table = module.model.energies_at(positions, box, couplings).numpy()
    return np.asarray(table[0] if module.n_replicas == 1 else table)


def learned_module(context: openmm.Context) -> Any:
    """Return the `OpenMMEnergy`, scripted or not, of the one learned force in `context`.

    Raises
    ------
    ValueError
        As for `reduced_potentials`.
    """
    return _remembered(context, "module", lambda: _read_module(context))


def check_sampling(context: openmm.Context) -> float:
    """Refuse a Context that does not sample its learned force; return the temperature in kelvin.

    Raises
    ------
    ValueError
        As for `reduced_potentials` and `system_checks.check_thermostat`, or if particles of the
        force cannot move freely, or move without the force.
    """
    module = learned_module(context)
    system = context.getSystem()
    chosen = module.particles.tolist() if module.is_subset else range(system.getNumParticles())
    check_free(system, chosen)
    for force in forces_of(system):
        if depends_on(force, LAMBDA):
            check_integrated(context, force.getForceGroup())
    return check_thermostat(context, module.kt_kj_mol, chosen)


def _remembered(context: openmm.Context, name: str, read: Callable[[], Any]) -> Any:
    """Return what `name` is known to be in this Context, or what `read` returns."""
    if not _WATCHED:
        return read()
    known = _memory.setdefault(context, {})
    if name not in known:
        known[name] = read()
    return known[name]


def _watch() -> bool:
    """Forget a Context when it is reinitialized; False if OpenMM's bindings do not allow it.

    By the object, its class, a subclass or a method taken before: all end in one function of the
    bindings, which looks it up at each call.
    """
    bindings: Any = getattr(openmm.openmm, "_openmm", None)
    reinitialize = getattr(bindings, "Context_reinitialize", None)
    if reinitialize is None:
        return False

    def forget_and_reinitialize(context: openmm.Context, *preserve_state: Any) -> None:
        _memory.pop(context, None)
        reinitialize(context, *preserve_state)

    bindings.Context_reinitialize = forget_and_reinitialize
    return True


_WATCHED = _watch()


def _read_module(context: openmm.Context) -> Any:
    check_constant_volume(context.getSystem())
    dependent = [force for force in forces_of(context.getSystem()) if depends_on(force, LAMBDA)]
    modules = [module for module in map(_module_of, dependent) if module is not None]
    if len(modules) != 1 or len(dependent) != 1:
        others = sorted({type(force).__name__ for force in dependent})
        raise ValueError(
            f"the Context holds {len(modules)} learned forces where one is expected, and "
            f"{len(dependent)} forces that depend on {LAMBDA} ({', '.join(others) or 'none'}): "
            "add torch_force once, to the System itself"
        )
    if LAMBDA not in context.getParameters():
        raise ValueError(
            "the learned force was added after the Context was made: call "
            "context.reinitialize(preserveState=True)"
        )
    return modules[0]


def _module_of(force: Any) -> Any:
    """Return the `OpenMMEnergy` of a learned force, None for any other force."""
    if isinstance(force, openmm.PythonForce):
        function = function_of(force)
        return function.module if isinstance(function, PythonEnergy) else None
    module = force.getModule() if hasattr(force, "getModule") else None
    return module if hasattr(module, "fault") and hasattr(module, "reduced") else None


def _configuration(context: openmm.Context, module: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the positions and the box of `context` in sigma, after the module's checks."""
    configuration = positions_and_box(context.getState(getPositions=True))
    fault = module.fault(*configuration)
    if fault:
        raise ValueError(fault)
    positions, box = module.reduced(*configuration)
    return positions, box


def _who_derives(context: openmm.Context, parameter: str) -> _Derivative:
    by_openmm = False
    functions = []
    for force in forces_of(context.getSystem()):
        if not depends_on(force, parameter):
            continue
        if not isinstance(force, openmm.PythonForce):
            check_derivative(force, parameter)
            by_openmm = True
            continue
        function = function_of(force)
        if not isinstance(function, PythonEnergy):
            raise ValueError(  # noqa: TRY004 (about the force, not about a type)
                f"PythonForce {force.getName()} depends on {parameter} and cannot report the "
                "derivative by it: take differences of energies at two values of the parameter"
            )
        functions.append(function)
    if not (by_openmm or functions):
        raise ValueError(
            f"no force of the System has the parameter {parameter} any more: call "
            "context.reinitialize(preserveState=True)"
        )
    return _Derivative(by_openmm, tuple(functions))


def _check_zero(context: openmm.Context, parameter: str) -> None:
    """Refuse a derivative of 0.0 where the energy changes with the parameter.

    That is a force which was asked for the derivative after the Context was made, or one that
    hides another. A true zero has a slope that vanishes with the step.
    """
    here = context.getParameter(parameter)
    energy = _energy_at(context, here, parameter, here)
    step = 1e-2 if here < 0.5 else -1e-2
    slopes = [
        (_energy_at(context, here + step / n, parameter, here) - energy) / (step / n)
        for n in (1, 8)
    ]
    noise = 1e-3 * (1.0 + abs(energy))
    if not abs(slopes[1]) <= max(noise, 0.5 * abs(slopes[0])):
        raise ValueError(
            f"OpenMM reports a derivative of 0 by {parameter}, but the energy changes by about "
            f"{slopes[1]:.4g} kJ/mol: a force was asked for its derivative after the Context was "
            "made (call context.reinitialize(preserveState=True)), or is hidden in another force"
        )


def _energy_at(context: openmm.Context, value: float, parameter: str, back_to: float) -> float:
    """Return the Context's energy in kJ/mol at a value of the parameter, and set it back."""
    context.setParameter(parameter, value)
    try:
        energy = context.getState(getEnergy=True).getPotentialEnergy()
    finally:
        context.setParameter(parameter, back_to)
    return energy.value_in_unit(unit.kilojoule_per_mole)
