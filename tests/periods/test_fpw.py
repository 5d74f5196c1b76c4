"""Phase folding with weights: the scan against float64, float64 against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.periods.exact_weighted import fpw
from scope_dask.periods.fpw import fpw_peaks
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.ragged import LightCurves

FLOAT32 = 2e-6  # 20 terms, each rounded a few times


def pulsating(seed, n, period=0.5481, errors=(0.01, 0.1)):
    rng = np.random.default_rng(seed)
    t = 58200.5 + np.sort(rng.uniform(0, 900.0, n))
    e = np.exp(rng.uniform(*np.log(errors), n))
    phase = t / period % 1.0
    return t, 16.0 + 0.8 * np.minimum(phase, 3 * (1 - phase)) + e * rng.standard_normal(n), e


def theta_of(t, m, e, f):
    w = e**-2.0
    bins = np.floor((t - t.min()) * f % 1.0 * 20).astype(int)
    y = m - np.average(m, weights=w)
    inside = sum(np.sum((w * y)[bins == b]) ** 2 / np.sum(w[bins == b]) for b in np.unique(bins))
    return inside / np.sum(w * y * y)


def run(curves, fmin, df, size, k, sep):
    n = len(curves)
    grid = FrequencyGrid(np.full(n, fmin), np.full(n, df), np.full(n, size), np.empty((0, 2)))
    return fpw_peaks(curves.hjd, curves.mag, curves.magerr, curves.offsets, grid, k, sep)


def exact(curves, freqs):
    offsets = np.arange(len(curves) + 1, dtype=np.int64) * len(freqs)
    return fpw(
        curves.hjd, curves.mag, curves.magerr, curves.offsets, np.tile(freqs, len(curves)), offsets
    ).reshape(len(curves), -1)  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(21, 200), st.floats(0.01, 48.0))
def test_exact_theta_agrees_with_its_definition(seed, n, f):
    curve = pulsating(seed, n)
    got = exact(LightCurves.from_lists([curve]), np.array([f]))[0, 0]
    assert got == pytest.approx(theta_of(*curve, f), abs=1e-10)
    assert 0.0 <= got <= 1.0 + 1e-12


def test_scan_agrees_with_float64():
    curves = LightCurves.from_lists([pulsating(s, n) for s, n in ((1, 21), (2, 300), (3, 1000))])
    size = 1500
    found = run(curves, 1.7, 1.1e-4, size, size, 1)
    want = exact(curves, 1.7 + 1.1e-4 * np.arange(size))
    for i in range(3):
        kept = found.index[i] >= 0
        assert kept.sum() > 100
        assert (np.abs(found.value[i][kept] - want[i, found.index[i][kept]]) < FLOAT32).mean() > 0.995
        assert found.index[i, 0] == want[i].argmax()
    assert found.mean == pytest.approx(want.mean(axis=1), abs=1e-4)
    assert found.std == pytest.approx(want.std(axis=1), abs=1e-4)


def test_weights_let_a_noisy_half_of_the_points_count_less():
    t, m, e = pulsating(4, 400)
    rng = np.random.default_rng(0)
    noisy = rng.random(400) < 0.5
    m[noisy] += rng.normal(0, 3.0, noisy.sum())
    e[noisy] = 3.0
    found = run(LightCurves.from_lists([(t, m, e)]), 1.0, 1e-4, 20000, 1, 10)
    assert 1.0 + 1e-4 * found.index[0, 0] == pytest.approx(1 / 0.5481, abs=3e-4)


def test_extreme_weights_do_not_overflow():
    t, m, e = pulsating(5, 500)
    e[0], e[1:] = 1e-8, 1.0
    found = run(LightCurves.from_lists([(t, m, e)]), 1.0, 1e-3, 100, 3, 1)
    assert ((found.value >= 0) & (found.value <= 1 + 1e-5)).all()


def test_degenerate_light_curves_have_no_peaks_and_leave_their_neighbours_alone():
    t, m, e = pulsating(1, 60)
    nan = t.copy()
    nan[5] = np.nan
    lists = [(t[:0], m[:0], e[:0]), (t[:20], m[:20], e[:20]), (t, np.full(60, 3.0), e), (nan, m, e), (t, m, -e)]
    curves = LightCurves.from_lists([*lists, (t, m, e)])
    found = run(curves, 0.5, 1e-3, 900, 4, 5)
    alone = run(LightCurves.from_lists([(t, m, e)]), 0.5, 1e-3, 900, 4, 5)
    assert (found.index[:-1] == -1).all()
    np.testing.assert_array_equal(found.value[-1], alone.value[0])
    assert np.isnan(exact(curves, np.array([1.0]))[:-1]).all()
