"""Box least squares over a frequency grid, reduced to peaks and moments: for eclipses and transits.

Points are folded into phase bins; a box is a run of bins (around the end of the phase, too). With weights w = 1/e²
of sum 1 and their mean ȳ, r = Σ w and s = Σ w (y − ȳ) over the points of a box, a box of depth s/(r (1 − r)) explains

    p = s² / (r (1 − r)) / Σ w (y − ȳ)²

of the χ² of the mean, from 0 to 1 (Kovács, Zucker & Mazeh 2002, their SR² over its upper limit). χ² p is the square of
the depth over its error, the objective ``"snr"`` of astropy's BoxLeastSquares. The statistic of a frequency is the
largest p of all boxes in which the star is fainter (s > 0) and which hold, and leave outside, a least weight.
"""

from __future__ import annotations

import numpy as np
from numba import float32, int32, uint64

from scope_dask.compiled import jit
from scope_dask.periods import packed, peaks
from scope_dask.periods.bins import longest_curve
from scope_dask.periods.bitsliced import LANES
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.options import BoxOptions
from scope_dask.periods.peaks import Peaks

NEARLY = 0.999  # of a least weight is enough: equal weights meet it whatever the rounding


def box_peaks(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    k: int,
    sep: int,
    options: BoxOptions,
) -> Peaks:
    """Return the highest peaks of the box least squares periodogram of every light curve of a partition.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Times in days, in any order, magnitudes and their errors.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    grid : FrequencyGrid
        Trial frequencies, cycles/day (`eclipse_grid` for one that suits eclipses).
    k : int
        Number of distinct peaks.
    sep : int
        Grid steps between distinct peaks.
    options : BoxOptions

    Returns
    -------
    Peaks
        Of p (module), from 0 to 1, to a few 1e-7 (but where the float64 phase of a point is within 3e-8 of the edge
        of a bin). Nothing is found for a light curve of fewer than four points, without a spread in time or in
        magnitude, with a value that is not finite or an error that is not positive.
    """
    found = peaks.no_peaks(len(offsets) - 1, k)
    _scan(hjd, mag, magerr, offsets, grid, sep, options.n_bins, options.widths, float(options.min_points), found)
    return found


def eclipse_grid(grid: FrequencyGrid, max_freq: float = 5.0, fineness: int = 1) -> FrequencyGrid:
    """Return the grid of a box search: the frequencies of `grid` up to `max_freq`, `fineness` times as dense.

    Parameters
    ----------
    grid : FrequencyGrid
    max_freq : float
        Cycles/day. Detached binaries have periods above 0.2 d.
    fineness : int
        Steps of the new grid to one of `grid`.
    """
    df = grid.df / fineness
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.ceil((max_freq - grid.fmin) / df)
    size = np.where(np.isfinite(size), np.clip(size, 0, grid.size * fineness), 0).astype(np.int64)
    return FrequencyGrid(grid.fmin, df, size, grid.windows)


@jit()
def _scan(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    sep: int,
    n_bins: int,
    widths: np.ndarray,
    min_points: float,
    out: Peaks,
) -> None:
    points = packed.new_points(longest_curve(offsets))
    sums, x = np.zeros((2, n_bins), np.uint64), np.empty(LANES, np.float32)
    running = np.empty((2, n_bins + widths[-1]), np.int32)
    best = np.empty(2 ** max(int(np.ceil(np.log2(n_bins))), 4), np.float32)
    state, masked = peaks.new_state(out.value.shape[1], sep, LANES), peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        n = b - a
        if grid.size[i] == 0 or not packed.weighable(hjd[a:b], mag[a:b], magerr[a:b]):
            continue
        scale = packed.pack(points, hjd[a:b], mag[a:b], magerr[a:b])
        if scale == 0.0:
            continue
        least = float32(NEARLY * min_points / n * packed.UNIT)
        peaks.reset(state)
        peaks.mask(grid.fmin[i], grid.df[i], grid.size[i], grid.windows, masked)
        for first in range(0, grid.size[i], LANES):
            count = min(LANES, grid.size[i] - first)
            packed.start_tile(points, n, grid, i, first)
            for l in range(count):
                packed.fold(points, n, n_bins, sums)
                x[l] = float32(scale) * _best_box(sums, n_bins, widths, least, running, best)
            peaks.tile(state, x, count, masked)
        out.mean[i], out.std[i] = peaks.finish(state, out.value[i], out.index[i])


@jit()
def _best_box(
    sums: np.ndarray, n_bins: int, widths: np.ndarray, least: float32, running: np.ndarray, best: np.ndarray
) -> float32:
    """Return the largest s²/(r (1 − r)) of the boxes, in units of the words (0 if no box is fit)."""
    total = uint64(0)
    for b in range(uint64(n_bins)):
        running[0, b] = int32(total)
        running[1, b] = int32(total >> uint64(32))
        total = uint64(total + sums[0, b])
    for b in range(uint64(widths[-1])):
        running[0, b + uint64(n_bins)] = int32(running[0, b] + int32(total))
        running[1, b + uint64(n_bins)] = int32(running[1, b] + int32(total >> uint64(32)))
    for b in range(best.size):
        best[b] = float32(0)
    for d in range(widths.size):
        _boxes_of_width(running, uint64(n_bins), uint64(widths[d]), least, best)
    half = uint64(best.size // 2)
    while half > uint64(8):
        _halve(best, half)
        half >>= uint64(1)
    return best[:16].max()


@jit(fastmath={"contract"})
def _boxes_of_width(running: np.ndarray, n_bins: uint64, width: uint64, least: float32, best: np.ndarray) -> None:
    """Raise ``best[b]`` to the statistic of the box that starts at bin b (unsigned indices: no test for −1)."""
    unit = float32(packed.UNIT)
    most = unit - least
    for b in range(n_bins):
        r = float32(int32(running[0, b + width] - running[0, b]))
        s = float32(int32(running[1, b + width] - running[1, b]))
        p = s * s / (r * (unit - r)) * unit
        p = p if (s > float32(0)) & (r >= least) & (r <= most) else float32(0)
        best[b] = p if p > best[b] else best[b]  # noqa: FURB136  (numba's max tests for NaN)


@jit()
def _halve(best: np.ndarray, half: uint64) -> None:
    for b in range(half):
        best[b] = best[b] if best[b] > best[b + half] else best[b + half]  # noqa: FURB136
