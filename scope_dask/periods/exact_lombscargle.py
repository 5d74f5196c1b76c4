"""Lomb-Scargle power in float64, evaluated point by point: the reference of the fast scan and its last word.

Both forms are the reduction of χ² by a sinusoid, ``yᵀ A⁻¹ y``, relative to the χ² of the mean:

* floating mean ("LS", Zechmeister & Kürster 2009; astropy's ``standard`` normalisation): weights 1/σ², the
  mean is fitted together with the sinusoid;
* without ("ELS", Scargle 1982): no weights, magnitudes scaled to y from 0 to 1, their plain mean subtracted
  beforehand; the power is ½ Σ(y - ȳ)² times the relative reduction.

A direction in which the sinusoid does not vary over the points (variance below 1e-12 of the full one)
carries no information and is left out instead of dividing zero by zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scope_dask.compiled import jit

NO_VARIANCE = 1e-12  # rounding of the variances is about 1e-15


class Curve(NamedTuple):
    """A light curve made ready (room for the longest one; the first `n` entries are used)."""

    time: np.ndarray  # days from the middle of the light curve
    weight: np.ndarray  # sum 1
    strength: np.ndarray  # weight * (mag - mean) / √(Σ weight (mag - mean)²)


@jit()
def new_curve(n: int) -> Curve:
    """Return room for a light curve of up to `n` points."""
    return Curve(np.empty(n), np.empty(n), np.empty(n))


@jit()
def longest(offsets: np.ndarray) -> int:
    """Return the number of points of the longest light curve."""
    n = 0
    for i in range(offsets.size - 1):
        n = max(n, offsets[i + 1] - offsets[i])
    return n


@jit()
def prepare(
    curve: Curve, hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray, floating_mean: bool
) -> tuple[float, float]:
    """Fill `curve`; return (baseline in days, factor of the power), NaN where there is no periodogram.

    There is none for fewer than 3 points, values that are not finite, equal times, equal magnitudes and, with
    `floating_mean`, errors that are not positive.
    """
    n = hjd.size
    start, end = _range(hjd)
    low, high = _range(mag)
    if n < 3 or not (start < end and low < high) or (floating_mean and not _are_positive(magerr)):
        return 0.0, np.nan
    total = 0.0
    mean = 0.0
    for i in range(n):
        curve.time[i] = hjd[i] - 0.5 * (start + end)
        curve.weight[i] = (1.0 / magerr[i]) ** 2 if floating_mean else 1.0
        total += curve.weight[i]
        mean += curve.weight[i] * (mag[i] - low)
    mean /= total
    square = 0.0
    for i in range(n):
        curve.weight[i] /= total
        y = mag[i] - low - mean
        square += curve.weight[i] * y * y
        curve.strength[i] = curve.weight[i] * y
    for i in range(n):
        curve.strength[i] /= np.sqrt(square)
    factor = 1.0 if floating_mean else 0.5 * n * square / (high - low) ** 2
    return end - start, factor if 0.0 < square < np.inf else np.nan


@jit()
def _range(x: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest value, (NaN, NaN) if one is not finite."""
    low = np.inf
    high = -np.inf
    for i in range(x.size):
        if not np.abs(x[i]) < np.inf:
            return np.nan, np.nan
        low = min(low, x[i])
        high = max(high, x[i])
    return low, high


@jit()
def _are_positive(x: np.ndarray) -> bool:
    for i in range(x.size):  # noqa: SIM110  (numba compiles no generator expression)
        if not 0.0 < x[i] < np.inf:
            return False
    return True


