"""Lomb-Scargle: the exact evaluation against astropy and long double, the fast scan against the exact one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from astropy.timeseries import LombScargle
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.periods import nufft
from scope_dask.periods.exact_lombscargle import lomb_scargle
from scope_dask.periods.grid import TERRESTRIAL_WINDOWS, FrequencyGrid, frequency_grid
from scope_dask.periods.lombscargle import lomb_scargle_peaks
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves

NO_WINDOWS = np.empty((0, 2))
# A sum of the scan errs by about 5e-6 √Σ|z|², which is 5e-6/√n for strengths of sum 1, the power by up to a few
# times that over the smallest variance that is left to single precision (0.1).
TOLERANCE = 5e-6 / 0.1 * 8


def curve(n, seed=0, baseline=900.0, period=0.7, amplitude=0.5, start=2458200.5):
    """Observations in the nights of seasons."""
    rng = np.random.default_rng(seed)
    t = np.sort(np.floor(rng.uniform(0, baseline, n)) + rng.uniform(0.2, 0.5, n))
    e = rng.uniform(0.02, 0.1, n)
    return start + t, 17 + amplitude * np.sin(2 * np.pi * t / period) + e * rng.normal(size=n), e


def exact(curves, freqs, floating_mean):
    """Powers at lists of frequencies, as lists."""
    offsets = np.concatenate([[0], np.cumsum([len(f) for f in freqs])]).astype(np.int64)
    flat = np.concatenate([*freqs, np.empty(0)])
    arrays = (curves.hjd, curves.mag, curves.magerr, curves.offsets)
    return np.split(lomb_scargle(*arrays, flat, offsets, floating_mean), offsets[1:-1])


def scan(curves, grid, k=50, sep=10, floating_mean=True):
    arrays = (curves.hjd, curves.mag, curves.magerr, curves.offsets)
    return lomb_scargle_peaks(*arrays, grid, k, sep, floating_mean)


def one_grid(fmin, df, size, windows=NO_WINDOWS):
    return FrequencyGrid(np.array([fmin]), np.array([df]), np.array([size]), windows)


def scanned_powers(lc, grid, floating_mean=True, count=None):
    """All unmasked powers of the scan: without a distance between peaks, every grid point is one."""
    count = int(grid.size[0]) if count is None else count
    found = scan(LightCurves.from_lists([lc]), grid, k=count, sep=1, floating_mean=floating_mean)
    order = np.argsort(found.index[0])
    return found.index[0][order], found.value[0][order], found


def by_long_double(t, m, e, f):
    """Weighted least squares with a floating mean (normal equations)."""
    t, m, e = (np.asarray(a, np.longdouble) for a in (t, m, e))
    w = e**-2
    w /= w.sum()
    y = m - (w * m).sum()
    t = t - t[0]
    pi = 2 * np.arccos(np.longdouble(0))
    powers = []
    for x in np.asarray(f, np.longdouble):
        phase = 2 * pi * ((x * t) % 1)
        c, s = np.cos(phase), np.sin(phase)
        c, s = c - (w * c).sum(), s - (w * s).sum()
        cc, ss, cs = (w * c * c).sum(), (w * s * s).sum(), (w * c * s).sum()
        yc, ys = (w * y * c).sum(), (w * y * s).sum()
        powers.append((ss * yc**2 + cc * ys**2 - 2 * cs * yc * ys) / (cc * ss - cs**2) / (w * y * y).sum())
    return np.array(powers, np.float64)


def by_formula(t, m, f):
    """ELS as the documentation of the features writes it."""
    y = (m - m.min()) / (m.max() - m.min())
    y = y - y.mean()
    phi = 2 * np.pi * np.multiply.outer(f, t - t.mean())
    cos, sin = np.cos(phi), np.sin(phi)
    C, S, CC, CS = cos @ y, sin @ y, (cos**2).sum(1), (cos * sin).sum(1)
    SS = len(t) - CC
    tau = 0.5 * np.arctan2(2 * CS, CC - SS)
    c, s = np.cos(tau), np.sin(tau)
    first = (c * C + s * S) ** 2 / (c * c * CC + 2 * c * s * CS + s * s * SS)
    return 0.5 * (first + (c * S - s * C) ** 2 / (c * c * SS - 2 * c * s * CS + s * s * CC))


class TestExact:
    @pytest.mark.parametrize("n", [5, 40, 300])
    def test_floating_mean_is_astropys(self, n):
        t, m, e = curve(n, seed=n)
        f = np.random.default_rng(2).uniform(0.01, 48, 300)
        (p,) = exact(LightCurves.from_lists([(t, m, e)]), [f], True)
        # absolute Julian dates would cost astropy 1e-8 in the phase
        expected = LombScargle(t - t[0], m, e).power(f, method="slow")
        np.testing.assert_allclose(p, expected, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("n", [5, 40, 300])
    def test_without_mean_is_the_documented_formula(self, n):
        t, m, e = curve(n, seed=n)
        f = np.random.default_rng(2).uniform(0.01, 48, 300)
        (p,) = exact(LightCurves.from_lists([(t, m, e)]), [f], False)
        np.testing.assert_allclose(p, by_formula(t, m, f), rtol=1e-9, atol=1e-10)

    def test_ten_years_at_short_periods(self):
        t, m, e = curve(200, seed=9, baseline=3652.0, period=1 / 47.93)
        f = 47.93 + np.arange(-50, 50) * 2.7e-5
        (p,) = exact(LightCurves.from_lists([(t, m, e)]), [f], True)
        assert p.max() > 0.9
        # half a unit in the last place of 10 yr × 48/d is 1.5e-11 cycles
        np.testing.assert_allclose(p, by_long_double(t, m, e, f), rtol=0, atol=1e-10)

    def test_a_sinusoid_without_information_is_left_out(self):
        t = 2458000.5 + np.arange(20.0)
        m = np.random.default_rng(0).normal(size=20)
        curves = LightCurves.from_lists([(t, m, np.ones(20))])
        for floating_mean in (True, False):
            whole, half, usual = exact(curves, [np.array([1.0, 0.5, 0.3])], floating_mean)[0]
            assert whole == pytest.approx(0, abs=1e-9)
            assert half > 0
            assert usual > 0
        alternating = np.resize([1.0, -1.0], 20)  # all that a period of two steps can be
        explained = np.corrcoef(alternating, m)[0, 1] ** 2
        (p,) = exact(curves, [np.array([0.5])], True)
        assert p[0] == pytest.approx(explained, abs=1e-9)

    def test_empty_lists(self):
        curves = LightCurves.from_lists([curve(30), curve(0), curve(40)])
        a, b, c = exact(curves, [np.array([1.0]), np.empty(0), np.empty(0)], True)
        assert (len(a), len(b), len(c)) == (1, 0, 0)
        assert len(exact(LightCurves.from_lists([]), [], True)[0]) == 0


def parity(shared_data):
    features = pd.read_parquet(shared_data / "parity" / "reference_features.parquet")
    return features[features["ls_power"].notna() & (features["n"] > 0)]


class TestParity:
    def test_ls_of_the_original(self, shared_data):
        rows = parity(shared_data)
        varies = [np.isfinite(p).all() and np.ptp(m) > 0 for p, m in zip(rows["ls_power"], rows["m"], strict=True)]
        rows = rows[varies]
        freqs = [r.test_f0 + r.test_df * np.arange(int(r.test_nf))[::10] for r in rows.itertuples(index=False)]
        curves = LightCurves.from_lists(list(zip(rows["t"], rows["m"], rows["e"], strict=True)))
        worst = np.array([abs(p - q).max() for p, q in zip(exact(curves, freqs, True), rows["ls_power"], strict=True)])
        # The original's phases were made of absolute Julian dates: their rounding is all that differs.
        rounding = [np.spacing(2 * np.pi * f[-1] * t.max()) for f, t in zip(freqs, rows["t"], strict=True)]
        assert len(rows) > 240
        assert np.mean(worst < 1e-9) > 0.97
        assert (worst < np.maximum(1e-9, rounding)).all()

    def test_els_of_the_documented_formula(self, shared_data):
        formulas = pd.read_parquet(shared_data / "parity" / "reference_gpu_formulas_f64.parquet")
        rows = parity(shared_data).merge(formulas, on="id")
        curves = LightCurves.from_lists(list(zip(rows["t"], rows["m"], rows["e"], strict=True)))
        for p, q in zip(exact(curves, rows["test_freqs"].tolist(), False), rows["els"], strict=True):
            np.testing.assert_allclose(p, q, rtol=0, atol=1e-9)


def test_sums_of_the_transform():
    rng = np.random.default_rng(3)
    size, n, spacing = 256, 100, 1 / 300
    t, a = rng.uniform(-170, 170, n), rng.normal(size=n)  # beyond half the period of the samples: wrapped
    first = 5.3 + 0.37 * np.arange(16)
    phase = np.exp(2j * np.pi * np.multiply.outer(t, first - first[0]))
    z = a * np.exp(2j * np.pi * t * (first[0] + size // 4 * spacing))
    points = nufft.Points(np.empty(n, np.int64), np.empty((n, nufft.TAPS), np.float32))
    nufft.locate(points, t, spacing, size)
    out = np.empty(size // 2 * nufft.ROW, np.float32)
    nufft.transform(
        nufft.plan(size),
        points,
        np.stack([z.real, z.imag]).astype(np.float32),
        np.stack([phase.real, phase.imag], axis=1).astype(np.float32).ravel(),
        n,
        np.empty((size + nufft.TAPS) * nufft.ROW, np.float32),
        out,
        0,
    )
    out = out.reshape(size // 2, 2, 16)
    f = first + spacing * np.arange(size // 2)[:, None]
    expected = (a * np.exp(2j * np.pi * f[:, :, None] * t)).sum(2)
    assert abs(out[:, 0] + 1j * out[:, 1] - expected).max() < 1e-5 * np.sqrt((a**2).sum())


class TestScan:
    @pytest.mark.parametrize("floating_mean", [True, False])
    def test_every_power_of_a_short_grid(self, floating_mean):
        lc = curve(120)
        grid = one_grid(0.003, 1e-4, 5000)
        index, power, found = scanned_powers(lc, grid, floating_mean)
        (expected,) = exact(LightCurves.from_lists([lc]), [0.003 + 1e-4 * index], floating_mean)
        scale = 1.0 if floating_mean else expected.max()
        np.testing.assert_array_equal(index, np.arange(5000))
        np.testing.assert_allclose(power, expected, rtol=0, atol=1e-5 * scale)
        assert found.mean[0] == pytest.approx(expected.mean(), rel=1e-6)
        assert found.std[0] == pytest.approx(expected.std(), rel=1e-5)

    @pytest.mark.parametrize("n", [300, 1000])
    @pytest.mark.parametrize("low", [0.0, 0.49, 0.99, 10.0, 30.77, 47.98])
    def test_the_survey_grid(self, n, low):
        """Parts of the 876,580 frequencies of five years up to 48/d, the others masked."""
        lc = curve(n, seed=n, baseline=1800.0)
        windows = np.array([(0.0, low), (low + 0.02, 49.0)])
        grid = frequency_grid(*_first(lc), PeriodOptions(baseline_days=1826.25))._replace(windows=windows)
        assert grid.size[0] == 876_580
        index, power, found = scanned_powers(lc, grid, count=400)
        index, power = index[index >= 0], power[index >= 0]
        f = grid.fmin[0] + grid.df[0] * index
        assert len(f) > 300
        (expected,) = exact(LightCurves.from_lists([lc]), [f], True)
        np.testing.assert_allclose(power, expected, rtol=0, atol=2e-5)
        assert found.mean[0] == pytest.approx(expected.mean(), abs=2e-5)

    @settings(deadline=None, max_examples=40)
    @given(
        n=st.integers(4, 40),
        seed=st.integers(0, 1000),
        samples_per_peak=st.sampled_from([1, 2, 3, 5, 10, 13, 25, 60]),
        baseline=st.sampled_from([None, 3.0, 100.0, 900.0, 4000.0]),
        max_freq=st.sampled_from([0.05, 0.5, 3.0]),
        floating_mean=st.booleans(),
    )
    def test_any_grid(self, n, seed, samples_per_peak, baseline, max_freq, floating_mean):
        """Own and survey baselines, shorter and longer than the light curve's, any fineness."""
        lc = curve(n, seed=seed, baseline=300.0)
        options = PeriodOptions(samples_per_peak=samples_per_peak, baseline_days=baseline, max_freq=max_freq)
        grid = frequency_grid(*_first(lc), options)
        grid = grid._replace(size=np.minimum(grid.size, 3000))
        index, power, _ = scanned_powers(lc, grid, floating_mean, count=max(int(grid.size[0]), 1))
        f = grid.fmin[0] + grid.df[0] * np.arange(grid.size[0])
        (expected,) = exact(LightCurves.from_lists([lc]), [f], floating_mean)
        if len(f):
            np.testing.assert_array_equal(index, np.arange(len(f)))
            y = (lc[1] - lc[1].min()) / np.ptp(lc[1])
            scale = 1.0 if floating_mean else 0.5 * n * y.var()
            np.testing.assert_allclose(power, expected, rtol=0, atol=TOLERANCE / np.sqrt(n) * scale)

    @pytest.mark.parametrize("floating_mean", [True, False])
    def test_peaks_are_those_of_the_exact_periodogram(self, floating_mean):
        lc = curve(200, seed=4, period=0.53123)
        grid = frequency_grid(*_first(lc), PeriodOptions(max_freq=4.0))
        found = scan(LightCurves.from_lists([lc]), grid, k=20, sep=10, floating_mean=floating_mean)
        f = grid.fmin[0] + grid.df[0] * np.arange(grid.size[0])
        (p,) = exact(LightCurves.from_lists([lc]), [f], floating_mean)
        first = [j for j in np.argsort(-p) if p[max(j - 9, 0) : j + 10].max() == p[j]][:20]
        np.testing.assert_array_equal(found.index[0], first)
        np.testing.assert_allclose(found.value[0], p[first], rtol=1e-5)
        assert f[first[0]] == pytest.approx(1 / 0.53123, abs=grid.df[0])

    def test_masked_frequencies_do_not_count(self):
        lc = curve(150, seed=5, period=1.0)
        options = PeriodOptions(max_freq=5.0, remove_terrestrial=True)
        grid = frequency_grid(*_first(lc), options)
        found = scan(LightCurves.from_lists([lc]), grid)
        f = grid.fmin[0] + grid.df[0] * np.arange(grid.size[0])
        keep = np.all([(f < lo) | (f > hi) for lo, hi in TERRESTRIAL_WINDOWS], axis=0)
        (p,) = exact(LightCurves.from_lists([lc]), [f], True)
        assert not keep[p.argmax()]
        assert keep[found.index[0][found.index[0] >= 0]].all()
        assert found.mean[0] == pytest.approx(p[keep].mean(), rel=1e-6)
        assert found.std[0] == pytest.approx(p[keep].std(), rel=1e-5)


