"""Phase-binned analysis of variance over the whole frequency grid, reduced to peaks and moments.

θ = ((N − B)/(B − 1)) s1/s2 with s1 = Σ_b n_b (ȳ_b − ȳ)² and s2 = Σ_b Σ (y − ȳ_b)² over B = 20 phase bins
(Schwarzenberg-Czerny 1989; B is not reduced for empty bins). As s1 + s2 is the same at every frequency, only
the counts n_b (bit-sliced) and the sums of the magnitudes are needed.

Magnitudes are 12-bit integers. Sums are kept in int16, one lane a frequency: one comparison and one masked
addition for every bin and point. They are moved to int32 only when the sum of the positive or of the negative
magnitudes since the last move could leave the range of int16, so that nothing overflows.
"""

from __future__ import annotations

import numpy as np
from numba import float32, int16, int32, uint16, uint32

from scope_dask.compiled import jit
from scope_dask.periods import bitsliced, peaks
from scope_dask.periods.bins import PHASE_BINS, longest_curve, usable
from scope_dask.periods.bitsliced import LANES, UNROLL, add3, phase_bin
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.peaks import Peaks

BLOCK = 16  # points a call of `_add_sums` takes
LARGEST = 2047  # of the magnitudes as integers
INT16_MAX = 32767


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
    longest = longest_curve(offsets)
    room = (longest + BLOCK - 1) // BLOCK * BLOCK
    t, y, full = np.empty(room), np.empty(room, np.int16), np.empty(room // BLOCK, np.bool_)
    steps, phases, weights = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint32)
    planes = np.empty(((bitsliced.planes_for(longest) + 3) // 4 * 4, LANES), np.uint32)
    carry, bins = np.empty((4, LANES), np.uint32), np.empty((BLOCK, LANES), np.uint16)
    short, long = np.zeros((PHASE_BINS, LANES), np.int16), np.empty((PHASE_BINS, LANES), np.int32)
    x = np.empty(LANES, np.float32)
    state, masked = peaks.new_state(out.value.shape[1], sep, LANES), peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        n = b - a
        if grid.size[i] == 0 or n <= PHASE_BINS or not usable(hjd[a:b], mag[a:b]):
            continue
        n_blocks = _quantise(hjd[a:b], mag[a:b], t, y, weights, full)
        rest, total = _squares(y, n)
        bitsliced.phase_steps(t, n_blocks * BLOCK, grid.df[i], steps)
        peaks.reset(state)
        peaks.mask(grid.fmin[i], grid.df[i], grid.size[i], grid.windows, masked)
        for first in range(0, grid.size[i], LANES):
            f = grid.fmin[i] + grid.df[i] * (first + LANES // 2)
            bitsliced.anchor(t, n_blocks * BLOCK, f, steps, phases)
            _sums_tile(phases, steps, weights, y, full, n_blocks, n, planes, carry, bins, short, long)
            _statistic(planes, n, long, carry[0], rest, total, x)
            peaks.tile(state, x, min(LANES, grid.size[i] - first), masked)
        out.mean[i], out.std[i] = peaks.finish(state, out.value[i], out.index[i])


@jit()
def _quantise(
    hjd: np.ndarray, mag: np.ndarray, t: np.ndarray, y: np.ndarray, weights: np.ndarray, full: np.ndarray
) -> int:
    """Write times from the first, magnitudes as integers, after which blocks the int16 sums are full.

    The last block is filled up with points of weight and magnitude 0. Returns the number of blocks.
    """
    n = hjd.size
    start = hjd.min()
    center = mag.mean()
    scale = min(LARGEST, 2**31 // (n + 1)) / max(mag.max() - center, center - mag.min())
    n_blocks = (n + BLOCK - 1) // BLOCK
    for i in range(n_blocks * BLOCK):
        inside = i < n
        t[i] = hjd[i] - start if inside else 0.0
        y[i] = int16(np.rint((mag[i] - center) * scale)) if inside else int16(0)
        weights[i] = uint32(inside)
    above = 0
    below = 0
    for j in range(n_blocks):
        up, down = _signed_sums(y, j)
        if above + up > INT16_MAX or below + down > INT16_MAX:
            full[j - 1] = True
            above = 0
            below = 0
        above += up
        below += down
        full[j] = False
    full[n_blocks - 1] = True
    return n_blocks


@jit()
def _signed_sums(y: np.ndarray, j: int) -> tuple[int, int]:
    """Return the sums of the positive magnitudes and of the negative ones (its size) of block `j`."""
    up = 0
    down = 0
    for i in range(j * BLOCK, (j + 1) * BLOCK):
        up += max(int(y[i]), 0)
        down += max(-int(y[i]), 0)
    return up, down


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
def _sums_tile(
    phases: np.ndarray,
    steps: np.ndarray,
    weights: np.ndarray,
    y: np.ndarray,
    full: np.ndarray,
    n_blocks: int,
    n: int,
    planes: np.ndarray,
    carry: np.ndarray,
    bins: np.ndarray,
    short: np.ndarray,
    long: np.ndarray,
) -> None:
    """Write the counts (`planes`) and the sums of the magnitudes (`long`) of every bin for a tile of
    frequencies.

    `short` is zero before and after.
    """
    for k in range(planes.shape[0]):
        bitsliced.clear(planes, k)
    for b in range(PHASE_BINS):
        for l in range(LANES):
            long[b, l] = int32(0)
    n_planes = bitsliced.planes_for(n)
    for first in range(0, n_blocks, 2):
        for h in range(2):
            if first + h < n_blocks:
                i = (first + h) * BLOCK
                for g in range(0, BLOCK, UNROLL):
                    _add_counts(phases, steps, weights, i + g, planes, carry, 2 * h + g // UNROLL, bins, g)
                _add_sums(bins, y, i, short)
                if full[first + h]:
                    _move(short, long)
            else:
                bitsliced.clear(carry, 2)
                bitsliced.clear(carry, 3)
        bitsliced.add_carries(planes, n_planes, carry)


@jit()
def _add_counts(
    P: np.ndarray,
    D: np.ndarray,
    W: np.ndarray,
    i: int,
    planes: np.ndarray,
    carry: np.ndarray,
    j: int,
    bins: np.ndarray,
    g: int,
) -> None:
    """Add points i … i + 7 to the counts, as `bitsliced.add_points`; write their bins to rows g … g + 7."""
    nb = uint32(PHASE_BINS)
    p0, p1, p2, p3, p4, p5, p6, p7 = (
        P[i],
        P[i + 1],
        P[i + 2],
        P[i + 3],
        P[i + 4],
        P[i + 5],
        P[i + 6],
        P[i + 7],
    )
    d0, d1, d2, d3, d4, d5, d6, d7 = (
        D[i],
        D[i + 1],
        D[i + 2],
        D[i + 3],
        D[i + 4],
        D[i + 5],
        D[i + 6],
        D[i + 7],
    )
    w0, w1, w2, w3, w4, w5, w6, w7 = (
        W[i],
        W[i + 1],
        W[i + 2],
        W[i + 3],
        W[i + 4],
        W[i + 5],
        W[i + 6],
        W[i + 7],
    )
    for l in range(LANES):
        b0, b1, b2, b3 = phase_bin(p0, nb), phase_bin(p1, nb), phase_bin(p2, nb), phase_bin(p3, nb)
        b4, b5, b6, b7 = phase_bin(p4, nb), phase_bin(p5, nb), phase_bin(p6, nb), phase_bin(p7, nb)
        bins[g, l], bins[g + 1, l], bins[g + 2, l], bins[g + 3, l] = (
            uint16(b0),
            uint16(b1),
            uint16(b2),
            uint16(b3),
        )
        bins[g + 4, l], bins[g + 5, l], bins[g + 6, l], bins[g + 7, l] = (
            uint16(b4),
            uint16(b5),
            uint16(b6),
            uint16(b7),
        )
        a, t0 = add3(planes[0, l], uint32(w0 << b0), uint32(w1 << b1))
        a, t1 = add3(a, uint32(w2 << b2), uint32(w3 << b3))
        b, f0 = add3(planes[1, l], t0, t1)
        a, t0 = add3(a, uint32(w4 << b4), uint32(w5 << b5))
        a, t1 = add3(a, uint32(w6 << b6), uint32(w7 << b7))
        b, f1 = add3(b, t0, t1)
        c, carry[j, l] = add3(planes[2, l], f0, f1)
        planes[0, l], planes[1, l], planes[2, l] = a, b, c
        p0, p1, p2, p3 = uint32(p0 + d0), uint32(p1 + d1), uint32(p2 + d2), uint32(p3 + d3)
        p4, p5, p6, p7 = uint32(p4 + d4), uint32(p5 + d5), uint32(p6 + d6), uint32(p7 + d7)


@jit(inline="always")
def _two(a: int16, c: int16, ra: uint16, rc: uint16, b: uint16) -> int16:
    """Return the sum of those of two magnitudes that are in bin b."""
    return int16((a if ra == b else int16(0)) + (c if rc == b else int16(0)))


@jit()
def _add_sums(R: np.ndarray, y: np.ndarray, i: int, short: np.ndarray) -> None:
    """Add the magnitudes of the points i … i + 15, in bins R, to the sums of their bins."""
    y0, y1, y2, y3, y4, y5, y6, y7 = (
        y[i],
        y[i + 1],
        y[i + 2],
        y[i + 3],
        y[i + 4],
        y[i + 5],
        y[i + 6],
        y[i + 7],
    )
    i += 8
    y8, y9, ya, yb, yc, yd, ye, yf = (
        y[i],
        y[i + 1],
        y[i + 2],
        y[i + 3],
        y[i + 4],
        y[i + 5],
        y[i + 6],
        y[i + 7],
    )
    for k in range(PHASE_BINS):
        b = uint16(k)
        for l in range(LANES):
            s = int16(_two(y0, y1, R[0, l], R[1, l], b) + _two(y2, y3, R[2, l], R[3, l], b))
            s = int16(s + int16(_two(y4, y5, R[4, l], R[5, l], b) + _two(y6, y7, R[6, l], R[7, l], b)))
            s = int16(s + int16(_two(y8, y9, R[8, l], R[9, l], b) + _two(ya, yb, R[10, l], R[11, l], b)))
            s = int16(s + int16(_two(yc, yd, R[12, l], R[13, l], b) + _two(ye, yf, R[14, l], R[15, l], b)))
            short[k, l] = int16(short[k, l] + s)


@jit()
def _move(short: np.ndarray, long: np.ndarray) -> None:
    """Add the int16 sums to the int32 sums and clear them."""
    for b in range(PHASE_BINS):
        for l in range(LANES):
            long[b, l] += int32(short[b, l])
            short[b, l] = int16(0)


@jit(fastmath={"contract"})
def _statistic(
    planes: np.ndarray, n: int, long: np.ndarray, count: np.ndarray, rest: float, total: float, x: np.ndarray
) -> None:
    """Write θ; s2 is kept above its rounding error, so that θ is finite."""
    for l in range(LANES):
        x[l] = float32(-rest)
    for b in range(PHASE_BINS):
        _counts(planes, bitsliced.planes_for(n), b, count)
        for l in range(LANES):
            s = float32(long[b, l])
            x[l] += s * s / float32(int32(max(count[l], uint32(1))))
    scale = float32((n - PHASE_BINS) / (PHASE_BINS - 1.0))
    all_ = float32(total)
    least = float32(1e-6 * total)
    for l in range(LANES):
        x[l] = scale * x[l] / max(all_ - x[l], least)


@jit()
def _counts(planes: np.ndarray, n_planes: int, b: int, count: np.ndarray) -> None:
    """Write the counts of bin `b` (four planes a turn)."""
    shift, one = uint32(b), uint32(1)
    for l in range(LANES):
        count[l] = uint32(0)
    for k in range(0, n_planes, 4):
        up = uint32(k)
        for l in range(LANES):
            c = uint32(uint32(planes[k, l] >> shift) & one)
            c |= uint32(uint32(uint32(planes[k + 1, l] >> shift) & one) << one)
            c |= uint32(uint32(uint32(planes[k + 2, l] >> shift) & one) << uint32(2))
            c |= uint32(uint32(uint32(planes[k + 3, l] >> shift) & one) << uint32(3))
            count[l] |= uint32(c << up)
