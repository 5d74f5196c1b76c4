"""Fourier decomposition at a given period: up to 5 harmonics by weighted least squares, chosen by BIC.

The design matrix (constant, slope, cos and sin of each harmonic, divided by the errors) is orthogonalised
column by column (modified Gram-Schmidt), and every new direction is taken out of the residuals at once. One
pass thus gives χ² of every order as a sum of squares of actual residuals: the normal equations would square
the condition number, and χ² as a difference of large sums would lose the digits that BIC needs.
"""

from __future__ import annotations

import math

import numpy as np

from scope_dask.compiled import jit
from scope_dask.extraction.ordering import frozen, in_time_order, usable
from scope_dask.schema import FOURIER

MAX_ORDER = 5
_TERMS = 2 + 2 * MAX_ORDER
_EPSILON = 2.0**-53
# Rows of the scratch array: the orthonormal directions come first.
_INVERSE_ERROR, _LINE_RESIDUAL, _RESIDUAL, _COS_1, _SIN_1, _COS, _SIN = range(_TERMS, _TERMS + 7)
_ROWS = _TERMS + 7


def fourier(
    hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray, offsets: np.ndarray, period: np.ndarray
) -> np.ndarray:
    """Return the Fourier decomposition of every light curve at its period (or at each of its periods).

    ``m(t) = c0 + c1 (t − min t) + Σ_{n=1..k} A_n cos(2π n t/P) + B_n sin(2π n t/P)`` with t in HJD (phase 0
    at HJD 0), weights 1/magerr². ``BIC_k = χ²_k + ln(N) (2 + 2k)``; k is the lowest order of least BIC among
    those with ``2 + 2k < N``, k <= 5. A direction that the points do not determine (all phases equal, say)
    gets coefficient 0. At a period beyond the baseline the terms are nearly dependent: their coefficients may
    be large and cancel.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,)
        Times (days), magnitudes, errors; light curve i holds the points ``offsets[i]:offsets[i + 1]``.
        Points out of time order are put in order first (equal times keep theirs).
    offsets : numpy.ndarray, shape (n + 1,), int64
    period : numpy.ndarray, shape (n,) or (n, p)
        Periods in days. With p periods what does not depend on the period is done once.

    Returns
    -------
    numpy.ndarray, shape (n, 14) or (n, p, 14), float64
        In the order of `schema.FOURIER`, raw contents: ``(χ²_0 − χ²_k)/χ²_0`` (0 for k = 0), ``BIC_k``, c0
        (mag), c1 (mag/day), A_1, B_1, …, A_5, B_5 (mag; 0 above order k). NaN for a light curve of fewer than
        4 points, with a value that is not finite or an error that is not positive, and for a period that is
        not finite and positive.

    Raises
    ------
    ValueError
        If there are more or fewer periods than light curves.
    """
    period = np.asarray(period)
    if len(period) != len(offsets) - 1:
        raise ValueError(
            f"there are {len(period)} periods for {len(offsets) - 1} light curves; give one (or one row) each"
        )
    periods = period if period.ndim > 1 else period[:, None]
    out = np.full((*periods.shape, len(FOURIER)), np.nan)
    _fourier(*in_time_order(offsets, hjd, mag, magerr), frozen(offsets, np.int64), frozen(periods), out)
    return out.reshape(*period.shape, len(FOURIER))


