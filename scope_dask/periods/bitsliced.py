"""Phase histograms of many trial frequencies at once, in plain integer logic on whole registers.

One uint32 *lane* is one trial frequency, sixteen of them a value (`words`), `LANES` of them a tile. Phases are
fixed-point numbers in units of 2⁻³² cycle: the phase at the centre of the tile is computed in float64 (the *anchor*),
the next frequency is an addition that wraps by itself. The error is below 2⁻³³ × `LANES` / 2, 3e-8 cycle, at any
frequency and baseline.

A point in phase bin b is the one-hot word ``1 << b`` (so there are at most 32 bins). Histograms are bit-sliced: bit b
of *plane* k is bit k of the count of bin b. Words are added to the planes by carry-save adders, two to five logic
operations for three words, whatever the number of bins; no count can overflow, as there are as many planes as the
number of points has bits. The lowest seven planes are kept in registers while points are added, all of them lie in
memory afterwards: plane k in ``rows[16 k:16 k + 16]``.

Points are added eight at a time. What a histogram of another number of points lacks are points of phase 0 (`time` 0),
and bin 0 starts at minus their number, in all planes there are: arithmetic modulo a power of two. They are the last
points and added first: while bin 0 is below 0 its carries go through all planes, at a step that differs from one
frequency to the next, and a branch that the processor cannot foresee costs more than the addition.

What keeps the code in registers: functions of words are inlined by force; they get pointers instead of arrays.
"""

from __future__ import annotations

import numpy as np
from numba import float32, int64, uint32
from numba.types import CPointer

from scope_dask.compiled import jit
from scope_dask.periods.lanes import WIDTH, Lanes, splat
from scope_dask.periods.words import (
    Words,
    add2,
    add3,
    load_words,
    ones,
    some,
    splat_word,
    store_words,
)

LANES = 512
UNROLL = 8  # points that are added at once
REGISTERS = 7  # planes of a histogram that are kept in registers
ROWS = 64  # room for planes: a count has fewer bits
Planes = tuple[Words, Words, Words, Words, Words, Words, Words]  # those in registers


@jit(inline="always")
def phase_bin(phase: uint32, n_bins: uint32) -> uint32:
    """Return the bin of a phase (27 bits of it, an exact product)."""
    return uint32(uint32(uint32(phase >> uint32(5)) * n_bins) >> uint32(27))


@jit()
def phase_steps(t: np.ndarray, n: int, df: float, steps: np.ndarray) -> None:
    """Write the phase steps from one frequency to the next, in units of 2⁻³² cycle."""
    for i in range(n):
        x = df * t[i]
        x -= np.floor(x)
        steps[i] = uint32(int64(x * 4294967296.0 + 0.5))


