"""The 22 statistics of a light curve (schema.STATISTICS), for a whole partition."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np

from scope_dask.compiled import jit
from scope_dask.extraction.normality import anderson_darling, shapiro_wilk
from scope_dask.extraction.ordering import frozen, in_time_order, sort_room, sort_values, usable
from scope_dask.schema import STATISTICS

# Position of every statistic in a row of results.
AT: Any = namedtuple("Positions", STATISTICS.names)(*range(len(STATISTICS)))


def statistics(hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the statistics of every light curve.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,)
        Times (days), magnitudes, errors; light curve i holds the points ``offsets[i]:offsets[i + 1]``.
        Points out of time order are put in order first (equal times keep theirs).
    offsets : numpy.ndarray, shape (n + 1,), int64

    Returns
    -------
    numpy.ndarray, shape (n, 22), float64
        In the order of `schema.STATISTICS`, which holds formulas and units. A light curve of fewer than 4
        points, with a value that is not finite or an error that is not positive, is a row of NaN. Where a
        formula is 0/0 the result is NaN: ``inv_vonneumannratio`` and ``stetson_k`` of constant magnitudes,
        ``inv_vonneumannratio`` with two equal times (a weight is infinite), ``ad`` of constant mag/magerr
        (``sw`` is 1 there, as in Royston's algorithm).
    """
    out = np.full((len(offsets) - 1, len(STATISTICS)), np.nan)
    _statistics(*in_time_order(offsets, hjd, mag, magerr), frozen(offsets, np.int64), out)
    return out


@jit()
def _statistics(hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> None:
    room = sort_room(offsets)
    first, second = np.empty(room), np.empty(room)
    for row in range(len(out)):
        start, stop = offsets[row], offsets[row + 1]
        t, m, e = hjd[start:stop], mag[start:stop], magerr[start:stop]
        if not usable(t, m, e):
            continue
        n = len(m)
        one = out[row]
        one[AT.n] = n
        for i in range(n):  # an assignment of slices would compile numba's error messages: 3 s
            first[i] = m[i]
        _ordered_statistics(sort_values(first, second, n)[:n], one)
        _moments(m, e, one)
        _consecutive(t, m, e, one)
        for i in range(n):
            first[i] = m[i] / e[i]
        ordered = sort_values(first, second, n)[:n]
        one[AT.ad] = anderson_darling(ordered)
        # `second` may hold the sorted values; its free half starts at n or later.
        one[AT.sw] = shapiro_wilk(ordered, second[n:])


@jit()
def _percentile(ordered: np.ndarray, fraction: float) -> float:
    """Return a percentile of sorted values by linear interpolation between the two neighbours."""
    position = fraction * (len(ordered) - 1)
    below = min(int(position), len(ordered) - 2)
    return ordered[below] + (ordered[below + 1] - ordered[below]) * (position - below)


@jit()
def _ordered_statistics(ordered: np.ndarray, out: np.ndarray) -> None:
    """Fill what depends on the sorted magnitudes only."""
    n = len(ordered)
    median = 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
    out[AT.median] = median
    out[AT.median_abs_dev] = _median_deviation(ordered, median)
    out[AT.iqr] = _percentile(ordered, 0.75) - _percentile(ordered, 0.25)
    out[AT.i60r] = _percentile(ordered, 0.80) - _percentile(ordered, 0.20)
    out[AT.i70r] = _percentile(ordered, 0.85) - _percentile(ordered, 0.15)
    out[AT.i80r] = _percentile(ordered, 0.90) - _percentile(ordered, 0.10)
    out[AT.i90r] = _percentile(ordered, 0.95) - _percentile(ordered, 0.05)


@jit()
def _median_deviation(ordered: np.ndarray, median: float) -> float:
    """Return median(|m − median|): the deviations of either half are sorted already and only merged."""
    n = len(ordered)
    left, right = (n - 1) // 2, (n - 1) // 2 + 1
    previous = current = 0.0
    for _ in range(n // 2 + 1):
        previous = current
        if right >= n or (left >= 0 and median - ordered[left] <= ordered[right] - median):
            current = median - ordered[left]
            left -= 1
        else:
            current = ordered[right] - median
            right += 1
    return current if n % 2 else 0.5 * (previous + current)


@jit()
def _moments(m: np.ndarray, e: np.ndarray, out: np.ndarray) -> None:
    """Fill the statistics that do not depend on the order; the weighted mean is taken about the median."""
    n = len(m)
    median = out[AT.median]
    weights = weighted = 0.0
    for i in range(n):
        w = 1.0 / (e[i] * e[i])
        weights += w
        weighted += w * (m[i] - median)
    mean = median + weighted / weights
    absolute = second = third = fourth = robust = excess = 0.0
    top, bottom = -np.inf, np.inf
    for i in range(n):
        deviation = m[i] - mean
        d = deviation / e[i]
        absolute += abs(d)
        second += d * d
        third += d * d * d
        fourth += (d * d) * (d * d)
        robust += abs(m[i] - median) / e[i]
        excess += deviation * deviation - e[i] * e[i]
        top, bottom = max(top, m[i] - e[i]), min(bottom, m[i] + e[i])
    out[AT.wmean] = mean
    out[AT.wstd] = math.sqrt(second / weights)
    out[AT.chi2red] = second / (n - 1)
    out[AT.roms] = robust / (n - 1)
    out[AT.norm_peak_to_peak_amp] = (top - bottom) / (top + bottom)
    out[AT.norm_excess_var] = excess / (n * mean * mean)
    out[AT.skew] = n / ((n - 1.0) * (n - 2.0)) * third
    out[AT.smallkurt] = n * (n + 1.0) / ((n - 1.0) * (n - 2.0) * (n - 3.0)) * fourth - 3.0 * (n - 1.0) ** 2 / (
        (n - 2.0) * (n - 3.0)
    )
    out[AT.stetson_k] = (absolute / n) / math.sqrt(second / n)


@jit()
def _consecutive(t: np.ndarray, m: np.ndarray, e: np.ndarray, out: np.ndarray) -> None:
    """Fill the statistics of consecutive points."""
    n = len(m)
    mean, variance = out[AT.wmean], out[AT.wstd] ** 2
    welch = stetson = steps = changes = 0.0
    before = (m[0] - mean) / e[0]
    for i in range(1, n):
        after = (m[i] - mean) / e[i]
        product = before * after
        before = after
        welch += product
        stetson += math.copysign(math.sqrt(abs(product)), product)
        dt, dm = t[i] - t[i - 1], m[i] - m[i - 1]
        weight = 1.0 / (dt * dt)
        steps += weight
        changes += weight * (dm * dm)
    factor = n / (n - 1.0)
    out[AT.welch_i] = factor * welch
    out[AT.stetson_j] = math.sqrt(factor) * stetson
    out[AT.inv_vonneumannratio] = 1.0 / (changes / (steps * variance))
