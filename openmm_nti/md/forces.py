"""The learned Hamiltonian as an OpenMM force: two thin adapters over one module.

`torch_force` runs inside OpenMM with a derivative by `lambda_nti`; `python_force` runs wherever
OpenMM >= 8.5 does, also where no openmm-torch wheel exists. Energies are in kJ/mol, positions in
nm, as OpenMM has them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import openmm

from openmm_nti.fluid.state import StatePoint
from openmm_nti.hamiltonian import LambdaHamiltonian
from openmm_nti.hamiltonian.training_range import fit_model
from openmm_nti.md.openmm_energy import (
    LAMBDA,
    STATIC_FUSION,
    Fusion,
    OpenMMEnergy,
    Particles,
    script,
)
from openmm_nti.md.plugin import openmmtorch
from openmm_nti.md.python_energy import PythonEnergy
from openmm_nti.md.system_checks import check_system
from openmm_nti.references.coupling import checked_couplings


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
    """Return `model` as an openmmtorch.TorchForce with the global parameter `lambda_nti`.

    The force computes the derivative by this parameter. Its property `useCUDAGraphs` must stay off:
    the model counts neighbours at every step and reads the count back from the device, which CUDA
    forbids while it records a graph.

    Parameters
    ----------
    model
        A Hamiltonian of the state's pair potential. It is copied into the force: later changes have
        no effect.
    state
        State point of the particles on which the force acts.
    particles
        Indices of these particles in a larger System, (n_replicas * N,); the others feel no force.
        None for all particles.
    n_replicas
        Number of independent replicas, as for `OpenMMEnergy`.
    lambda_nti
        Default of the parameter, with which a Context starts, in [0, 1].
    fusion
        TorchScript's fusion strategy, as for `torch.jit.set_fusion_strategy`, which acts on the
        whole process; None changes nothing.
    portable
        Whether to leave the compiled operations out (`openmm-nti compile`). XML of the System can
        then be read in any process that has openmm-torch. The compiled operations are several times
        faster on a CPU, but need openmm_nti to be imported before the XML is read.

    Raises
    ------
    ValueError
        If the model is of another pair potential than `state`, `particles` are not N different
        indices, or `lambda_nti` is not in [0, 1].
    RuntimeError
        If openmm-torch is not installed or OpenMM crashes with it; `python_force` works without it.
    """
    checked_couplings(lambda_nti, LAMBDA)
    energy = OpenMMEnergy(fit_model(model, state), state, n_replicas, particles)
    force = openmmtorch().TorchForce(script(energy, fusion, portable=portable))
    force.setName("openmm_nti")
    force.setUsesPeriodicBoundaryConditions(True)
    force.addGlobalParameter(LAMBDA, lambda_nti)
    force.addEnergyParameterDerivative(LAMBDA)
    return force


def python_force(
    model: LambdaHamiltonian,
    state: StatePoint,
    *,
    particles: Particles = None,
    n_replicas: int = 1,
    lambda_nti: float = 1.0,
) -> openmm.PythonForce:
    """Return `model` as an openmm.PythonForce with the global parameter `lambda_nti`.

    Arguments are those of `torch_force`. OpenMM has no derivative of a PythonForce by a parameter:
    it returns 0.0 for it, in a State and in the deriv function of a CustomIntegrator.
    `openmm_nti.dudl` computes it.

    A System with this force is serialised by pickling the
    model, and unpickling runs code: load such XML only from people you trust.
    """
    checked_couplings(lambda_nti, LAMBDA)
    own = copy.deepcopy(fit_model(model, state))
    module = OpenMMEnergy(own, state, n_replicas, particles).eval().requires_grad_(False)
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
    """Check `system` with `check_system`, add the model's force to it, and return the force.

    Parameters
    ----------
    make_force
        `torch_force` or `python_force`, which also take the other arguments.

    Raises
    ------
    ValueError
        If `check_system` or `make_force` refuses the arguments.
    """
    check_system(system, state, particles=particles, n_replicas=n_replicas)
    force = make_force(model, state, particles=particles, n_replicas=n_replicas)
    system.addForce(force)
    return force


def create_system(state: StatePoint, *forces: Any, n_replicas: int = 1) -> openmm.System:
    """Return a System of the state's particles in its periodic box, with `forces` alone."""
    system = openmm.System()
    system.setDefaultPeriodicBoxVectors(*np.diag(state.edges_nm))
    for mass in np.tile(state.masses_dalton, n_replicas):
        system.addParticle(float(mass))
    for force in forces:
        system.addForce(force)
    return system
