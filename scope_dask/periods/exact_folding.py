"""The folding statistics in float64 at chosen frequencies: what the scans are re-evaluated and tested with.

Phases are ``frac(f · (t − t_first))`` in float64, bins ``floor(20 · phase)``.
"""

from __future__ import annotations

import numpy as np

from scope_dask.compiled import jit
from scope_dask.periods.bins import MAGNITUDE_BINS, PHASE_BINS, longest_curve, magnitude_bins, usable


def conditional_entropy(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    rescaled: bool,
) -> np.ndarray:
    """Return the conditional entropy of every light curve at its own list of frequencies.

    H = Σ_ij p_ij ln(p_j / p_ij) over 20 phase bins j and 10 magnitude bins i (Graham et al. 2013).

    Parameters
    ----------
    hjd, mag : numpy.ndarray, shape (points,), float64
        Times in days, in any order, and magnitudes.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    freqs : numpy.ndarray, shape (frequencies,), float64
        Frequencies, cycles/day; light curve i has those of ``freq_offsets[i]:freq_offsets[i + 1]``.
    freq_offsets : numpy.ndarray, shape (n + 1,), int64
    rescaled : bool
        ECE (True) or CE (False): how magnitudes are binned, as in `folding.conditional_entropy_peaks`.

    Returns
    -------
    numpy.ndarray, shape (frequencies,), float64
        H; NaN where a light curve has fewer than four points, no spread in time or magnitude, or a value
        that is not finite.
    """
    out = np.full(len(freqs), np.nan)
    _conditional_entropy(hjd, mag, offsets, freqs, freq_offsets, rescaled, out)
    return out


def aov(
    hjd: np.ndarray, mag: np.ndarray, offsets: np.ndarray, freqs: np.ndarray, freq_offsets: np.ndarray
) -> np.ndarray:
    """Return the phase-binned analysis of variance of every light curve at its own list of frequencies.

    θ = ((N − B)/(B − 1)) s1/s2 with s1 = Σ_b n_b (ȳ_b − ȳ)² and s2 = Σ_b Σ (y − ȳ_b)², B = 20, not reduced
    for empty bins (Schwarzenberg-Czerny 1989). It does not depend on the scale of the magnitudes.

    Parameters
    ----------
    hjd, mag, offsets, freqs, freq_offsets
        As in `conditional_entropy`.

    Returns
    -------
    numpy.ndarray, shape (frequencies,), float64
        θ; infinite where all points of every bin are equal; NaN where a light curve has 20 points or fewer,
        no spread in time or magnitude, or a value that is not finite.
    """
    out = np.full(len(freqs), np.nan)
    _aov(hjd, mag, offsets, freqs, freq_offsets, out)
    return out


@jit()
def _phase_bin(x: float) -> int:
    """Return the bin of a phase in cycles, with its whole cycles."""
    return min(int((x - np.floor(x)) * PHASE_BINS), PHASE_BINS - 1)


@jit()
def _conditional_entropy(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    rescaled: bool,
    out: np.ndarray,
) -> None:
    longest = longest_curve(offsets)
    bins = np.empty(longest, np.int64)
    table = np.zeros(longest + 1)
    for n in range(2, longest + 1):
        table[n] = n * np.log(n)
    cells = np.empty((PHASE_BINS, MAGNITUDE_BINS), np.int64)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if usable(hjd[a:b], mag[a:b]):
            start = hjd[a:b].min()
            magnitude_bins(mag[a:b], rescaled, bins)
            for j in range(freq_offsets[i], freq_offsets[i + 1]):
                out[j] = _entropy(hjd[a:b], start, bins, freqs[j], table, cells)


@jit()
def _entropy(hjd: np.ndarray, start: float, bins: np.ndarray, f: float, table: np.ndarray, cells: np.ndarray) -> float:
    cells[:] = 0
    for i in range(hjd.size):
        cells[_phase_bin((hjd[i] - start) * f), bins[i]] += 1
    h = 0.0
    for p in range(PHASE_BINS):
        column = 0
        for m in range(MAGNITUDE_BINS):
            h -= table[cells[p, m]]
            column += cells[p, m]
        h += table[column]
    return h / hjd.size


@jit()
def _aov(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    out: np.ndarray,
) -> None:
    bins = np.empty(longest_curve(offsets), np.int64)
    counts, means = np.empty(PHASE_BINS, np.int64), np.empty(PHASE_BINS)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if b - a > PHASE_BINS and usable(hjd[a:b], mag[a:b]):
            start, center = hjd[a:b].min(), mag[a:b].mean()
            for j in range(freq_offsets[i], freq_offsets[i + 1]):
                out[j] = _theta(hjd[a:b], mag[a:b], start, center, freqs[j], bins, counts, means)


@jit()
def _theta(
    hjd: np.ndarray,
    mag: np.ndarray,
    start: float,
    center: float,
    f: float,
    bins: np.ndarray,
    counts: np.ndarray,
    means: np.ndarray,
) -> float:
    n = hjd.size
    counts[:] = 0
    means[:] = 0.0
    for i in range(n):
        bins[i] = _phase_bin((hjd[i] - start) * f)
        counts[bins[i]] += 1
        means[bins[i]] += mag[i] - center
    s1 = 0.0
    for b in range(PHASE_BINS):
        means[b] /= max(counts[b], 1)
        s1 += counts[b] * means[b] ** 2
    s2 = 0.0
    for i in range(n):
        s2 += ((mag[i] - center) - means[bins[i]]) ** 2
    return (n - PHASE_BINS) / (PHASE_BINS - 1) * s1 / s2
