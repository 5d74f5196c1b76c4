"""How many of the known periods a search finds: at the period itself, at half or twice of it, at a daily alias."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.errors import UsageError
from scope_dask.periods.grid import frequency_grid
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves
from scope_dask.schema import SOURCES, Column, Schema

RELATIVE_TOLERANCE = 0.005
PEAK_WIDTHS = 1.5
MIN_POINTS = 50
NESTED_PERIOD = "period_ELS_ECE_EAOV"

# Frequency found over true frequency, in the order in which a match is looked for.
RATIOS = {"P": 1.0, "P/2": 2.0, "2P": 0.5}
ALIAS, MISSED = "alias", "missed"
OUTCOMES = (*RATIOS, ALIAS, MISSED)


def match_periods(found: Any, true: Any, baseline: Any) -> np.ndarray:
    """Return how each period found compares with the true one.

    A frequency matches another if they differ by at most 0.5 % of it or 1.5/baseline, whichever is more.

    Parameters
    ----------
    found, true : array-like, shape (n,)
        Periods, days. NaN where none was found.
    baseline : array-like, shape (n,)
        Time from the first to the last point, days.

    Returns
    -------
    numpy.ndarray of str, shape (n,)
        ``P``, ``P/2``, ``2P`` (the first of them that matches), ``alias`` (of P, at 1/P ± 1/d), or ``missed``.
    """
    f, f0 = (1.0 / np.asarray(p, dtype=np.float64) for p in (found, true))
    width = PEAK_WIDTHS / np.asarray(baseline, dtype=np.float64)
    targets = [f0 * ratio for ratio in RATIOS.values()]
    near = [_near(f, target, width) for target in targets]
    near.append(_near(f, f0 + 1.0, width) | _near(f, np.abs(f0 - 1.0), width))
    return np.select(near, OUTCOMES[:-1], MISSED)


def _near(f: np.ndarray, target: np.ndarray, width: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(f - target) <= np.maximum(RELATIVE_TOLERANCE * target, width))


def recovery_table(
    features: pd.DataFrame,
    truth: pd.DataFrame,
    baseline: Any,
    *,
    column: str = NESTED_PERIOD,
    min_points: int = MIN_POINTS,
) -> pd.DataFrame:
    """Compare the periods of a features table with known ones.

    Parameters
    ----------
    features : pandas.DataFrame
        With ``_id``, ``n`` and `column`.
    truth : pandas.DataFrame
        With ``_id``, ``class_label`` and ``period_days``; ``survey`` is optional.
    baseline : array-like or pandas.Series
        Baseline of the conditioned light curves, days: in the order of `features`, or a Series by ``_id``.
    column : str
        Column of the periods, days.
    min_points : int
        Light curves with fewer points after conditioning are left out.

    Returns
    -------
    pandas.DataFrame
        One row per light curve with a known period and enough points: ``_id``, ``survey`` (where it is known),
        ``class_label``, ``n``, ``baseline_days``, ``period_days``, ``found_days`` and ``match`` (see `match_periods`).

    Raises
    ------
    SchemaError
        If a column is missing.
    UsageError
        If there is not one baseline a light curve.
    """
    needed = [SOURCES["_id"], Column("n", "float64"), Column(column, "float64")]
    Schema(needed).require(features, "period recovery")
    known = [SOURCES["_id"], Column("class_label", "str"), Column("period_days", "float64")]
    Schema(known).require(truth, "period recovery (truth)")
    found = features[["_id", "n"]].assign(found_days=features[column], baseline_days=_baselines(features, baseline))
    carried = [c for c in ("_id", "survey", "class_label", "period_days") if c in truth.columns]
    table = found.merge(truth[carried], on="_id")
    table = table[(table["period_days"] > 0) & (table["n"] >= min_points)].reset_index(drop=True)
    table["match"] = match_periods(table["found_days"], table["period_days"], table["baseline_days"])
    return table[[*carried[:-1], "n", "baseline_days", "period_days", "found_days", "match"]]


def _baselines(features: pd.DataFrame, baseline: Any) -> np.ndarray:
    if isinstance(baseline, pd.Series) and baseline.index.name == "_id":
        baseline = baseline.reindex(features["_id"])
    values = np.asarray(baseline, dtype=np.float64)
    if values.shape != (len(features),):
        raise UsageError(f"there are {values.size} baselines for {len(features)} light curves; expected one each")
    return values


def fractions(table: pd.DataFrame, by: Iterable[str] = ("class_label",)) -> pd.DataFrame:
    """Count the matches of a `recovery_table`.

    Parameters
    ----------
    table : pandas.DataFrame
    by : iterable of str
        Columns of the groups.

    Returns
    -------
    pandas.DataFrame
        One row per group and a last one, ``all``, of the whole table: the group's columns, ``light curves``, and the
        fractions ``P``, ``P/2``, ``2P``, ``recovered`` (their sum), ``alias`` and ``missed``.
    """
    by = list(by)
    counts = [(key, group["match"]) for key, group in table.groupby(by, sort=True)]
    counts.append((("all",) + ("",) * (len(by) - 1), table["match"]))
    rows = []
    for key, matches in counts:
        share = {name: float((matches == name).mean()) if len(matches) else np.nan for name in OUTCOMES}
        recovered = sum(share[name] for name in RATIOS)
        rows.append(
            dict(zip(by, key, strict=True))
            | {"light curves": len(matches)}
            | {name: share[name] for name in RATIOS}
            | {"recovered": recovered, ALIAS: share[ALIAS], MISSED: share[MISSED]}
        )
    return pd.DataFrame(rows)


def astropy_available() -> bool:
    """Tell whether astropy's Lomb-Scargle has the fast method that `astropy_periods` uses."""
    return find_spec("nifty_ls") is not None


def astropy_periods(curves: LightCurves, options: PeriodOptions | None = None) -> np.ndarray:
    """Return the best period of each light curve by astropy's Lomb-Scargle, for comparison.

    Weighted, with floating mean, in float64, on the grid of `frequency_grid`; method ``fastnifty`` of the package
    ``nifty-ls``, single-threaded.

    Parameters
    ----------
    curves : LightCurves
        Conditioned.
    options : PeriodOptions, optional
        Of the grid.

    Returns
    -------
    numpy.ndarray, shape (n,), float64
        Days; NaN where there is no grid (fewer than two distinct times) or nothing varies.

    Raises
    ------
    UsageError
        If ``nifty-ls`` is not installed.
    """
    if not astropy_available():
        raise UsageError("astropy's fast Lomb-Scargle needs the package nifty-ls: pip install nifty-ls")
    import_module("nifty_ls")  # adds the method to astropy
    from astropy.timeseries import LombScargle

    grid = frequency_grid(curves.hjd, curves.offsets, options or PeriodOptions())
    periods = np.full(len(curves), np.nan)
    for i in np.flatnonzero(grid.size > 0).tolist():
        hjd, mag, magerr = curves[i]
        frequency = grid.fmin[i] + grid.df[i] * np.arange(grid.size[i])
        model = LombScargle(hjd - hjd[0], mag, magerr, fit_mean=True, center_data=True)
        power = model.power(frequency, method="fastnifty", assume_regular_frequency=True, method_kwds={"nthreads": 1})
        if np.isfinite(power).any():
            periods[i] = 1.0 / frequency[np.nanargmax(power)]
    return periods
