"""Period search by folding: conditional entropy over the whole frequency grid, reduced to peaks and moments.

Conditional entropy (Graham et al. 2013): H = Σ_ij p_ij ln(p_j / p_ij) over 20 phase bins j and 10 magnitude
bins i, which is (Σ_j n_j ln n_j − Σ_ij n_ij ln n_ij) / N: a function of integer counts. Points are sorted by
magnitude bin, so that one phase histogram (`bitsliced`) is needed at a time.
"""

from __future__ import annotations

import numpy as np
from numba import float32, uint32

from scope_dask.compiled import jit
from scope_dask.periods import bitsliced, peaks
from scope_dask.periods.bins import MAGNITUDE_BINS, PHASE_BINS, longest_curve, magnitude_bins, usable
from scope_dask.periods.bitsliced import LANES, UNROLL
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.peaks import Peaks


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
    longest = longest_curve(offsets)
    room = longest + MAGNITUDE_BINS * UNROLL
    bins, t = np.empty(longest, np.int64), np.empty(room)
    steps, phases, weights = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint32)
    bounds, counts = np.empty(MAGNITUDE_BINS + 1, np.int64), np.empty(MAGNITUDE_BINS, np.int64)
    planes = np.zeros((bitsliced.planes_for(longest), LANES), np.uint32)
    total, carry, rows = (
        np.zeros_like(planes),
        np.empty((4, LANES), np.uint32),
        np.empty((2, LANES), np.uint32),
    )
    table, x = _n_log_n(longest), np.empty(LANES, np.float32)
    state, masked = peaks.new_state(out.value.shape[1], sep, LANES), peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if grid.size[i] == 0 or not usable(hjd[a:b], mag[a:b]):
            continue
        magnitude_bins(mag[a:b], rescaled, bins)
        _sort(hjd[a:b], bins, t, weights, bounds, counts)
        n_padded = bounds[-1]
        bitsliced.phase_steps(t, n_padded, grid.df[i], steps)
        peaks.reset(state)
        peaks.mask(grid.fmin[i], grid.df[i], grid.size[i], grid.windows, masked)
        for first in range(0, grid.size[i], LANES):
            bitsliced.anchor(t, n_padded, grid.fmin[i] + grid.df[i] * (first + LANES // 2), steps, phases)
            _entropy_tile(phases, steps, weights, bounds, counts, table, planes, total, carry, rows, x)
            peaks.tile(state, x, min(LANES, grid.size[i] - first), masked)
        out.mean[i], out.std[i] = peaks.finish(state, out.value[i], out.index[i])


@jit()
def _n_log_n(longest: int) -> np.ndarray:
    """Return n ln n for every count that the planes of `longest` points can hold."""
    table = np.zeros(1 << bitsliced.planes_for(longest), np.float32)
    for n in range(2, longest + 1):
        table[n] = n * np.log(n)
    return table


@jit()
def _sort(
    hjd: np.ndarray,
    bins: np.ndarray,
    t: np.ndarray,
    weights: np.ndarray,
    bounds: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Sort times (from the first) by magnitude bin; pad every bin to a multiple of 8 with weight 0."""
    start = hjd.min()
    counts[:] = 0
    for i in range(hjd.size):
        counts[bins[i]] += 1
    bounds[0] = 0
    for m in range(counts.size):
        bounds[m + 1] = bounds[m] + (counts[m] + UNROLL - 1) // UNROLL * UNROLL
    t[: bounds[-1]] = 0.0
    weights[: bounds[-1]] = 0
    counts[:] = 0
    for i in range(hjd.size):
        place = bounds[bins[i]] + counts[bins[i]]
        t[place] = hjd[i] - start
        weights[place] = 1
        counts[bins[i]] += 1


@jit(fastmath={"contract"})
def _entropy_tile(
    phases: np.ndarray,
    steps: np.ndarray,
    weights: np.ndarray,
    bounds: np.ndarray,
    counts: np.ndarray,
    table: np.ndarray,
    planes: np.ndarray,
    total: np.ndarray,
    carry: np.ndarray,
    rows: np.ndarray,
    x: np.ndarray,
) -> None:
    """Write −H of a tile of frequencies to `x`. `planes` are zero before and after."""
    for k in range(total.shape[0]):
        bitsliced.clear(total, k)
    for l in range(LANES):
        x[l] = float32(0)
    n = 0
    for m in range(counts.size):
        if counts[m] == 0:
            continue
        n += counts[m]
        n_planes = bitsliced.planes_for(counts[m])
        for i in range(bounds[m], bounds[m + 1], 4 * UNROLL):
            for j in range(4):
                if i + UNROLL * j < bounds[m + 1]:
                    bitsliced.add_points(phases, steps, weights, i + UNROLL * j, uint32(PHASE_BINS), planes, carry, j)
                else:
                    bitsliced.clear(carry, j)
            bitsliced.add_carries(planes, n_planes, carry)
        bitsliced.add_function(planes, n_planes, table, float32(1), x, rows)
        bitsliced.move(planes, n_planes, total, bitsliced.planes_for(n), carry)
    bitsliced.add_function(total, bitsliced.planes_for(n), table, float32(-1), x, rows)
    scale = float32(1.0 / n)
    for l in range(LANES):
        x[l] *= scale
