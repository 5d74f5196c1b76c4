"""Least squares with a mean and H harmonics, in float64, frequency by frequency: reference and last word of the scan.

The statistic is the reduction of χ² relative to the χ² of the weighted mean, from 0 to 1 (astropy's ``standard``
normalisation of ``nterms=H``; H = 1 is the Lomb-Scargle power). Columns and data are orthogonalised in turn (modified
Gram-Schmidt on the data as the last column, which is as accurate as Householder's reflections; normal equations would
square the condition). A column that depends on the ones before it carries no information and is left out.

The multi-harmonic analysis of variance of Schwarzenberg-Czerny (1996, ApJ 460, L107) is a monotone function of it,
see `analysis_of_variance`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scope_dask.compiled import jit
from scope_dask.periods import exact_lombscargle as exact
from scope_dask.periods.exact_lombscargle import NO_VARIANCE
from scope_dask.periods.options import check_harmonics


class Room(NamedTuple):
    """A light curve made ready, and working space (room for the longest one; the first `n` entries are used)."""

    curve: exact.Curve
    root: np.ndarray  # √weight
    data: np.ndarray  # √weight (mag - mean), of norm 1
    turn: np.ndarray  # (2, points): cos and sin of the phase
    columns: np.ndarray  # (2 H + 2, points): mean, cos φ, sin φ, cos 2φ, … and the data, all times √weight


@jit()
def new_room(n: int, n_harmonics: int) -> Room:
    """Return room for a light curve of up to `n` points."""
    columns = np.empty((2 * n_harmonics + 2, n))
    return Room(exact.new_curve(n), np.empty(n), np.empty(n), np.empty((2, n)), columns)


@jit()
def prepare(
    room: Room, hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray, n_harmonics: int, weighted: bool
) -> tuple[float, float]:
    """Fill `room`; return (baseline in days, factor), NaN where there is no periodogram.

    There is none where Lomb-Scargle has none (`exact_lombscargle.prepare`, whose factor it is), nor for
    ``2 H + 1`` points or fewer, which any frequency fits.
    """
    baseline, factor = exact.prepare(room.curve, hjd, mag, magerr, weighted)
    if hjd.size < 2 * n_harmonics + 2:
        return 0.0, np.nan
    for i in range(hjd.size):
        room.root[i] = np.sqrt(room.curve.weight[i])
        room.data[i] = room.curve.strength[i] / room.root[i]
    return baseline, factor


@jit(fastmath={"reassoc", "contract", "nsz"})
def _design(room: Room, n: int, frequency: float, n_harmonics: int) -> None:
    """Set the columns at a frequency."""
    time, root, data, turn, columns = room.curve.time, room.root, room.data, room.turn, room.columns
    last = 2 * n_harmonics + 1
    for i in range(n):
        c, s = exact.cos_sin(time[i] * frequency)
        turn[0, i] = c
        turn[1, i] = s
        columns[0, i] = root[i]
        columns[1, i] = root[i] * c
        columns[2, i] = root[i] * s
        columns[last, i] = data[i]
    for k in range(3, last, 2):
        for i in range(n):
            columns[k, i] = columns[k - 2, i] * turn[0, i] - columns[k - 1, i] * turn[1, i]
            columns[k + 1, i] = columns[k - 2, i] * turn[1, i] + columns[k - 1, i] * turn[0, i]


@jit(fastmath={"reassoc", "contract", "nsz"})
def _dot(columns: np.ndarray, j: int, k: int, n: int) -> float:
    total = 0.0
    for i in range(n):
        total += columns[j, i] * columns[k, i]
    return total


@jit(fastmath={"reassoc", "contract", "nsz"})
def _subtract(columns: np.ndarray, k: int, factor: float, j: int, n: int) -> None:
    for i in range(n):
        columns[k, i] -= factor * columns[j, i]


@jit()
def power(room: Room, n: int, frequency: float, n_harmonics: int, floating_mean: bool) -> float:
    """Return the reduction of χ² by the harmonics, from 0 to 1; without `floating_mean`, the mean is kept."""
    _design(room, n, frequency, n_harmonics)
    columns = room.columns
    last = 2 * n_harmonics + 1
    p = 0.0
    for j in range(0 if floating_mean else 1, last):
        square = _dot(columns, j, j, n)
        if square < NO_VARIANCE:
            continue
        for k in range(j + 1, last):
            _subtract(columns, k, _dot(columns, j, k, n) / square, j, n)
        projection = _dot(columns, j, last, n)
        _subtract(columns, last, projection / square, j, n)
        if j > 0:
            p += projection * projection / square
    return p


@jit()
def _all_powers(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    n_harmonics: int,
    out: np.ndarray,
) -> None:
    room = new_room(exact.longest(offsets), n_harmonics)
    for i in range(offsets.size - 1):
        a = offsets[i]
        b = offsets[i + 1]
        _, factor = prepare(room, hjd[a:b], mag[a:b], magerr[a:b], n_harmonics, True)
        for j in range(freq_offsets[i], freq_offsets[i + 1]):
            out[j] = power(room, b - a, freqs[j], n_harmonics, True) if factor > 0.0 else np.nan


def multiharmonic(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    n_harmonics: int,
) -> np.ndarray:
    """Return the power of a mean and H harmonics of every light curve at its own list of frequencies.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Times in days, magnitudes and their errors of all light curves, end to end. Weights are 1/magerr².
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    freqs : numpy.ndarray, shape (frequencies,), float64
        Frequencies in cycles/day, end to end.
    freq_offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i is evaluated at ``freqs[freq_offsets[i]:freq_offsets[i + 1]]``.
    n_harmonics : int
        H, from 1 (the Lomb-Scargle power) to 5.

    Returns
    -------
    numpy.ndarray, shape (frequencies,), float64
        From 0 to 1. NaN for a light curve without a periodogram (2 H + 1 points or fewer, constant, values that
        are not finite, errors that are not positive, …).

    Raises
    ------
    OptionError
        If there is no such number of harmonics.
    """
    check_harmonics(n_harmonics)
    out = np.empty(len(freqs))
    freqs = np.ascontiguousarray(freqs, np.float64)
    _all_powers(hjd, mag, magerr, offsets, freqs, freq_offsets, int(n_harmonics), out)
    return out


def analysis_of_variance(power: np.ndarray, n_points: np.ndarray, n_harmonics: int) -> np.ndarray:
    """Return the multi-harmonic analysis of variance Θ, which grows with the power.

    ``Θ = (N − 2H − 1)/(2H) · P/(1 − P)`` (Schwarzenberg-Czerny 1996, ApJ 460, L107: of his 2H + 1 orthogonal
    polynomials, which span the mean and H harmonics, the mean takes one degree of freedom). For Gaussian noise of the
    given errors Θ follows the F distribution with 2H and N − 2H − 1 degrees of freedom.

    Parameters
    ----------
    power : numpy.ndarray
        Powers of `multiharmonic` or of the scan.
    n_points : numpy.ndarray
        Points N of the light curve; broadcast with `power`.
    n_harmonics : int

    Returns
    -------
    numpy.ndarray, float64
        Infinite for a power of 1, which rounding may exceed.
    """
    p = np.minimum(np.asarray(power, np.float64), 1.0)
    with np.errstate(divide="ignore"):
        return (np.asarray(n_points) - 2 * n_harmonics - 1) / (2 * n_harmonics) * p / (1.0 - p)
