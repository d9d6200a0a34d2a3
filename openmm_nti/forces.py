"""The learned Hamiltonian as an OpenMM force: two thin adapters over one module, and one reader of dU/dlambda.

`torch_force` runs inside OpenMM with a derivative by `lambda_nti`; `python_force` runs wherever OpenMM >= 8.5 does,
also where no openmm-torch wheel exists. Energies are in kJ/mol, positions in nm, as OpenMM has them.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary
from xml.etree import ElementTree as ET

import numpy as np
import openmm
import torch
from openmm import unit
from torch import Tensor

from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.model_files import check_model_fits
from openmm_nti.openmm_energy import STATIC_FUSION, Fusion, OpenMMEnergy, script
from openmm_nti.plugin import openmmtorch
from openmm_nti.state import StatePoint
from openmm_nti.system_checks import check_constant_volume, check_system

LAMBDA = "lambda_nti"
Particles = Sequence[int] | np.ndarray | None
_modules: WeakKeyDictionary[openmm.Context, Any] = WeakKeyDictionary()
_python_functions: WeakKeyDictionary[openmm.Context, dict[int, Any]] = WeakKeyDictionary()


def torch_force(
    model: LambdaHamiltonian,
    state: StatePoint,
    *,
    particles: Particles = None,
    n_replicas: int = 1,
    lambda_nti: float = 1.0,
    fusion: Fusion | None = STATIC_FUSION,
    portable: bool = False,
) -> Any:
    """`model` as an openmmtorch.TorchForce with the global parameter `lambda_nti` and the derivative by it.

    Its property `useCUDAGraphs` must stay off: the model counts neighbours at every step, and reads the count back from
    the device, which CUDA forbids while it records a graph.

    Parameters
    ----------
    model
        A Hamiltonian of the state's pair potential. It is copied into the force: later changes have no effect.
    state
        The system it acts on.
    particles
        Which particles of a larger System these are, (n_replicas * N,); the others feel nothing. None for all.
    n_replicas
        See `OpenMMEnergy`.
    lambda_nti
        The parameter's default, with which a Context starts.
    fusion
        TorchScript's fusion strategy, as for `torch.jit.set_fusion_strategy`, which acts on the whole process; None
        leaves what is set.
    portable
        Leave the compiled operations out (`openmm-nti compile`): XML of the System is then read in any process that
        has openmm-torch. With them, which are several times faster on a CPU, import openmm_nti before reading it.

    Raises
    ------
    ValueError
        If the model is of another pair potential than `state`, or `particles` are not N different indices.
    RuntimeError
        If openmm-torch is not installed or OpenMM crashes with it; `python_force` works without it.
    """
    check_model_fits(model, state)
    energy = OpenMMEnergy(model, state, n_replicas, particles)
    force = openmmtorch().TorchForce(script(energy, fusion, portable=portable))
    force.setName("openmm_nti")
    force.setUsesPeriodicBoundaryConditions(True)
    force.addGlobalParameter(LAMBDA, lambda_nti)
    force.addEnergyParameterDerivative(LAMBDA)
    return force


class PythonEnergy:
    """The callable inside `python_force`; pickles with its module, so a System with it goes through XML."""

    def __init__(self, module: OpenMMEnergy) -> None:
        self.module = module

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Energy in kJ/mol and forces (N, 3) in kJ/mol/nm of an OpenMM State."""
        positions, box, lam = self._inputs(state)
        positions.requires_grad_(True)
        energy = self.module(positions, box, lam)
        (gradient,) = torch.autograd.grad(energy, positions)
        return float(energy.detach()), -gradient.numpy()

    def dudl(self, state: openmm.State) -> float:
        """dU/dlambda in kJ/mol at an OpenMM State with positions and parameters."""
        positions, box, lam = self._inputs(state)
        lam.requires_grad_(True)
        (derivative,) = torch.autograd.grad(self.module(positions, box, lam), lam)
        return float(derivative)

    @staticmethod
    def _inputs(state: openmm.State) -> tuple[Tensor, Tensor, Tensor]:
        lam = state.getParameters()[LAMBDA]
        return *_positions_and_box(state), torch.tensor(lam, dtype=torch.float64)


def _positions_and_box(state: openmm.State) -> tuple[Tensor, Tensor]:
    """Positions (n, 3) and box vectors (3, 3) of an OpenMM State, nm, float64."""
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    box_vectors = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
    return torch.tensor(positions), torch.tensor(box_vectors)


def python_force(
    model: LambdaHamiltonian,
    state: StatePoint,
    *,
    particles: Particles = None,
    n_replicas: int = 1,
    lambda_nti: float = 1.0,
) -> openmm.PythonForce:
    """`model` as an openmm.PythonForce with the global parameter `lambda_nti`; arguments as for `torch_force`.

    A System with it is serialised by pickling the model, and unpickling runs code: load such XML from people you trust.
    """
    check_model_fits(model, state)
    module = OpenMMEnergy(model, state, n_replicas, particles).eval().requires_grad_(False)
    force = openmm.PythonForce(PythonEnergy(module), {LAMBDA: lambda_nti})
    force.setName("openmm_nti")
    force.setUsesPeriodicBoundaryConditions(True)
    return force


def add_to_system(
    system: openmm.System,
    model: LambdaHamiltonian,
    state: StatePoint,
    *,
    make_force: Callable[..., openmm.Force] = torch_force,
    particles: Particles = None,
    n_replicas: int = 1,
) -> openmm.Force:
    """Check `system` (`openmm_nti.system_checks`), add the model's force to it, and return the force.

    Parameters
    ----------
    make_force
        `torch_force` or `python_force`; the other arguments are theirs.

    Raises
    ------
    ValueError
        As `check_system` and the maker of the force raise it.
    """
    check_system(system, state, particles=particles, n_replicas=n_replicas)
    force = make_force(model, state, particles=particles, n_replicas=n_replicas)
    system.addForce(force)
    return force


