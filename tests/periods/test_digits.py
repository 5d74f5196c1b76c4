"""Sums over phase bins by signed digits, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from scope_dask.compiled import jit
from scope_dask.periods import digits
from scope_dask.periods.words import pointer, shifted, transpose_bits


@jit()
def _digits(y, out):
    for i in range(y.size):
        for p in range(digits.DIGITS):
            out[i, p] = digits._digit(y[i], p)


@jit()
def _sums(y, bins, room, out):
    """Sums of ``y`` in the bins ``bins[lane, point]``."""
    schedule = digits.new_schedule(y.size)
    digits.plan(schedule, y, y.size)
    each, places, excess = schedule.size
    for k in range((y.size - 1) // each, -1, -1):
        for i in range(min(each, y.size - k * each)):
            for l in range(16):
                room[(digits.POINTS + i) * 16 + l] = np.uint32(1) << bins[l, k * each + i]
        sources = shifted(pointer(schedule.sources), k * schedule.sources.shape[1])
        ends = shifted(pointer(schedule.ends), k * schedule.ends.shape[1])
        digits.add_chunk(pointer(room), sources, ends, places)
    for k in range(places, digits.PLACES):
        for l in range(16):
            room[(digits.SUMS + k) * 16 + l] = 0
    transpose_bits(shifted(pointer(room), digits.SUMS * 16), pointer(out), 20)
    return excess, places


def test_integers_are_their_digits_and_no_two_neighbours_are_set():
    y = np.arange(-2730, 2731)
    found = np.empty((len(y), digits.DIGITS), np.int64)
    _digits(y, found)
    np.testing.assert_array_equal(found @ 2 ** np.arange(digits.DIGITS), y)
    assert set(np.unique(found)) == {-1, 0, 1}
    assert not (found[:, 1:] * found[:, :-1]).any()


@pytest.mark.parametrize("n", [1, 16, 100, 320, 321, 1000, 7000])
@pytest.mark.parametrize("kind", ["any", "largest", "most digits", "negative"])
def test_sums_are_exact(n, kind):
    rng = np.random.default_rng(n)
    y = {
        "any": rng.integers(-2047, 2048, n),
        "largest": np.full(n, 2047),
        "most digits": np.full(n, 0b010101010101),
        "negative": np.full(n, -0b010101010101),
    }[kind]
    bins = rng.integers(0, 20, (16, n)).astype(np.uint32)
    bins[3] = 7  # all points in one bin
    room, out = np.zeros(digits.ROWS * 16, np.uint32), np.zeros(20 * 16, np.uint32)
    excess, places = _sums(y, bins, room, out)
    expected = np.array([np.bincount(row, weights=y, minlength=20) for row in bins]).T
    np.testing.assert_array_equal((out.reshape(20, 16) - np.uint32(excess)).view(np.int32), expected)
    assert places <= 14 + np.log2(n)
