"""The frequency of a chosen peak below the grid step, and its uncertainty.

The grid frequency is replaced by the nearest maximum of a smooth statistic, evaluated in float64, within one grid step
on either side: for LS, ELS and MHAOV their own; the others (conditional entropy, analysis of variance, box and
phase-folding searches) are step functions of the frequency, whose maximum is a matter of single points, and are refined
on the unweighted fit of a mean and up to `FOLDED_HARMONICS` harmonics instead: it holds the phase coherent, whatever
the shape. Where the statistic has no maximum inside the interval, the grid frequency stands, without an uncertainty.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scope_dask.compiled import jit
from scope_dask.errors import OptionError, nearest
from scope_dask.periods import exact_multiharmonic as exact
from scope_dask.periods.exact_lombscargle import longest
from scope_dask.periods.options import MOST_HARMONICS, check_harmonics

FOLDED_HARMONICS = 5  # narrow eclipses gain from every one
POINTS_PER_HARMONIC = 10  # of short light curves
INTERVALS = 8  # the interval is first divided into as many equal parts
GOLDEN = 0.5 * (np.sqrt(5.0) - 1.0)
NARROWED = 1e-6  # of a grid step: float64 knows a maximum little better
SECOND_DIFFERENCE = 0.01  # step of the curvature in units of 1/baseline: its error is 1e-4 relative

_OWN = {"LS": (1, True, True), "ELS": (1, False, False)}  # harmonics, weights, fitted mean
_FOLDED = ("CE", "ECE", "AOV", "EAOV", "BLS", "FPW", "ELS_ECE_EAOV", "LS_CE_AOV")


class Refined(NamedTuple):
    """Refined frequencies of n light curves.

    Attributes
    ----------
    frequency : numpy.ndarray, shape (n,), float64
        Cycles/day, within one grid step of the grid frequency. NaN where there is none to refine.
    error : numpy.ndarray, shape (n,), float64
        Standard deviation of the frequency, cycles/day; NaN where the grid frequency was kept.
    """

    frequency: np.ndarray
    error: np.ndarray


def refine(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    frequency: np.ndarray,
    df: np.ndarray,
    method: str,
    n_harmonics: int = 3,
) -> Refined:
    """Return the frequency of the maximum next to a grid frequency of every light curve.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Times in days, magnitudes and their errors of all light curves, end to end.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    frequency : numpy.ndarray, shape (n,), float64
        Grid frequencies of the chosen peaks, cycles/day.
    df : numpy.ndarray, shape (n,), float64
        Grid steps, cycles/day.
    method : str
        LS, ELS, MHAOV, CE, ECE, AOV, EAOV, BLS, FPW or a nested search.
    n_harmonics : int
        Harmonics of MHAOV, 1 to 5 (other methods have their own number).

    Returns
    -------
    Refined
        The error is that of least squares with the scatter about the fit for the noise,
        ``σ_f² = 2 (1 − P)/((N − 2H − 2) |P''|)``, from the curvature of the power. For an evenly observed sinusoid
        it is √(6/N) σ/(π T A) (Montgomery & O'Donoghue 1999, Delta Scuti Star Newsletter 13, 28). It does not know of
        correlated noise (Schwarzenberg-Czerny 1991, MNRAS 253, 198), of aliases, nor of what the fit cannot follow
        (the edges of an eclipse). NaN for a light curve without a grid frequency, or that the smooth statistic cannot
        handle (2 H + 1 points or fewer, …).

    Raises
    ------
    OptionError
        If there is no such method or number of harmonics.
    """
    known = [*_OWN, "MHAOV", *_FOLDED]
    if method not in known:
        raise OptionError(f"there is no period method {method!r}{nearest(method, known)}; there are {', '.join(known)}")
    check_harmonics(n_harmonics)
    own, weighted, floating_mean = _OWN.get(method, (n_harmonics, method == "MHAOV", True))
    harmonics = np.full(len(offsets) - 1, own, np.int64)
    if method in _FOLDED:
        harmonics = np.clip(np.diff(offsets) // POINTS_PER_HARMONIC, 1, FOLDED_HARMONICS)
    out = Refined(np.full(len(offsets) - 1, np.nan), np.full(len(offsets) - 1, np.nan))
    f, step = (np.ascontiguousarray(a, np.float64) for a in (frequency, df))
    _refine(hjd, mag, magerr, offsets, f, step, harmonics, weighted, floating_mean, out.frequency, out.error)
    return out


@jit()
def _refine(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    frequency: np.ndarray,
    df: np.ndarray,
    harmonics: np.ndarray,
    weighted: bool,
    floating_mean: bool,
    refined: np.ndarray,
    error: np.ndarray,
) -> None:
    room = exact.new_room(longest(offsets), MOST_HARMONICS)
    for i in range(offsets.size - 1):
        a = offsets[i]
        b = offsets[i + 1]
        n_harmonics = harmonics[i]
        baseline, factor = exact.prepare(room, hjd[a:b], mag[a:b], magerr[a:b], n_harmonics, weighted)
        if not (factor > 0.0 and 0.0 < frequency[i] < np.inf and 0.0 < df[i] < np.inf):
            continue
        refined[i] = _maximum(room, b - a, frequency[i], df[i], n_harmonics, floating_mean)
        if np.isnan(refined[i]):
            refined[i] = frequency[i]
        else:
            h = SECOND_DIFFERENCE / baseline
            error[i] = _error(room, b - a, refined[i], h, n_harmonics, floating_mean)


@jit()
def _maximum(room: exact.Room, n: int, centre: float, df: float, n_harmonics: int, floating_mean: bool) -> float:
    """Return the highest maximum within one grid step, NaN if the highest value lies at an end."""
    width = 2.0 * df / INTERVALS
    start = centre - df
    best = -1
    highest = -np.inf
    for j in range(INTERVALS + 1):
        p = exact.power(room, n, start + j * width, n_harmonics, floating_mean)
        if p > highest:
            highest = p
            best = j
    low = start + max(best - 1, 0) * width
    high = start + min(best + 1, INTERVALS) * width
    top = _golden_section(room, n, low, high, NARROWED * df, n_harmonics, floating_mean)
    inside = min(top - start, centre + df - top) > 1e-3 * width
    return top if inside else np.nan


@jit()
def _golden_section(
    room: exact.Room, n: int, low: float, high: float, width: float, n_harmonics: int, floating_mean: bool
) -> float:
    """Return the maximum between `low` and `high`, narrowed down to `width` (Kiefer 1953)."""
    a = high - GOLDEN * (high - low)
    b = low + GOLDEN * (high - low)
    p = exact.power(room, n, a, n_harmonics, floating_mean)
    q = exact.power(room, n, b, n_harmonics, floating_mean)
    for _ in range(64):
        if high - low <= width:
            break
        if p >= q:
            high, b, q = b, a, p
            a = high - GOLDEN * (high - low)
            p = exact.power(room, n, a, n_harmonics, floating_mean)
        else:
            low, a, p = a, b, q
            b = low + GOLDEN * (high - low)
            q = exact.power(room, n, b, n_harmonics, floating_mean)
    return 0.5 * (low + high)


@jit()
def _error(room: exact.Room, n: int, top: float, h: float, n_harmonics: int, floating_mean: bool) -> float:
    """Return the standard deviation of the frequency from the curvature of the power at its maximum."""
    p = exact.power(room, n, top, n_harmonics, floating_mean)
    before = exact.power(room, n, top - h, n_harmonics, floating_mean)
    after = exact.power(room, n, top + h, n_harmonics, floating_mean)
    curvature = (2.0 * p - before - after) / (h * h)
    freedom = n - 2 * n_harmonics - 2
    if not (curvature > 0.0 and freedom > 0):
        return np.nan
    return np.sqrt(2.0 * max(1.0 - p, 0.0) / (freedom * curvature))
