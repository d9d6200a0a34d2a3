"""Lennard-Jones keeps all rules of a pair potential, and the kit notices broken ones."""

from typing import Literal

import numpy as np
import pytest

from openmm_nti.fluid.potentials.lennard_jones import LennardJones
from openmm_nti.testing import ConformanceError, check_potential

ARGON = LennardJones(sigma_nm=0.3405, epsilon_kj_mol=0.996)


def test_it_keeps_the_rules():
    check_potential(ARGON)


def test_the_general_ways_are_those_of_closed_form():
    """What a potential gets without writing it: core, slope and soft core from the energy alone."""
    r2 = np.linspace(0.6, 9.0, 50)
    plain = super(LennardJones, ARGON.in_units(0.3405, 0.996))
    ours = ARGON.in_units(0.3405, 0.996)
    np.testing.assert_allclose(plain.core(600.0), ours.core(600.0), rtol=1e-9)
    np.testing.assert_allclose(plain.slope(r2), ours.slope(r2), rtol=1e-10, atol=1e-12)
    coupling = np.array([[0.1], [0.9]])
    general = plain.soft_core(r2, coupling, 0.5, np.ones(50))
    for found, expected in zip(
        general, ours.soft_core(r2, coupling, 0.5, np.ones(50)), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


class _WrongExpression(LennardJones):
    type: Literal["wrong_expression"] = "wrong_expression"

    def openmm_expression(self, r="r"):
        return super().openmm_expression(r).replace("4*", "4.001*")


class _WrongSlope(LennardJones):
    type: Literal["wrong_slope"] = "wrong_slope"

    def slope(self, r_squared):
        return 1.001 * super().slope(r_squared)


class _WrongNumpy(LennardJones):
    type: Literal["wrong_numpy"] = "wrong_numpy"

    def energy_numpy(self, r_squared):
        return super().energy_numpy(r_squared) + 1e-6


class _WrongCore(LennardJones):
    type: Literal["wrong_core"] = "wrong_core"

    def core(self, energy):
        radius, slope = super().core(energy)
        return 1.6 * radius, slope


class _WrongSoftCore(LennardJones):
    type: Literal["wrong_softcore"] = "wrong_softcore"

    def soft_core(self, r_squared, coupling, alpha, factor):
        energy, slope = super().soft_core(r_squared, coupling, alpha, factor)
        return energy, -slope


class _WrongUnits(LennardJones):
    type: Literal["wrong_units"] = "wrong_units"

    def energy(self, r_squared):
        y = (r_squared / (self.sigma_nm + 0.001) ** 2) ** -3
        return 4.0 * self.epsilon_kj_mol * (y * y - y)

    def energy_numpy(self, r_squared):
        return np.asarray(self.energy(r_squared))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (_WrongExpression, "openmm_expression and energy must agree"),
        (_WrongSlope, "slope must be the derivative"),
        (_WrongNumpy, "energy and energy_numpy must agree"),
        (_WrongCore, "two particles by the table"),
        (_WrongSoftCore, "soft_core's slope"),
        (_WrongUnits, "must scale with their units"),
    ],
)
def test_the_kit_notices(kind, message):
    with pytest.raises(ConformanceError, match=message):
        check_potential(kind(sigma_nm=0.3405, epsilon_kj_mol=0.996))
