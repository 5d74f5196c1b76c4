"""Multi-harmonic fits: the exact form against astropy and orthogonal polynomials, the scan against the exact form."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.timeseries import LombScargle
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.errors import OptionError
from scope_dask.periods.exact_lombscargle import lomb_scargle
from scope_dask.periods.exact_multiharmonic import analysis_of_variance, multiharmonic
from scope_dask.periods.grid import FrequencyGrid, frequency_grid
from scope_dask.periods.multiharmonic import multiharmonic_peaks
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves

NO_WINDOWS = np.empty((0, 2))
# A sum of the scan errs by about 5e-6/√n; pivots of 0.1 and more, of which there are 2 H, enlarge that.
TOLERANCE = 5e-6 / 0.1 * 30


def curve(n, seed=0, baseline=900.0, period=0.7, start=2458200.5):
    """Observations of a star with two harmonics in the nights of seasons."""
    rng = np.random.default_rng(seed)
    t = np.sort(np.floor(rng.uniform(0, baseline, n)) + rng.uniform(0.2, 0.5, n))
    e = rng.uniform(0.02, 0.1, n)
    phase = 2 * np.pi * t / period
    return start + t, 17 + 0.4 * np.sin(phase) + 0.2 * np.sin(2 * phase + 1) + e * rng.normal(size=n), e


def exact(curves, freqs, harmonics):
    """Powers at lists of frequencies, as lists."""
    offsets = np.concatenate([[0], np.cumsum([len(f) for f in freqs])]).astype(np.int64)
    flat = np.concatenate([*freqs, np.empty(0)])
    p = multiharmonic(curves.hjd, curves.mag, curves.magerr, curves.offsets, flat, offsets, harmonics)
    return np.split(p, offsets[1:-1])


def scan(curves, grid, k, sep, harmonics):
    return multiharmonic_peaks(curves.hjd, curves.mag, curves.magerr, curves.offsets, grid, k, sep, harmonics)


def one_grid(fmin, df, size, windows=NO_WINDOWS):
    return FrequencyGrid(np.array([fmin]), np.array([df]), np.array([size]), windows)


def scanned_powers(lc, grid, harmonics, count):
    """All unmasked powers of the scan: without a distance between peaks, every grid point is one."""
    found = scan(LightCurves.from_lists([lc]), grid, count, 1, harmonics)
    order = np.argsort(found.index[0])
    order = order[found.index[0][order] >= 0]
    return found.index[0][order], found.value[0][order], found


def by_orthogonal_polynomials(t, m, e, f, harmonics):
    """Θ as Schwarzenberg-Czerny writes it: polynomials in z = exp(iωt) on the unit circle, by Szegő's recurrence."""
    w = 1 / e**2
    x = m - np.average(m, weights=w)
    z = np.exp(2j * np.pi * ((f * (t - t[0])) % 1))
    data = x * z**harmonics  # of which a series from −H to H is a polynomial of degree 2 H
    p = np.ones(len(t), complex)
    explained = 0.0
    for k in range(2 * harmonics + 1):
        norm = (w * abs(p) ** 2).sum()
        explained += abs((w * p.conj() * data).sum()) ** 2 / norm
        reverse = z**k * p.conj()
        p = z * p - (w * z * p).sum() / (w * reverse).sum() * reverse
    rest = (w * x**2).sum() - explained
    return (len(t) - 2 * harmonics - 1) / (2 * harmonics) * explained / rest


