"""Sums of integers over phase bins, bit-sliced (`bitsliced`): no comparison, and no sum can overflow.

An integer is written in signed binary digits of which no two neighbours are set (the non-adjacent form, Reitwieser
1960): one in three is not 0. A point with the digit 1 at *place* p adds its one-hot word to the sums with the weight
2**p, one with the digit −1 takes it away; the word is the same for all digits. Which words are added where depends on
the integers alone, not on the frequency: the *schedule* of the additions is written once for every light curve.

A place has groups of eight words: those that are added and, after them, those that are taken away. Eight words are
added to three registers (bits p, p + 1 and p + 2 of the sums), which leaves a word of carries, of weight 2**(p + 3): it
is stored and is one of the words of that place. After a place its bit of the sums is complete, and the registers move
on by one place. Words are taken away by adding them to the complement: with v in the registers, below 8, and words of
sum x, ``7 − v + x = s + 8 c``, hence ``v − x = (7 − s) + 8 (1 − c) − 8``; the 8 is the same in all bins.

Points come in chunks that fit the fastest cache, the last chunk first (see `bitsliced`); the sums of those before are
among a place's words.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import uint32
from numba.types import CPointer

from scope_dask.compiled import jit
from scope_dask.periods.bitsliced import UNROLL, add8
from scope_dask.periods.lanes import WIDTH
from scope_dask.periods.words import Words, load_words, splat_word, store_words

CHUNK = 320  # points, a multiple of 16
DIGITS = 12  # places of an integer: below 2731 in size
PLACES = 32  # of a sum, modulo 2**32
GROUPS = CHUNK + 64  # of a chunk: at most (6 CHUNK + 32 + GROUPS) / 8 + 44
RING = 128  # carries that are kept: more than four successive places have groups, (2 CHUNK + 4 + RING) / 8 + 8
SUMS = 1  # rows of `room`: zeros; sums; carries; points
CARRIES = SUMS + PLACES
POINTS = CARRIES + RING
ROWS = POINTS + CHUNK


class Schedule(NamedTuple):
    """The additions of a light curve's integers (room for the longest one)."""

    sources: np.ndarray  # (chunks, 8 * GROUPS) uint16: where the words of a chunk's groups are, times 16
    ends: np.ndarray  # (chunks, 2 * PLACES) int64: number of groups up to the last one added, taken away, of a place
    size: np.ndarray  # (3,) int64: points in a chunk, places of the sums, what the sums are too large by


@jit()
def new_schedule(longest: int) -> Schedule:
    """Return room for the schedule of up to `longest` integers."""
    chunks = (longest + CHUNK - 1) // CHUNK
    return Schedule(
        np.empty((chunks, UNROLL * GROUPS), np.uint16), np.empty((chunks, 2 * PLACES), np.int64), np.zeros(3, np.int64)
    )


@jit()
def plan(schedule: Schedule, y: np.ndarray, n: int) -> None:
    """Write the schedule of ``y[:n]``, integers below 2731 in size."""
    chunks = (n + CHUNK - 1) // CHUNK
    each = ((n + chunks - 1) // chunks + 15) // 16 * 16
    chunks = (n + each - 1) // each
    excess = 0
    largest = 0
    for i in range(n):
        for p in range(DIGITS):
            largest += max(_digit(y[i], p), 0) << p
    for k in range(chunks):
        later = k < chunks - 1
        excess += _plan_chunk(y[k * each : min((k + 1) * each, n)], later, schedule.sources[k], schedule.ends[k])
    places = DIGITS
    while places < PLACES and (1 << places) <= largest + excess:
        places += 1
    schedule.size[0], schedule.size[1], schedule.size[2] = each, places, excess & 0xFFFFFFFF


@jit(inline="always")
def _digit(y: int, p: int) -> int:
    """Return digit `p` of the non-adjacent form: those of (3 y − y) / 2 without carries."""
    return ((3 * y >> (p + 1)) & 1) - ((y >> (p + 1)) & 1)


@jit()
def _plan_chunk(y: np.ndarray, later: bool, sources: np.ndarray, ends: np.ndarray) -> int:
    """Write the groups of a chunk, before which others are added (`later`); return what the sums get too much."""
    excess = 0
    sources[:] = 0
    for p in range(PLACES):
        s = UNROLL * ends[2 * p - 1] if p > 0 else 0
        if later:
            s = _append(sources, s, SUMS + p)
        if p >= 3:  # the groups of place p − 3
            for g in range(ends[2 * p - 7] if p > 3 else 0, ends[2 * p - 5]):
                s = _append(sources, s, CARRIES + g % RING)
        ends[2 * p] = _plan_digits(y, p, 1, sources, s)
        ends[2 * p + 1] = _plan_digits(y, p, -1, sources, UNROLL * ends[2 * p])
        excess += UNROLL * (ends[2 * p + 1] - ends[2 * p]) << p
    return excess


@jit()
def _plan_digits(y: np.ndarray, p: int, digit: int, sources: np.ndarray, s: int) -> int:
    """Append the points with a digit; what the last group lacks is row 0. Return the number of groups."""
    if p < DIGITS:
        for i in range(y.size):
            if _digit(y[i], p) == digit:
                s = _append(sources, s, POINTS + i)
    return (s + UNROLL - 1) // UNROLL


@jit()
def _append(sources: np.ndarray, s: int, row: int) -> int:
    """Make a row word number `s`; return the next number."""
    sources[s] = WIDTH * row
    return s + 1


@jit(forceinline=True)
def add_chunk(room: CPointer, sources: CPointer, ends: CPointer, places: int) -> None:
    """Add a chunk, whose points are in `room`, to the sums there (pointers; the sums of the first chunk are set)."""
    a = b = c = splat_word(uint32(0))
    start = 0
    for p in range(places):
        for g in range(start, ends[2 * p]):
            a, b, c, carry = _group(room, sources, g, a, b, c)
            store_words(room, WIDTH * (CARRIES + g % RING), carry)
        a, b, c = ~a, ~b, ~c
        for g in range(ends[2 * p], ends[2 * p + 1]):
            a, b, c, carry = _group(room, sources, g, a, b, c)
            store_words(room, WIDTH * (CARRIES + g % RING), ~carry)
        start = ends[2 * p + 1]
        store_words(room, WIDTH * (SUMS + p), ~a)
        a, b, c = ~b, ~c, splat_word(uint32(0))


@jit(forceinline=True)
def _group(
    room: CPointer, sources: CPointer, g: int, a: Words, b: Words, c: Words
) -> tuple[Words, Words, Words, Words]:
    """Add the words of group `g` to the registers; return these and the carry."""
    s = UNROLL * g
    return add8(
        a,
        b,
        c,
        load_words(room, sources[s]),
        load_words(room, sources[s + 1]),
        load_words(room, sources[s + 2]),
        load_words(room, sources[s + 3]),
        load_words(room, sources[s + 4]),
        load_words(room, sources[s + 5]),
        load_words(room, sources[s + 6]),
        load_words(room, sources[s + 7]),
    )