def create_system(state: StatePoint, *forces: Any, n_replicas: int = 1) -> openmm.System:
    """A System of the state's particles in its periodic box, with `forces` and nothing else."""
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*(state.box_length_nm * np.eye(3)))
    for _ in range(state.n_particles * n_replicas):
        system.addParticle(state.mass_dalton)
    for force in forces:
        system.addForce(force)
    return system


def dudl(context: openmm.Context, parameter: str = LAMBDA) -> float:
    """dU/dlambda of the forces in `context` that depend on `parameter`, in kJ/mol.

    OpenMM reports 0 for a derivative that a force was not asked to compute; a thermodynamic integration that trusts
    it finds a free energy of zero. Such a zero is refused here.

    Raises
    ------
    ValueError
        If no force has the parameter, or one that has it does not compute the derivative.
    """
    if parameter not in context.getParameters():
        raise ValueError(f"no force in this Context has the parameter {parameter}: add openmm_nti.forces.torch_force")
    total, native = 0.0, False
    for index, force in enumerate(map(_typed, context.getSystem().getForces())):
        if isinstance(force, openmm.PythonForce):
            total += _python_dudl(force, context, index, parameter)
            continue
        depends, derives = _parameters(force)
        if parameter in depends and parameter not in derives:
            raise ValueError(
                f"force {force.getName()} depends on {parameter} but reports no derivative by it: call "
                f"addEnergyParameterDerivative({parameter!r}) before the Context is made"
            )
        native = native or parameter in derives
    if native:
        total += context.getState(getParameterDerivatives=True).getEnergyParameterDerivatives()[parameter]
    return total


def reduced_potentials(context: openmm.Context, lambdas: Sequence[float] | np.ndarray) -> np.ndarray:
    """U(x, lambda) of the configuration in `context` at every lambda; what they share is computed once.

    What MBAR needs of a frame, without touching the Context's own lambda. Other forces in the System do not count.

    Parameters
    ----------
    context
        Holds one force of `torch_force` or `python_force`.
    lambdas
        Couplings, (K,).

    Returns
    -------
    numpy.ndarray
        (K,), or (n_replicas, K) where the force holds several replicas; kT of the model's temperature.

    Raises
    ------
    ValueError
        If there is no such force, or more than one, or a barostat, or the configuration is none of the model's.
    """
    module = _module(context)
    configuration = _positions_and_box(context.getState(getPositions=True))
    fault = module.fault(*configuration)
    if fault:
        raise ValueError(fault)
    positions, box = module.reduced(*configuration)
    at = torch.as_tensor(np.asarray(lambdas, dtype=np.float64))
    table = module.model.energies_at(positions, box, at).numpy()
    return np.asarray(table[0] if module.n_replicas == 1 else table)


def _module(context: openmm.Context) -> Any:
    """The `OpenMMEnergy`, scripted or not, of the one learned force in `context`: OpenMM copies it out, slowly."""
    if context in _modules:
        return _modules[context]
    check_constant_volume(context.getSystem())
    found = []
    for index, force in enumerate(map(_typed, context.getSystem().getForces())):
        if isinstance(force, openmm.PythonForce):
            energy = _python_function(force, context, index)
            if isinstance(energy, PythonEnergy):
                found.append(energy.module)
        elif hasattr(force, "getModule") and LAMBDA in _parameters(force)[0]:
            found.append(force.getModule())
    if len(found) != 1:
        raise ValueError(f"the Context holds {len(found)} learned forces where one is expected: add torch_force once")
    return _modules.setdefault(context, found[0])


def _typed(force: Any) -> Any:
    """OpenMM hands out plugin forces as bare Force objects; give a TorchForce its own type back."""
    if type(force) is not openmm.Force:
        return force
    torch_force_type = openmmtorch().TorchForce  # only plugins' forces come out untyped
    return torch_force_type.cast(force) if torch_force_type.isinstance(force) else force


def _parameters(force: Any) -> tuple[list[str], list[str]]:
    """Names of a force's global parameters, and of those it differentiates by."""
    if not hasattr(force, "getNumGlobalParameters"):
        return [], []
    depends = [force.getGlobalParameterName(i) for i in range(force.getNumGlobalParameters())]
    if not hasattr(force, "getNumEnergyParameterDerivatives"):
        return depends, []
    return depends, [force.getEnergyParameterDerivativeName(i) for i in range(force.getNumEnergyParameterDerivatives())]


def _python_dudl(force: openmm.PythonForce, context: openmm.Context, index: int, parameter: str) -> float:
    if parameter not in force.getGlobalParameters():
        return 0.0
    energy = _python_function(force, context, index)
    if not isinstance(energy, PythonEnergy):
        raise ValueError(  # noqa: TRY004 (about the force, not about a type)
            f"PythonForce {force.getName()} depends on {parameter} and cannot report the derivative by it"
        )
    return energy.dudl(context.getState(getPositions=True, getParameters=True))


def _python_function(force: openmm.PythonForce, context: openmm.Context, index: int) -> Any:
    """What the PythonForce at `index` of the System computes with; read once for each Context, for it is slow.

    OpenMM's bindings hand out neither the function nor its pickle, but the force's XML holds it in hexadecimal.
    """
    known = _python_functions.setdefault(context, {})
    if index not in known:
        element = ET.fromstring(openmm.XmlSerializer.serialize(force))  # noqa: S314 (OpenMM's own output)
        known[index] = pickle.loads(bytes.fromhex(element.get("function", "")))  # noqa: S301 (of this process)
    return known[index]
