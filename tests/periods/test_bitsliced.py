"""Histograms as planes of bits: their sum, and the sum of a function of their counts, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from scope_dask.compiled import jit
from scope_dask.periods.bitsliced import (
    REGISTERS,
    add_histogram,
    likely_groups,
    load_planes,
    store_planes,
    sum_function,
)
from scope_dask.periods.lanes import store
from scope_dask.periods.words import pointer

N_BINS = 20


def planes_of(counts, n_planes):
    """Bit k of the counts (bins, lanes) in row k, bins from bit 0 on."""
    bits = counts.astype(np.uint32)[None] >> np.arange(n_planes, dtype=np.uint32)[:, None, None] & 1
    return (bits << np.arange(len(counts), dtype=np.uint32)[:, None]).sum(axis=1, dtype=np.uint32).ravel()


@jit()
def _sum(rows, n_planes, first, last, table, out):
    p = pointer(rows)
    store(out, 0, sum_function(load_planes(p), p, n_planes, first, last, pointer(table), np.float32(-1)))


@jit()
def _add(rows, n_planes, total, n_total):
    add_histogram(load_planes(pointer(rows)), pointer(rows), n_planes, pointer(total), n_total)


@jit()
def _copy(rows, out):
    store_planes(pointer(out), load_planes(pointer(rows)))


@pytest.mark.parametrize("largest", [3, 8, 40, 127, 128, 1000])
@pytest.mark.parametrize("likely", [(1, 0), (1, 1), (1, 5), (3, 4), (14, 18)])
def test_a_function_is_summed_over_the_counts_whichever_are_likely(largest, likely):
    rng = np.random.default_rng(largest)
    counts = rng.integers(0, largest + 1, (N_BINS, 16))
    counts[:, 3] = largest
    counts[:, 4] = 0
    counts[0, 5] = largest
    n_planes = max(largest.bit_length(), REGISTERS, likely[1].bit_length() + 3)
    table = rng.integers(0, 1000, 8 * (max(largest // 8, likely[1]) + 1)).astype(np.float32)  # their sums are exact
    table[:2] = 0
    out = np.empty(16, np.float32)
    _sum(planes_of(counts, n_planes), n_planes, *likely, table, out)
    np.testing.assert_array_equal(out, -table[counts].sum(axis=0))


@pytest.mark.parametrize(("n_planes", "n_total"), [(7, 7), (7, 12), (9, 9), (9, 12)])
def test_histograms_are_added(n_planes, n_total):
    rng = np.random.default_rng(n_planes)
    counts, total = rng.integers(0, 1 << (n_planes - 1), (2, N_BINS, 16))
    rows = planes_of(total, n_total)
    _add(planes_of(counts, n_planes), n_planes, rows, n_total)
    np.testing.assert_array_equal(rows, planes_of(total + counts, n_total))


def test_the_lowest_planes_are_loaded_and_stored_in_order():
    rows, out = np.arange(REGISTERS * 16, dtype=np.uint32), np.zeros(REGISTERS * 16, np.uint32)
    _copy(rows, out)
    np.testing.assert_array_equal(out, rows)


def test_likely_groups_hold_nearly_all_counts():
    rng = np.random.default_rng(0)
    for n in (5, 30, 300, 1000, 5000):
        first, last = likely_groups(n, N_BINS)
        groups = rng.poisson(n / N_BINS, 100_000) >> 3
        assert 1 <= first <= max(last, 1)
        assert np.mean((groups > 0) & ((groups < first) | (groups > last))) < 2e-3
