"""`check_potential`: whether the parts of a pair potential say the same thing.

The energy for numpy and for torch, its derivative, OpenMM's expression, the soft core and the
two-body table are compared with each other and with quadrature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import openmm
import torch
from numpy.typing import NDArray
from openmm import unit

from openmm_nti.fluid.potentials.base import PairPotential
from openmm_nti.fluid.potentials.registry import PotentialForm
from openmm_nti.fluid.reduced import ReducedPotential
from openmm_nti.hamiltonian.pair_energy import KindEnergy
from openmm_nti.hamiltonian.two_body import TwoBodyTerm
from openmm_nti.hamiltonian.two_body_table import smeared_potential
from openmm_nti.testing.errors import ConformanceError

Array = NDArray[np.float64]
_ALPHA, _COUPLING = 0.5, "lambda_check"
_BOX_SIGMA = 8.0
_MOST_KT = 1e6  # beyond, energies differ by more than they mean
_NOISES = (0.05, 0.15, 0.4)  # sigma


def check_potential(potential: PairPotential, *, temperature_star: float = 1.25) -> None:
    """Raise `ConformanceError` unless all parts of a potential agree.

    The energies of numpy, torch, TorchScript and OpenMM are equal; the slope is the derivative;
    nothing is left beyond the cutoff; the soft core ends in the potential; and two particles have
    the exact free energy by the table at any noise.

    Parameters
    ----------
    potential
        An instance with parameters in nm and kJ/mol.
    temperature_star
        kT in units of `epsilon_kj_mol`, or in kJ/mol where the potential has none.

    Raises
    ------
    ConformanceError
        With the first rule that is broken, and by how much.
    """
    case = _Case.of(potential, temperature_star)
    for check in (_energies, _slope, _openmm, _cutoff, _soft_core, _two_particles):
        check(case)


@dataclass(frozen=True)
class _Case:
    """A potential with a temperature, and distances to look at it.

    Attributes
    ----------
    potential
        In nm and kJ/mol.
    reduced
        With its cutoff and temperature, in units of `length_nm` and `energy_kj_mol`.
    r
        Distances, sigma.
    """

    potential: PairPotential
    reduced: ReducedPotential
    length_nm: float
    energy_kj_mol: float
    r: Array

    @classmethod
    def of(cls, potential: PairPotential, temperature_star: float) -> _Case:
        units = potential.natural_units()
        energy = float(getattr(potential, "epsilon_kj_mol", units.get("epsilon_kj_mol", 1.0)))
        length = potential.size
        form = PotentialForm.of(potential).in_units(length, energy)
        reduced = ReducedPotential(temperature_star=temperature_star, potential=form)
        grid = np.linspace(0.3, reduced.cutoff_sigma, 600)
        in_kt = np.abs(reduced.pair_in_kt.energy_numpy(grid**2))
        return cls(potential, reduced, length, energy, grid[in_kt < _MOST_KT])

    @property
    def in_kt(self) -> PairPotential:
        """The potential in units of sigma and kT."""
        return self.reduced.pair_in_kt


def _compare(rule: str, found: Array, expected: Array, tolerance: float) -> None:
    """Raise unless two arrays agree, relative to values above 1 and absolutely below."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    difference = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    if not (found.size and np.isfinite(difference).all() and difference.max() <= tolerance):
        worst = float(difference.max()) if found.size else math.nan
        raise ConformanceError(f"{rule}: they differ by {worst:.2g}, and may by {tolerance:.0e}")


def _energies(case: _Case) -> None:
    """Compare the energies of numpy, torch and TorchScript, and both units."""
    r_squared = case.r**2
    expected = case.in_kt.energy_numpy(r_squared)
    plain = np.asarray(case.in_kt.energy(r_squared))
    _compare("energy and energy_numpy must agree", plain, expected, 1e-10)
    tensor = torch.from_numpy(r_squared)
    eager = np.asarray(case.in_kt.energy(tensor).numpy())
    _compare("energy of arrays and of tensors must agree", eager, expected, 1e-10)
    recorded = KindEnergy(case.reduced.kinds[0])
    recorded.prepare_for_torchscript()
    scripted = np.asarray(recorded.bare(tensor).numpy())
    _compare("energy must be plain operators that TorchScript records", scripted, eager, 1e-10)
    real = case.potential.energy_numpy(r_squared * case.length_nm**2)
    in_kt = real / (case.energy_kj_mol * case.reduced.temperature_star)
    _compare("parameters in nm and kJ/mol must scale with their units", in_kt, expected, 1e-10)
    together = case.reduced.pair_energy(np.zeros(1))
    if np.isnan(together).any():
        raise ConformanceError("the energy of two atoms in one place must not be NaN")


def _slope(case: _Case) -> None:
    """Compare the slope with finite differences and with torch's derivative."""
    r_squared, step = case.r**2, 1e-6 * case.r**2
    slope = case.in_kt.slope(r_squared)
    tensor = torch.from_numpy(r_squared).requires_grad_(True)
    (autograd,) = torch.autograd.grad(case.in_kt.energy(tensor).sum(), tensor)
    _compare("slope must be the derivative by r^2", slope, autograd.numpy(), 1e-8)
    above, below = (case.in_kt.energy_numpy(r_squared + sign * step) for sign in (1, -1))
    # A potential may have a kink in its force: there, finite differences are off by the step.
    numerical = (above - below) / (2.0 * step)
    _compare("slope must agree with finite differences", slope, numerical, 1e-4)


