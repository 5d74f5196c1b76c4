"""Period search by folding: conditional entropy over the whole frequency grid, reduced to peaks and moments.

Conditional entropy (Graham et al. 2013): H = Σ_ij p_ij ln(p_j / p_ij) over 20 phase bins j and 10 magnitude
bins i, which is (Σ_j n_j ln n_j − Σ_ij n_ij ln n_ij) / N: a function of integer counts. Points are sorted by
magnitude bin, so that one phase histogram (`bitsliced`) is needed at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float32, uint32
from numba.types import CPointer

from scope_dask.compiled import jit
from scope_dask.periods import bitsliced, peaks
from scope_dask.periods.bins import MAGNITUDE_BINS, PHASE_BINS, longest_curve, magnitude_bins, usable
from scope_dask.periods.bitsliced import (
    LANES,
    REGISTERS,
    ROWS,
    UNROLL,
    Planes,
    add8,
    add_carries,
    bit,
    load_planes,
)
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.lanes import WIDTH, load, splat, store
from scope_dask.periods.peaks import Peaks
from scope_dask.periods.words import Words, load_words, multiples, one_hot, pointer, shifted, splat_word, store_words


class Room(NamedTuple):
    """What the scan of a light curve works with: room for the longest, made once (used inside kernels)."""

    bins: np.ndarray  # int64: magnitude bin of every point, in the order of the light curve
    t: np.ndarray  # days from the first point, by magnitude bin, each filled up to a multiple of 16 with zeros
    bounds: np.ndarray  # (magnitude bins + 1,) int64: where the bins begin in `t`, multiples of 16
    counts: np.ndarray  # (magnitude bins + 1,) int64: points of the bins, and of all
    planes: np.ndarray  # like `counts`: number of planes
    likely: np.ndarray  # (magnitude bins + 1, 2) int64: `bitsliced.likely_groups`
    table: np.ndarray  # float32: n ln n
    steps: np.ndarray  # uint32, for every time: the phase step from one frequency to the next
    phases: np.ndarray  # uint32, for every time: the phase at the present frequency
    offsets: np.ndarray  # uint32, 16 for every time of a bin: multiples of the step
    rows: np.ndarray  # uint32: the upper planes of a histogram
    total: np.ndarray  # uint32: planes of the sum of the histograms, at all frequencies
    x: np.ndarray  # (LANES,) float32: −H of a tile


def conditional_entropy_peaks(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    k: int,
    sep: int,
    rescaled: bool,
) -> Peaks:
    """Return the deepest minima of the conditional entropy of every light curve of a partition.

    Parameters
    ----------
    hjd, mag : numpy.ndarray, shape (points,), float64
        Times in days, in any order, and magnitudes.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    grid : FrequencyGrid
        Trial frequencies, cycles/day.
    k : int
        Number of distinct minima.
    sep : int
        Grid steps between distinct minima.
    rescaled : bool
        True is ECE: magnitudes are scaled to [5e-4, 0.9995] before they are binned. False is CE: to [0, 1],
        the faintest point in the last bin.

    Returns
    -------
    Peaks
        Of −H: best first. Counts are exact; values are float32 (error below 1e-5 but where the float64 phase
        of a point is within 3e-8 of the edge of a bin). Nothing is found for a light curve of fewer than
        four points, without a spread in time or in magnitude, or with a value that is not finite.
    """
    found = peaks.no_peaks(len(offsets) - 1, k)
    _scan(hjd, mag, offsets, grid, sep, rescaled, found)
    return found


@jit()
def _scan(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    sep: int,
    rescaled: bool,
    out: Peaks,
) -> None:
    room = new_room(longest_curve(offsets))
    state, masked = peaks.new_state(out.value.shape[1], sep, LANES), peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if grid.size[i] == 0 or not usable(hjd[a:b], mag[a:b]):
            continue
        n = prepare(room, hjd[a:b], mag[a:b], rescaled)
        bitsliced.phase_steps(room.t, n, grid.df[i], room.steps)
        peaks.reset(state)
        peaks.mask(grid.fmin[i], grid.df[i], grid.size[i], grid.windows, masked)
        for first in range(0, grid.size[i], LANES):
            f = grid.fmin[i] + grid.df[i] * (first + LANES // 2)
            bitsliced.anchor(room.t, n, f, room.steps, room.phases)
            entropy_tile(room)
            peaks.tile(state, room.x, min(LANES, grid.size[i] - first), masked)
        out.mean[i], out.std[i] = peaks.finish(state, out.value[i], out.index[i])


@jit()
def new_room(longest: int) -> Room:
    """Return room for light curves of up to `longest` points."""
    size = longest + MAGNITUDE_BINS * WIDTH
    m = MAGNITUDE_BINS + 1
    return Room(
        np.empty(longest, np.int64),
        np.empty(size),
        np.empty(m, np.int64),
        np.empty(m, np.int64),
        np.empty(m, np.int64),
        np.empty((m, 2), np.int64),
        _n_log_n(longest),
        np.zeros(size, np.uint32),
        np.zeros(size, np.uint32),
        np.empty((longest + UNROLL) * WIDTH, np.uint32),
        np.empty(ROWS * WIDTH, np.uint32),
        np.empty(max(bitsliced.planes_for(longest), REGISTERS) * LANES, np.uint32),
        np.empty(LANES, np.float32),
    )


@jit()
def _n_log_n(longest: int) -> np.ndarray:
    """Return n ln n for every count that the planes of `longest` points can hold."""
    table = np.zeros(1 << bitsliced.planes_for(longest), np.float32)
    for n in range(2, longest + 1):
        table[n] = n * np.log(n)
    return table


@jit()
def prepare(room: Room, hjd: np.ndarray, mag: np.ndarray, rescaled: bool) -> int:
    """Sort the times of a light curve by magnitude bin; return their number, with those that fill up the bins."""
    magnitude_bins(mag, rescaled, room.bins)
    start = hjd.min()
    bounds, counts = room.bounds, room.counts
    counts[:] = 0
    for i in range(hjd.size):
        counts[room.bins[i]] += 1
    bounds[0] = 0
    for m in range(MAGNITUDE_BINS):
        bounds[m + 1] = bounds[m] + (counts[m] + WIDTH - 1) // WIDTH * WIDTH
    room.t[: bounds[-1]] = 0.0
    counts[:] = 0
    for i in range(hjd.size):
        m = room.bins[i]
        room.t[bounds[m] + counts[m]] = hjd[i] - start
        counts[m] += 1
    counts[-1] = hjd.size
    for m in range(counts.size):
        room.planes[m] = bitsliced.planes_for(counts[m])
        room.likely[m] = bitsliced.likely_groups(counts[m], PHASE_BINS)
    return int(bounds[-1])


@jit()
def entropy_tile(room: Room) -> None:
    """Write −H of a tile of frequencies, whose first the phases are of, to `room.x`."""
    n_total = max(room.planes[MAGNITUDE_BINS], REGISTERS)
    x, total, table = room.x, pointer(room.total), pointer(room.table)
    x[:] = 0
    room.total[: LANES * n_total] = 0
    for m in range(MAGNITUDE_BINS):
        if room.counts[m] > 0:
            _add_bin(room, m, total, n_total, table)
    first, last = room.likely[MAGNITUDE_BINS]
    scale = splat(float32(1.0 / room.counts[MAGNITUDE_BINS]))
    for i in range(0, LANES, WIDTH):
        rows = shifted(total, i * n_total)
        h = bitsliced.sum_function(load_planes(rows), rows, n_total, first, last, table, float32(-1))
        store(x, i, (load(x, i) + h) * scale)


@jit()
def _add_bin(room: Room, m: int, total: CPointer, n_total: int, table: CPointer) -> None:
    """Add Σ n ln n of a magnitude bin to `room.x`, its histograms to those in `total`, at all frequencies of a tile.

    One bin after the other, as its points and what the processor has learnt of its loops are used 32 times.
    """
    start, n, n_planes = room.bounds[m], room.counts[m], room.planes[m]
    first, last = room.likely[m]
    phases, steps = shifted(pointer(room.phases), start), shifted(pointer(room.steps), start)
    offsets, rows = pointer(room.offsets), pointer(room.rows)
    size = (n + UNROLL - 1) // UNROLL * UNROLL
    for i in range(size):
        store_words(offsets, i * WIDTH, multiples(steps[i]))
    for i in range(0, LANES, WIDTH):
        planes = _histogram(phases, steps, offsets, n, size, rows, n_planes)
        h = bitsliced.sum_function(planes, rows, n_planes, first, last, table, float32(1))
        store(room.x, i, load(room.x, i) + h)
        bitsliced.add_histogram(planes, rows, n_planes, shifted(total, i * n_total), n_total)


@jit(forceinline=True)
def _histogram(
    phases: CPointer, steps: CPointer, offsets: CPointer, n: int, size: int, rows: CPointer, n_planes: int
) -> Planes:
    """Return the histograms of `size` points, of which `n` count, at sixteen frequencies; move the phases on."""
    excess = n - size
    a, b, c, d = bit(excess, 0), bit(excess, 1), bit(excess, 2), bit(excess, 3)
    e = f = g = d  # the sign
    for k in range(REGISTERS, n_planes):
        store_words(rows, k * WIDTH, d)
    if size % (2 * UNROLL):
        a, b, c, x = _add_points(phases, offsets, size - UNROLL, a, b, c)
        d, e, f, g = add_carries(d, e, f, g, x, splat_word(uint32(0)), rows, n_planes)
        bitsliced.next_frequencies(phases, steps, size - UNROLL)
    i = size // (2 * UNROLL) * (2 * UNROLL)
    while i > 0:
        i -= 2 * UNROLL
        a, b, c, x = _add_points(phases, offsets, i + UNROLL, a, b, c)
        a, b, c, y = _add_points(phases, offsets, i, a, b, c)
        d, e, f, g = add_carries(d, e, f, g, x, y, rows, n_planes)
        bitsliced.next_frequencies(phases, steps, i)
    return a, b, c, d, e, f, g


@jit(forceinline=True)
def _add_points(
    phases: CPointer, offsets: CPointer, i: int, a: Words, b: Words, c: Words
) -> tuple[Words, Words, Words, Words]:
    """Add the points i … i + 7 to planes 0 to 2; return these and the carry."""
    return add8(
        a,
        b,
        c,
        _word(phases, offsets, i),
        _word(phases, offsets, i + 1),
        _word(phases, offsets, i + 2),
        _word(phases, offsets, i + 3),
        _word(phases, offsets, i + 4),
        _word(phases, offsets, i + 5),
        _word(phases, offsets, i + 6),
        _word(phases, offsets, i + 7),
    )


@jit(forceinline=True)
def _word(phases: CPointer, offsets: CPointer, i: int) -> Words:
    """Return the bin of point i at sixteen frequencies."""
    return one_hot(load_words(offsets, i * WIDTH) + splat_word(phases[i]), uint32(PHASE_BINS))