class TestPartition:
    @settings(deadline=None, max_examples=20)
    @given(
        sizes=st.lists(st.sampled_from([0, 1, 2, 3, 4, 10, 60]), min_size=1, max_size=6),
        seed=st.integers(0, 99),
        floating_mean=st.booleans(),
    )
    def test_alone_or_in_company(self, sizes, seed, floating_mean):
        lists = [curve(n, seed=seed + i, baseline=100.0 + 50 * i) for i, n in enumerate(sizes)]
        curves = LightCurves.from_lists(lists)
        grid = frequency_grid(curves.hjd, curves.offsets, PeriodOptions(max_freq=2.0))
        found = scan(curves, grid, k=5, floating_mean=floating_mean)
        freqs = [np.array([0.3, 1.7])] * len(sizes)
        powers = exact(curves, freqs, floating_mean)
        for i, lc in enumerate(lists):
            alone = LightCurves.from_lists([lc])
            own = scan(alone, frequency_grid(*_first(lc), PeriodOptions(max_freq=2.0)), 5, 10, floating_mean)
            for together, single in zip(found, own, strict=True):
                np.testing.assert_array_equal(together[i], single[0])
            np.testing.assert_array_equal(powers[i], exact(alone, freqs[:1], floating_mean)[0])

    @pytest.mark.parametrize("floating_mean", [True, False])
    def test_degenerate_light_curves(self, floating_mean):
        t, m, e = curve(30)
        bad = m.copy()
        bad[3] = np.nan
        infinite = t.copy()
        infinite[-1] = np.inf
        lists = [
            (t[:0], m[:0], e[:0]),
            (t[:1], m[:1], e[:1]),
            (t[:2], m[:2], e[:2]),
            (t, np.full(30, 17.1), e),
            (np.full(30, t[0]), m, e),
            (t, bad, e),
            (infinite, m, e),
            (t, m, e),
        ]
        curves = LightCurves.from_lists(lists)
        n = len(lists)
        grid = FrequencyGrid(np.full(n, 0.01), np.full(n, 1e-4), np.full(n, 1000), NO_WINDOWS)
        found = scan(curves, grid, k=3, floating_mean=floating_mean)
        powers = np.array([p[0] for p in exact(curves, [np.array([0.5])] * n, floating_mean)])
        good = np.arange(n) == n - 1
        np.testing.assert_array_equal(found.index[:, 0] >= 0, good)
        for values in (found.value[:, 0], found.mean, found.std, powers):
            np.testing.assert_array_equal(np.isfinite(values), good)

    @pytest.mark.parametrize("error", [0.0, -0.1, np.nan, np.inf])
    def test_errors_matter_for_the_weighted_form_only(self, error):
        t, m, e = curve(30)
        e[4] = error
        curves = LightCurves.from_lists([(t, m, e)])
        grid = one_grid(0.01, 1e-3, 500)
        assert scan(curves, grid, floating_mean=True).index[0, 0] == -1
        assert np.isnan(exact(curves, [np.array([0.3])], True)[0]).all()
        assert scan(curves, grid, floating_mean=False).index[0, 0] >= 0

    def test_three_points_fit_exactly(self):
        curves = LightCurves.from_lists([curve(3)])
        assert exact(curves, [np.array([0.377])], True)[0][0] == pytest.approx(1, abs=1e-9)
        assert scan(curves, one_grid(0.01, 1e-3, 500)).value[0, 0] == pytest.approx(1, abs=1e-3)

    def test_empty_partition_and_empty_grid(self):
        none = scan(LightCurves.from_lists([]), FrequencyGrid(*np.empty((2, 0)), np.empty(0, int), NO_WINDOWS))
        assert none.value.shape == (0, 50)
        found = scan(LightCurves.from_lists([curve(30)]), one_grid(0.01, 1e-3, 0))
        assert (found.index == -1).all()
        assert np.isnan(found.mean[0])


def _first(lc):
    return np.asarray(lc[0]), np.array([0, len(lc[0])])
