"""The learned Hamiltonian as an OpenMM force: two thin adapters over one module, and one reader of dU/dlambda.

`torch_force` runs inside OpenMM with a derivative by `lambda_nti`; `python_force` runs wherever OpenMM >= 8.5 does,
also where no openmm-torch wheel exists. Energies are in kJ/mol, positions in nm, as OpenMM has them.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary
from xml.etree import ElementTree as ET

import numpy as np
import openmm
import torch
from openmm import unit
from torch import Tensor, nn

from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.model_files import check_model_fits
from openmm_nti.state import StatePoint

LAMBDA = "lambda_nti"
_modules: WeakKeyDictionary[openmm.Context, Any] = WeakKeyDictionary()


class OpenMMEnergy(nn.Module):
    """U(x, lambda) in OpenMM's units, for one system or for several independent replicas of it side by side.

    Parameters
    ----------
    model
        The Hamiltonian.
    state
        Supplies N, sigma and kT.
    n_replicas
        The positions hold this many copies of the N particles, one after the other, that do not see each other.
    """

    def __init__(self, model: LambdaHamiltonian, state: StatePoint, n_replicas: int = 1) -> None:
        super().__init__()
        self.model = model
        self.n_particles = state.n_particles
        self.n_replicas = n_replicas
        self.sigma_nm = state.sigma_nm
        self.kt_kj_mol = state.kt_kj_mol
        self.shortest_box = 2.0 * state.cutoff_sigma * (1.0 - 1e-6)

    def forward(self, positions: Tensor, box_vectors: Tensor, lambda_nti: Tensor) -> Tensor:
        """Energy in kJ/mol, 0-dim.

        Parameters
        ----------
        positions
            (n_replicas * N, 3), nm, unwrapped.
        box_vectors
            (3, 3), nm, orthorhombic.
        lambda_nti
            Coupling, 0-dim.
        """
        if positions.shape[0] != self.n_replicas * self.n_particles:
            raise ValueError("openmm_nti: the System has another number of particles than the force was made for")
        if not bool(torch.isfinite(positions).all()):
            raise ValueError("openmm_nti: positions contain NaN or infinity: use a shorter step")
        box = torch.diagonal(box_vectors).double() / self.sigma_nm
        if bool((box < self.shortest_box).any()):
            raise ValueError("openmm_nti: the box is under two cutoffs of the model: enlarge the box")
        reduced = positions.double().reshape(self.n_replicas, self.n_particles, 3) / self.sigma_nm
        return self.model(reduced, box, lambda_nti.reshape(1).expand(self.n_replicas)).sum() * self.kt_kj_mol


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Compile `module` to TorchScript, ready for TorchForce.

    TorchScript's profiling executor re-specialises on changing neighbour counts and runs at half of eager speed; one
    static fusion (a process-wide setting) restores parity.
    """
    torch.jit.set_fusion_strategy([("STATIC", 0)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces TorchScript's end at every call
        return torch.jit.script(module.eval().requires_grad_(False))


def torch_force(model: LambdaHamiltonian, state: StatePoint, *, n_replicas: int = 1) -> Any:
    """`model` as an openmmtorch.TorchForce with the global parameter `lambda_nti` (1 at first) and its derivative.

    Parameters
    ----------
    model
        A Hamiltonian of the state's pair potential. It is copied into the force: later changes have no effect.
    state
        The system it acts on.
    n_replicas
        See `OpenMMEnergy`.

    Raises
    ------
    ValueError
        If the model is of another pair potential than `state`.
    RuntimeError
        If openmm-torch is not installed; `python_force` works without it.
    """
    check_model_fits(model, state)
    force = _openmmtorch().TorchForce(script(OpenMMEnergy(model, state, n_replicas)))
    force.setName("openmm_nti")
    force.setUsesPeriodicBoundaryConditions(True)
    force.addGlobalParameter(LAMBDA, 1.0)
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
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        lam = state.getParameters()[LAMBDA]
        return torch.tensor(positions), torch.tensor(box), torch.tensor(lam, dtype=torch.float64)


def _openmmtorch() -> Any:
    """The plugin's module, which has no wheel on some platforms, without the warning it logs about a package of old."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return importlib.import_module("openmmtorch")
    except ImportError as error:
        raise RuntimeError(
            f"openmm-torch cannot be imported ({error}): install openmm-nti[cpu] or openmm-nti[cuda13], "
            "run `openmm-nti doctor`, or use openmm_nti.forces.python_force"
        ) from error
    finally:
        logging.disable(disabled)


def python_force(model: LambdaHamiltonian, state: StatePoint, *, n_replicas: int = 1) -> openmm.PythonForce:
    """`model` as an openmm.PythonForce with the global parameter `lambda_nti`; arguments as for `torch_force`.

    A System with it is serialised by pickling the model, and unpickling runs code: load such XML from people you trust.
    """
    check_model_fits(model, state)
    module = OpenMMEnergy(model, state, n_replicas).eval().requires_grad_(False)
    force = openmm.PythonForce(PythonEnergy(module), {LAMBDA: 1.0})
    force.setName("openmm_nti")
    force.setUsesPeriodicBoundaryConditions(True)
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
    for force in map(_typed, context.getSystem().getForces()):
        if isinstance(force, openmm.PythonForce):
            total += _python_dudl(force, context, parameter)
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
    """U(x, lambda) of the configuration in `context` at every lambda, in one batched evaluation of the model.

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
        If there is no such force, or more than one.
    """
    module = _module(context)
    state = context.getState(getPositions=True)
    positions = torch.tensor(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)) / module.sigma_nm
    box = torch.tensor(np.diagonal(state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)).copy())
    replicas = positions.reshape(module.n_replicas, 1, module.n_particles, 3)
    at = torch.as_tensor(np.asarray(lambdas, dtype=np.float64))
    batch = replicas.expand(-1, len(at), -1, -1).reshape(-1, module.n_particles, 3)
    with torch.no_grad():
        energies = module.model(batch, box / module.sigma_nm, at.repeat(module.n_replicas))
    table = energies.reshape(module.n_replicas, len(at)).numpy()
    return np.asarray(table[0] if module.n_replicas == 1 else table)


def _module(context: openmm.Context) -> Any:
    """The `OpenMMEnergy`, scripted or not, of the one learned force in `context`: OpenMM copies it out, slowly."""
    if context in _modules:
        return _modules[context]
    found = []
    for force in map(_typed, context.getSystem().getForces()):
        if isinstance(force, openmm.PythonForce):
            energy = _unpickled(ET.fromstring(openmm.XmlSerializer.serialize(force)).get("function", ""))  # noqa: S314
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
    torch_force_type = _openmmtorch().TorchForce  # only plugins' forces come out untyped
    return torch_force_type.cast(force) if torch_force_type.isinstance(force) else force


def _parameters(force: Any) -> tuple[list[str], list[str]]:
    """Names of a force's global parameters, and of those it differentiates by."""
    if not hasattr(force, "getNumGlobalParameters"):
        return [], []
    depends = [force.getGlobalParameterName(i) for i in range(force.getNumGlobalParameters())]
    if not hasattr(force, "getNumEnergyParameterDerivatives"):
        return depends, []
    return depends, [force.getEnergyParameterDerivativeName(i) for i in range(force.getNumEnergyParameterDerivatives())]


def _python_dudl(force: openmm.PythonForce, context: openmm.Context, parameter: str) -> float:
    # OpenMM's bindings hand out neither the function nor its pickle, but the force's XML holds it in hexadecimal.
    element = ET.fromstring(openmm.XmlSerializer.serialize(force))  # noqa: S314 (OpenMM's own output)
    if all(each.get("name") != parameter for each in element.iter("Parameter")):
        return 0.0
    energy = _unpickled(element.get("function", ""))
    if not isinstance(energy, PythonEnergy):
        raise ValueError(  # noqa: TRY004 (about the force, not about a type)
            f"PythonForce {force.getName()} depends on {parameter} and cannot report the derivative by it"
        )
    return energy.dudl(context.getState(getPositions=True, getParameters=True))


@lru_cache(maxsize=4)
def _unpickled(function: str) -> Any:
    return pickle.loads(bytes.fromhex(function))  # noqa: S301 (this process put it into the Context)
