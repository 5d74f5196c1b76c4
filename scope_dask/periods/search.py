"""The period search of a partition: scan the grid, take the best distinct peaks, decide between them in
float64.

A scan is single precision. Of each of its peaks the grid point and its two neighbours are evaluated again in
float64, and the best of those is the period: neither the reported value nor the choice carries rounding of
the scan.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scope_dask.errors import OptionError, nearest
from scope_dask.periods import exact_folding
from scope_dask.periods.aov import aov_peaks
from scope_dask.periods.bins import MIN_POINTS
from scope_dask.periods.exact_lombscargle import lomb_scargle
from scope_dask.periods.false_alarm import lomb_scargle_log10_fap
from scope_dask.periods.folding import conditional_entropy_peaks
from scope_dask.periods.grid import NESTED, FrequencyGrid, PeriodOptions, frequency_grid
from scope_dask.periods.lombscargle import lomb_scargle_peaks
from scope_dask.periods.peaks import Peaks
from scope_dask.ragged import LightCurves
from scope_dask.schema import ALGORITHMS

MINIMISED = ("CE", "ECE")
LOMB_SCARGLE = ("LS", "ELS")


@dataclass(frozen=True, slots=True)
class AlgorithmResult:
    """What one algorithm finds in n light curves.

    Attributes
    ----------
    period : numpy.ndarray, shape (n,), float64
        Days; 1/`frequency`. NaN where the algorithm cannot handle a light curve.
    significance : numpy.ndarray, shape (n,), float64
        |best − mean|/std over the unmasked grid; for the nested search the analysis of variance at the
        period. 0 where there is no period.
    pdot : numpy.ndarray, shape (n,), float64
        Period derivative: 0, it is not searched.
    log10_fap : numpy.ndarray, shape (n,), float64, or None
        log10 of the false-alarm probability, for the algorithms that have one.
    frequency : numpy.ndarray, shape (n,), float64
        Grid frequency of the period, cycles/day.
    value : numpy.ndarray, shape (n,), float64
        The statistic at `frequency`, in float64 (conditional entropy is not negated).
    candidate_frequency, candidate_value : numpy.ndarray, shape (n, k), float64
        The best distinct peaks, best first; NaN where there are fewer.
    """

    period: np.ndarray
    significance: np.ndarray
    pdot: np.ndarray
    log10_fap: np.ndarray | None
    frequency: np.ndarray
    value: np.ndarray
    candidate_frequency: np.ndarray
    candidate_value: np.ndarray


def search(curves: LightCurves, options: PeriodOptions) -> dict[str, AlgorithmResult]:
    """Search the periods of every light curve of a partition.

    The nested search evaluates the analysis of variance at the peaks of its two first methods only, and
    takes the frequency where it is largest.

    Parameters
    ----------
    curves : LightCurves
    options : PeriodOptions

    Returns
    -------
    dict of str to AlgorithmResult
        For the algorithms ``options.written``, in that order. Light curve i depends on nothing but its own
        points.
    """
    curves = _writable(curves)
    grid = frequency_grid(curves.hjd, curves.offsets, options)
    grid.size[np.diff(curves.offsets) < MIN_POINTS] = 0
    results: dict[str, AlgorithmResult] = {}
    for name in options.written:
        if name in NESTED:
            parts = (options.nested or name).split("_")
            results[name] = _nested([results[p] for p in parts[:2]], curves)
        else:
            found = _scan(name, curves, grid, options.top_n_periods, options.samples_per_peak)
            results[name] = _result(name, found, curves, grid)
    return results


def periodogram(
    hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray, algorithm: str, options: PeriodOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Return the whole periodogram of one light curve, in float64, for plots and tests.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,)
        Times in days, magnitudes and their errors.
    algorithm : str
        As in `PeriodOptions`; of a nested search, the analysis of variance.
    options : PeriodOptions

    Returns
    -------
    frequency : numpy.ndarray, float64
        The grid, cycles/day, without the points that `options` masks.
    value : numpy.ndarray, float64
        The statistic (conditional entropy is not negated).

    Raises
    ------
    OptionError
        If there is no such algorithm.
    """
    known = [*ALGORITHMS, *NESTED]
    if algorithm not in known:
        hint = nearest(algorithm, known)
        raise OptionError(f"there is no period algorithm {algorithm!r}{hint}; there are {', '.join(known)}")
    curve = _writable(LightCurves.from_lists([(hjd, mag, magerr)]))
    grid = frequency_grid(curve.hjd, curve.offsets, options)
    frequency = grid.fmin[0] + np.arange(grid.size[0]) * grid.df[0]
    frequency = frequency[_unmasked(frequency, grid.windows)]
    return frequency, _evaluate(algorithm, curve, frequency, np.array([0, len(frequency)]))


def warm_up() -> None:
    """Compile every kernel of the search (or load it from the cache), so that no first partition has to."""
    t = np.linspace(0.0, 30.0, 40) ** 1.1
    curve = (t, np.sin(t), np.full(t.size, 0.1))
    every = tuple(name for name in ALGORITHMS if name not in NESTED)
    search(LightCurves.from_lists([curve, curve]), PeriodOptions(algorithms=every, max_freq=2.0))


def _writable(curves: LightCurves) -> LightCurves:
    """Return contiguous, writable arrays: others would have every kernel compiled once more."""
    hjd, mag, magerr = (np.require(a, np.float64, ["C", "W"]) for a in (curves.hjd, curves.mag, curves.magerr))
    return LightCurves(hjd, mag, magerr, np.require(curves.offsets, np.int64, ["C", "W"]))


