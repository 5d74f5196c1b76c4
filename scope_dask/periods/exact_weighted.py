"""The weighted folding statistics in float64 at chosen frequencies: box least squares and phase folding.

Phases are ``frac(f · (t − t_first))`` in float64; the statistics are those of `boxes` and `fpw`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scope_dask.compiled import jit
from scope_dask.periods.bins import PHASE_BINS
from scope_dask.periods.boxes import NEARLY
from scope_dask.periods.options import BoxOptions
from scope_dask.periods.packed import moments, weighable


class Boxes(NamedTuple):
    """The best boxes of all light curves at their frequencies, each of shape (frequencies,), float64.

    Attributes
    ----------
    power : numpy.ndarray
        Share of χ² that the box explains; 0 where no box is fit, the other attributes then NaN.
    depth : numpy.ndarray
        Magnitudes, positive: mean inside less mean outside.
    duration : numpy.ndarray
        Days.
    transit_time : numpy.ndarray
        Time of the middle of the first box at or after the first point, on the scale of ``hjd``.
    """

    power: np.ndarray
    depth: np.ndarray
    duration: np.ndarray
    transit_time: np.ndarray


def box(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    options: BoxOptions,
) -> Boxes:
    """Return the best box of every light curve at its own list of frequencies.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Times in days, in any order, magnitudes and their errors.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    freqs : numpy.ndarray, shape (frequencies,), float64
        Frequencies, cycles/day; light curve i has those of ``freq_offsets[i]:freq_offsets[i + 1]``.
    freq_offsets : numpy.ndarray, shape (n + 1,), int64
    options : BoxOptions

    Returns
    -------
    Boxes
        All NaN where a light curve has fewer than four points, no spread in time or magnitude, a value that is not
        finite or an error that is not positive.
    """
    out = np.full((4, len(freqs)), np.nan)
    _box(hjd, mag, magerr, offsets, freqs, freq_offsets, options.n_bins, options.widths, float(options.min_points), out)
    return Boxes(*out)


def fpw(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
) -> np.ndarray:
    """Return the weighted phase folding of every light curve at its own list of frequencies.

    θ = Σ_b (Σ_b w (y − ȳ))² / Σ_b w / Σ w (y − ȳ)² over 20 phase bins, w = 1/e² of sum 1.

    Parameters
    ----------
    hjd, mag, magerr, offsets, freqs, freq_offsets
        As in `box`.

    Returns
    -------
    numpy.ndarray, shape (frequencies,), float64
        θ, from 0 to 1; NaN where a light curve has 20 points or fewer, no spread in time or magnitude, a value that
        is not finite or an error that is not positive.
    """
    out = np.full(len(freqs), np.nan)
    _fpw(hjd, mag, magerr, offsets, freqs, freq_offsets, out)
    return out


@jit()
def fold(
    hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray, f: float, scale: tuple[float, float], sums: np.ndarray
) -> None:
    """Write Σ w and Σ w (y − ȳ) of every phase bin to ``sums``, shape (2, bins); `scale` is (Σ 1/e², ȳ)."""
    total, mean = scale
    start = hjd.min()
    n_bins = sums.shape[1]
    sums[:] = 0.0
    for i in range(hjd.size):
        x = (hjd[i] - start) * f
        b = min(int((x - np.floor(x)) * n_bins), n_bins - 1)
        w = (1.0 / magerr[i]) ** 2 / total
        sums[0, b] += w
        sums[1, b] += w * (mag[i] - mean)


@jit()
def _fpw(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    out: np.ndarray,
) -> None:
    sums = np.empty((2, PHASE_BINS))
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if b - a <= PHASE_BINS or not weighable(hjd[a:b], mag[a:b], magerr[a:b]):
            continue
        total, mean, variance = moments(mag[a:b], magerr[a:b])
        for j in range(freq_offsets[i], freq_offsets[i + 1]):
            fold(hjd[a:b], mag[a:b], magerr[a:b], freqs[j], (total, mean), sums)
            explained = 0.0
            for p in range(PHASE_BINS):
                if sums[0, p] > 0.0:
                    explained += sums[1, p] ** 2 / sums[0, p]
            out[j] = explained / variance


@jit()
def _box(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    n_bins: int,
    widths: np.ndarray,
    min_points: float,
    out: np.ndarray,
) -> None:
    sums = np.empty((2, n_bins))
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if not weighable(hjd[a:b], mag[a:b], magerr[a:b]):
            continue
        total, mean, variance = moments(mag[a:b], magerr[a:b])
        start, least = hjd[a:b].min(), NEARLY * min_points / (b - a)
        for j in range(freq_offsets[i], freq_offsets[i + 1]):
            fold(hjd[a:b], mag[a:b], magerr[a:b], freqs[j], (total, mean), sums)
            gain, depth, first, width = best_box(sums, widths, least)
            out[0, j] = gain / variance
            if gain > 0.0:
                out[1, j] = depth
                out[2, j] = width / n_bins / freqs[j]
                out[3, j] = start + ((first + 0.5 * width) / n_bins % 1.0) / freqs[j]


@jit()
def best_box(sums: np.ndarray, widths: np.ndarray, least: float) -> tuple[float, float, int, int]:
    """Return (s²/(r (1 − r)), depth, first bin, width in bins) of the best box; zeros if no box is fit."""
    n_bins = sums.shape[1]
    best, depth, at, bins = 0.0, 0.0, 0, 0
    for width in widths:
        r = 0.0
        s = 0.0
        for p in range(width):
            r += sums[0, p]
            s += sums[1, p]
        for first in range(n_bins):
            if s > 0.0 and least <= r <= 1.0 - least and s * s > best * r * (1.0 - r):
                best, depth, at, bins = s * s / (r * (1.0 - r)), s / (r * (1.0 - r)), first, width
            end = (first + width) % n_bins
            r += sums[0, end] - sums[0, first]
            s += sums[1, end] - sums[1, first]
    return best, depth, at, bins
