"""The state points of a phase diagram, its exact value, and one N at several temperatures."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad

from openmm_nti import StatePoint
from openmm_nti.fluid.energy import reduced_potential_numpy
from openmm_nti.fluid.virial import virials
from openmm_nti.runtime.context import Execution
from openmm_nti.validation.phases.isochores import Isochore
from openmm_nti.validation.phases.run import _isotherm, _of_full_potential, states_of, two_particles

PAIR = StatePoint(n_particles=2, box_length_sigma=6.0, temperature_star=1.25)


def at(n, t=1.25, **other):
    return StatePoint(n_particles=n, box_length_sigma=6.0, temperature_star=t, **other)


def test_two_particles_are_exact():
    rng = np.random.default_rng(1)
    places = rng.uniform(0, 6, (400_000, 3))
    pairs = np.stack([np.zeros_like(places), places], axis=1)
    boltzmann = np.exp(-reduced_potential_numpy(pairs, PAIR))
    error = boltzmann.std() / len(places) ** 0.5
    assert np.exp(-two_particles(PAIR)) == pytest.approx(boltzmann.mean(), abs=4 * error)
    assert error < 0.003


def test_two_particles_of_the_full_potential_have_its_virial_coefficient():
    def mayer(r):
        return np.expm1(-4 * (r**-12 - r**-6) / 1.25) * 4 * np.pi * r**2

    b2 = -0.5 * (quad(mayer, 0.1, 3.0, limit=200)[0] + quad(mayer, 3.0, np.inf)[0])
    b2 += 2 * np.pi * 0.1**3 / 3
    full = two_particles(PAIR, full=True)
    assert full == pytest.approx(-np.log1p(-2 * b2 / 216), abs=1e-6)
    assert full < two_particles(PAIR) - 0.001


def test_the_full_potential_of_atoms_far_apart_is_the_tail():
    """One atom in contact with none: its images and the mean density are all there is."""
    state = at(4, convention="switched")
    corners = np.array([[0, 0, 0], [3, 3, 0], [3, 0, 3], [0, 3, 3]]) + 0.5
    frames = SimpleNamespace(positions_sigma=np.repeat(corners[None], 8, axis=0), state=state)
    value, error, pressure, _ = _of_full_potential(
        (1.0, 0.5, 0.1, 0.1), frames, virials(frames.positions_sigma, state)
    )
    reach = 0.99 * 6
    shells = 24 * 4 * (18**-6.0 - 18**-3.0)  # of 12 neighbours at 18 ** 0.5 sigma, halved
    tail = 0.5 * 4 * 4 / 216 * 16 * np.pi * (reach**-9 / 9 - reach**-3 / 3)
    assert value - 1.0 == pytest.approx((shells + tail) / 1.25, rel=1e-6)
    assert error == pytest.approx(0.5)
    assert pressure < 0.1


def test_states_are_a_list_over_n_for_each_temperature():
    states = states_of([at(n) for n in (9, 3, 4, 5, 6, 7, 8, 10)], [1.0, 0.9, 1.0])
    assert [row[0].temperature_star for row in states] == [0.9, 1.0]
    assert [state.n_particles for state in states[0]] == [3, 4, 5, 6, 7, 8, 9, 10]
    with pytest.raises(ValueError, match="n_particles = 3, 4: give at least 8 as a list"):
        states_of([at(3), at(4)], [1.0])
    with pytest.raises(ValueError, match="of one box"):
        states_of([at(3), StatePoint(n_particles=4, box_length_sigma=7, temperature_star=1)], [1.0])


@pytest.mark.parametrize("convention", ["truncated", "switched"])
def test_a_potential_that_jumps_has_no_pressure(convention):
    states = [at(n, convention=convention) for n in (3, 4)]
    places = np.random.default_rng(3).uniform(0, 6, (2, 40, 4, 3))
    frames = [
        SimpleNamespace(
            state=state,
            positions_sigma=some[:, : state.n_particles],
            n_independent=40,
            reduced_potentials=None,
        )
        for state, some in zip(states, places, strict=True)
    ]
    columns = [Isochore(n, np.array([0.1]), np.array([0.1])) for n in (3, 4)]
    found = _isotherm(frames, columns, 0, full=False)
    assert found.n_particles.tolist() == [2, 3, 4]
    assert found.has_pressure.tolist() == [False, *[convention == "switched"] * 2]


def test_data_join_the_free_energies_of_the_model():
    """Independent harmonic energies, whose free energies are known at every temperature."""
    n, rng = 20, np.random.default_rng(2)
    temperatures = np.array([1.0, 1.1, 1.2])
    exact = 1.5 * n * np.log(1 / temperatures)
    frames = [
        SimpleNamespace(temperature=t, energies=t * rng.gamma(1.5 * n, size=1000))
        for t in temperatures
    ]
    noisy = exact + np.array([0.3, -0.2, 0.1])
    found = _joined(frames, noisy, [0.3, 0.3, 0.3], n)
    assert found.values - found.values[0] == pytest.approx(exact - exact[0], abs=0.1)
    assert found.values == pytest.approx(exact + 0.2 / 3, abs=0.05)  # the mean of the three
    assert found.errors == pytest.approx(0.3 / 3**0.5, abs=0.04)
    assert found.model.verdict.level == "good"
    assert _joined(frames, exact + np.array([3, -3, 3]), [0.3] * 3, n).model.verdict.level == "warn"
    alone = _joined(frames[:1], noisy[:1], [0.3], n)
    assert (alone.values.tolist(), alone.data) == (noisy[:1].tolist(), None)
    assert alone.rows() == [{}]


def _joined(frames, values, errors, n):
    """Return the isochore of frames that are nothing but energies."""
    import openmm_nti.validation.phases.isochores as module

    class Frames(module.Frames):
        @classmethod
        def of(cls, state, sampled):
            del sampled
            t = np.array([one.temperature for one in frames])
            return module.Frames(state, t, [f.energies for f in frames], None, np.full(len(t), 1e3))

    ensembles = [
        SimpleNamespace(state=at(n, f.temperature), positions_sigma=None, n_independent=1)
        for f in frames
    ]
    found = [SimpleNamespace(value=v, std_err=e) for v, e in zip(values, errors, strict=True)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Frames", Frames)
        return Isochore.of(ensembles, found, Execution(1))
