"""The stage that adds the number of alerts of each source and their mean score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scope_dask import tally
from scope_dask.crossmatch.catalogs import Catalog
from scope_dask.crossmatch.matching import AddingStage, check_radius, neighbours, without_position
from scope_dask.crossmatch.schema import ALERT_STATISTICS, POSITIONS
from scope_dask.schema import Schema

_SCORE = "braai"


@dataclass(frozen=True, slots=True)
class AlertOptions:
    """Options of the alert statistics.

    Attributes
    ----------
    radius_arcsec : float
        Alerts within this radius of a source are its own.
    """

    radius_arcsec: float = 2.0

    def __post_init__(self) -> None:
        check_radius("radius_arcsec", self.radius_arcsec)


@dataclass(frozen=True, slots=True)
class _Task:
    options: AlertOptions
    alerts: Catalog


def count_alerts(partition: pd.DataFrame, task: _Task) -> pd.DataFrame:
    """Add the number of alerts and their mean score; both are 0 where there are none."""
    found = neighbours(task.alerts, partition, task.options.radius_arcsec, [_SCORE])
    scores = found.table[_SCORE].to_numpy(dtype=np.float64, na_value=np.nan)[found.j]
    scored = ~np.isnan(scores)
    size = len(partition)
    total = np.bincount(found.i[scored], weights=scores[scored], minlength=size)
    number = np.bincount(found.i[scored], minlength=size)
    out = partition.assign(
        n_ztf_alerts=np.bincount(found.i, minlength=size).astype(np.int64),
        mean_ztf_alert_braai=total / np.maximum(number, 1),
    )
    return tally.note(out, set_aside=without_position(partition))


def _requires(task: _Task) -> Schema:
    return POSITIONS


def _provides(task: _Task) -> Schema:
    return ALERT_STATISTICS


ALERTS_STAGE = AddingStage("alerts", count_alerts, _requires, _provides)


def alert_statistics(table: Any, alerts: Catalog, options: AlertOptions | None = None, **changes: Any) -> Any:
    """Add alert statistics: lazily for a Dask table, at once for a pandas partition.

    Parameters
    ----------
    table : dask.dataframe.DataFrame or pandas.DataFrame
        Any table with ``_id``, ``ra`` and ``dec``.
    alerts : Catalog
        One row an alert, with its score ``braai``.
    options : AlertOptions, optional
    **changes
        Fields of `AlertOptions`, in place of `options`.

    Returns
    -------
    dask.dataframe.DataFrame or pandas.DataFrame
        The table with the columns of `schema.ALERT_STATISTICS` added.

    Raises
    ------
    SchemaError
        If the table has no positions.
    SourceError
        If the catalogue lacks the score.
    """
    options = options or AlertOptions(**changes)
    alerts.require([_SCORE])
    return ALERTS_STAGE(table, _Task(options, alerts))
