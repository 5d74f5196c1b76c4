"""Phase folding with weights over the whole frequency grid, reduced to peaks and moments.

θ = Σ_b (Σ_b w (y − ȳ))² / Σ_b w over 20 phase bins, with weights w = 1/e² of sum 1 and their mean ȳ, divided by
the weighted variance: the share of χ² that the means of the phase bins explain, from 0 to 1 (the numerator of the
analysis of variance of Schwarzenberg-Czerny 1989, with weights).
"""

from __future__ import annotations

import numpy as np
from numba import float32, int32, uint32, uint64

from scope_dask.compiled import jit
from scope_dask.periods import packed, peaks
from scope_dask.periods.bins import PHASE_BINS, longest_curve
from scope_dask.periods.bitsliced import LANES
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.peaks import Peaks


def fpw_peaks(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    k: int,
    sep: int,
) -> Peaks:
    """Return the highest peaks of the weighted phase folding of every light curve of a partition.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Times in days, in any order, magnitudes and their errors.
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
        Of θ, from 0 to 1, rounded to float32 (but where the float64 phase of a point is within 3e-8 of the edge of
        a bin). Nothing is found for a light curve of 20 points or fewer, without a spread in time or in magnitude,
        with a value that is not finite or an error that is not positive.
    """
    found = peaks.no_peaks(len(offsets) - 1, k)
    _scan(hjd, mag, magerr, offsets, grid, sep, found)
    return found


@jit()
def _scan(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    sep: int,
    out: Peaks,
) -> None:
    points = packed.new_points(longest_curve(offsets))
    sums, x = np.zeros((2, PHASE_BINS), np.uint64), np.empty(LANES, np.float32)
    state, masked = peaks.new_state(out.value.shape[1], sep, LANES), peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        n = b - a
        if grid.size[i] == 0 or n <= PHASE_BINS or not packed.weighable(hjd[a:b], mag[a:b], magerr[a:b]):
            continue
        scale = packed.pack(points, hjd[a:b], mag[a:b], magerr[a:b])
        if scale == 0.0:
            continue
        peaks.reset(state)
        peaks.mask(grid.fmin[i], grid.df[i], grid.size[i], grid.windows, masked)
        for first in range(0, grid.size[i], LANES):
            count = min(LANES, grid.size[i] - first)
            packed.start_tile(points, n, grid, i, first)
            for l in range(count):
                packed.fold(points, n, PHASE_BINS, sums)
                x[l] = float32(scale) * _explained(sums)
            peaks.tile(state, x, count, masked)
        out.mean[i], out.std[i] = peaks.finish(state, out.value[i], out.index[i])


@jit(fastmath={"reassoc", "contract", "nsz"})
def _explained(sums: np.ndarray) -> float32:
    """Return Σ_b V²/W of the sums in row 0."""
    total = float32(0)
    for b in range(PHASE_BINS):
        w = float32(uint32(sums[0, b] & uint32(0xFFFFFFFF)))
        v = float32(int32(sums[0, b] >> uint64(32)))
        total += v * v / max(w, float32(1))
    return total
