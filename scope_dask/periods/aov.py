"""Phase-binned analysis of variance over the whole frequency grid, reduced to peaks and moments.

θ = ((N − B)/(B − 1)) s1/s2 with s1 = Σ_b n_b (ȳ_b − ȳ)² and s2 = Σ_b Σ (y − ȳ_b)² over B = 20 phase bins
(Schwarzenberg-Czerny 1989; B is not reduced for empty bins). As s1 + s2 is the same at every frequency, only
the counts n_b and the sums of the magnitudes are needed. Magnitudes are 12-bit integers; counts and sums are
bit-sliced (`bitsliced`, `digits`), and their bits are put together at the end, by a transposition.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float32, uint32
from numba.types import CPointer

from scope_dask.compiled import jit
from scope_dask.periods import bitsliced, digits, peaks
from scope_dask.periods.bins import PHASE_BINS, longest_curve, usable
from scope_dask.periods.bitsliced import LANES, REGISTERS, UNROLL, add8, add_carries, bit, load_planes, store_planes
from scope_dask.periods.digits import POINTS, SUMS, Schedule
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.lanes import WIDTH, Lanes, splat, store, where_less
from scope_dask.periods.peaks import Peaks
from scope_dask.periods.words import (
    Words,
    as_float,
    load_words,
    multiples,
    one_hot,
    pointer,
    shift_right,
    shifted,
    splat_word,
    store_words,
    transpose_bits,
)

LARGEST = 2047  # of the magnitudes as integers
WORD_BITS = 32


class Room(NamedTuple):
    """What the scan of a light curve works with: room for the longest, made once (used inside kernels)."""

    t: np.ndarray  # days from the first point
    y: np.ndarray  # int64: magnitudes
    schedule: Schedule  # of the additions of the magnitudes
    size: np.ndarray  # (2,) int64: points, planes of the counts
    moments: np.ndarray  # (2,): (Σy)²/n, what rounding left of the mean, and Σ(y − ȳ)²
    steps: np.ndarray  # uint32, for every point: the phase step from one frequency to the next
    phases: np.ndarray  # uint32, for every point: the phase at the present frequency
    rows: np.ndarray  # uint32: `digits.ROWS` rows
    counts: np.ndarray  # uint32: planes of the counts
    values: np.ndarray  # uint32: sums, or sums and counts, of the bins; counts
    x: np.ndarray  # (LANES,) float32: θ of a tile


def aov_peaks(hjd: np.ndarray, mag: np.ndarray, offsets: np.ndarray, grid: FrequencyGrid, k: int, sep: int) -> Peaks:
    """Return the highest peaks of the phase-binned analysis of variance of every light curve of a partition.

    Parameters
    ----------
    hjd, mag : numpy.ndarray, shape (points,), float64
        Times in days, in any order, and magnitudes.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    grid : FrequencyGrid
        Trial frequencies, cycles/day.
    k : int
        Number of distinct peaks.
    sep : int
        Grid steps between distinct peaks.

    Returns
    -------
    Peaks
        Of θ, with the relative error of 12-bit magnitudes (2e-4 rms). Nothing is found for a light curve of
        20 points or fewer, without a spread in time or in magnitude, or with a value that is not finite.
    """
    found = peaks.no_peaks(len(offsets) - 1, k)
    _scan(hjd, mag, offsets, grid, sep, found)
    return found


@jit()
def _scan(hjd: np.ndarray, mag: np.ndarray, offsets: np.ndarray, grid: FrequencyGrid, sep: int, out: Peaks) -> None:
    room = new_room(longest_curve(offsets))
    state, masked = peaks.new_state(out.value.shape[1], sep, LANES), peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if grid.size[i] == 0 or not can_be_handled(hjd[a:b], mag[a:b]):
            continue
        prepare(room, hjd[a:b], mag[a:b])
        bitsliced.phase_steps(room.t, b - a, grid.df[i], room.steps)
        peaks.reset(state)
        peaks.mask(grid.fmin[i], grid.df[i], grid.size[i], grid.windows, masked)
        for first in range(0, grid.size[i], LANES):
            f = grid.fmin[i] + grid.df[i] * (first + LANES // 2)
            bitsliced.anchor(room.t, b - a, f, room.steps, room.phases)
            variance_tile(room)
            peaks.tile(state, room.x, min(LANES, grid.size[i] - first), masked)
        out.mean[i], out.std[i] = peaks.finish(state, out.value[i], out.index[i])


@jit()
def can_be_handled(hjd: np.ndarray, mag: np.ndarray) -> bool:
    """Tell whether a light curve is usable (`bins.usable`) and has more points than there are bins."""
    return hjd.size > PHASE_BINS and usable(hjd, mag)


@jit()
def new_room(longest: int) -> Room:
    """Return room for light curves of up to `longest` points."""
    size = longest + digits.CHUNK
    return Room(
        np.zeros(size),
        np.empty(longest, np.int64),
        digits.new_schedule(longest),
        np.empty(2, np.int64),
        np.empty(2),
        np.zeros(size, np.uint32),
        np.zeros(size, np.uint32),
        _aligned(digits.ROWS * WIDTH),
        _aligned(bitsliced.ROWS * WIDTH),
        _aligned(2 * WORD_BITS * WIDTH),
        np.empty(LANES, np.float32),
    )


@jit()
def _aligned(n: int) -> np.ndarray:
    """Return `n` zeros that begin with a cache line: what is loaded most, and a word in two lines takes longer."""
    buffer = np.zeros(n + WIDTH, np.uint32)
    start = -(buffer.ctypes.data // 4) % WIDTH
    return buffer[start : start + n]


@jit()
def prepare(room: Room, hjd: np.ndarray, mag: np.ndarray) -> None:
    """Write times from the first, magnitudes as integers and the schedule of their sums.

    Times and phases after the last point are 0: those that fill up a chunk.
    """
    n = hjd.size
    start = hjd.min()
    center = mag.mean()
    scale = min(LARGEST, 2**31 // (n + 1)) / max(mag.max() - center, center - mag.min())
    for i in range(n):
        room.t[i] = hjd[i] - start
        room.y[i] = int(np.rint((mag[i] - center) * scale))
    room.steps[n:] = 0
    room.phases[n:] = 0
    room.size[0] = n
    room.size[1] = max(bitsliced.planes_for(n), REGISTERS)
    room.moments[0], room.moments[1] = _squares(room.y, n)
    digits.plan(room.schedule, room.y, n)
    room.rows[:] = 0


@jit()
def _squares(y: np.ndarray, n: int) -> tuple[float, float]:
    """Return (Σy)²/n, what rounding left of the mean, and Σ(y − ȳ)², of the integer magnitudes."""
    s = 0.0
    q = 0.0
    for i in range(n):
        s += y[i]
        q += float(y[i]) ** 2
    return s * s / n, q - s * s / n


@jit()
def variance_tile(room: Room) -> None:
    """Write θ of a tile of frequencies, whose first the phases are of, to `room.x`."""
    n, n_planes = room.size
    each, places, excess = room.schedule.size
    chunks = (n + each - 1) // each
    sources, ends, x = room.schedule.sources, room.schedule.ends, room.x
    steps, phases = pointer(room.steps), pointer(room.phases)
    rows, counts, values = pointer(room.rows), pointer(room.counts), pointer(room.values)
    for first in range(0, LANES, WIDTH):
        for k in range(n_planes):
            store_words(counts, k * WIDTH, bit(n - chunks * each, k))
        for k in range(chunks - 1, -1, -1):
            _fold(phases, steps, k * each, each, rows, counts, n_planes)
            chunk = shifted(pointer(sources), k * sources.shape[1])
            digits.add_chunk(rows, chunk, shifted(pointer(ends), k * ends.shape[1]), places)
        together = _transpose(rows, places, counts, n_planes, values)
        store(x, first, _statistic(values, places, together, excess, n, room.moments[0], room.moments[1]))


@jit(forceinline=True)
def _fold(
    phases: CPointer, steps: CPointer, start: int, n: int, rows: CPointer, counts: CPointer, n_planes: int
) -> None:
    """Write the bins of `n` points, at sixteen frequencies, and add them to the counts; move the phases on."""
    a, b, c, d, e, f, g = load_planes(counts)
    for i in range(n - 2 * UNROLL, -1, -2 * UNROLL):
        p, s, r = shifted(phases, start + i), shifted(steps, start + i), shifted(rows, WIDTH * (POINTS + i))
        a, b, c, x = _fold8(p, s, r, a, b, c)
        p, s, r = shifted(p, UNROLL), shifted(s, UNROLL), shifted(r, WIDTH * UNROLL)
        a, b, c, y = _fold8(p, s, r, a, b, c)
        d, e, f, g = add_carries(d, e, f, g, x, y, counts, n_planes)
        bitsliced.next_frequencies(phases, steps, start + i)
    store_planes(counts, (a, b, c, d, e, f, g))


@jit(forceinline=True)
def _fold8(
    phases: CPointer, steps: CPointer, rows: CPointer, a: Words, b: Words, c: Words
) -> tuple[Words, Words, Words, Words]:
    """Write the bins of eight points and add them to planes 0 to 2; return these and the carry."""
    return add8(
        a,
        b,
        c,
        _word(phases, steps, rows, 0),
        _word(phases, steps, rows, 1),
        _word(phases, steps, rows, 2),
        _word(phases, steps, rows, 3),
        _word(phases, steps, rows, 4),
        _word(phases, steps, rows, 5),
        _word(phases, steps, rows, 6),
        _word(phases, steps, rows, 7),
    )


@jit(forceinline=True)
def _word(phases: CPointer, steps: CPointer, rows: CPointer, i: int) -> Words:
    """Write and return the bin of point i at sixteen frequencies."""
    word = one_hot(splat_word(phases[i]) + multiples(steps[i]), uint32(PHASE_BINS))
    store_words(rows, i * WIDTH, word)
    return word


@jit(forceinline=True)
def _transpose(rows: CPointer, places: int, counts: CPointer, n_planes: int, values: CPointer) -> bool:
    """Write, for every bin, sum and count to one word; where they do not fit, the counts to words of their own."""
    together = places + n_planes <= WORD_BITS
    zero = splat_word(uint32(0))
    for k in range(n_planes if together else 0):
        store_words(rows, WIDTH * (SUMS + places + k), load_words(counts, k * WIDTH))
    for k in range(places + (n_planes if together else 0), WORD_BITS):
        store_words(rows, WIDTH * (SUMS + k), zero)
    transpose_bits(shifted(rows, WIDTH * SUMS), values, PHASE_BINS)
    if not together:
        for k in range(n_planes, WORD_BITS):
            store_words(counts, k * WIDTH, zero)
        transpose_bits(counts, shifted(values, WIDTH * WORD_BITS), PHASE_BINS)
    return together


@jit(forceinline=True)
def _statistic(values: CPointer, places: int, together: bool, excess: int, n: int, rest: float, total: float) -> Lanes:
    """Return θ; s2 is kept above its rounding error, so that θ is finite. Two bins share a division."""
    between = splat(float32(-rest))
    mask, offset = splat_word(uint32((1 << places) - 1)), splat_word(uint32(-excess))
    for b in range(0, PHASE_BINS, 2):
        v, w = load_words(values, WIDTH * b), load_words(values, WIDTH * (b + 1))
        if together:
            i, j = shift_right(v, uint32(places)), shift_right(w, uint32(places))
        else:
            i, j = load_words(values, WIDTH * (WORD_BITS + b)), load_words(values, WIDTH * (WORD_BITS + b + 1))
        p, q = _one_or_more(as_float(i)), _one_or_more(as_float(j))
        y, z = as_float((v & mask) + offset), as_float((w & mask) + offset)
        between = between + (y * y * q + z * z * p) / (p * q)
    within = splat(float32(total)) - between
    least = splat(float32(1e-6 * total))
    scale = splat(float32((n - PHASE_BINS) / (PHASE_BINS - 1.0)))
    return scale * between / where_less(within, least, least, within)


@jit(forceinline=True)
def _one_or_more(x: Lanes) -> Lanes:
    one = splat(float32(1))
    return where_less(x, one, one, x)
