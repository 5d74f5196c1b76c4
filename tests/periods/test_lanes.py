"""Sixteen float32 as one value, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from scope_dask.compiled import jit
from scope_dask.periods.lanes import load, splat, store, transpose, where_less


@jit()
def _arithmetic(a, b, x, out):
    for i in range(0, a.size, 16):
        p = load(a, i)
        q = load(b, i)
        store(out, i, where_less(p, q, (p + splat(x)) * q, (p - q) / q))


@jit()
def _transpose(source, target, stride):
    transpose(source, 16, target, 3, stride)


@jit()
def _load_of_float64(a):
    store(a, 0, load(a, 0))


def test_arithmetic_is_that_of_float32():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 64)).astype(np.float32)
    a[5] = np.nan  # is not less
    out = np.empty_like(a)
    _arithmetic(a, b, np.float32(0.5), out)
    np.testing.assert_allclose(out, np.where(a < b, (a + np.float32(0.5)) * b, (a - b) / b), rtol=3e-7)


def test_transpose():
    source = np.arange(300, dtype=np.float32)
    target = np.zeros(1000, np.float32)
    _transpose(source, target, 40)
    expected = np.zeros_like(target)
    for i in range(16):
        for l in range(16):
            expected[3 + l * 40 + i] = source[16 + 16 * i + l]
    np.testing.assert_array_equal(target, expected)


def test_only_float32_is_accepted():
    with pytest.raises(TypeError, match="contiguous float32"):
        _load_of_float64(np.zeros(16))
