"""From the peaks of a scan to periods, decided in float64: the same steps whatever computed the peaks.

A scan is single precision. Of each of its peaks the grid point and its two neighbours are evaluated again in float64,
and the best of those is the period: neither the reported value nor the choice carries rounding of the scan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.peaks import Peaks

MINIMISED = ("CE", "ECE")

# (method, frequencies (n, k, m), their period derivatives (n, k), which of them are wanted (n, k, m)) -> the statistic
# in float64, of shape (n, k, m), anything where it is not wanted.
Evaluate = Callable[[str, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
# (method, frequencies of all light curves end to end, where each one's begin) -> the statistic in float64.
EvaluateList = Callable[[str, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class AlgorithmResult:
    """What one algorithm finds in n light curves.

    Attributes
    ----------
    period : numpy.ndarray, shape (n,), float64
        Days; 1/`frequency`. NaN where the algorithm cannot handle a light curve.
    significance : numpy.ndarray, shape (n,), float64
        |best − mean|/std over the unmasked grid; for the nested search the analysis of variance at the period. 0 where
        there is no period.
    pdot : numpy.ndarray, shape (n,), float64
        Period derivative, days per day; 0 unless others are searched.
    log10_fap : numpy.ndarray, shape (n,), float64, or None
        log10 of the false-alarm probability, for the algorithms that have one.
    frequency : numpy.ndarray, shape (n,), float64
        Grid frequency of the period, cycles/day.
    value : numpy.ndarray, shape (n,), float64
        The statistic at `frequency`, in float64 (conditional entropy is not negated).
    candidate_frequency, candidate_value, candidate_pdot : numpy.ndarray, shape (n, k), float64
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
    candidate_pdot: np.ndarray

    def of_rows(self, rows: np.ndarray) -> AlgorithmResult:
        """Return what was found in some of the light curves."""
        values = {f.name: value[rows] for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(self, **values)


def unmasked(frequency: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Tell which frequencies are outside the closed intervals `windows`, shape (w, 2)."""
    keep = np.ones(frequency.shape, bool)
    for low, high in windows:
        keep &= (frequency < low) | (frequency > high)
    return keep


def as_table(evaluate: EvaluateList, name: str, frequency: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Evaluate a table of frequencies, shape (n, …), where `wanted`, by an evaluation of lists."""
    counts = wanted.sum(axis=tuple(range(1, wanted.ndim)))
    out = np.full(frequency.shape, np.nan)
    out[wanted] = evaluate(name, frequency[wanted], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))
    return out


def exact_peaks(
    name: str, found: Peaks, pdot: np.ndarray, grid: FrequencyGrid, sep: int, evaluate: Evaluate
) -> tuple[Peaks, np.ndarray]:
    """Move every peak to the best grid point within a step (if peaks are further apart), in float64, and sort.

    Parameters
    ----------
    name : str
    found : Peaks
        Of the scan.
    pdot : numpy.ndarray, shape (n, k), float64
        Period derivatives of the peaks.
    grid : FrequencyGrid
    sep : int
        Grid steps between distinct peaks.
    evaluate : Evaluate

    Returns
    -------
    Peaks
        Of float64 values, larger is better.
    pdot : numpy.ndarray, shape (n, k), float64
    """
    if not found.index.size:
        return found, pdot
    reach = 1 if sep > 2 else 0
    near = found.index[:, :, None] + np.arange(-reach, reach + 1)
    with np.errstate(invalid="ignore"):
        frequency = grid.fmin[:, None, None] + near * grid.df[:, None, None]
    wanted = (found.index >= 0)[:, :, None] & (near >= 0) & (near < grid.size[:, None, None])
    wanted &= unmasked(frequency, grid.windows)
    value = _larger_is_better(name, evaluate(name, frequency, pdot, wanted), wanted)
    best = value.argmax(axis=2)[:, :, None]
    value = np.take_along_axis(value, best, axis=2)[:, :, 0]
    index = np.where(found.index >= 0, np.take_along_axis(near, best, axis=2)[:, :, 0], -1)
    order = np.lexsort((index, -value), axis=1)
    index, value, pdot = (np.take_along_axis(a, order, axis=1) for a in (index, value, pdot))
    return Peaks(np.where(index >= 0, value, np.nan), index, found.mean, found.std), pdot


def _larger_is_better(name: str, value: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.where(wanted, -value if name in MINIMISED else value, -np.inf)


def result(
    name: str, found: Peaks, pdot: np.ndarray, grid: FrequencyGrid, log10_fap: np.ndarray | None
) -> AlgorithmResult:
    """Return what a method finds, from its peaks in float64 (`exact_peaks`)."""
    sign = -1.0 if name in MINIMISED else 1.0
    with np.errstate(invalid="ignore"):
        frequency = np.where(found.index >= 0, grid.fmin[:, None] + found.index * grid.df[:, None], np.nan)
        best = found.value[:, 0]
        spread = np.where(found.std > 0, found.std, np.inf)
        significance = np.where(found.index[:, 0] >= 0, np.abs(best - found.mean) / spread, 0.0)
    return AlgorithmResult(
        period=1.0 / frequency[:, 0],
        significance=significance,
        pdot=np.nan_to_num(pdot[:, 0]),
        log10_fap=log10_fap,
        frequency=frequency[:, 0],
        value=sign * best,
        candidate_frequency=frequency,
        candidate_value=sign * found.value,
        candidate_pdot=np.where(found.index >= 0, pdot, np.nan),
    )


def nested(parts: list[AlgorithmResult], evaluate: Evaluate) -> AlgorithmResult:
    """Choose among the peaks of several methods by the analysis of variance."""
    frequency = np.concatenate([p.candidate_frequency for p in parts], axis=1)
    pdot = np.concatenate([p.candidate_pdot for p in parts], axis=1)
    order = np.lexsort((pdot, frequency), axis=1)  # of equal values the lowest frequency is chosen; NaN last
    frequency, pdot = (np.take_along_axis(a, order, axis=1) for a in (frequency, pdot))
    wanted = np.isfinite(frequency)
    wanted[:, 1:] &= (frequency[:, 1:] != frequency[:, :-1]) | (pdot[:, 1:] != pdot[:, :-1])
    value = evaluate("AOV", frequency[:, :, None], pdot, wanted[:, :, None])[:, :, 0]
    value = np.where(wanted & ~np.isnan(value), value, -np.inf)
    order = np.argsort(-value, axis=1, kind="stable")
    frequency, pdot, value = (np.take_along_axis(a, order, axis=1) for a in (frequency, pdot, value))
    found = value > -np.inf
    frequency, pdot, value = (np.where(found, a, np.nan) for a in (frequency, pdot, value))
    best = value[:, 0]
    return AlgorithmResult(
        period=1.0 / frequency[:, 0],
        significance=np.where(found[:, 0], best, 0.0),
        pdot=np.nan_to_num(pdot[:, 0]),
        log10_fap=None,
        frequency=frequency[:, 0],
        value=best,
        candidate_frequency=frequency,
        candidate_value=value,
        candidate_pdot=pdot,
    )
