"""Conditional entropy and analysis of variance: scans against float64, float64 against brute force."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.compiled import jit
from scope_dask.periods import bitsliced, exact_folding
from scope_dask.periods.aov import aov_peaks
from scope_dask.periods.folding import conditional_entropy_peaks
from scope_dask.periods.grid import FrequencyGrid, frequency_grid
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves

PHASE_ERROR = 5e-8  # cycles: 2**-33 * 256 of the steps, 2**-27 of the product, and the rounding of the anchor


def entropy_of(t, m, f, rescaled):
    """H, from its definition with probabilities."""
    y = (m - m.min()) / (m.max() - m.min())
    rows = np.minimum(((y * 0.999 + 5e-4 if rescaled else y) * 10).astype(int), 9)
    phase = (t - t.min()) * f % 1.0
    p = np.histogram2d(np.floor(phase * 20), rows, bins=[np.arange(21), np.arange(11)])[0] / len(t)
    column = np.broadcast_to(p.sum(axis=1, keepdims=True), p.shape)
    return np.sum(p[p > 0] * np.log(column[p > 0] / p[p > 0]))


def theta_of(t, m, f):
    """θ, from its definition with the means of the bins."""
    bins = np.floor((t - t.min()) * f % 1.0 * 20).astype(int)
    groups = [m[bins == b] for b in range(20) if (bins == b).any()]
    s1 = sum(len(g) * (g.mean() - m.mean()) ** 2 for g in groups)
    s2 = sum(((g - g.mean()) ** 2).sum() for g in groups)
    return (len(m) - 20) / 19 * s1 / s2


def clear_of_edges(t, f):
    """Frequencies at which no point is so near the edge of a bin that a rounded phase may be beyond it."""
    x = np.outer(f, t - t.min()) * 20
    return ((np.abs(x - np.rint(x)) > 20 * PHASE_ERROR) | (t == t.min())).all(axis=1)


def sampling(rng, n, baseline=1826.0):
    """Nights in seasons of 240 days, as ZTF observes, from an arbitrary epoch."""
    night = rng.choice(np.flatnonzero(np.arange(int(baseline)) % 365 < 240), n)
    return 2458200.5 + np.sort(night + 0.2 + 0.3 * rng.random(n))


def simulate(n_curves, n, seed=0):
    rng = np.random.default_rng(seed)
    curves = []
    for _ in range(n_curves):
        t = sampling(rng, n)
        e = rng.uniform(0.03, 0.12, n)
        x = 2 * np.pi * t / 10 ** rng.uniform(-1.2, 1.5)
        curves.append((t, 17 + 0.3 * np.sin(x) + 0.1 * np.sin(2 * x) + e * rng.standard_normal(n), e))
    return LightCurves.from_lists(curves)


def grid_for(curves, fmin, df, size, windows=None):
    n = len(curves)
    windows = np.empty((0, 2)) if windows is None else np.array(windows, dtype=float)
    return FrequencyGrid(np.full(n, fmin), np.full(n, df), np.full(n, size), windows)


def ragged(grid):
    """All frequencies of a grid, with their offsets."""
    freqs = [f + d * np.arange(n) for f, d, n in zip(grid.fmin, grid.df, grid.size, strict=True)]
    return np.concatenate([*freqs, np.empty(0)]), np.concatenate([[0], np.cumsum(grid.size)]).astype(np.int64)


def scan(method, curves, grid, k, sep):
    if method == "AOV":
        return aov_peaks(curves.hjd, curves.mag, curves.offsets, grid, k, sep)
    return conditional_entropy_peaks(curves.hjd, curves.mag, curves.offsets, grid, k, sep, method == "ECE")


def exact(method, curves, freqs, freq_offsets):
    if method == "AOV":
        return exact_folding.aov(curves.hjd, curves.mag, curves.offsets, freqs, freq_offsets)
    return exact_folding.conditional_entropy(
        curves.hjd, curves.mag, curves.offsets, freqs, freq_offsets, method == "ECE"
    )


def whole_scan(method, curves, grid):
    """Every value of a scan: with peaks one step apart, every grid point is one."""
    k = max(int(grid.size.max(initial=0)), 1)
    found = scan(method, curves, grid, k, 1)
    x = np.full((len(curves), k + 1), np.nan)
    np.put_along_axis(x, found.index, found.value, axis=1)
    return x[:, :k] if method == "AOV" else -x[:, :k]


curve_lists = st.lists(
    st.tuples(
        st.integers(0, 70),
        st.sampled_from(["any", "steps", "constant", "equal times", "nan mag", "nan time", "inf mag"]),
        st.integers(0, 2**32 - 1),
    ),
    max_size=5,
)


def make_curves(specification):
    curves = []
    for n, kind, seed in specification:
        rng = np.random.default_rng(seed)
        t = 2458000.0 + 100 * rng.random(n)
        m = rng.normal(17, 1, n)
        if kind == "steps":
            m = np.rint(m)
        if kind == "constant":
            m[:] = 17.0
        if kind == "equal times":
            t[:] = 2458000.0
        if n and kind in ("nan mag", "inf mag"):
            m[rng.integers(n)] = np.nan if kind == "nan mag" else np.inf
        if n and kind == "nan time":
            t[rng.integers(n)] = np.nan
        curves.append((t, m, np.ones(n)))
    return LightCurves.from_lists(curves)


def can_be_handled(t, m, least):
    finite = np.isfinite(t).all() and np.isfinite(m).all()
    return bool(len(t) >= least and finite and np.ptp(t) > 0 and np.ptp(m) > 0)


@given(curve_lists, st.integers(0, 60), st.sampled_from(["CE", "ECE", "AOV"]))
@settings(deadline=None, max_examples=60)
def test_scans_and_float64_equal_brute_force_on_ragged_partitions(specification, size, method):
    curves = make_curves(specification)
    grid = grid_for(curves, 0.37, 0.0123, size)
    freqs, freq_offsets = ragged(grid)
    values = exact(method, curves, freqs, freq_offsets)
    scanned = whole_scan(method, curves, grid)
    for i in range(len(curves)):
        t, m, _ = curves[i]
        f, v = freqs[:size], values[freq_offsets[i] : freq_offsets[i + 1]]
        if not can_be_handled(t, m, 21 if method == "AOV" else 4):
            assert np.isnan(v).all()
            assert np.isnan(scanned[i]).all()
            continue
        expected = [theta_of(t, m, x) if method == "AOV" else entropy_of(t, m, x, method == "ECE") for x in f]
        np.testing.assert_allclose(v, expected, rtol=1e-9, atol=1e-12)
        good = clear_of_edges(t, f)
        assert good.sum() >= 0.9 * size
        rtol = 0.02 if method == "AOV" else 0.0  # 12 bits, few points: see the test of its size below
        np.testing.assert_allclose(scanned[i, :size][good], v[good], rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("rescaled", [True, False])
def test_entropy_scan_is_float64s_but_for_points_on_an_edge(rescaled):
    curves = simulate(10, 500)
    grid = grid_for(curves, 47.0, 1 / 18262.5, 1500)
    method = "ECE" if rescaled else "CE"
    x = whole_scan(method, curves, grid)
    v = exact(method, curves, *ragged(grid)).reshape(x.shape)
    good = np.array([clear_of_edges(curves[i][0], grid.fmin[0] + grid.df[0] * np.arange(1500)) for i in range(10)])
    assert np.abs(x - v)[good].max() < 2e-6
    assert np.mean(np.abs(x - v) < 1e-5) > 0.998


def test_aov_scan_has_the_error_of_12_bit_magnitudes():
    curves = simulate(10, 500)
    grid = grid_for(curves, 47.0, 1 / 18262.5, 1500)
    x = whole_scan("AOV", curves, grid)
    v = exact("AOV", curves, *ragged(grid)).reshape(x.shape)
    good = np.array([clear_of_edges(curves[i][0], grid.fmin[0] + grid.df[0] * np.arange(1500)) for i in range(10)])
    error = (x / v - 1)[good]
    assert error.std() < 3e-4
    assert abs(error.mean()) < 2e-5
    assert np.mean(good) > 0.998


@jit()
def _bins_of_tile(t, f, df, bins):
    steps = np.empty(t.size, np.uint32)
    phases = np.empty(t.size, np.uint32)
    bitsliced.phase_steps(t, t.size, df, steps)
    bitsliced.anchor(t, t.size, f + df * (bitsliced.LANES // 2), steps, phases)
    for i in range(t.size):
        p = phases[i]
        for l in range(bitsliced.LANES):
            bins[l, i] = bitsliced.phase_bin(p, np.uint32(20))
            p = np.uint32(p + steps[i])


@pytest.mark.parametrize(("frequency", "baseline"), [(48.0, 1826.25), (720.0, 3652.5)])
def test_phase_bins_are_float64s(frequency, baseline):
    rng = np.random.default_rng(5)
    df = 1 / (10 * baseline)
    f = frequency + df * np.arange(bitsliced.LANES)
    equal, equal_points = [], []
    for _ in range(10):
        t = sampling(rng, 1000, baseline - 3)
        t -= t[0]
        bins = np.empty((bitsliced.LANES, t.size), np.int64)
        _bins_of_tile(t, frequency, df, bins)
        same = bins == np.floor(np.outer(f, t) % 1.0 * 20)
        equal.append(same.all(axis=1).mean())
        equal_points.append(same.mean())
    assert np.mean(equal) >= 0.999
    assert np.mean(equal_points) >= 0.999999


@pytest.mark.parametrize("n", [31, 32, 255, 256, 70_000])
@pytest.mark.parametrize("method", ["CE", "AOV"])
def test_counts_are_exact_for_any_number_of_points_in_a_bin(n, method):
    rng = np.random.default_rng(n)
    t = 0.7 * np.rint(2000 * rng.random(n)) + 0.7 * 0.3 * rng.random(n)  # folded at 0.7 d: a third of the phases
    m = np.where(rng.random(n) < 0.97, 15.0, 16.0) + 1e-3 * rng.normal(size=n)
    curves = LightCurves.from_lists([(t, m, m)])
    df = 1 / 18000.0
    grid = grid_for(curves, 1 / 0.7 - 3 * df, df, 7)
    freqs, freq_offsets = ragged(grid)
    good = clear_of_edges(t, freqs)
    x = whole_scan(method, curves, grid)[0]
    v = exact(method, curves, freqs, freq_offsets)
    if n < 1000:
        assert good.sum() >= 5
        np.testing.assert_allclose(x[good], v[good], rtol=3e-2 if method == "AOV" else 0, atol=1e-5)
    else:  # some of so many points are on an edge: one moves H by 1/n ln n at most
        np.testing.assert_allclose(x, v, rtol=3e-2, atol=70 * np.log(n) / n if method == "AOV" else 5 * np.log(n) / n)


@pytest.mark.parametrize("method", ["CE", "ECE", "AOV"])
def test_light_curves_do_not_depend_on_their_company(method):
    rng = np.random.default_rng(9)
    sizes = [300, 25, 0, 1, 800, 64, 2, 40]
    lists = [(sampling(rng, n), rng.normal(17, 0.2, n), np.ones(n)) for n in sizes]
    lists[5] = (lists[5][0], np.full(64, np.nan), lists[5][2])
    curves = LightCurves.from_lists(lists)
    options = PeriodOptions(max_freq=1.5, remove_terrestrial=True)
    whole = scan(method, curves, frequency_grid(curves.hjd, curves.offsets, options), 20, 10)
    for i, one in enumerate(lists):
        alone = LightCurves.from_lists([one])
        found = scan(method, alone, frequency_grid(alone.hjd, alone.offsets, options), 20, 10)
        for a, b in zip(found, whole, strict=True):
            np.testing.assert_array_equal(a[0], b[i])
    assert (whole.index[[0, 1, 4, 7], 0] >= 0).all()
    assert (whole.index[[2, 3, 5, 6]] == -1).all()
    assert np.isnan(whole.mean[[2, 3, 5, 6]]).all()


@pytest.mark.parametrize("method", ["CE", "AOV"])
def test_the_order_of_the_points_does_not_matter(method):
    curves = simulate(1, 200)
    order = np.random.default_rng(0).permutation(200)
    shuffled = LightCurves(curves.hjd[order], curves.mag[order], curves.magerr[order], curves.offsets)
    grid = grid_for(curves, 0.1, 1e-4, 1000)
    for a, b in zip(scan(method, curves, grid, 5, 10), scan(method, shuffled, grid, 5, 10), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("method", ["ECE", "AOV"])
def test_masked_frequencies_are_in_neither_peaks_nor_moments(method):
    curves = simulate(3, 150)
    windows = [(0.2, 0.25), (0.24, 0.3), (0.0, 0.11)]
    grid = grid_for(curves, 0.1, 1e-4, 3000, windows)
    freqs = 0.1 + 1e-4 * np.arange(3000)
    keep = np.logical_and.reduce([(freqs < a) | (freqs > b) for a, b in windows])
    found = scan(method, curves, grid, 10, 10)
    v = exact(method, curves, *ragged(grid)).reshape(3, -1) * (1 if method == "AOV" else -1)
    assert keep[found.index].all()
    np.testing.assert_allclose(found.mean, v[:, keep].mean(axis=1), rtol=2e-4)
    np.testing.assert_allclose(found.std, v[:, keep].std(axis=1), rtol=2e-3)
    np.testing.assert_allclose(found.value[:, 0], v[:, keep].max(axis=1), rtol=2e-3)


@pytest.mark.parametrize("method", ["CE", "AOV"])
def test_no_light_curves_and_no_grid(method):
    empty = LightCurves.from_lists([])
    assert scan(method, empty, grid_for(empty, 0.1, 0.1, 5), 3, 10).index.shape == (0, 3)
    curves = simulate(2, 50)
    found = scan(method, curves, grid_for(curves, 0.1, 0.1, 0), 3, 10)
    assert (found.index == -1).all()
    assert np.isnan(found.value).all()


def test_float64_equals_the_reference_formulas(shared_data):
    folder = shared_data / "parity"
    reference = pd.read_parquet(folder / "reference_gpu_formulas_f64.parquet").set_index("id")
    inputs = pd.read_parquet(folder / "reference_features.parquet", columns=["id", "t", "m", "e"]).set_index("id")
    rows = inputs.loc[reference.index]
    curves = LightCurves.from_lists(list(zip(rows["t"], rows["m"], rows["e"], strict=True)))
    freqs = np.concatenate(reference["test_freqs"].to_numpy())
    freq_offsets = np.concatenate([[0], np.cumsum(reference["test_freqs"].map(len))]).astype(np.int64)
    entropy = exact("ECE", curves, freqs, freq_offsets)
    theta = exact("AOV", curves, freqs, freq_offsets)
    assert len(entropy) == 244 * 200
    np.testing.assert_allclose(entropy, np.concatenate(reference["ece"].to_numpy()), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(theta, np.concatenate(reference["eaov"].to_numpy()), rtol=1e-9)