@jit()
def anchor(t: np.ndarray, n: int, f: float, steps: np.ndarray, phases: np.ndarray) -> None:
    """Write the phases at the first frequency of a tile, from float64 phases at its centre frequency `f`."""
    for i in range(n):
        x = f * t[i]
        x -= np.floor(x)
        phases[i] = uint32(int64(x * 4294967296.0) - int64(steps[i]) * (LANES // 2))


@jit(forceinline=True)
def next_frequencies(phases: CPointer, steps: CPointer, i: int) -> None:
    """Move the phases of the points i … i + 15 (pointers) on by sixteen frequencies."""
    step = load_words(steps, i)
    for _ in range(4):
        step = step + step
    store_words(phases, i, load_words(phases, i) + step)


@jit()
def planes_for(n: int) -> int:
    """Return the number of planes that hold counts up to `n`, five or more."""
    k = 5
    while (1 << k) <= n:
        k += 1
    return k


@jit(forceinline=True)
def bit(x: int, k: int) -> Words:
    """Return bit `k` of an integer in bin 0, nothing in other bins."""
    return splat_word(uint32((x >> k) & 1))


@jit(forceinline=True)
def add8(
    a: Words,
    b: Words,
    c: Words,
    w0: Words,
    w1: Words,
    w2: Words,
    w3: Words,
    w4: Words,
    w5: Words,
    w6: Words,
    w7: Words,
) -> tuple[Words, Words, Words, Words]:
    """Add eight words to planes 0 to 2; return these and the carry, of weight 8."""
    a, t0 = add3(a, w0, w1)
    a, t1 = add3(a, w2, w3)
    b, f0 = add3(b, t0, t1)
    a, t0 = add3(a, w4, w5)
    a, t1 = add3(a, w6, w7)
    b, f1 = add3(b, t0, t1)
    c, carry = add3(c, f0, f1)
    return a, b, c, carry


@jit(forceinline=True)
def add_carries(
    d: Words, e: Words, f: Words, g: Words, x: Words, y: Words, rows: CPointer, n_planes: int
) -> tuple[Words, Words, Words, Words]:
    """Add two carries of weight 8 to planes 3 to 6 and, in memory, those above."""
    d, carry = add3(d, x, y)
    e, carry = add2(e, carry)
    f, carry = add2(f, carry)
    g, carry = add2(g, carry)
    if n_planes > REGISTERS:
        _ripple(rows, REGISTERS, n_planes, carry)
    return d, e, f, g


@jit(forceinline=True)
def _ripple(rows: CPointer, start: int, end: int, carry: Words) -> None:
    """Add a carry of weight 2**start to planes start … end − 1."""
    k = start
    while k < end and some(carry):
        plane, carry = add2(load_words(rows, k * WIDTH), carry)
        store_words(rows, k * WIDTH, plane)
        k += 1


@jit(forceinline=True)
def load_planes(rows: CPointer) -> Planes:
    """Return the lowest planes of a histogram in memory."""
    a, b, c, d = load_words(rows, 0), load_words(rows, WIDTH), load_words(rows, 2 * WIDTH), load_words(rows, 3 * WIDTH)
    return a, b, c, d, load_words(rows, 4 * WIDTH), load_words(rows, 5 * WIDTH), load_words(rows, 6 * WIDTH)


@jit(forceinline=True)
def store_planes(rows: CPointer, planes: Planes) -> None:
    """Write the lowest planes of a histogram to memory."""
    a, b, c, d, e, f, g = planes
    store_words(rows, 0, a)
    store_words(rows, WIDTH, b)
    store_words(rows, 2 * WIDTH, c)
    store_words(rows, 3 * WIDTH, d)
    store_words(rows, 4 * WIDTH, e)
    store_words(rows, 5 * WIDTH, f)
    store_words(rows, 6 * WIDTH, g)


@jit(forceinline=True)
def add_histogram(planes: Planes, rows: CPointer, n_planes: int, total: CPointer, n_total: int) -> None:
    """Add a histogram, its lowest planes and those above in `rows`, to that in `total` (pointers)."""
    a, b, c, d, e, f, g = planes
    carry = _add_plane(total, 0, a, splat_word(uint32(0)))
    carry = _add_plane(total, 1, b, carry)
    carry = _add_plane(total, 2, c, carry)
    carry = _add_plane(total, 3, d, carry)
    carry = _add_plane(total, 4, e, carry)
    carry = _add_plane(total, 5, f, carry)
    carry = _add_plane(total, 6, g, carry)
    for k in range(REGISTERS, n_planes):
        carry = _add_plane(total, k, load_words(rows, k * WIDTH), carry)
    _ripple(total, max(n_planes, REGISTERS), n_total, carry)


@jit(forceinline=True)
def _add_plane(total: CPointer, k: int, plane: Words, carry: Words) -> Words:
    """Add a plane and a carry to plane `k` of `total`; return the next carry."""
    plane, carry = add3(load_words(total, k * WIDTH), plane, carry)
    store_words(total, k * WIDTH, plane)
    return carry


@jit()
def likely_groups(n: int, n_bins: int) -> tuple[int, int]:
    """Return the least (1 or more) and highest ``count >> 3`` that bins of sixteen histograms of `n` points may have.

    Of 16 × 20 Poisson counts one in four has a count outside.
    """
    mean = n / n_bins
    spread = 4.0 * np.sqrt(mean)
    return max(int((mean - spread) / 8.0), 1), int((mean + spread) / 8.0)


@jit(forceinline=True)
def sum_function(
    planes: Planes, rows: CPointer, n_planes: int, first: int, last: int, table: CPointer, sign: float32
) -> Lanes:
    """Return ``sign`` × Σ over the bins of ``table[count]``, in every lane, of a histogram as in `add_histogram`.

    `table` (a pointer) is 0 at 0 and 1. Bins are taken in groups of equal ``count >> 3``: 0 and `first` to `last` in
    any case, as a branch that the processor cannot foresee costs more; others only where there are any. The planes
    have to have the bits of `last`.
    """
    a, b, c, d, e, f, g = planes
    high = splat_word(uint32(0))
    for k in range(REGISTERS, n_planes):
        high = high | load_words(rows, k * WIDTH)
    left = (d | e | f) | (g | high)
    total = _small_counts(a, b, c, ~left, table, sign)
    for h in range(first, last + 1):
        group = _select(planes, high, rows, n_planes, h, left)
        total = total + _group_counts(a, b, c, group, table, 8 * h, sign)
        left = left & ~group
    h = 1
    while some(left):
        group = _select(planes, high, rows, n_planes, h, left)
        if some(group):
            total = total + _group_counts(a, b, c, group, table, 8 * h, sign)
        left = left & ~group
        h += 1
    return total


@jit(forceinline=True)
def _select(planes: Planes, high: Words, rows: CPointer, n_planes: int, h: int, bins: Words) -> Words:
    """Return those of the bins with ``count >> 3 == h``; `high` are those with counts of 128 or more."""
    _, _, _, d, e, f, g = planes
    bins = bins & (d ^ _unless(h, 0)) & (e ^ _unless(h, 1)) & (f ^ _unless(h, 2)) & (g ^ _unless(h, 3))
    if h < 1 << (REGISTERS - 3):
        return bins & ~high
    for k in range(REGISTERS, n_planes):
        bins = bins & (load_words(rows, k * WIDTH) ^ _unless(h, k - 3))
    return bins


@jit(forceinline=True)
def _unless(h: int, k: int) -> Words:
    """Return no bins where bit `k` of an integer is set, else all."""
    return splat_word(uint32(((h >> k) & 1) - 1))


@jit(forceinline=True)
def _times(table: CPointer, n: int, sign: float32, bins: Words) -> Lanes:
    """Return ``sign * table[n]`` times the number of bins."""
    return splat(float32(sign * table[n])) * ones(bins)


@jit(forceinline=True)
def _small_counts(a: Words, b: Words, c: Words, bins: Words, table: CPointer, sign: float32) -> Lanes:
    """Return the sum over `bins`, all with counts below 8."""
    c6, c4, c2 = c & b, c & ~b, b & ~c
    even, odd = bins & ~a, bins & a
    s2 = _times(table, 2, sign, c2 & even) + _times(table, 3, sign, c2 & odd)
    s4 = _times(table, 4, sign, c4 & even) + _times(table, 5, sign, c4 & odd)
    s6 = _times(table, 6, sign, c6 & even) + _times(table, 7, sign, c6 & odd)
    return s2 + s4 + s6


@jit(forceinline=True)
def _group_counts(a: Words, b: Words, c: Words, bins: Words, table: CPointer, first: int, sign: float32) -> Lanes:
    """Return the sum over `bins`, all with counts first … first + 7."""
    c6, c4, c2, c0 = c & b, c & ~b, b & ~c, ~(b | c)
    even, odd = bins & ~a, bins & a
    s0 = _times(table, first, sign, c0 & even) + _times(table, first + 1, sign, c0 & odd)
    s2 = _times(table, first + 2, sign, c2 & even) + _times(table, first + 3, sign, c2 & odd)
    s4 = _times(table, first + 4, sign, c4 & even) + _times(table, first + 5, sign, c4 & odd)
    s6 = _times(table, first + 6, sign, c6 & even) + _times(table, first + 7, sign, c6 & odd)
    return (s0 + s2) + (s4 + s6)