def documented(coefficients: np.ndarray) -> np.ndarray:
    """Convert raw contents of the Fourier columns to the documented ones.

    Parameters
    ----------
    coefficients : numpy.ndarray, shape (..., 14)
        As `fourier` returns them.

    Returns
    -------
    numpy.ndarray, shape (..., 14)
        The first four as they are, then ``amp_1 = hypot(A_1, B_1)`` (mag), ``φ_1 = atan2(A_1, B_1)`` in
        (−π, π], and for n = 2 … 5 ``amp_n/amp_1`` (NaN where amp_1 = 0) and ``((φ_n/n − φ_1)/(2π/n)) mod 1``
        in [0, 1).
    """
    out = np.array(coefficients, dtype=np.float64)
    cosine, sine = out[..., 4::2].copy(), out[..., 5::2].copy()
    amplitude, phase = np.hypot(cosine, sine), np.arctan2(cosine, sine)
    n = np.arange(2, MAX_ORDER + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        out[..., 6::2] = amplitude[..., 1:] / amplitude[..., :1]
    cycles = np.mod((phase[..., 1:] / n - phase[..., :1]) / (2 * np.pi / n), 1.0)
    out[..., 7::2] = np.where(cycles == 1.0, 0.0, cycles)
    out[..., 4], out[..., 5] = amplitude[..., 0], phase[..., 0]
    return out


@jit()
def _fourier(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    periods: np.ndarray,
    out: np.ndarray,
) -> None:
    longest = 0
    for row in range(len(out)):
        longest = max(longest, offsets[row + 1] - offsets[row])
    buffer = np.empty(_ROWS * longest)
    triangle, projections = np.zeros((_TERMS, _TERMS)), np.zeros(_TERMS)
    chi2 = np.empty(MAX_ORDER + 1)
    for row in range(len(out)):
        start, stop = offsets[row], offsets[row + 1]
        t, m, e = hjd[start:stop], mag[start:stop], magerr[start:stop]
        if not usable(t, m, e):
            continue
        n = len(t)
        scratch = buffer[: _ROWS * n].reshape(_ROWS, n)
        origin = m[n // 2]
        chi2[0] = _fit_line(t, m, e, origin, scratch, triangle, projections)
        if not chi2[0] < np.inf:
            continue  # errors so small that their weights overflow
        for which in range(periods.shape[1]):
            period = periods[row, which]
            if period > 0.0 and period < np.inf:
                _fit_harmonics(t, period, scratch, triangle, projections, chi2)
                _choose_order(n, chi2, triangle, projections, out[row, which])
                out[row, which, 2] += origin


@jit()
def _fit_line(
    t: np.ndarray,
    m: np.ndarray,
    e: np.ndarray,
    origin: float,
    scratch: np.ndarray,
    triangle: np.ndarray,
    projections: np.ndarray,
) -> float:
    """Fit constant and slope; leave their directions, 1/e and the residuals in `scratch`; return χ²_0."""
    n = len(t)
    for i in range(n):
        w = 1.0 / e[i]
        scratch[_INVERSE_ERROR, i] = w
        scratch[0, i] = w
        scratch[1, i] = w * (t[i] - t[0])
        scratch[_LINE_RESIDUAL, i] = w * (m[i] - origin)
    residual = scratch[_LINE_RESIDUAL]
    _add_direction(0, scratch, 0.0, residual, triangle, projections)
    floor = 4.0 * _EPSILON * triangle[0, 0] * (n * (t[n - 1] - t[0]) + _largest(t))
    return _add_direction(1, scratch, floor, residual, triangle, projections)


@jit()
def _fit_harmonics(
    t: np.ndarray,
    period: float,
    scratch: np.ndarray,
    triangle: np.ndarray,
    projections: np.ndarray,
    chi2: np.ndarray,
) -> None:
    """Add the harmonics to the line; fill χ² of orders 1 to 5 (those with fewer terms than points)."""
    n = len(t)
    _first_harmonic(t, period, scratch)
    residual = scratch[_RESIDUAL]
    for i in range(n):
        residual[i] = scratch[_LINE_RESIDUAL, i]
    cycles = _largest(t) / period + 1.0
    for order in range(1, MAX_ORDER + 1):
        if 2 + 2 * order >= n:
            break
        if order > 1:
            _next_harmonic(scratch)
        column = 2 * order
        _weighted(scratch[_COS], scratch[_INVERSE_ERROR], scratch[column])
        _weighted(scratch[_SIN], scratch[_INVERSE_ERROR], scratch[column + 1])
        # What rounding alone leaves of a column: that of the stored times (half an ulp of HJD, as an angle)
        # and that of sums over n terms. The factor 4 allows for up to eleven projections.
        floor = 4.0 * _EPSILON * (n + 2.0 * math.pi * order * cycles) * triangle[0, 0]
        _add_direction(column, scratch, floor, residual, triangle, projections)
        chi2[order] = _add_direction(column + 1, scratch, floor, residual, triangle, projections)


@jit()
def _largest(t: np.ndarray) -> float:
    return max(abs(t[0]), abs(t[len(t) - 1]))


@jit()
def _first_harmonic(t: np.ndarray, period: float, scratch: np.ndarray) -> None:
    """Fill the first harmonic.

    The remainder of ``t[0]`` and the differences of times are exact: the phases of the points relative to
    each other are as accurate as the cycles since the first point, not since HJD 0.
    """
    start = (t[0] % period) / period
    for i in range(len(t)):
        cycle = (t[i] - t[0]) / period + start
        angle = 2.0 * math.pi * (cycle - math.floor(cycle + 0.5))
        scratch[_COS_1, i] = math.cos(angle)
        scratch[_SIN_1, i] = math.sin(angle)
        scratch[_COS, i] = scratch[_COS_1, i]
        scratch[_SIN, i] = scratch[_SIN_1, i]


@jit()
def _next_harmonic(scratch: np.ndarray) -> None:
    for i in range(scratch.shape[1]):
        c, s = scratch[_COS, i], scratch[_SIN, i]
        scratch[_COS, i] = c * scratch[_COS_1, i] - s * scratch[_SIN_1, i]
        scratch[_SIN, i] = s * scratch[_COS_1, i] + c * scratch[_SIN_1, i]


@jit()
def _weighted(values: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = values[i] * weights[i]


@jit()
def _add_direction(
    column: int,
    scratch: np.ndarray,
    floor: float,
    residual: np.ndarray,
    triangle: np.ndarray,
    projections: np.ndarray,
) -> float:
    """Orthogonalise a column against those before it, take it out of `residual`, return the new χ².

    A column no longer than `floor` afterwards is no direction of its own: its diagonal element becomes 0.
    """
    a = scratch[column]
    r = _dot(scratch[0], a) if column else 0.0
    for j in range(column):
        triangle[j, column] = r
        r = _subtract(a, r, scratch[j], scratch[j + 1])
    # The last `_subtract` multiplied the column with itself.
    length = math.sqrt(r if column else _dot(a, a))
    if not length > floor:
        triangle[column, column] = projections[column] = 0.0
        a[:] = 0.0
        return _dot(residual, residual)
    triangle[column, column] = length
    for i in range(len(a)):
        a[i] /= length
    projection = _dot(a, residual)
    projections[column] = projection
    return _subtract(residual, projection, a, residual)


# Reassociation lets these sums use vector registers; it assumes nothing about NaN or infinity.
@jit(fastmath={"reassoc", "contract"})
def _dot(x: np.ndarray, y: np.ndarray) -> float:
    total = 0.0
    for i in range(len(x)):
        total += x[i] * y[i]
    return total


@jit(fastmath={"reassoc", "contract"})
def _subtract(x: np.ndarray, factor: float, y: np.ndarray, z: np.ndarray) -> float:
    """Subtract ``factor * y`` from `x` and return the product of the new `x` with `z` (which may be `x`)."""
    total = 0.0
    for i in range(len(x)):
        x[i] -= factor * y[i]
        total += x[i] * z[i]
    return total


@jit()
def _choose_order(n: int, chi2: np.ndarray, triangle: np.ndarray, projections: np.ndarray, out: np.ndarray) -> None:
    """Fill one row of results with the order of least BIC (the lowest of equals)."""
    best = 0
    lowest = chi2[0] + math.log(n) * 2
    for order in range(1, MAX_ORDER + 1):
        if 2 + 2 * order >= n:
            break
        bic = chi2[order] + math.log(n) * (2 + 2 * order)
        if bic < lowest:
            best, lowest = order, bic
    out[0] = (chi2[0] - chi2[best]) / chi2[0] if best else 0.0
    out[1] = lowest
    out[2:] = 0.0
    for j in range(1 + 2 * best, -1, -1):
        if triangle[j, j] > 0.0:
            value = projections[j]
            for k in range(j + 1, 2 + 2 * best):
                value -= triangle[j, k] * out[2 + k]
            out[2 + j] = value / triangle[j, j]
