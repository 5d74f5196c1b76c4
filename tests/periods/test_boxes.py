"""Box least squares: the scan against float64, float64 against brute force and astropy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.timeseries import BoxLeastSquares
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.errors import OptionError
from scope_dask.periods.boxes import box_peaks, eclipse_grid
from scope_dask.periods.exact_weighted import box
from scope_dask.periods.grid import FrequencyGrid, frequency_grid
from scope_dask.periods.options import BoxOptions, PeriodOptions
from scope_dask.ragged import LightCurves

OPTIONS = BoxOptions()
FLOAT32 = 2e-6  # of p: some ten roundings of 6e-8, and 1e-7 of the words


def eclipsing(seed, n=300, period=2.7183, depth=0.4, duration=0.05, baseline=900.0):
    rng = np.random.default_rng(seed)
    t = 58200.5 + np.sort(rng.uniform(0, baseline, n))
    e = rng.uniform(0.01, 0.04, n)
    inside = ((t - 58200.9) / period + duration / 2) % 1.0 < duration
    return t, 16.0 + depth * inside + e * rng.standard_normal(n), e


def curves_of(*curves):
    return LightCurves.from_lists(list(curves))


def grid_of(curves, fmin, df, size):
    n = len(curves)
    return FrequencyGrid(np.full(n, fmin), np.full(n, df), np.full(n, size), np.empty((0, 2)))


def scan(curves, grid, k=20, sep=1, options=OPTIONS):
    return box_peaks(curves.hjd, curves.mag, curves.magerr, curves.offsets, grid, k, sep, options)


def exact(curves, freqs, options=OPTIONS):
    offsets = np.arange(len(curves) + 1, dtype=np.int64) * len(freqs)
    every = np.tile(freqs, len(curves))
    return box(curves.hjd, curves.mag, curves.magerr, curves.offsets, every, offsets, options)


def brute_force(t, m, e, f, options):
    """p of all runs of bins, from χ² of the points inside and outside."""
    w = e**-2.0 / np.sum(e**-2.0)
    bins = np.floor((t - t.min()) * f % 1.0 * options.n_bins).astype(int)
    spread = np.sum(w * (m - np.sum(w * m)) ** 2)
    best = 0.0
    for width in options.widths:
        for first in range(options.n_bins):
            inside = (bins - first) % options.n_bins < width
            r = w[inside].sum()
            if min(r, 1 - r) < 0.9991 * options.min_points / len(t):
                continue
            mean_in, mean_out = np.sum((w * m)[inside]) / r, np.sum((w * m)[~inside]) / (1 - r)
            rest = np.sum(w * (m - np.where(inside, mean_in, mean_out)) ** 2)
            if mean_in > mean_out:
                best = max(best, 1 - rest / spread)
    return best


def test_widths_are_a_progression_of_whole_bins():
    assert OPTIONS.widths.tolist() == [2, 3, 4, 6, 9, 14, 20, 30]
    assert BoxOptions(n_bins=20, shortest=0.001, longest=0.2, n_durations=9).widths.tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_bins": 1}, "n_bins is 1"),
        ({"n_bins": 5000}, "n_bins is 5000"),
        ({"shortest": 0.2}, r"durations from 0\.2"),
        ({"longest": 1.0}, "durations from"),
        ({"min_points": 0}, "min_points is 0"),
    ],
)
def test_options_are_checked(change, message):
    with pytest.raises(OptionError, match=message):
        BoxOptions(**change)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(20, 120), st.floats(0.01, 30.0))
def test_exact_box_agrees_with_chi_squared_of_all_boxes(seed, n, f):
    t, m, e = eclipsing(seed, n)
    options = BoxOptions(n_bins=60, n_durations=5)
    got = exact(curves_of((t, m, e)), np.array([f]), options).power[0]
    assert got == pytest.approx(brute_force(t, m, e, f, options), abs=1e-9)


def test_scan_agrees_with_float64():
    curves = curves_of(*(eclipsing(seed, n) for seed, n in ((1, 60), (2, 301), (3, 1000))))
    size = 1100
    grid = grid_of(curves, 0.31, 1.234e-4, size)
    found = scan(curves, grid, k=size)
    freqs = 0.31 + 1.234e-4 * np.arange(size)
    want = exact(curves, freqs).power.reshape(3, size)
    for i in range(3):
        kept = found.index[i] >= 0
        close = np.abs(found.value[i][kept] - want[i, found.index[i][kept]]) < FLOAT32
        assert close.mean() > 0.995  # the rest: a point on the edge of a bin
        assert found.index[i, 0] == want[i].argmax()
    assert found.mean == pytest.approx(want.mean(axis=1), abs=1e-4)


@pytest.mark.parametrize("method", ["snr"])
def test_best_period_and_parameters_agree_with_astropy(method):
    t, m, e = eclipsing(7)
    freqs = np.arange(0.3, 0.45, 1e-4)
    got = exact(curves_of((t, m, e)), freqs)
    theirs = BoxLeastSquares(t, -m, e).power(1 / freqs, [0.05 * 2.7183], objective=method, oversample=20)
    best = got.power.argmax()
    assert abs(freqs[best] - freqs[theirs.power.argmax()]) < 1.5e-4
    assert 1 / freqs[best] == pytest.approx(2.7183, rel=1e-3)
    assert got.depth[best] == pytest.approx(0.4, abs=0.02)
    assert got.depth[best] == pytest.approx(theirs.depth[theirs.power.argmax()], abs=0.02)
    assert got.duration[best] == pytest.approx(0.05 * 2.7183, rel=0.35)
    cycles = (got.transit_time[best] - 58200.9) * freqs[best]
    assert abs(cycles - round(cycles)) < 0.02
    assert t.min() <= got.transit_time[best] <= t.min() + 1 / freqs[best]
    chi2 = np.sum(((m - np.average(m, weights=e**-2.0)) / e) ** 2)
    assert np.sqrt(got.power[best] * chi2) == pytest.approx(theirs.depth_snr[theirs.power.argmax()], rel=0.03)


def test_only_dimming_counts():
    t, m, e = eclipsing(5)
    at = np.array([1 / 2.7183])
    assert exact(curves_of((t, m, e)), at).power[0] > 0.8
    assert exact(curves_of((t, -m, e)), at).power[0] < 0.2


def test_recovers_eclipses_on_the_eclipse_grid():
    curves = curves_of(*(eclipsing(s, 250, period=p) for s, p in ((1, 0.83), (2, 2.7183), (3, 5.31))))
    grid = eclipse_grid(frequency_grid(curves.hjd, curves.offsets, PeriodOptions()), max_freq=3.0)
    found = scan(curves, grid, 5, 10)
    period = 1 / (grid.fmin + found.index[:, 0] * grid.df)
    assert period == pytest.approx([0.83, 2.7183, 5.31], rel=2e-3)


def test_eclipse_grid_ends_at_its_frequency():
    grid = FrequencyGrid(
        np.array([0.1, np.inf, 0.5]), np.array([0.01, np.inf, 0.01]), np.array([500, 0, 10]), np.empty((0, 2))
    )
    got = eclipse_grid(grid, 2.1, 2)
    assert got.size.tolist() == [400, 0, 20]
    assert got.df[0] == 0.005


def test_light_curves_do_not_depend_on_their_neighbours():
    all_curves = [eclipsing(s, n) for s, n in ((1, 50), (2, 400), (3, 120))]
    curves = curves_of(*all_curves)
    together = scan(curves, grid_of(curves, 0.2, 1e-3, 700), 10, 5)
    for i, one in enumerate(all_curves):
        alone = scan(curves_of(one), grid_of([0], 0.2, 1e-3, 700), 10, 5)
        for field, whole in zip(alone, together, strict=True):
            np.testing.assert_array_equal(field[0], whole[i])


def test_degenerate_light_curves_have_no_peaks():
    t, m, e = eclipsing(1, 30)
    nan = m.copy()
    nan[3] = np.nan
    bad = e.copy()
    bad[0] = 0.0
    empty = np.empty(0)
    curves = curves_of(
        (empty, empty, empty), (t[:1], m[:1], e[:1]), (t[:3], m[:3], e[:3]), (t, np.full(30, 15.0), e),
        (np.full(30, t[0]), m, e), (t, nan, e), (t, m, bad), (t, m, e),
    )  # fmt: skip
    found = scan(curves, grid_of(curves, 0.2, 1e-3, 600), 5, 5)
    assert (found.index[:-1] == -1).all()
    assert np.isnan(found.value[:-1]).all()
    assert found.index[-1, 0] >= 0
    assert np.isnan(exact(curves, np.array([0.3, 0.4])).power[:-2]).all()