class TestExact:
    @pytest.mark.parametrize("harmonics", [1, 2, 3, 4, 5])
    @pytest.mark.parametrize("n", [40, 300])
    def test_it_is_astropys(self, n, harmonics):
        t, m, e = curve(n, seed=n)
        f = np.random.default_rng(2).uniform(0.01, 48, 100)
        (p,) = exact(LightCurves.from_lists([(t, m, e)]), [f], harmonics)
        expected = LombScargle(t - t[0], m, e, nterms=harmonics).power(f, method="chi2")
        np.testing.assert_allclose(p, expected, rtol=0, atol=1e-9)

    def test_one_harmonic_is_lomb_scargle(self):
        t, m, e = curve(60)
        f = np.random.default_rng(2).uniform(0.01, 48, 200)
        (p,) = exact(LightCurves.from_lists([(t, m, e)]), [f], 1)
        offsets, freq_offsets = np.array([0, 60]), np.array([0, 200])
        np.testing.assert_allclose(p, lomb_scargle(t, m, e, offsets, f, freq_offsets, True), rtol=0, atol=1e-10)

    def test_more_harmonics_explain_more(self):
        curves = LightCurves.from_lists([curve(50)])
        f = np.random.default_rng(3).uniform(0.01, 48, 100)
        powers = np.array([exact(curves, [f], h)[0] for h in range(1, 6)])
        assert (np.diff(powers, axis=0) > 0).all()
        assert powers.max() < 1

    @pytest.mark.parametrize("harmonics", [1, 3, 5])
    def test_analysis_of_variance_by_orthogonal_polynomials(self, harmonics):
        t, m, e = curve(80)
        f = np.array([0.31, 1 / 0.7, 7.77, 31.4])
        (p,) = exact(LightCurves.from_lists([(t, m, e)]), [f], harmonics)
        expected = [by_orthogonal_polynomials(t, m, e, x, harmonics) for x in f]
        np.testing.assert_allclose(analysis_of_variance(p, 80, harmonics), expected, rtol=1e-8)

    def test_analysis_of_variance_of_a_perfect_fit(self):
        np.testing.assert_array_equal(
            analysis_of_variance([0.0, 1.0, 1 + 1e-15, np.nan], 20, 2), [0, np.inf, np.inf, np.nan]
        )

    def test_columns_without_information_are_left_out(self):
        """Twice a day, every day: sin 2φ of one cycle a day is 0 everywhere, cos 2φ is the mean."""
        t = 2458000.5 + np.arange(40) / 2
        m = np.random.default_rng(0).normal(size=40)
        curves = LightCurves.from_lists([(t, m, np.ones(40))])
        alternating = np.resize([1.0, -1.0], 40)
        (p,) = exact(curves, [np.array([1.0, 2.0])], 3)
        assert p[0] == pytest.approx(np.corrcoef(alternating, m)[0, 1] ** 2, abs=1e-9)
        assert p[1] == pytest.approx(0, abs=1e-9)


class TestScan:
    @pytest.mark.parametrize("harmonics", [1, 2, 3, 5])
    def test_every_power_of_a_short_grid(self, harmonics):
        lc = curve(150)
        index, power, found = scanned_powers(lc, one_grid(0.00317, 1e-4, 4000), harmonics, 4000)
        (expected,) = exact(LightCurves.from_lists([lc]), [0.00317 + 1e-4 * index], harmonics)
        np.testing.assert_array_equal(index, np.arange(4000))
        np.testing.assert_allclose(power, expected, rtol=0, atol=2e-5)
        assert found.mean[0] == pytest.approx(expected.mean(), rel=1e-5)
        assert found.std[0] == pytest.approx(expected.std(), rel=1e-4)

    @pytest.mark.parametrize("low", [0.0, 0.92, 10.0, 47.98])
    def test_the_survey_grid(self, low):
        """Parts of the 876,580 frequencies of five years up to 48/d, the others masked."""
        lc = curve(300, seed=3, baseline=1800.0)
        windows = np.array([(0.0, low), (low + 0.02, 49.0)])
        grid = frequency_grid(*_first(lc), PeriodOptions(baseline_days=1826.25))._replace(windows=windows)
        index, power, _ = scanned_powers(lc, grid, 3, 400)
        assert len(index) > 300
        (expected,) = exact(LightCurves.from_lists([lc]), [grid.fmin[0] + grid.df[0] * index], 3)
        np.testing.assert_allclose(power, expected, rtol=0, atol=2e-5)

    @settings(deadline=None, max_examples=30)
    @given(
        n=st.integers(4, 40),
        seed=st.integers(0, 1000),
        samples_per_peak=st.sampled_from([1, 2, 5, 10, 13, 60]),
        baseline=st.sampled_from([None, 3.0, 100.0, 4000.0]),
        harmonics=st.integers(1, 5),
    )
    def test_any_grid(self, n, seed, samples_per_peak, baseline, harmonics):
        """Own and survey baselines, shorter and longer than the light curve's, any fineness."""
        lc = curve(n, seed=seed, baseline=300.0)
        options = PeriodOptions(samples_per_peak=samples_per_peak, baseline_days=baseline, max_freq=1.0)
        grid = frequency_grid(*_first(lc), options)
        grid = grid._replace(size=np.minimum(grid.size, 2000))
        index, power, _ = scanned_powers(lc, grid, harmonics, max(int(grid.size[0]), 1))
        f = grid.fmin[0] + grid.df[0] * np.arange(grid.size[0])
        if n < 2 * harmonics + 2:
            assert len(index) == 0
        elif len(f):
            (expected,) = exact(LightCurves.from_lists([lc]), [f], harmonics)
            np.testing.assert_array_equal(index, np.arange(len(f)))
            np.testing.assert_allclose(power, expected, rtol=0, atol=TOLERANCE / np.sqrt(n))

    def test_peaks_are_those_of_the_exact_periodogram(self):
        lc = curve(200, seed=4, period=0.53123)
        grid = frequency_grid(*_first(lc), PeriodOptions(max_freq=4.0))
        found = scan(LightCurves.from_lists([lc]), grid, 10, 10, 3)
        f = grid.fmin[0] + grid.df[0] * np.arange(grid.size[0])
        (p,) = exact(LightCurves.from_lists([lc]), [f], 3)
        first = [j for j in np.argsort(-p) if p[max(j - 9, 0) : j + 10].max() == p[j]][:10]
        np.testing.assert_array_equal(found.index[0], first)
        np.testing.assert_allclose(found.value[0], p[first], rtol=2e-5)
        multiples = 1 / 0.53123 / np.arange(1, 4)  # of the period: up to three harmonics hold them
        assert abs(f[first[0]] - multiples).min() < grid.df[0]


