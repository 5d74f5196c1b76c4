"""Peaks and moments of a periodogram against a brute-force search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scope_dask.compiled import jit
from scope_dask.periods import peaks
from scope_dask.periods.grid import TERRESTRIAL_WINDOWS

NO_WINDOWS = np.empty((0, 2))


@jit()
def _run(x, tile_size, sep, fmin, df, windows, value, index):
    state = peaks.new_state(value.size, sep, tile_size)
    masked = peaks.new_mask(windows)
    peaks.mask(fmin, df, x.size, windows, masked)
    buffer = np.empty(tile_size, np.float32)
    mean = std = np.nan
    for _ in range(2):  # twice: a used state must be as good as a new one
        peaks.reset(state)
        for j0 in range(0, x.size, tile_size):
            n = min(tile_size, x.size - j0)
            buffer[:n] = x[j0 : j0 + n]
            peaks.tile(state, buffer, n, masked)
        mean, std = peaks.finish(state, value, index)
    return mean, std


def reduce(x, k, sep, tile_size=512, fmin=0.0, df=1.0, windows=NO_WINDOWS):
    value, index = np.empty(k), np.empty(k, np.int64)
    mean, std = _run(np.asarray(x, np.float32), tile_size, sep, fmin, df, windows, value, index)
    return value, index, mean, std


def covered(size, fmin, df, windows):
    f = fmin + np.arange(size) * df
    return np.logical_or.reduce([~((f < lo) | (f > hi)) for lo, hi in windows], axis=0, initial=False) & np.ones(
        size, bool
    )


def brute_force(x, k, sep, drop):
    y = np.where(np.isfinite(x) & ~drop, x, -np.inf)
    found = []
    for j in np.flatnonzero(y > -np.inf):
        before, after = y[max(j - sep + 1, 0) : j], y[j + 1 : j + sep]
        if (before < y[j]).all() and (after <= y[j]).all():
            found.append(j)
    found = sorted(found, key=lambda j: (-y[j], j))[:k]
    index = np.full(k, -1)
    index[: len(found)] = found
    value = np.where(index >= 0, y[index] if len(y) else 0.0, np.nan)
    kept = y[y > -np.inf].astype(np.float64)
    return value, index, kept.mean() if len(kept) else np.nan, kept.std() if len(kept) else np.nan


values = st.one_of(
    st.sampled_from([0.0, 1.0, 2.0, -1.0, np.nan, np.inf, -np.inf]),
    st.floats(-1e3, 1e3, width=32),
)


@given(
    x=hnp.arrays(np.float32, st.integers(0, 60), elements=values),
    k=st.integers(1, 6),
    sep=st.integers(1, 12),
    tile_size=st.integers(1, 20),
    windows=st.lists(st.tuples(st.integers(-3, 60), st.integers(0, 20)), max_size=4),
)
@settings(deadline=None, max_examples=150)
def test_peaks_and_moments_equal_brute_force(x, k, sep, tile_size, windows):
    edges = np.array([(a, a + width) for a, width in windows], dtype=np.float64).reshape(-1, 2)
    value, index, mean, std = reduce(x, k, sep, tile_size, windows=edges)
    expected = brute_force(x, k, sep, covered(len(x), 0.0, 1.0, edges))
    np.testing.assert_array_equal(value, expected[0])
    np.testing.assert_array_equal(index, expected[1])
    np.testing.assert_allclose(mean, expected[2], rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(std, expected[3], rtol=1e-9, atol=1e-6)


def test_a_long_noisy_grid_in_tiles():
    rng = np.random.default_rng(1)
    x = np.convolve(rng.normal(size=20_000), np.ones(9) / 9, "same").astype(np.float32)
    fmin, df = 2 / 1826.25, 48 / 20_000
    drop = covered(x.size, fmin, df, TERRESTRIAL_WINDOWS)
    assert 100 < drop.sum() < 1000
    value, index, mean, std = reduce(x, 50, 10, 512, fmin, df, TERRESTRIAL_WINDOWS)
    expected = brute_force(x, 50, 10, drop)
    np.testing.assert_array_equal(index, expected[1])
    np.testing.assert_array_equal(value, expected[0])
    np.testing.assert_allclose([mean, std], expected[2:], rtol=1e-12)
    assert (np.diff(np.sort(index)) >= 10).all()


def test_moments_keep_six_digits_where_the_mean_is_far_from_zero():
    x = (2.3 + 1e-4 * np.random.default_rng(2).normal(size=100_000)).astype(np.float32)
    _, _, mean, std = reduce(x, 5, 10)
    np.testing.assert_allclose([mean, std], [x.mean(dtype=np.float64), x.std(dtype=np.float64)], rtol=1e-9)


@pytest.mark.parametrize("where", [0, 1, 511, 512, 698, 699])
def test_the_largest_value_is_found_wherever_it_is(where):
    x = np.linspace(0.0, 1.0, 700)
    x[where] = 2.0
    value, index, *_ = reduce(x, 3, 10)
    assert (value[0], index[0]) == (2.0, where)


def test_the_border_of_a_mask_is_an_end_of_the_grid():
    x = np.concatenate([np.arange(50), np.arange(50)[::-1]])
    _, index, *_ = reduce(x, 4, 10, windows=np.array([[40.0, 60.0]]))
    assert index.tolist() == [39, 61, -1, -1]  # 38 on either side


def test_equal_values_the_lower_frequency_first():
    x = np.zeros(3000)
    x[[2500, 100, 1300]] = 1.0
    assert reduce(x, 2, 10)[1].tolist() == [100, 1300]


def test_a_constant_periodogram_has_no_spread():
    _, index, mean, std = reduce(np.full(1000, 0.1), 3, 10)
    assert index.tolist() == [0, -1, -1]
    assert (mean, std) == (pytest.approx(0.1, rel=1e-7), 0.0)


def test_nothing_is_left_when_all_is_masked():
    value, index, mean, std = reduce(np.ones(100), 2, 10, windows=np.array([[-1.0, 200.0]]))
    assert np.isnan([*value, mean, std]).all()
    assert index.tolist() == [-1, -1]


@pytest.mark.parametrize("baseline", [0.4, 11.0, 1826.25, 4000.0])
def test_masks_cover_exactly_the_frequencies_in_the_windows(baseline):
    fmin, df = 2 / baseline, 1 / (10 * baseline)
    size = int(np.ceil((48 - fmin) / df))
    masked = peaks.new_mask(TERRESTRIAL_WINDOWS)
    peaks.mask(fmin, df, size, TERRESTRIAL_WINDOWS, masked)
    drop = np.zeros(size, bool)
    for a, b in masked:
        drop[a:b] = True
    np.testing.assert_array_equal(drop, covered(size, fmin, df, TERRESTRIAL_WINDOWS))


def test_the_moments_do_not_depend_on_where_the_arrays_lie():
    # a tile before and behind the room that it is copied to: once the two were summed in different orders
    n, past = 1000, 18
    memory = np.zeros(3 * n + past, np.float32)
    values = np.random.default_rng(0).normal(size=n).astype(np.float32)
    sums = set()
    for tile, room in ((0, n), (2 * n + past, n)):
        memory[tile : tile + n] = values
        sums.add(peaks._copy_and_sum(memory[tile : tile + n], n, 0.1, memory[room : room + past + n], past))
    assert len(sums) == 1
