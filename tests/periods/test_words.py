"""Sixteen uint32 as one value, against NumPy; the logic asked for by name against the logic spelled out."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numba.core.registry import cpu_target

from scope_dask.compiled import jit
from scope_dask.periods import words as words_module
from scope_dask.periods.bitsliced import phase_bin
from scope_dask.periods.lanes import load, store
from scope_dask.periods.words import (
    add2,
    add3,
    as_float,
    load_words,
    multiples,
    one_hot,
    ones,
    pointer,
    shift_right,
    shifted,
    some,
    splat_word,
    store_words,
    transpose_bits,
)


@jit()
def _operations(a, b, x, out):
    p, q, r = pointer(a), pointer(b), pointer(out)
    v, w = load_words(p, 0), load_words(shifted(q, 16), 0)
    store_words(r, 0, v + w)
    store_words(r, 16, v & w)
    store_words(r, 32, v | w)
    store_words(r, 48, v ^ w)
    store_words(r, 64, ~v)
    store_words(r, 80, splat_word(x))
    store_words(r, 96, multiples(x))
    store_words(r, 112, shift_right(v, np.uint32(5)))
    store_words(r, 128, one_hot(v, np.uint32(20)))
    s, c = add2(v, w)
    store_words(r, 144, s)
    store_words(r, 160, c)


@jit()
def _bins(phases, out):
    for i in range(phases.size):
        out[i] = np.uint32(1 << phase_bin(phases[i], np.uint32(20)))


@jit()
def _floats(a, out, n):
    p = pointer(a)
    store(out, 0, ones(load_words(p, 0)))
    store(out, 16, as_float(load_words(p, 0)))
    store(out, 32, load(out, 0) + load(out, 16))
    return some(load_words(p, n))


@jit()
def _transpose(a, out):
    transpose_bits(pointer(a), pointer(out), 20)


def _sum_of_three(a, b, c, sums, carries):
    s, carry = add3(load_words(pointer(a), 0), load_words(pointer(b), 0), load_words(pointer(c), 0))
    store_words(pointer(sums), 0, s)
    store_words(pointer(carries), 0, carry)


def random_words(*shape):
    return np.random.default_rng(3).integers(0, 2**32, shape, dtype=np.uint32)


def test_integer_operations_are_those_of_uint32():
    a, b = random_words(2, 32)
    out = np.zeros(176, np.uint32)
    x = np.uint32(0x9ABCDEF1)
    _operations(a, b, x, out)
    v, w = a[:16], b[16:]
    bins = np.empty(16, np.uint32)
    _bins(v, bins)
    expected = [v + w, v & w, v | w, v ^ w, ~v, np.full(16, x), x * np.arange(16, dtype=np.uint32), v >> 5, bins]
    np.testing.assert_array_equal(out.reshape(-1, 16), [*expected, v ^ w, v & w])


def test_floats_and_a_test_for_any_bit():
    a = random_words(48)
    a[16:] = 0
    out = np.zeros(48, np.float32)
    assert not _floats(a, out, 16)
    a[31] = 1 << 31
    assert _floats(a, out, 16)
    np.testing.assert_array_equal(out[:16], np.bitwise_count(a[:16]))
    np.testing.assert_array_equal(out[16:32], a[:16].view(np.int32).astype(np.float32))


@pytest.mark.parametrize("named", [True, False])
def test_three_words_are_added_bit_by_bit(named, monkeypatch):
    if named and "+avx512f" not in cpu_target.target_context.codegen().magic_tuple()[2]:
        pytest.skip("the processor has no AVX-512")
    monkeypatch.setattr(words_module, "_has_ternary_logic", lambda context: named)
    a, b, c = random_words(3, 16)
    sums, carries = np.zeros((2, 16), np.uint32)
    add = numba.njit(_sum_of_three)
    add(a, b, c, sums, carries)
    np.testing.assert_array_equal(sums, a ^ b ^ c)
    np.testing.assert_array_equal(carries, (a & b) | (b & c) | (a & c))
    code = next(iter(add.inspect_llvm().values()))
    assert ("llvm.x86.avx512.pternlog.d.512" in code) is named


def test_bits_are_transposed():
    a = random_words(32 * 16)
    out = np.zeros(20 * 16, np.uint32)
    _transpose(a, out)
    bits = a.reshape(32, 16)[:, None, :] >> np.arange(20, dtype=np.uint32)[:, None] & 1  # row, bit, lane
    expected = (bits << np.arange(32, dtype=np.uint32)[:, None, None]).sum(axis=0)
    np.testing.assert_array_equal(out.reshape(20, 16), expected)


def test_pointers_are_of_contiguous_arrays():
    with pytest.raises(TypeError, match="pointers are taken of contiguous arrays"):
        _bits_of_every_other(np.zeros(64, np.uint32)[::2])


@jit()
def _bits_of_every_other(a):
    return some(load_words(pointer(a), 0))


def test_compiled_code_is_kept_by_processor():
    """The instructions are chosen by the processor: two that share a cache folder must not share code."""
    _bits_of_every_other(np.zeros(16, np.uint32))
    codegen = cpu_target.target_context.codegen()
    key = _bits_of_every_other._cache._index_key(_bits_of_every_other.signatures[0], codegen)
    _, name, features = codegen.magic_tuple()
    assert name in key[1]
    assert features in key[1]
