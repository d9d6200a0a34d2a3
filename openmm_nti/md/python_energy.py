"""`PythonEnergy`: the learned Hamiltonian as a callable for openmm.PythonForce."""

from __future__ import annotations

import pickle
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import openmm
import torch
from openmm import unit
from torch import Tensor

from openmm_nti.md.openmm_energy import LAMBDA, OpenMMEnergy


class PythonEnergy:
    """The function that the force of `python_force` calls.

    It pickles together with its module, so a System that holds it can be written as XML.

    Parameters
    ----------
    module
        Module that computes the energy from positions, box and lambda.
    """

    def __init__(self, module: OpenMMEnergy) -> None:
        self.module = module

    def __call__(self, state: openmm.State) -> tuple[float, np.ndarray]:
        """Return the energy in kJ/mol and the forces (N, 3) in kJ/mol/nm of an OpenMM State."""
        with torch.inference_mode(False), torch.enable_grad():  # whatever surrounds OpenMM's call
            positions, box, lam = self._inputs(state)
            positions.requires_grad_(True)
            energy = self.module(positions, box, lam)
            (gradient,) = torch.autograd.grad(energy, positions)
        return float(energy.detach()), -gradient.numpy()

    def dudl(self, state: openmm.State) -> float:
        """Return dU/dlambda in kJ/mol of an OpenMM State with positions and parameters."""
        with torch.inference_mode(False), torch.enable_grad():
            positions, box, lam = self._inputs(state)
            lam.requires_grad_(True)
            (derivative,) = torch.autograd.grad(self.module(positions, box, lam), lam)
        return float(derivative)

    @staticmethod
    def _inputs(state: openmm.State) -> tuple[Tensor, Tensor, Tensor]:
        lam = state.getParameters()[LAMBDA]
        return *positions_and_box(state), torch.tensor(lam, dtype=torch.float64)


def positions_and_box(state: openmm.State) -> tuple[Tensor, Tensor]:
    """Return positions (n, 3) and box vectors (3, 3) of an OpenMM State, in nm and float64."""
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    box_vectors = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
    return torch.tensor(positions), torch.tensor(box_vectors)


def function_of(force: openmm.PythonForce) -> Any:
    """Return a copy of the Python object that computes a PythonForce.

    OpenMM's bindings do not return it, but the force's XML contains its pickle in hexadecimal.
    """
    # Safe to parse and to unpickle: OpenMM has just written it from an object of this process.
    element = ET.fromstring(openmm.XmlSerializer.serialize(force))  # noqa: S314
    return pickle.loads(bytes.fromhex(element.get("function", "")))  # noqa: S301