@jit(fastmath={"reassoc", "contract", "nsz"})
def cos_sin(turns: float) -> tuple[float, float]:
    """Return cos and sin of 2π `turns` to 1e-15 (beyond the rounding of `turns`), without a branch."""
    x = (turns - np.floor(turns + 0.5)) * (0.5 * np.pi)  # a quarter of the angle, |x| ≤ π/4
    z = x * x
    s = 1.0 + z * (-1 / 6 + z * (1 / 120 + z * (-1 / 5040 + z * (1 / 362880 + z * (-1 / 39916800 + z * (
        1 / 6227020800 - z / 1307674368000))))))  # fmt: skip
    c = 0.5 + z * (-1 / 24 + z * (1 / 720 + z * (-1 / 40320 + z * (1 / 3628800 + z * (-1 / 479001600 + z * (
        1 / 87178291200 - z / 20922789888000))))))  # fmt: skip
    s *= x
    c = 1.0 - z * c
    s, c = 2.0 * s * c, 1.0 - 2.0 * s * s  # twice the double angle
    return 1.0 - 2.0 * s * s, 2.0 * s * c


@jit(fastmath={"reassoc", "contract", "nsz"})
def sums(curve: Curve, n: int, frequency: float) -> tuple[float, float, float, float, float, float, float]:
    """Return Σ strength (cos, sin) and Σ weight (cos, sin, cos², sin², cos sin)."""
    yc = ys = c = s = cc = ss = cs = 0.0
    for i in range(n):
        a, b = cos_sin(curve.time[i] * frequency)
        yc += curve.strength[i] * a
        ys += curve.strength[i] * b
        p = curve.weight[i] * a
        q = curve.weight[i] * b
        c += p
        s += q
        cc += p * a
        ss += q * b
        cs += p * b
    return yc, ys, c, s, cc, ss, cs


@jit()
def power(curve: Curve, n: int, frequency: float, floating_mean: bool) -> float:
    """Return the power relative to its upper limit, from 0 to 1."""
    yc, ys, c, s, cc, ss, cs = sums(curve, n, frequency)
    if floating_mean:
        cc -= c * c
        ss -= s * s
        cs -= c * s
    tau = 0.5 * np.arctan2(2.0 * cs, cc - ss)  # makes the two directions independent
    u = np.cos(tau)
    v = np.sin(tau)
    p = 0.0
    variance = u * u * cc + 2.0 * u * v * cs + v * v * ss
    if variance > NO_VARIANCE:
        p += (u * yc + v * ys) ** 2 / variance
    variance = u * u * ss - 2.0 * u * v * cs + v * v * cc
    if variance > NO_VARIANCE:
        p += (u * ys - v * yc) ** 2 / variance
    return p


@jit()
def _all_powers(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    floating_mean: bool,
    out: np.ndarray,
) -> None:
    curve = new_curve(longest(offsets))
    for i in range(offsets.size - 1):
        a = offsets[i]
        b = offsets[i + 1]
        _, factor = prepare(curve, hjd[a:b], mag[a:b], magerr[a:b], floating_mean)
        for j in range(freq_offsets[i], freq_offsets[i + 1]):
            out[j] = factor * power(curve, b - a, freqs[j], floating_mean) if factor > 0.0 else np.nan


def lomb_scargle(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    freqs: np.ndarray,
    freq_offsets: np.ndarray,
    floating_mean: bool,
) -> np.ndarray:
    """Return the Lomb-Scargle power of every light curve at its own list of frequencies, in float64.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Times in days, magnitudes and their errors of all light curves, end to end.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    freqs : numpy.ndarray, shape (frequencies,), float64
        Frequencies in cycles/day, end to end.
    freq_offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i is evaluated at ``freqs[freq_offsets[i]:freq_offsets[i + 1]]``.
    floating_mean : bool
        True: "LS", weights 1/magerr², fitted mean, from 0 to 1. False: "ELS", no weights (magerr is not
        used), magnitudes scaled to y from 0 to 1, mean subtracted, power from 0 to ½ Σ (y - ȳ)².

    Returns
    -------
    numpy.ndarray, shape (frequencies,), float64
        NaN for a light curve without a periodogram (fewer than 3 points, constant, values that are not
        finite, …).
    """
    out = np.empty(len(freqs))
    _all_powers(hjd, mag, magerr, offsets, np.ascontiguousarray(freqs, np.float64), freq_offsets, floating_mean, out)
    return out