def _openmm(case: _Case) -> None:
    """Compare OpenMM's expression with the energy."""
    found = _energies_in_openmm(case, case.potential.openmm_expression(), {})
    expected = case.potential.energy_numpy((case.r * case.length_nm) ** 2)
    _compare("openmm_expression and energy must agree", found, expected, 1e-6)


def _cutoff(case: _Case) -> None:
    """Look beyond the cutoff, and just within."""
    cutoff = case.reduced.cutoff_sigma
    r = np.array([cutoff, cutoff + 1e-6, cutoff + 1.0])
    for energies in (
        case.reduced.pair_energy(r**2),
        KindEnergy(case.reduced.kinds[0])(torch.from_numpy(r**2)).numpy(),
    ):
        if not (energies == 0.0).all():
            raise ConformanceError("the energy must be zero from the cutoff on")
    inside = case.reduced.pair_energy(np.array([(cutoff - 1e-5) ** 2]))
    _compare("a switched energy must vanish at the cutoff", inside, np.zeros(1), 1e-8)


def _soft_core(case: _Case) -> None:
    """Compare the soft core with its ends, with finite differences and with OpenMM."""
    r_squared, factor = case.r**2, np.ones(case.r.size)
    coupling, step = np.array([[0.2], [0.7]]), 1e-6
    energy, slope = case.in_kt.soft_core(r_squared, coupling, _ALPHA, factor)
    ends = case.in_kt.soft_core(r_squared, np.array([[0.0], [1.0]]), _ALPHA, factor)[0]
    _compare("soft_core must be zero at coupling 0", ends[0], np.zeros(case.r.size), 1e-12)
    full = case.in_kt.energy_numpy(r_squared)
    _compare("soft_core must be the potential at coupling 1", ends[1], full, 1e-9)
    above, below = (
        case.in_kt.soft_core(r_squared, coupling + sign * step, _ALPHA, factor)[0]
        for sign in (1, -1)
    )
    _compare("soft_core's slope must be its derivative", slope, (above - below) / (2 * step), 1e-5)
    expression = case.potential.soft_core_expression(_ALPHA, _COUPLING)
    kt = case.energy_kj_mol * case.reduced.temperature_star
    for value, expected in zip(coupling.ravel(), energy, strict=True):
        found = _energies_in_openmm(case, expression, {_COUPLING: float(value)})
        _compare("soft_core_expression and soft_core must agree", found / kt, expected, 1e-6)


def _two_particles(case: _Case) -> None:
    """Compare the table with quadrature: noise leaves the Mayer integral of the exact term.

    The convolution of exp(-u) with a Gaussian keeps the integral of exp(-u) - 1 over space.
    """
    cutoff, volume = case.reduced.cutoff_sigma, _BOX_SIGMA**3
    nodes, weights = np.polynomial.legendre.leggauss(1000)
    r, measure = 0.5 * cutoff * (nodes + 1), 0.5 * cutoff * weights
    in_kt = case.reduced.pair_energy(r**2) / case.reduced.temperature_star
    exact = float((measure * 4 * math.pi * r**2) @ np.expm1(-in_kt))
    term = TwoBodyTerm(case.reduced)
    found = float(term.free_energy_at_end(torch.tensor(volume, dtype=torch.float64)))
    _compare(
        "two particles by the table must have their exact free energy",
        np.array([volume * math.expm1(-found)]),
        np.array([exact]),
        1e-3,
    )
    for noise in _NOISES:
        far = cutoff + 8.0 * noise
        distant, share = 0.5 * far * (nodes + 1), 0.5 * far * weights
        smeared = smeared_potential(distant, noise**2, case.reduced.kinds[0])
        mayer = float((share * 4 * math.pi * distant**2) @ np.expm1(-smeared))
        _compare(
            f"noise of {noise:g} sigma must leave the integral of exp(-u) - 1",
            np.array([mayer]),
            np.array([exact]),
            1e-3,
        )


def _energies_in_openmm(case: _Case, expression: str, parameters: dict[str, float]) -> Array:
    """Return the energies of two atoms in OpenMM at the distances of `case`, in kJ/mol."""
    system = openmm.System()
    force = openmm.CustomNonbondedForce(expression)
    for name, table in case.potential.openmm_functions().items():
        force.addTabulatedFunction(name, openmm.Continuous1DFunction(*table))
    for name, value in parameters.items():
        force.addGlobalParameter(name, value)
    for _ in range(2):
        system.addParticle(1.0)
        force.addParticle([])
    system.addForce(force)
    platform = openmm.Platform.getPlatform("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    energies = []
    for distance in case.r * case.length_nm:
        context.setPositions([[0.0, 0.0, 0.0], [float(distance), 0.0, 0.0]])
        energy = context.getState(energy=True).getPotentialEnergy()
        energies.append(energy.value_in_unit(unit.kilojoule_per_mole))
    return np.array(energies)
