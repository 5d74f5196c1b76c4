"""The period search of a partition on the CPU: scan the grid, take the best distinct peaks, decide in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from scope_dask.errors import OptionError, nearest
from scope_dask.periods import choice
from scope_dask.periods.bins import MIN_POINTS
from scope_dask.periods.boxes import eclipse_grid
from scope_dask.periods.choice import AlgorithmResult, Evaluate
from scope_dask.periods.derivative import straightened
from scope_dask.periods.false_alarm import periodogram_log10_fap
from scope_dask.periods.grid import FrequencyGrid, frequency_grid
from scope_dask.periods.methods import METHODS, changing_period_scan
from scope_dask.periods.options import FOLDED, NESTED, PeriodOptions
from scope_dask.periods.peaks import Peaks
from scope_dask.ragged import LightCurves
from scope_dask.schema import ALGORITHMS


def search(curves: LightCurves, options: PeriodOptions) -> dict[str, AlgorithmResult]:
    """Search the periods of every light curve of a partition.

    The nested search evaluates the analysis of variance at the peaks of its first methods only, and takes the
    frequency where it is largest.

    Parameters
    ----------
    curves : LightCurves
    options : PeriodOptions

    Returns
    -------
    dict of str to AlgorithmResult
        For the algorithms ``options.written``, in that order. Light curve i depends on nothing but its own points.
    """
    curves = _writable(curves)
    grid = frequency_grid(curves.hjd, curves.offsets, options)
    grid.size[np.diff(curves.offsets) < MIN_POINTS] = 0
    evaluate = _evaluation(curves, options)
    results: dict[str, AlgorithmResult] = {}
    for name in options.written:
        if name in NESTED:
            results[name] = choice.nested([results[p] for p in options.proposers], evaluate)
        else:
            own = eclipse_grid(grid, options.boxes.max_freq) if name == "BLS" else grid
            found, pdot = _scan(name, curves, own, options)
            found, pdot = choice.exact_peaks(name, found, pdot, own, options.samples_per_peak, evaluate)
            results[name] = choice.result(name, found, pdot, own, _log10_fap(name, curves, found, own, options))
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
    frequency = frequency[choice.unmasked(frequency, grid.windows)]
    method = METHODS["AOV" if algorithm in NESTED else algorithm]
    return frequency, method.evaluate(curve, frequency, np.array([0, len(frequency)]), options)


def _writable(curves: LightCurves) -> LightCurves:
    """Return contiguous, writable arrays: others would have every kernel compiled once more."""
    hjd, mag, magerr = (np.require(a, np.float64, ["C", "W"]) for a in (curves.hjd, curves.mag, curves.magerr))
    return LightCurves(hjd, mag, magerr, np.require(curves.offsets, np.int64, ["C", "W"]))


def _scan(name: str, curves: LightCurves, grid: FrequencyGrid, options: PeriodOptions) -> tuple[Peaks, np.ndarray]:
    """Return the peaks of a method, larger is better, in single precision, and their period derivatives."""
    if options.changing and name in FOLDED:
        found = changing_period_scan(name, curves, grid, options)
        return Peaks(found.value, found.index, found.mean, found.std), found.pdot
    constant = METHODS[name].scan(curves, grid, options)
    return constant, np.zeros(constant.index.shape)


def _evaluation(curves: LightCurves, options: PeriodOptions) -> Evaluate:
    """Return the float64 evaluation of the light curves, folded with a changing period where that is searched."""

    def of(times: LightCurves, name: str, frequency: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        def evaluate(name: str, freqs: np.ndarray, freq_offsets: np.ndarray) -> np.ndarray:
            return METHODS[name].evaluate(times, freqs, freq_offsets, options)

        return choice.as_table(evaluate, name, frequency, wanted)

    def evaluate(name: str, frequency: np.ndarray, pdot: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        if not (options.changing and name in FOLDED):
            return of(curves, name, frequency, wanted)
        out = np.empty(frequency.shape)
        middle = frequency.shape[2] // 2
        for j in range(frequency.shape[1]):  # one set of times for every peak and its neighbours
            hjd = straightened(curves.hjd, curves.offsets, frequency[:, j, middle], pdot[:, j])
            out[:, j] = of(replace(curves, hjd=hjd), name, frequency[:, j], wanted[:, j])
        return out

    return evaluate


def _log10_fap(
    name: str, curves: LightCurves, found: Peaks, grid: FrequencyGrid, options: PeriodOptions
) -> np.ndarray | None:
    if not ALGORITHMS[name].false_alarm:
        return None
    with np.errstate(invalid="ignore"):
        highest = grid.fmin + (grid.size - 1) * grid.df
    n_harmonics = options.n_harmonics if name == "MHAOV" else 1
    return periodogram_log10_fap(curves, found.value[:, 0], highest, name != "ELS", n_harmonics)
