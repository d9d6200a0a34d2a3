"""Gaps that tethered chains measure: where they end, and how parts of them add up."""

import math

import numpy as np
import pytest

from openmm_nti.validation.estimators.tethered import Gap


@pytest.mark.parametrize(
    ("density", "goes_on"), [(5.0, True), (np.nan, True), (0.0, False), (-5.0, False)]
)
def test_whether_a_gap_goes_on_is_seen_at_its_end(density, goes_on):
    noise = np.linspace(0.1, 0.9, 32)
    scatter = 0.1 * np.sin(40 * np.arange(32))
    for end, where in ((0, noise < 0.25), (-1, noise > 0.75)):
        values = np.where(where, density, 0.0) + scatter
        gap = Gap(noise, values, values, values, np.ones(32))
        assert gap.goes_on(end) is goes_on
        if np.isfinite(density):
            assert not gap.goes_on(-1 - end)


def test_few_frames_at_an_end_are_not_mistaken_for_the_gap_beside_them():
    """Near freezing few frames are outside of the middle noise, where the gap is."""
    noise = np.concatenate([[0.09, 0.11, 0.13, 0.15], np.geomspace(0.17, 0.34, 53)])
    noise = np.concatenate([noise, np.geomspace(0.36, 0.98, 7)])
    gap_here = np.where((noise > 0.14) & (noise < 0.6), 10.0, 0.0) + 0.1 * np.sin(40 * noise)
    gap = Gap(noise, gap_here, gap_here, gap_here, np.ones(64))
    assert not gap.goes_on(0)
    assert not gap.goes_on(-1)


def test_joined_gaps_add_up():
    rng = np.random.default_rng(1)
    one, other = (
        Gap(np.linspace(*edges, n), *rng.normal(size=(3, n)), np.full(n, width))
        for edges, n, width in (((0.1, 0.9), 32, 2.2), ((0.91, 3.0), 8, 1.2))
    )
    both = one.joined(other)
    for name in ("lower", "middle", "upper"):
        parts = [part.integral(getattr(part, name)) for part in (one, other)]
        value, error = both.integral(getattr(both, name))
        assert value == pytest.approx(parts[0][0] + parts[1][0])
        assert error == pytest.approx(math.hypot(parts[0][1], parts[1][1]))
