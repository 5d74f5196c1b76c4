"""What a demonstration needs of the light curves themselves, computed by the cluster partition by partition."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from distributed import Client

from scope_dask.conditioning.lightcurves import LIGHTCURVES_STAGE
from scope_dask.config import PipelineOptions
from scope_dask.demo.recovery import astropy_periods
from scope_dask.periods.choice import MINIMISED
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import periodogram
from scope_dask.pipeline import Pipeline
from scope_dask.ragged import LightCurves

DRAWN_POINTS = 1500


@dataclass(frozen=True)
class DrawnCurve:
    """A conditioned light curve and its periodogram, reduced to what a figure can show.

    Attributes
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,)
    filter : int
    frequency, value : numpy.ndarray, shape (bins,)
        The best grid point (cycles/day) of each of at most `DRAWN_POINTS` equal steps of log frequency.
    """

    hjd: np.ndarray
    mag: np.ndarray
    magerr: np.ndarray
    filter: int
    frequency: np.ndarray
    value: np.ndarray


def conditioned(options: PipelineOptions) -> Any:
    """Return the lazy table of the light curves that the features of a run are computed from."""
    return LIGHTCURVES_STAGE(Pipeline(options).sources(), options.lightcurves)


def curve_facts(client: Client, options: PipelineOptions, ids: np.ndarray, with_astropy: bool) -> pd.DataFrame:
    """Return ``_id``, ``baseline_days`` and, if wanted, ``period_astropy`` of the light curves `ids`."""
    meta = pd.DataFrame({"_id": pd.Series(dtype="int64"), "baseline_days": 0.0, "period_astropy": 0.0}).iloc[:0]
    periods = options.features.periods if with_astropy else None
    table = conditioned(options).map_partitions(
        facts_of_partition, np.sort(ids), periods, meta=meta, token="astropy" if with_astropy else "baseline"
    )
    facts: pd.DataFrame = client.compute(table).result()
    return facts if with_astropy else facts.drop(columns="period_astropy")


def facts_of_partition(partition: pd.DataFrame, ids: np.ndarray, periods: PeriodOptions | None) -> pd.DataFrame:
    """Return baselines and, with `periods`, astropy's periods of the light curves `ids` of a partition."""
    chosen = partition[partition["_id"].isin(ids)]
    curves = LightCurves.from_frame(chosen)
    baseline = [np.ptp(curves[i][0]) if len(curves[i][0]) else 0.0 for i in range(len(curves))]
    found = astropy_periods(curves, periods) if periods else np.full(len(curves), np.nan)
    return pd.DataFrame(
        {"_id": chosen["_id"].to_numpy(), "baseline_days": np.array(baseline, float), "period_astropy": found}
    )


def drawn_curves(client: Client, options: PipelineOptions, ids: list[int]) -> dict[int, DrawnCurve]:
    """Return the light curves `ids` with their periodograms, each computed as a task of its own."""
    archive = options.sources.archive
    if archive is not None:  # reads no more of the files than it must
        options = replace(options, sources=replace(options.sources, archive=replace(archive, ids=tuple(ids))))
    curves_table = conditioned(options)
    table = curves_table.map_partitions(_rows, np.sort(ids), meta=curves_table._meta, token="chosen")
    frame = client.compute(table).result().drop_duplicates("_id")
    curves = LightCurves.from_frame(frame)
    tasks = client.map(
        _drawn,
        [curves[i] for i in range(len(curves))],
        frame["filter"].tolist(),
        options=options.features.periods,
        key="periodogram",
        pure=False,
    )
    return dict(zip(frame["_id"].tolist(), client.gather(tasks), strict=True))


def _rows(partition: pd.DataFrame, ids: np.ndarray) -> pd.DataFrame:
    return partition[partition["_id"].isin(ids)]


def _drawn(curve: tuple[np.ndarray, np.ndarray, np.ndarray], band: int, options: PeriodOptions) -> DrawnCurve:
    algorithm = options.written[-1]
    frequency, value = periodogram(*curve, algorithm, options)
    return DrawnCurve(*curve, band, *reduced(frequency, value, algorithm in MINIMISED))


def reduced(frequency: np.ndarray, value: np.ndarray, minimised: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Keep the best point of each equal step of log frequency, so that no peak is lost in a drawing.

    Parameters
    ----------
    frequency, value : numpy.ndarray, shape (points,)
        In ascending order of frequency.
    minimised : bool
        Whether the best is the least.
    """
    if not len(frequency):
        return frequency, value
    edges = np.geomspace(frequency[0], frequency[-1] * (1 + 1e-9), DRAWN_POINTS + 1)
    step = np.searchsorted(edges, frequency, side="right")
    height = np.where(np.isnan(value), -np.inf, -value if minimised else value)
    order = np.lexsort((-height, step))
    first = np.flatnonzero(np.diff(step[order], prepend=-1))
    best = order[first]
    return frequency[best], value[best]
