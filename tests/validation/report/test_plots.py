"""What the figures show: their data, on the axes they are given, with their numbers beside them."""

import math

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from report_run import HELD_OUT, OVERLAP, PROFILE, SERIES

from openmm_nti.validation import plots


def test_figures_draw_their_data_on_the_axes_given():
    ax = Figure().add_subplot()
    assert plots.dudl(*PROFILE.values(), label="a", ax=ax) is ax
    assert plots.dudl(*PROFILE.values(), label="b", ax=ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), PROFILE["dudl_mean"])
    band = ax.collections[0].get_paths()[0].get_extents()
    assert band.ymin == pytest.approx(-40.6)
    assert ax.lines[0].get_color() != ax.lines[1].get_color()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    matrix = plots.overlap_matrix(OVERLAP, Figure().add_subplot())
    np.testing.assert_array_equal(matrix.collections[0].get_array(), OVERLAP)
    bars = plots.estimates({"a": (-1.0, 0.5), "b": (-2.0, math.inf)}, Figure().add_subplot())
    assert [label.get_text() for label in bars.get_yticklabels()] == ["a", "b"]


def test_a_figure_is_saved_with_the_numbers_it_shows(tmp_path):
    density, value, error = np.array([0.1, 0.2]), np.array([-1.0, -2.0]), np.array([0.1, 0.2])
    ax = plots.chemical_potential(density, value, error, label="a", ax=Figure().add_subplot())
    plots.chemical_potential(density, value + 1, error, label="b", ax=ax)
    assert ax.collections[0].get_paths()[0].get_extents().ymin == pytest.approx(-2.4)
    numbers = plots.save(ax, tmp_path / "mu.svg", {"density": density, "beta_mu_ex": value})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mu.csv", "mu.svg"]
    assert numbers.read_text() == "density,beta_mu_ex\n0.1,-1.0\n0.2,-2.0\n"
    with pytest.raises(ValueError, match="shorter"):
        plots.save(ax, tmp_path / "mu.svg", {"density": density, "beta_mu_ex": [1.0]})
    with pytest.raises(TypeError, match="axes of a Figure"):
        plots.save(Figure().subfigures().add_subplot(), tmp_path / "mu.svg", {})


def test_brackets_are_distances_from_the_reference():
    n, lower, upper, errors = (
        np.array([20.0, 40.0]),
        np.array([-6.0, -22.0]),
        np.array([-5.0, -20.0]),
        np.full(2, 0.1),
    )
    reference = np.array([-5.2, np.nan])
    ax = plots.bracket(
        n, lower, upper, errors, errors, reference=reference, ax=Figure().add_subplot()
    )
    shown = [container.lines[0].get_ydata() for container in ax.containers]
    np.testing.assert_allclose(shown, [[-0.8, -1.0], [0.2, 1.0]])
    assert ax.get_ylabel() == "bound − the reference / kT"


def test_a_series_without_an_error_is_drawn_without_bars():
    unknown = SERIES._replace(forward_err=np.full(2, np.inf), backward_err=np.full(2, np.inf))
    ax = plots.convergence(unknown, ax=Figure().add_subplot())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "from the start",
        "from the end",
    ]
    assert not ax.patches  # no band
    assert plots.convergence(SERIES, ax=Figure().add_subplot()).patches


def test_figures_make_their_own_axes():
    with mpl.rc_context({"backend": "agg"}):
        axes = [
            plots.overlap_matrix(OVERLAP),
            plots.dudl(*PROFILE.values()),
            plots.radial_distribution(np.arange(3), np.arange(3)),
            plots.training_curve([{"step": 1, "loss": 1.0, "validation_loss": 2.0}]),
            plots.gain_by_noise(HELD_OUT),
            plots.gap_by_noise([0.1, 0.3], [1.0, 2.0], [0.1, 0.2]),
            plots.estimates({"a": (1.0, 0.1)}),
            plots.chemical_potential([0.1], [1.0], [0.1]),
            plots.convergence(SERIES),
            plots.work_histogram(np.arange(9.0), np.arange(4.0, 13.0), 6.0),
            plots.bracket(*np.ones((5, 2))),
        ]
        mpl.pyplot.close("all")
    assert len({id(ax.figure) for ax in axes}) == 11
    assert all(ax.get_xlabel() and ax.get_title() for ax in axes)
