"""The frames for alchemlyb: their form, and the same numbers from its estimators as from ours."""

from dataclasses import replace

import numpy as np
import pytest

from openmm_nti.fluid.state import StatePoint
from openmm_nti.validation.analysis.window_data import WindowData
from openmm_nti.validation.analysis.window_estimates import estimate_mbar, estimate_ti

pytest.importorskip("alchemlyb", reason="pip install alchemlyb compares its estimators with ours")

from alchemlyb.estimators import MBAR, TI

from openmm_nti.validation.analysis.alchemlyb import to_alchemlyb

STATE = StatePoint(n_particles=4, box_length_sigma=6, temperature_star=1.25)
LAMBDAS = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])


@pytest.fixture
def data():
    """Oscillators U = (1 + 7 lambda) x^2 / 2 in five dimensions."""
    stiffness = 1 + 7 * LAMBDAS
    x = np.random.default_rng(1).standard_normal((6, 200, 5)) / np.sqrt(stiffness)[:, None, None]
    half_x2 = 0.5 * (x**2).sum(axis=-1)
    return WindowData(
        LAMBDAS, half_x2[:, :, None] * stiffness, 7 * half_x2, np.repeat(np.arange(8), 25)
    )


def test_frames_carry_lambdas_times_and_temperature(data):
    u_nk, dhdl = to_alchemlyb(data, STATE)
    for frame in (u_nk, dhdl):
        assert list(frame.index.names) == ["time", "lambdas"]
        assert not frame.index.has_duplicates
        assert frame.attrs == {"temperature": STATE.temperature_kelvin, "energy_unit": "kT"}
    np.testing.assert_array_equal(u_nk.columns, LAMBDAS)
    np.testing.assert_array_equal(u_nk.xs(0.25, level="lambdas").to_numpy(), data.u_kln[2])
    np.testing.assert_array_equal(dhdl.xs(0.25, level="lambdas").to_numpy().ravel(), data.dudl[2])


def test_mbar_of_alchemlyb_gives_our_number(data):
    theirs = MBAR().fit(to_alchemlyb(data, STATE)[0])
    ours = estimate_mbar(data, STATE, method="mbar_neural", seed=1)
    assert theirs.delta_f_.loc[0.0, 1.0] == pytest.approx(ours.value, abs=1e-5)
    np.testing.assert_allclose(theirs.overlap_matrix, ours.diagnostics["overlap_matrix"], atol=1e-5)
    assert theirs.delta_f_.attrs["energy_unit"] == "kT"


def test_with_control_variates_it_gives_what_stands_beside_our_number(data):
    functions = 5 - data.dudl * (2 / 7) * (1 + 7 * LAMBDAS)[:, np.newaxis]
    controlled = replace(data, control_variates=functions[:, :, np.newaxis])
    theirs = MBAR().fit(to_alchemlyb(controlled, STATE)[0]).delta_f_.loc[0.0, 1.0]
    ours = estimate_mbar(controlled, STATE, method="mbar_neural", seed=1)
    without = ours.diagnostics["control_variates"]["value_without"]
    assert theirs == pytest.approx(without, abs=1e-5)
    assert abs(ours.value - without) > 1e-3


def test_a_forbidden_configuration_has_no_weight_in_either(data):
    data.u_kln[0, 3, 4:] = np.inf
    theirs = MBAR().fit(to_alchemlyb(data, STATE)[0])
    ours = estimate_mbar(data, STATE, method="mbar_neural", seed=1)
    assert theirs.delta_f_.loc[0.0, 1.0] == pytest.approx(ours.value, abs=1e-5)


def test_ti_of_alchemlyb_is_the_trapezoidal_rule_through_our_means(data):
    theirs = TI().fit(to_alchemlyb(data, STATE)[1])
    profile = estimate_ti(data, STATE, method="ti_neural_md", seed=1).diagnostics
    trapezoidal = np.trapezoid(profile["dudl_mean"], profile["lambdas"])
    assert theirs.delta_f_.loc[0.0, 1.0] == pytest.approx(trapezoidal, rel=1e-9)
