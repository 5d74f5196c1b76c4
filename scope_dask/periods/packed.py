"""Weighted phase histograms: Σw and Σw(y − ȳ) of every phase bin, two sums in one 64-bit integer.

Weights and weighted magnitudes are integers in units of 2⁻³⁰ of their totals, a point is the word
``(weighted magnitude << 32) + weight``, and a point is added to a bin by one integer addition. Totals stay below
2³¹, so that neither half can overflow, and sums are exact: what was rounded is each point, to 30 bits.

Phases are fixed-point numbers (`bitsliced`), with their full 32 bits; any number of bins up to 2¹⁶ will do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint16, uint32, uint64

from scope_dask.compiled import jit
from scope_dask.periods import bitsliced
from scope_dask.periods.bins import usable
from scope_dask.periods.grid import FrequencyGrid

UNIT = 1 << 30


class Points(NamedTuple):
    """A light curve made ready (room for the longest one; the first n entries are used)."""

    t: np.ndarray  # days from the first point
    words: np.ndarray  # uint64
    steps: np.ndarray  # uint32
    phases: np.ndarray  # uint32
    bins: np.ndarray  # uint16: phase bins at one frequency


@jit()
def new_points(n: int) -> Points:
    """Return room for a light curve of up to `n` points."""
    return Points(
        np.empty(n), np.empty(n, np.uint64), np.empty(n, np.uint32), np.empty(n, np.uint32), np.empty(n, np.uint16)
    )


@jit()
def weighable(hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray) -> bool:
    """Tell whether a light curve is usable (`bins.usable`) and all its errors are positive and finite."""
    for i in range(magerr.size):
        if not 0.0 < magerr[i] < np.inf:
            return False
    return usable(hjd, mag)


@jit()
def moments(mag: np.ndarray, magerr: np.ndarray) -> tuple[float, float, float]:
    """Return Σ1/e², the weighted mean and the weighted variance (weights 1/e², their sum 1)."""
    low = mag.min()
    total = 0.0
    mean = 0.0
    for i in range(mag.size):
        w = (1.0 / magerr[i]) ** 2
        total += w
        mean += w * (mag[i] - low)
    mean = low + mean / total
    variance = 0.0
    for i in range(mag.size):
        variance += (1.0 / magerr[i]) ** 2 / total * (mag[i] - mean) ** 2
    return total, mean, variance


@jit()
def pack(points: Points, hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray) -> float:
    """Fill in the times and words; return c of s1 = c Σ_b V_b²/W_b, the share of the variance in bins' means.

    W and V are the lower and upper half of a bin's sum. 0 is returned where nothing can be computed.
    """
    total, mean, variance = moments(mag, magerr)
    start = hjd.min()
    size = 0.0
    for i in range(mag.size):
        size += (1.0 / magerr[i]) ** 2 / total * abs(mag[i] - mean)
    if not (0.0 < size < np.inf and 0.0 < variance < np.inf):
        return 0.0
    for i in range(mag.size):
        w = (1.0 / magerr[i]) ** 2 / total
        y = int64(np.rint(w * (mag[i] - mean) / size * UNIT))
        points.t[i] = hjd[i] - start
        points.words[i] = uint64(y * 4294967296 + int64(np.rint(w * UNIT)))
    return size * size / UNIT / variance


@jit()
def start_tile(points: Points, n: int, grid: FrequencyGrid, i: int, first: int) -> None:
    """Set the phases of light curve `i` to those at the first frequency of the tile at grid index `first`."""
    if first == 0:
        bitsliced.phase_steps(points.t, n, grid.df[i], points.steps)
    f = grid.fmin[i] + grid.df[i] * (first + bitsliced.LANES // 2)
    bitsliced.anchor(points.t, n, f, points.steps, points.phases)


@jit()
def fold(points: Points, n: int, n_bins: int, sums: np.ndarray) -> None:
    """Write the sums of every bin at the present frequency to ``sums[0]`` and move on by one frequency.

    `sums` is scratch of two rows: points in succession, often in one bin, go to different rows, as an addition to a
    bin has to wait for the one before.
    """
    phases, steps, bins, words = points.phases, points.steps, points.bins, points.words
    k = uint64(n_bins)
    for i in range(n):
        p = phases[i]
        bins[i] = uint16(uint64(uint64(p) * k) >> uint64(32))
        phases[i] = uint32(p + steps[i])
    for b in range(n_bins):
        sums[0, b] = uint64(0)
        sums[1, b] = uint64(0)
    for i in range(uint64(n // 2)):
        j = uint64(i + i)
        sums[0, bins[j]] += words[j]
        sums[1, bins[j + uint64(1)]] += words[j + uint64(1)]
    if n % 2:
        sums[0, bins[n - 1]] += words[n - 1]
    for b in range(n_bins):
        sums[0, b] += sums[1, b]
