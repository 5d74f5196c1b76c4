"""What the periods of a search are worth: below the grid step, against the clock, and beside one another."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from scope_dask.periods.aliases import REACH, SAMPLING_NAMES, agreement, alias_of, baselines, resolve
from scope_dask.periods.choice import AlgorithmResult
from scope_dask.periods.derivative import straightened
from scope_dask.periods.grid import frequency_grid
from scope_dask.periods.options import NESTED, PeriodOptions
from scope_dask.periods.refine import refine
from scope_dask.ragged import LightCurves, gather

RELATIONS = ("unrelated", "same", "harmonic", "alias")  # by the codes of `aliases.Relation`


def judge(
    curves: LightCurves, results: dict[str, AlgorithmResult], options: PeriodOptions, threads: int = 1
) -> dict[str, np.ndarray]:
    """Refine the periods of a search and judge them.

    Parameters
    ----------
    curves : LightCurves
        n light curves.
    results : dict of str to AlgorithmResult
        Of `search` with these `options`.
    options : PeriodOptions
    threads : int
        Threads to use; the kernels release the global lock.

    Returns
    -------
    dict of str to numpy.ndarray, shape (n,)
        By column: for every algorithm ``period_refined_*`` and ``period_refined_error_*`` (with ``options.refine``)
        and ``relation_*`` (with ``options.aliases``), then ``period_resolved``, ``period_resolved_score`` and
        ``period_agreement``.
    """
    if threads > 1 and len(curves) >= threads:
        parts = np.array_split(np.arange(len(curves)), threads)
        with ThreadPoolExecutor(threads) as pool:
            judged = list(pool.map(lambda rows: judge(*_part(curves, results, rows), options), parts))
        return {name: np.concatenate([part[name] for part in judged]) for name in judged[0]}
    columns: dict[str, np.ndarray] = {}
    if options.refine:
        grid = frequency_grid(curves.hjd, curves.offsets, options)
        for name, found in results.items():
            columns |= _refined(curves, found, grid.df, name, options)
    if options.aliases:
        columns |= _resolved(curves, results, options.alias_candidates)
    return columns


def _part(
    curves: LightCurves, results: dict[str, AlgorithmResult], rows: np.ndarray
) -> tuple[LightCurves, dict[str, AlgorithmResult]]:
    """Return some of the light curves and what was found in them."""
    points, offsets = gather(curves.offsets, rows)
    few = LightCurves(curves.hjd[points], curves.mag[points], curves.magerr[points], offsets)
    return few, {name: found.of_rows(rows) for name, found in results.items()}


def _refined(
    curves: LightCurves, found: AlgorithmResult, df: np.ndarray, name: str, options: PeriodOptions
) -> dict[str, np.ndarray]:
    hjd = curves.hjd
    if options.changing:
        hjd = straightened(hjd, curves.offsets, found.frequency, found.pdot)
    best = refine(hjd, curves.mag, curves.magerr, curves.offsets, found.frequency, df, name, options.n_harmonics)
    period = 1.0 / best.frequency
    return {f"period_refined_{name}": period, f"period_refined_error_{name}": best.error * period**2}


def _resolved(curves: LightCurves, results: dict[str, AlgorithmResult], count: int) -> dict[str, np.ndarray]:
    """Choose among the best peaks of all methods, the one that decides first, and say what the others are to it."""
    deciding = [*reversed(results)] if any(name in NESTED for name in results) else [*results]
    candidates = np.hstack([results[name].candidate_frequency[:, :count] for name in deciding])
    chosen = resolve(*curves.arrays, _without_repetitions(candidates))
    with np.errstate(divide="ignore"):
        near = REACH / baselines(curves.hjd, curves.offsets)
    refined = refine(*curves.arrays, chosen.frequency, near, "ELS_ECE_EAOV").frequency
    frequency = np.column_stack([found.frequency for found in results.values()])
    related = alias_of(curves.hjd, curves.offsets, frequency, chosen.frequency)
    columns = {
        f"relation_{name}": _words(related.kind[:, j], related.sampling[:, j], frequency[:, j], chosen.frequency)
        for j, name in enumerate(results)
    }
    columns["period_resolved"] = 1.0 / refined
    columns["period_resolved_score"] = chosen.score
    methods = [j for j, name in enumerate(results) if name not in NESTED]  # a nested search only picks among theirs
    columns["period_agreement"] = agreement(curves.hjd, curves.offsets, np.ascontiguousarray(frequency[:, methods]))
    return columns


def _without_repetitions(frequency: np.ndarray) -> np.ndarray:
    """Return the table with NaN for every frequency that is further left in its row, too."""
    order = np.argsort(frequency, axis=1, kind="stable")
    ordered = np.take_along_axis(frequency, order, axis=1)
    repeated = np.zeros(frequency.shape, bool)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return np.where(repeated, np.nan, frequency)


def _words(kind: np.ndarray, sampling: np.ndarray, frequency: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the relations in words; NaN where one of the two frequencies is missing."""
    names = np.array([*RELATIONS, *(f"alias: {name}" for name in SAMPLING_NAMES)], dtype=object)
    words = names[np.where(sampling >= 0, len(RELATIONS) + sampling, kind)]
    return np.where(np.isfinite(frequency) & np.isfinite(reference), words, np.nan)