class TestPartition:
    @settings(deadline=None, max_examples=10)
    @given(
        sizes=st.lists(st.sampled_from([0, 1, 2, 3, 7, 8, 60]), min_size=1, max_size=5),
        seed=st.integers(0, 99),
        harmonics=st.sampled_from([1, 3]),
    )
    def test_alone_or_in_company(self, sizes, seed, harmonics):
        lists = [curve(n, seed=seed + i, baseline=100.0 + 50 * i) for i, n in enumerate(sizes)]
        curves = LightCurves.from_lists(lists)
        options = PeriodOptions(max_freq=2.0)
        found = scan(curves, frequency_grid(curves.hjd, curves.offsets, options), 5, 10, harmonics)
        freqs = [np.array([0.3, 1.7])] * len(sizes)
        powers = exact(curves, freqs, harmonics)
        for i, lc in enumerate(lists):
            alone = LightCurves.from_lists([lc])
            own = scan(alone, frequency_grid(*_first(lc), options), 5, 10, harmonics)
            for together, single in zip(found, own, strict=True):
                np.testing.assert_array_equal(together[i], single[0])
            np.testing.assert_array_equal(powers[i], exact(alone, freqs[:1], harmonics)[0])

    def test_degenerate_light_curves(self):
        t, m, e = curve(30)
        bad, infinite, negative = m.copy(), t.copy(), e.copy()
        bad[3], infinite[-1], negative[0] = np.nan, np.inf, -0.1
        lists = [(t[:n], m[:n], e[:n]) for n in (0, 1, 2, 3, 7)]
        lists += [(t, np.full(30, 17.1), e), (np.full(30, t[0]), m, e), (t, bad, e), (infinite, m, e), (t, m, negative)]
        lists += [(t, m, e)]
        n = len(lists)
        curves = LightCurves.from_lists(lists)
        found = scan(curves, FrequencyGrid(np.full(n, 0.01), np.full(n, 1e-4), np.full(n, 1000), NO_WINDOWS), 3, 10, 3)
        powers = np.array([p[0] for p in exact(curves, [np.array([0.5])] * n, 3)])
        good = np.arange(n) == n - 1
        np.testing.assert_array_equal(found.index[:, 0] >= 0, good)
        for values in (found.value[:, 0], found.mean, found.std, powers):
            np.testing.assert_array_equal(np.isfinite(values), good)

    def test_empty_partition_and_empty_grid(self):
        none = scan(
            LightCurves.from_lists([]), FrequencyGrid(*np.empty((2, 0)), np.empty(0, int), NO_WINDOWS), 50, 10, 2
        )
        assert none.value.shape == (0, 50)
        assert len(exact(LightCurves.from_lists([]), [], 2)[0]) == 0
        assert (scan(LightCurves.from_lists([curve(30)]), one_grid(0.01, 1e-3, 0), 5, 10, 2).index == -1).all()

    @pytest.mark.parametrize("harmonics", [0, 6, 1.5])
    def test_number_of_harmonics(self, harmonics):
        curves = LightCurves.from_lists([curve(30)])
        with pytest.raises(OptionError, match="must be 1 to 5"):
            exact(curves, [np.array([1.0])], harmonics)
        with pytest.raises(OptionError, match="must be 1 to 5"):
            scan(curves, one_grid(0.01, 1e-3, 10), 5, 10, harmonics)


def _first(lc):
    return np.asarray(lc[0]), np.array([0, len(lc[0])])
