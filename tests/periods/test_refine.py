"""Refined frequencies against the truth of simulated stars, dense evaluation and the analytic uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from scope_dask.errors import OptionError
from scope_dask.periods.exact_lombscargle import lomb_scargle
from scope_dask.periods.exact_multiharmonic import multiharmonic
from scope_dask.periods.grid import frequency_grid
from scope_dask.periods.lombscargle import lomb_scargle_peaks
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.refine import refine
from scope_dask.ragged import LightCurves

SMOOTH = ("LS", "ELS", "MHAOV")
FOLDED = ("CE", "ECE", "AOV", "EAOV", "BLS", "FPW", "ELS_ECE_EAOV", "LS_CE_AOV")


def sine(phase):
    return 0.3 * np.sin(2 * np.pi * phase)


def eclipses(phase):
    return 0.5 * (abs(phase - 0.5) < 0.04) + 0.3 * (np.minimum(phase, 1 - phase) < 0.04)


def stars(number, shape=sine, noise=0.03, n=200, baseline=1000.0):
    """Light curves, true frequencies, the grid frequencies nearest to them and the grid steps."""
    lists, truth = [], []
    for seed in range(number):
        rng = np.random.default_rng(seed)
        t = np.sort(np.floor(rng.uniform(0, baseline, n)) + rng.uniform(0.2, 0.5, n))
        truth.append(rng.uniform(0.8, 6.0))
        mag = 16 + shape((truth[-1] * t + rng.uniform()) % 1) + noise * rng.normal(size=n)
        lists.append((2458000.5 + t, mag, np.full(n, max(noise, 0.01))))
    curves = LightCurves.from_lists(lists)
    grid = frequency_grid(curves.hjd, curves.offsets, PeriodOptions())
    nearest = grid.fmin + np.round((np.array(truth) - grid.fmin) / grid.df) * grid.df
    return curves, np.array(truth), nearest, grid.df


def refined(curves, frequency, df, method, **options):
    return refine(curves.hjd, curves.mag, curves.magerr, curves.offsets, frequency, df, method, **options)


@pytest.mark.parametrize("method", ["LS", "MHAOV", *FOLDED])
def test_without_noise_the_truth_is_found(method):
    curves, truth, grid, df = stars(10, noise=0.0)
    found = refined(curves, grid, df, method)
    np.testing.assert_allclose((found.frequency - truth) / df, 0, atol=1e-4)
    assert (found.error < 1e-3 * df).all()


@pytest.mark.parametrize("method", [*SMOOTH, "CE"])
def test_with_noise_it_is_nearer_to_the_truth_than_the_grid(method):
    curves, truth, grid, df = stars(60)
    found = refined(curves, grid, df, method)
    before, after = abs(grid - truth) / df, abs(found.frequency - truth) / df
    # grid frequencies are off by up to half a step; noise leaves 0.04 steps, as √(6/N) σ/(π T A) says
    assert np.median(after) < 0.2 * np.median(before)
    assert np.mean(after < before) > 0.8
    assert (abs(found.frequency - grid) <= df).all()


@pytest.mark.parametrize("method", ["LS", "MHAOV", "AOV"])
def test_errors_are_those_of_the_frequencies(method):
    curves, truth, grid, df = stars(60)
    found = refined(curves, grid, df, method)
    pull = (found.frequency - truth) / found.error
    assert 0.7 < np.sqrt(np.mean(pull**2)) < 1.3  # 60 stars: ± 0.1
    n, span = 200, np.ptp(curves.hjd[:200])
    expected = np.sqrt(6 / n) * 0.03 / (np.pi * span * 0.3)
    assert np.median(found.error) == pytest.approx(expected, rel=0.15)


def test_eclipses():
    curves, truth, grid, df = stars(40, eclipses, n=300)
    found = refined(curves, grid, df, "CE")
    before, after = abs(grid - truth) / df, abs(found.frequency - truth) / df
    assert np.median(after) < 0.5 * np.median(before)
    assert (abs(found.frequency - grid) <= df).all()


def evaluator(curves, method):
    def evaluate(frequencies):
        offsets = np.arange(len(frequencies) + 1) * frequencies.shape[1]
        arrays = (curves.hjd, curves.mag, curves.magerr, curves.offsets, frequencies.ravel(), offsets)
        power = multiharmonic(*arrays, 3) if method == "MHAOV" else lomb_scargle(*arrays, method == "LS")
        return power.reshape(frequencies.shape)

    return evaluate


@pytest.mark.parametrize("method", SMOOTH)
def test_it_is_the_highest_value_within_a_grid_step(method):
    curves, truth, _, df = stars(15, noise=0.5, n=60)  # little but noise
    off = truth + np.linspace(-1, 1, 15) * 0.9 * df  # the maximum is not always inside
    found = refined(curves, off, df, method)
    evaluate = evaluator(curves, method)
    around = evaluate(off[:, None] + df[:, None] * np.linspace(-1, 1, 401)).argmax(1)
    inside = np.isfinite(found.error)
    assert 3 < inside.sum() < 15
    np.testing.assert_array_equal(inside, (around > 0) & (around < 400))
    np.testing.assert_array_equal(found.frequency[~inside], off[~inside])
    step = ((found.frequency - off) / df)[inside]
    np.testing.assert_allclose(step, np.linspace(-1, 1, 401)[around[inside]], atol=0.006)


def test_peaks_of_a_scan():
    curves, truth, _, _ = stars(6)
    grid = frequency_grid(curves.hjd, curves.offsets, PeriodOptions(max_freq=8.0))
    arrays = (curves.hjd, curves.mag, curves.magerr, curves.offsets)
    found = lomb_scargle_peaks(*arrays, grid, 1, 10, True)
    frequency = grid.fmin + grid.df * found.index[:, 0]
    best = refined(curves, frequency, grid.df, "LS")
    np.testing.assert_allclose(best.frequency, truth, rtol=0, atol=0.2 * grid.df.max())


@pytest.mark.parametrize("method", ["LS", "CE"])
def test_alone_or_in_company(method):
    sizes = [200, 3, 45, 12, 0]
    lists = [tuple(column[:n] for column in _lists(seed)) for seed, n in enumerate(sizes)]
    curves = LightCurves.from_lists(lists)
    frequency, df = np.full(len(sizes), 1.2345), np.full(len(sizes), 1e-4)
    together = refined(curves, frequency, df, method)
    for i, lc in enumerate(lists):
        alone = refined(LightCurves.from_lists([lc]), frequency[:1], df[:1], method)
        for both, single in zip(together, alone, strict=True):
            np.testing.assert_array_equal(both[i], single[0])


def _lists(seed):
    curves, *_ = stars(seed + 1)
    return tuple(column[200 * seed :] for column in (curves.hjd, curves.mag, curves.magerr))


@pytest.mark.parametrize("method", [*SMOOTH, "CE"])
def test_degenerate_light_curves(method):
    t, m, e = _lists(0)
    bad = m.copy()
    bad[3] = np.nan
    lists = [(t[:n], m[:n], e[:n]) for n in (0, 1, 2, 3)]
    lists += [(t, np.full(200, 17.1), e), (np.full(200, t[0]), m, e), (t, bad, e), (t, m, e), (t, m, e), (t, m, e)]
    frequency, df = np.full(len(lists), 1.0), np.full(len(lists), 1e-4)
    frequency[-3], frequency[-2] = np.nan, 0.0
    found = refined(LightCurves.from_lists(lists), frequency, df, method)
    # three points and a sinusoid with its mean are a perfect fit at any frequency: nothing to refine
    assert np.isnan(found.frequency[:-1]).all()
    assert np.isnan(found.error[:-1]).all()
    assert abs(found.frequency[-1] - 1.0) <= 1e-4


def test_empty_partition():
    found = refined(LightCurves.from_lists([]), np.empty(0), np.empty(0), "LS")
    assert found.frequency.shape == found.error.shape == (0,)


def test_unknown_methods():
    curves, _, grid, df = stars(1)
    with pytest.raises(OptionError, match=r"no period method 'MHAOF' \(did you mean 'MHAOV'\?\)"):
        refined(curves, grid, df, "MHAOF")
    with pytest.raises(OptionError, match="number of harmonics is 7"):
        refined(curves, grid, df, "MHAOV", n_harmonics=7)
