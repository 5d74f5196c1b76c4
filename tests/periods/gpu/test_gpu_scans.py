"""The kernels, run on the CPU thread by thread, against the CPU's scans, float64 and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from emulation import EmulatedDevice
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scope_dask.compiled import jit
from scope_dask.errors import OptionError
from scope_dask.periods import bitsliced, exact_folding
from scope_dask.periods.aov import aov_peaks
from scope_dask.periods.exact_lombscargle import lomb_scargle
from scope_dask.periods.exact_multiharmonic import multiharmonic
from scope_dask.periods.folding import conditional_entropy_peaks
from scope_dask.periods.gpu import launch
from scope_dask.periods.gpu.engine import Engine, load
from scope_dask.periods.gpu.launch import METHODS
from scope_dask.periods.grid import TERRESTRIAL_WINDOWS, FrequencyGrid
from scope_dask.periods.lombscargle import lomb_scargle_peaks
from scope_dask.periods.multiharmonic import multiharmonic_peaks
from scope_dask.ragged import LightCurves

EVERY = sorted(METHODS)
NO_WINDOWS = np.empty((0, 2))


def sampling(rng, n, baseline=1826.0):
    """Nights in seasons of 240 days, from an arbitrary epoch."""
    night = rng.choice(np.flatnonzero(np.arange(int(baseline)) % 365 < 240), n)
    return 2458200.5 + np.sort(night + 0.2 + 0.3 * rng.random(n))


def simulate(sizes, seed=0, baseline=1826.0):
    rng = np.random.default_rng(seed)
    curves = []
    for n in sizes:
        t = sampling(rng, n, baseline)
        e = rng.uniform(0.03, 0.12, n)
        x = 2 * np.pi * t / 10 ** rng.uniform(-1.2, 1.5)
        curves.append((t, 17 + 0.3 * np.sin(x) + 0.1 * np.sin(2 * x) + e * rng.standard_normal(n), e))
    return LightCurves.from_lists(curves)


def grid_for(curves, fmin, df, size, windows=NO_WINDOWS):
    n = len(curves)
    return FrequencyGrid(np.full(n, fmin), np.full(n, df), np.full(n, size), np.array(windows, dtype=float))


def engine(curves, grid, budget=launch.DEFAULT_BUDGET, descending=False, n_harmonics=3):
    device = EmulatedDevice(descending)
    return Engine(device, load(device, curves), grid, budget, n_harmonics=n_harmonics)


def ragged(grid):
    freqs = [f + d * np.arange(n) for f, d, n in zip(grid.fmin, grid.df, grid.size, strict=True)]
    return np.concatenate([*freqs, np.empty(0)]), np.concatenate([[0], np.cumsum(grid.size)]).astype(np.int64)


def value_at(name, c, grid, index):
    """The float64 statistic at grid indices of shape (n, k)."""
    freqs = grid.fmin[:, None] + grid.df[:, None] * index
    return cpu_exact(name, c, freqs.ravel(), index.shape[1] * np.arange(len(index) + 1)).reshape(index.shape)


def cpu_scan(name, c, grid, k, sep):
    if name in ("LS", "ELS"):
        return lomb_scargle_peaks(c.hjd, c.mag, c.magerr, c.offsets, grid, k, sep, name == "LS")
    if name in ("CE", "ECE"):
        return conditional_entropy_peaks(c.hjd, c.mag, c.offsets, grid, k, sep, name == "ECE")
    if name == "MHAOV":
        return multiharmonic_peaks(c.hjd, c.mag, c.magerr, c.offsets, grid, k, sep, 3)
    return aov_peaks(c.hjd, c.mag, c.offsets, grid, k, sep)


def cpu_exact(name, c, freqs, offsets, n_harmonics=3):
    if name == "MHAOV":
        return multiharmonic(c.hjd, c.mag, c.magerr, c.offsets, freqs, offsets, n_harmonics)
    if name in ("LS", "ELS"):
        return lomb_scargle(c.hjd, c.mag, c.magerr, c.offsets, freqs, offsets, name == "LS")
    if name in ("CE", "ECE"):
        return exact_folding.conditional_entropy(c.hjd, c.mag, c.offsets, freqs, offsets, name == "ECE")
    if name in ("AOV", "EAOV"):
        return exact_folding.aov(c.hjd, c.mag, c.offsets, freqs, offsets)
    values = [
        brute_force_boxes(*c[i], f, name == "BLS") for i in range(len(c)) for f in freqs[offsets[i] : offsets[i + 1]]
    ]
    return np.array(values, dtype=float)


def brute_force_boxes(t, m, e, f, boxes):
    """BLS and FPW from their definitions, models written out."""
    n_bins = 200 if boxes else 20
    w = 1 / e**2 / (1 / e**2).sum()
    bins = np.floor((t - t.min()) * f % 1.0 * n_bins).astype(int)
    y = m - (w * m).sum()
    if not boxes:
        model = np.zeros(len(t))
        for b in np.unique(bins):
            model[bins == b] = np.average(y[bins == b], weights=w[bins == b])
        return (w * model**2).sum() / (w * y**2).sum()
    best, least = 0.0, 0.999 * 5 / len(t)
    for start in range(n_bins):
        for width in launch.DefaultBoxes().widths:
            inside = (bins - start) % n_bins < width
            if least <= w[inside].sum() <= 1 - least and (w * y)[inside].sum() > 0:
                model = np.where(
                    inside, np.average(y[inside], weights=w[inside]), np.average(y[~inside], weights=w[~inside])
                )
                best = max(best, (w * model**2).sum() / (w * y**2).sum())
    return best


def clear_of_edges(t, f, n_bins=20):
    """Frequencies at which no point is so near the edge of a bin that a rounded phase may be beyond it."""
    x = np.outer(f, t - t.min()) * n_bins
    return ((np.abs(x - np.rint(x)) > n_bins * 5e-8) | (t == t.min())).all(axis=1)


def whole_scan(name, run, size):
    """Every value of a scan (of up to 1024 frequencies): with peaks one step apart, every grid point is one."""
    found = run.scan(name, max(size, 1), 1)
    x = np.full((len(found.index), max(size, 1) + 1), np.nan)
    np.put_along_axis(x, found.index, found.value, axis=1)
    return x[:, :size] * (-1 if name in ("CE", "ECE") else 1)


curve_lists = st.lists(
    st.tuples(
        st.integers(0, 70),
        st.sampled_from(["any", "steps", "constant", "equal times", "nan mag", "nan time", "inf mag", "zero error"]),
        st.integers(0, 2**32 - 1),
    ),
    max_size=5,
)


def make_curves(specification):
    curves = []
    for n, kind, seed in specification:
        rng = np.random.default_rng(seed)
        t, m, e = 2458000.0 + 100 * rng.random(n), rng.normal(17, 1, n), rng.uniform(0.5, 1.5, n)
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
        if n and kind == "zero error":
            e[rng.integers(n)] = 0.0
        curves.append((t, m, e))
    return LightCurves.from_lists(curves)


def can_be_handled(t, m, e, name):
    finite = np.isfinite(t).all() and np.isfinite(m).all()
    errors = not METHODS[name].weighted or (e > 0).all()
    return bool(len(t) >= METHODS[name].least and finite and errors and np.ptp(t) > 0 and np.ptp(m) > 0)


@given(curve_lists, st.integers(0, 60), st.sampled_from(EVERY))
@settings(deadline=None, max_examples=80)
def test_scans_and_evaluations_on_ragged_partitions(specification, size, name):
    curves = make_curves(specification)
    grid = grid_for(curves, 0.37, 0.0123, size)
    freqs, offsets = ragged(grid)
    run = engine(curves, grid, budget=3000)
    values, scanned = run.evaluate(name, freqs, offsets), whole_scan(name, run, size)
    for i in range(len(curves)):
        f, v = freqs[:size], values[offsets[i] : offsets[i + 1]]
        if not can_be_handled(*curves[i], name):
            assert np.isnan(v).all()
            assert np.isnan(scanned[i]).all()
            continue
        alone = LightCurves.from_lists([curves[i]])
        expected = cpu_exact(name, alone, f, np.array([0, size]))
        np.testing.assert_allclose(v, expected, rtol=1e-9, atol=1e-11)
        good = clear_of_edges(curves[i][0], f, 200 if name == "BLS" else 20)
        assert good.sum() >= 0.7 * size
        scale = {"LS": 4e-4, "ELS": 4e-4 * len(curves[i][0])}.get(name, 1e-5)
        rtol = {"AOV": 0.02, "EAOV": 0.02, "BLS": 1e-5, "FPW": 1e-5}.get(name, 0.0)
        np.testing.assert_allclose(scanned[i][good], v[good], rtol=rtol, atol=scale)


@pytest.mark.parametrize("name", ["LS", "ELS", "CE", "ECE", "AOV", "MHAOV"])
@pytest.mark.parametrize("fmin", [0.011, 40.0])
def test_peaks_and_moments_are_the_cpu_scans(name, fmin):
    curves = simulate([300, 40, 700, 1500])
    grid = grid_for(curves, fmin, 1 / 18260, 5000, [(fmin + 0.1, fmin + 0.12), (fmin + 0.115, fmin + 0.13)])
    found, expected = engine(curves, grid).scan(name, 50, 10), cpu_scan(name, curves, grid, 50, 10)
    size = np.abs(expected.value).max(axis=1, keepdims=True)
    np.testing.assert_allclose(found.value, expected.value, rtol=0, atol=(1e-5 * size).max())
    same = found.index == expected.index
    exact = [value_at(name, curves, grid, index) for index in (found.index, expected.index)]
    tie = np.abs(exact[0] - exact[1]) < 2e-5 * size  # the CPU's rounding decides between equal counts
    assert np.mean(same | tie) > 0.99
    assert same[:, 0].all()
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-5)
    np.testing.assert_allclose(found.std, expected.std, rtol=1e-5)


def test_aov_is_the_cpu_scans_to_the_last_bits():
    curves = simulate([300, 1023, 1024, 3000])
    grid = grid_for(curves, 47.0, 1 / 18260, 1000)
    x = whole_scan("AOV", engine(curves, grid), 1000)
    y = cpu_scan("AOV", curves, grid, 1000, 1)
    z = np.take_along_axis(x, y.index, axis=1)
    np.testing.assert_allclose(z, y.value, rtol=1e-6)


@jit()
def _cpu_bins(t, f, df, bins):
    steps, phases = np.empty(t.size, np.uint32), np.empty(t.size, np.uint32)
    bitsliced.phase_steps(t, t.size, df, steps)
    bitsliced.anchor(t, t.size, f, steps, phases)
    for i in range(t.size):
        p = phases[i]
        for l in range(bitsliced.LANES):
            bins[i, l] = bitsliced.phase_bin(p, np.uint32(20))
            p = np.uint32(p + steps[i])


@pytest.mark.parametrize(("frequency", "baseline"), [(48.0, 1826.25), (720.0, 3652.5)])
def test_phase_bins_are_the_cpus_bit_by_bit_and_float64s(frequency, baseline):
    rng = np.random.default_rng(5)
    df = 1 / (10 * baseline)
    equal = []
    for _ in range(10):
        t = sampling(rng, 600, baseline - 3)
        t -= t[0]
        ours, expected = np.empty((600, 512), np.int32), np.empty((600, 512), np.int64)
        center = frequency + 256 * df
        _cpu_bins(t, center, df, expected)
        x = df * t
        step = np.floor((x - np.floor(x)) * 2.0**32 + 0.5).astype(np.int64).astype(np.uint32)
        EmulatedDevice().launch("phase_bins", "phase_bins", 600, 512, t, step, np.float64(center), ours)
        np.testing.assert_array_equal(ours, expected)
        equal.append((ours == np.floor(np.outer(t, frequency + df * np.arange(512)) % 1.0 * 20)).all(axis=0).mean())
    assert np.mean(equal) >= 0.999


@pytest.mark.parametrize("n", [31, 32, 63, 64, 255, 511, 512, 1023, 1024, 8191, 8192, 70_000])
@pytest.mark.parametrize("name", ["CE", "AOV", "FPW", "BLS"])
def test_sums_are_exact_for_any_number_of_points_in_a_bin(n, name):
    rng = np.random.default_rng(n)
    t = 0.7 * np.rint(2000 * rng.random(n)) + 0.7 * 0.3 * rng.random(n)  # folded at 0.7 d: a third of the phases
    m = np.where(rng.random(n) < 0.97, 15.0, 16.0) + 1e-3 * rng.normal(size=n)
    curves = LightCurves.from_lists([(t, m, rng.uniform(0.1, 0.2, n))])
    grid = grid_for(curves, 1 / 0.7 - 3 / 18000, 1 / 18000, 7)
    run = engine(curves, grid)
    freqs, offsets = ragged(grid)
    x, v = whole_scan(name, run, 7)[0], run.evaluate(name, freqs, offsets)
    good = clear_of_edges(t, freqs, 200 if name == "BLS" else 20)
    if n < 1000:
        assert good.sum() >= 5
        np.testing.assert_allclose(x[good], v[good], rtol=3e-2 if name == "AOV" else 1e-5, atol=2e-6)
    else:  # some of so many points are on an edge
        np.testing.assert_allclose(x, v, rtol=3e-2, atol=70 * np.log(n) / n)


@pytest.mark.parametrize("floating_mean", [True, False])
@pytest.mark.parametrize("n", [100, 300, 1000])
def test_lomb_scargle_power_is_float64s_to_1e_4(n, floating_mean):
    name = "LS" if floating_mean else "ELS"
    curves = simulate([n, n], seed=n)
    worst = 0.0
    for fmin in (0.0011, 0.97, 1.98, 24.0, 47.9):
        grid = grid_for(curves, fmin, 1 / 18260, 1024)
        run = engine(curves, grid)
        freqs, offsets = ragged(grid)
        v = cpu_exact(name, curves, freqs, offsets).reshape(2, -1)
        factor = run.lomb_scargle_facts(name)[:, :1]
        worst = max(worst, float(np.abs((whole_scan(name, run, 1024) - v) / factor).max()))
    assert worst < 1e-4


@pytest.mark.parametrize("steps", range(1, 17))
def test_lomb_scargle_at_any_fineness_of_the_grid(steps):
    curves = simulate([200], seed=steps, baseline=500.0)
    df = 1 / (1.4 * (steps + 0.5) * np.ptp(curves.hjd))
    grid = grid_for(curves, 3.0 + df * steps, df, 1000)
    run = engine(curves, grid)
    assert run._steps()[0] == steps
    freqs, offsets = ragged(grid)
    np.testing.assert_allclose(
        whole_scan("LS", run, 1000)[0], cpu_exact("LS", curves, freqs, offsets), rtol=0, atol=1e-4
    )


def nightly(n, spread, seed):
    """Points within `spread` days of the same time of 1800 nights."""
    rng = np.random.default_rng(seed)
    t, e = 2458200.5 + np.floor(1800 * rng.random(n)) + spread * rng.random(n), rng.uniform(0.03, 0.1, n)
    return LightCurves.from_lists([(t, 17 + 0.3 * np.sin(2 * np.pi * t / 0.7) + e * rng.standard_normal(n), e)])


@pytest.mark.parametrize("harmonics", range(1, 6))
@pytest.mark.parametrize("spread", [0.04, 0.3])
def test_multiharmonic_power_is_float64s(spread, harmonics):
    """Also where nights make the columns nearly dependent: a few pivots above 0.03 enlarge the scan's 3e-7."""
    curves = nightly(130, spread, harmonics)
    for fmin in (0.0011, 0.32, 0.98, 47.9):
        grid = grid_for(curves, fmin, 1 / 18260, 500)
        run = engine(curves, grid, n_harmonics=harmonics)
        freqs, offsets = ragged(grid)
        v = cpu_exact("MHAOV", curves, freqs, offsets, harmonics)
        np.testing.assert_allclose(whole_scan("MHAOV", run, 500)[0], v, rtol=0, atol=1e-4)
        found = run.evaluate("MHAOV", freqs[::5], offsets // 5)
        np.testing.assert_allclose(found, v[::5], rtol=0, atol=1e-8)  # rounding over the root of the least variance


def test_there_are_one_to_five_harmonics():
    curves = simulate([50])
    with pytest.raises(OptionError, match="harmonics is 6; it must be 1 to 5"):
        engine(curves, grid_for(curves, 0.3, 1e-3, 300), n_harmonics=6)


@pytest.mark.parametrize("name", EVERY)
def test_no_barrier_is_missing(name):
    """The order in which threads and blocks run makes no difference."""
    curves = simulate([150, 30, 600])
    grid = grid_for(curves, 0.9, 1 / 18260, 1300, [(0.93, 0.94)])
    up, down = (engine(curves, grid, descending=d).scan(name, 40, 10) for d in (False, True))
    for a, b in zip(up, down, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", EVERY)
def test_neither_chunks_nor_company_matter(name):
    curves = simulate([120, 25, 5, 300, 64, 90])
    curves.mag[curves.offsets[4]] = np.nan
    grid = grid_for(curves, 0.3, 1 / 18260, 2100, TERRESTRIAL_WINDOWS)
    whole = engine(curves, grid)
    expected = whole.scan(name, 20, 10)
    small = engine(curves, grid, budget=2 * launch.bytes_per_tile(1743, 10) * 5)
    for a, b in zip(small.scan(name, 20, 10), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert sum(kernel == "merge_peaks" for kernel, *_ in small.device.launches) > 1
    for i in (0, 1, 3):
        alone = LightCurves.from_lists([curves[i]])
        found = engine(alone, grid_for(alone, 0.3, 1 / 18260, 2100, TERRESTRIAL_WINDOWS)).scan(name, 20, 10)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a[0], b[i])
    freqs = grid.fmin[0] + grid.df[0] * expected.index[expected.index >= 0]
    assert all(((freqs < a) | (freqs > b)).all() for a, b in TERRESTRIAL_WINDOWS)
    assert (expected.index[4] == -1).all()


@pytest.mark.parametrize("name", EVERY)
def test_the_byte_budget_holds(name):
    curves = simulate([50] * 12)
    grid = grid_for(curves, 0.3, 1 / 18260, 4000)
    run = engine(curves, grid, budget=90_000)
    run.scan(name, 20, 10)
    scans = [(blocks, a) for kernel, blocks, a in run.device.launches if "_scan" in kernel]
    assert len(scans) > 1
    for blocks, arguments in scans:
        kept = sum(a.nbytes for a in (*arguments[-6:-2], *arguments[:2]))
        assert kept + 3 * 8 * blocks <= 90_000 / run.n_streams


values = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, np.nan, np.inf, -np.inf]), st.floats(-1e3, 1e3, width=32)
)


