"""The period search of a partition on a GPU: the sibling of `scope_dask.periods.search.search`."""

from __future__ import annotations

import numpy as np

from scope_dask.periods.bins import MIN_POINTS
from scope_dask.periods.false_alarm import log10_false_alarm_probability
from scope_dask.periods.gpu import launch
from scope_dask.periods.gpu.device import CupyDevice, Device
from scope_dask.periods.gpu.engine import Engine, grid_of, load
from scope_dask.periods.grid import NESTED, PeriodOptions
from scope_dask.periods.peaks import Peaks
from scope_dask.periods.search import LOMB_SCARGLE, MINIMISED, AlgorithmResult
from scope_dask.ragged import LightCurves


def search(
    curves: LightCurves,
    options: PeriodOptions,
    *,
    device: Device | None = None,
    budget: int = launch.DEFAULT_BUDGET,
    n_streams: int = 2,
) -> dict[str, AlgorithmResult]:
    """Search the periods of every light curve of a partition on a GPU.

    Parameters
    ----------
    curves : LightCurves
        Of CuPy arrays (then no point leaves the device) or of NumPy arrays.
    options : PeriodOptions
    device : Device, optional
        Where to search; the current CUDA device by default.
    budget : int
        Bytes of device memory for intermediate results.
    n_streams : int
        Launches in flight.

    Returns
    -------
    dict of str to AlgorithmResult
        For the algorithms ``options.written``, in that order, on the host. Light curve i depends on nothing but its own
        points.

    Raises
    ------
    RunError
        If there is no CUDA device.
    OptionError
        If more peaks are wanted, or further apart, than the kernels can handle.
    """
    device = device or CupyDevice()
    partition = load(device, curves)
    grid = grid_of(partition, options)
    grid.size[partition.points < MIN_POINTS] = 0
    engine = Engine(device, partition, grid, budget, n_streams)
    results: dict[str, AlgorithmResult] = {}
    for name in options.written:
        if name in NESTED:
            parts = (options.nested or name).split("_")
            results[name] = _nested([results[p] for p in parts[:2]], engine)
        else:
            found = engine.scan(name, options.top_n_periods, options.samples_per_peak)
            found = _refine(name, found, engine, 1 if options.samples_per_peak > 2 else 0)
            results[name] = _result(name, found, engine)
    return results


def _unmasked(frequency: np.ndarray, windows: np.ndarray) -> np.ndarray:
    keep = np.ones(frequency.shape, bool)
    for low, high in windows:
        keep &= (frequency < low) | (frequency > high)
    return keep


def _evaluate_table(name: str, engine: Engine, frequency: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Evaluate where `wanted`, both of shape (n, …), larger is better; −inf elsewhere."""
    counts = wanted.reshape(len(wanted), -1).sum(axis=1)
    freq_offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    value = np.full(frequency.shape, -np.inf)
    exact = engine.evaluate(name, frequency[wanted], freq_offsets)
    value[wanted] = -exact if name in MINIMISED else exact
    return value


def _refine(name: str, found: Peaks, engine: Engine, reach: int) -> Peaks:
    """Move every peak to the best grid point within `reach` steps, judged in float64, and sort."""
    if not found.index.size:
        return found
    grid = engine.grid
    near = found.index[:, :, None] + np.arange(-reach, reach + 1)
    with np.errstate(invalid="ignore"):
        frequency = grid.fmin[:, None, None] + near * grid.df[:, None, None]
    wanted = (found.index >= 0)[:, :, None] & (near >= 0) & (near < grid.size[:, None, None])
    wanted &= _unmasked(frequency, grid.windows)
    value = _evaluate_table(name, engine, frequency, wanted)
    best = value.argmax(axis=2)[:, :, None]
    value = np.take_along_axis(value, best, axis=2)[:, :, 0]
    index = np.where(found.index >= 0, np.take_along_axis(near, best, axis=2)[:, :, 0], -1)
    order = np.lexsort((index, -value), axis=1)
    index = np.take_along_axis(index, order, axis=1)
    value = np.where(index >= 0, np.take_along_axis(value, order, axis=1), np.nan)
    return Peaks(value, index, found.mean, found.std)


def _result(name: str, found: Peaks, engine: Engine) -> AlgorithmResult:
    grid, sign = engine.grid, -1.0 if name in MINIMISED else 1.0
    with np.errstate(invalid="ignore"):
        frequency = np.where(found.index >= 0, grid.fmin[:, None] + found.index * grid.df[:, None], np.nan)
        best = found.value[:, 0]
        spread = np.where(found.std > 0, found.std, np.inf)
        significance = np.where(found.index[:, 0] >= 0, np.abs(best - found.mean) / spread, 0.0)
        highest = grid.fmin + (grid.size - 1) * grid.df
    fap = None
    if name in LOMB_SCARGLE:
        factor, time_std = engine.lomb_scargle_facts(name).T
        with np.errstate(invalid="ignore"):
            fap = log10_false_alarm_probability(best / factor, engine.partition.points, time_std, highest)
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


def _nested(parts: list[AlgorithmResult], engine: Engine) -> AlgorithmResult:
    """Choose among the peaks of two methods by the analysis of variance."""
    frequency = np.concatenate([p.candidate_frequency for p in parts], axis=1)
    frequency.sort(axis=1)  # of equal values the lowest frequency is chosen; NaN last
    wanted = np.isfinite(frequency)
    wanted[:, 1:] &= frequency[:, 1:] != frequency[:, :-1]
    value = _evaluate_table("AOV", engine, frequency, wanted)
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