def _unmasked(frequency: np.ndarray, windows: np.ndarray) -> np.ndarray:
    keep = np.ones(frequency.shape, bool)
    for low, high in windows:
        keep &= (frequency < low) | (frequency > high)
    return keep


def _scan(name: str, curves: LightCurves, grid: FrequencyGrid, k: int, sep: int) -> Peaks:
    """Return the peaks of a method with float64 values, larger is better."""
    hjd, mag, offsets = curves.hjd, curves.mag, curves.offsets
    if name in LOMB_SCARGLE:
        found = lomb_scargle_peaks(hjd, mag, curves.magerr, offsets, grid, k, sep, name == "LS")
    elif name in MINIMISED:
        found = conditional_entropy_peaks(hjd, mag, offsets, grid, k, sep, name == "ECE")
    else:
        found = aov_peaks(hjd, mag, offsets, grid, k, sep)
    return _refine(name, found, curves, grid, 1 if sep > 2 else 0)


def _evaluate(name: str, curves: LightCurves, freqs: np.ndarray, freq_offsets: np.ndarray) -> np.ndarray:
    """Return the float64 statistic of a method (a nested search: its last) at ragged lists of frequencies."""
    hjd, mag, offsets = curves.hjd, curves.mag, curves.offsets
    if name in LOMB_SCARGLE:
        return lomb_scargle(hjd, mag, curves.magerr, offsets, freqs, freq_offsets, name == "LS")
    if name in MINIMISED:
        return exact_folding.conditional_entropy(hjd, mag, offsets, freqs, freq_offsets, name == "ECE")
    return exact_folding.aov(hjd, mag, offsets, freqs, freq_offsets)


def _evaluate_table(name: str, curves: LightCurves, frequency: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Evaluate where `wanted`, both of shape (n, …), larger is better; −inf elsewhere."""
    counts = wanted.sum(axis=tuple(range(1, wanted.ndim)))
    freq_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    value = np.full(frequency.shape, -np.inf)
    exact = _evaluate(name, curves, frequency[wanted], freq_offsets)
    value[wanted] = -exact if name in MINIMISED else exact
    return value


def _refine(name: str, found: Peaks, curves: LightCurves, grid: FrequencyGrid, reach: int) -> Peaks:
    """Move every peak to the best grid point within `reach` steps, judged in float64, and sort."""
    if not found.index.size:
        return found
    near = found.index[:, :, None] + np.arange(-reach, reach + 1)
    with np.errstate(invalid="ignore"):
        frequency = grid.fmin[:, None, None] + near * grid.df[:, None, None]
    wanted = (found.index >= 0)[:, :, None] & (near >= 0) & (near < grid.size[:, None, None])
    wanted &= _unmasked(frequency, grid.windows)
    value = _evaluate_table(name, curves, frequency, wanted)
    best = value.argmax(axis=2)[:, :, None]
    value = np.take_along_axis(value, best, axis=2)[:, :, 0]
    index = np.where(found.index >= 0, np.take_along_axis(near, best, axis=2)[:, :, 0], -1)
    order = np.lexsort((index, -value), axis=1)
    index = np.take_along_axis(index, order, axis=1)
    value = np.where(index >= 0, np.take_along_axis(value, order, axis=1), np.nan)
    return Peaks(value, index, found.mean, found.std)


def _result(name: str, found: Peaks, curves: LightCurves, grid: FrequencyGrid) -> AlgorithmResult:
    sign = -1.0 if name in MINIMISED else 1.0
    with np.errstate(invalid="ignore"):
        frequency = np.where(found.index >= 0, grid.fmin[:, None] + found.index * grid.df[:, None], np.nan)
        best = found.value[:, 0]
        spread = np.where(found.std > 0, found.std, np.inf)
        significance = np.where(found.index[:, 0] >= 0, np.abs(best - found.mean) / spread, 0.0)
        highest = grid.fmin + (grid.size - 1) * grid.df
    fap = None
    if name in LOMB_SCARGLE:
        fap = lomb_scargle_log10_fap(curves, best, highest, name == "LS")
    return AlgorithmResult(
        period=1.0 / frequency[:, 0],
        significance=significance,
        pdot=np.zeros(len(best)),
        log10_fap=fap,
        frequency=frequency[:, 0],
        value=sign * best,
        candidate_frequency=frequency,
        candidate_value=sign * found.value,
    )


def _nested(parts: list[AlgorithmResult], curves: LightCurves) -> AlgorithmResult:
    """Choose among the peaks of two methods by the analysis of variance."""
    frequency = np.concatenate([p.candidate_frequency for p in parts], axis=1)
    frequency.sort(axis=1)  # of equal values the lowest frequency is chosen; NaN last
    wanted = np.isfinite(frequency)
    wanted[:, 1:] &= frequency[:, 1:] != frequency[:, :-1]
    value = _evaluate_table("AOV", curves, frequency, wanted)
    value = np.where(np.isnan(value), -np.inf, value)
    order = np.argsort(-value, axis=1, kind="stable")
    value = np.take_along_axis(value, order, axis=1)
    found = value > -np.inf
    value = np.where(found, value, np.nan)
    frequency = np.where(found, np.take_along_axis(frequency, order, axis=1), np.nan)
    best = value[:, 0]
    return AlgorithmResult(
        period=1.0 / frequency[:, 0],
        significance=np.where(found[:, 0], best, 0.0),
        pdot=np.zeros(len(best)),
        log10_fap=None,
        frequency=frequency[:, 0],
        value=best,
        candidate_frequency=frequency,
        candidate_value=value,
    )