def brute_force_peaks(x, k, sep, drop):
    y = np.where(np.isfinite(x) & ~drop, x, -np.inf)
    found = []
    for j in np.flatnonzero(y > -np.inf):
        before, after = y[max(j - sep + 1, 0) : j], y[j + 1 : j + sep]
        if (before < y[j]).all() and (after <= y[j]).all():
            found.append(j)
    found = sorted(found, key=lambda j: (-y[j], j))[:k]
    index = np.full(k, -1)
    index[: len(found)] = found
    kept = y[y > -np.inf].astype(np.float64)
    value = np.where(index >= 0, y[index] if len(y) else 0.0, np.nan)
    return value, index, kept.mean() if len(kept) else np.nan, kept.std() if len(kept) else np.nan


def reduce_values(x, k, sep, intervals):
    """Peaks and moments by the kernels, in tiles of 64."""
    device, tiles, reach = EmulatedDevice(), -(-len(x) // 64), sep - 1
    room = launch.peaks_per_tile(64, sep)
    keys, counts, moments = np.empty(tiles * room, np.uint64), np.empty(tiles, np.int32), np.empty(3 * tiles)
    output = (keys, counts, np.empty(max(2 * tiles * reach, 1), np.float32), moments, np.int32(room), np.int32(reach))
    masked = np.array([*intervals, (0, 0)], dtype=np.int64)
    device.launch(
        "given_values", "given_values", tiles, 64, x, np.int64(len(x)), masked, np.int32(len(masked)), *output
    )
    merged = (np.empty(k), np.empty(k, np.int64), np.empty(1), np.empty(1))
    row = (np.zeros(1, np.int32), np.array([0, tiles]), np.array([64], np.int32), np.array([len(x)]))
    device.launch("peaks", "merge_peaks", 1, 256, *row, *output, np.int32(k), *merged)
    return merged


@given(
    x=hnp.arrays(np.float32, st.integers(1, 260), elements=values),
    k=st.integers(1, 8),
    sep=st.integers(1, 65),
    intervals=st.lists(st.tuples(st.integers(0, 260), st.integers(0, 40)), max_size=3),
)
@settings(deadline=None, max_examples=150)
def test_peaks_and_moments_equal_brute_force(x, k, sep, intervals):
    intervals = [(a, min(a + n, len(x))) for a, n in intervals]
    drop = np.zeros(len(x), bool)
    for a, b in intervals:
        drop[a:b] = True
    value, index, mean, std = reduce_values(x, k, sep, intervals)
    expected = brute_force_peaks(x, k, sep, drop)
    np.testing.assert_array_equal(index, expected[1])
    np.testing.assert_array_equal(value, expected[0])
    np.testing.assert_allclose([mean[0], std[0]], expected[2:], rtol=1e-9, atol=1e-9)


def test_a_thousand_peaks_of_many_tiles():
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=20_000), 2).astype(np.float32)  # many ties
    for k in (1, 50, 1024):
        value, index, _, _ = reduce_values(x, k, 3, [])
        expected = brute_force_peaks(x, k, 3, np.zeros(len(x), bool))
        np.testing.assert_array_equal(index, expected[1])
        np.testing.assert_array_equal(value, expected[0])


def test_peaks_closer_than_a_tile_only():
    curves = simulate([50])
    run = engine(curves, grid_for(curves, 0.3, 1e-3, 300))
    with pytest.raises(ValueError, match=r"70 grid steps apart.*17 is the most"):
        run.scan("BLS", 5, 70)
