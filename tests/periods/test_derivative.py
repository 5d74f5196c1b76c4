"""Folding with a period derivative, against the ordinary scans and float64 folds of straightened times."""

from __future__ import annotations

import numpy as np
import pytest

from scope_dask.periods import exact_folding
from scope_dask.periods.aov import aov_peaks
from scope_dask.periods.derivative import aov_derivative_peaks, conditional_entropy_derivative_peaks, straightened
from scope_dask.periods.folding import conditional_entropy_peaks
from scope_dask.periods.grid import FrequencyGrid

NO_WINDOWS = np.empty((0, 2))
BASELINE = 1800.0


def star(seed, frequency=40.0, pdot=0.0, n=150):
    """A star whose period is ``1/frequency + pdot (t − t0)``: times, magnitudes."""
    rng = np.random.default_rng(seed)
    t = np.sort(np.floor(rng.uniform(0, BASELINE, n)) + rng.uniform(0.2, 0.5, n))
    t -= t[0]
    phase = np.log1p(pdot * frequency * t) / pdot if pdot else frequency * t
    return 2458000.25 + t, 16 + 0.4 * np.sin(2 * np.pi * phase) + 0.03 * rng.normal(size=n)


def partition(lists, fmin, size=1500):
    hjd, mag = (np.concatenate(column) for column in zip(*lists, strict=True))
    offsets = np.concatenate([[0], np.cumsum([len(t) for t, _ in lists])]).astype(np.int64)
    n = len(lists)
    return hjd, mag, offsets, FrequencyGrid(np.full(n, fmin), np.full(n, 0.1 / BASELINE), np.full(n, size), NO_WINDOWS)


def scan(method, curves, pdots, k=5, sep=10):
    if method == "CE":
        return conditional_entropy_derivative_peaks(*curves, np.array(pdots), k, sep, False)
    return aov_derivative_peaks(*curves, np.array(pdots), k, sep)


@pytest.mark.parametrize("method", ["CE", "AOV"])
def test_without_derivative_it_is_the_ordinary_scan(method):
    curves = partition([star(0), star(1)], 39.96)
    found = scan(method, curves, [0.0])
    ordinary = conditional_entropy_peaks(*curves, 5, 10, False) if method == "CE" else aov_peaks(*curves, 5, 10)
    for name in ("value", "index", "mean", "std"):
        np.testing.assert_array_equal(getattr(found, name), getattr(ordinary, name))
    assert (found.pdot == 0).all()


@pytest.mark.parametrize("method", ["CE", "AOV"])
@pytest.mark.parametrize("pdot", [-3e-9, 1e-10, 2e-9])
def test_every_value_is_that_of_straightened_times(method, pdot):
    hjd, mag, offsets, grid = partition([star(2)], 39.99, 600)
    found = scan(method, (hjd, mag, offsets, grid), [pdot], k=600, sep=1)
    frequency = grid.fmin[0] + grid.df[0] * np.arange(600)
    expected = np.empty(600)
    for j, f in enumerate(frequency):
        times = straightened(hjd, offsets, np.array([f]), np.array([pdot]))
        point = (times, mag, offsets, np.array([f]), np.array([0, 1]))
        expected[j] = (
            -exact_folding.conditional_entropy(*point, False)[0] if method == "CE" else exact_folding.aov(*point)[0]
        )
    value = np.empty(600)
    value[found.index[0]] = found.value[0]
    # one point on the edge of a bin moves a value by more than rounding; that is rare
    assert np.mean(np.isclose(value, expected, rtol=2e-3, atol=1e-5)) > 0.99
    assert found.mean[0] == pytest.approx(expected.mean(), rel=1e-3)
    assert found.std[0] == pytest.approx(expected.std(), rel=1e-2)


@pytest.mark.parametrize("method", ["CE", "AOV"])
def test_a_changing_period_is_found(method):
    pdots = np.array([0.0, -1e-9, 1e-9, 2e-9])
    curves = partition([star(3), star(4, pdot=1e-9), star(5, pdot=2e-9)], 39.96)
    found = scan(method, curves, pdots)
    grid = curves[3]
    np.testing.assert_array_equal(found.pdot[:, 0], [0.0, 1e-9, 2e-9])
    np.testing.assert_allclose(grid.fmin + grid.df * found.index[:, 0], 40.0, rtol=0, atol=1.01 * grid.df[0])
    assert (found.value[1:, 0] > scan(method, curves, pdots[:1]).value[1:, 0]).all()


def test_peaks_are_distinct_in_frequency_and_ordered():
    found = scan("CE", partition([star(6, pdot=1e-9)], 39.96), np.linspace(-2e-9, 2e-9, 9), k=20, sep=15)
    assert (np.diff(np.sort(found.index[0])) >= 15).all()
    assert (np.diff(found.value[0]) <= 0).all()
    assert np.isfinite(found.pdot).all()


@pytest.mark.parametrize("method", ["CE", "AOV"])
def test_degenerate_light_curves(method):
    t, m = star(7)
    lists = [
        (t[:0], m[:0]),
        (t[:1], m[:1]),
        (t[:3], m[:3]),
        (t, np.full(len(t), 16.0)),
        (np.full(len(t), t[0]), m),
        (t, m),
    ]
    found = scan(method, partition(lists, 39.96, 600), [0.0, 1e-10], k=3)
    good = np.arange(len(lists)) == len(lists) - 1
    np.testing.assert_array_equal(found.index[:, 0] >= 0, good)
    for values in (found.value[:, 0], found.pdot[:, 0], found.mean, found.std):
        np.testing.assert_array_equal(np.isfinite(values), good)


def test_no_derivatives():
    assert (scan("CE", partition([star(8)], 39.96, 600), []).index == -1).all()
