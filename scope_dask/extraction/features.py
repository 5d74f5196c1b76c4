"""The stage that turns light curves into features: statistics, periods, Fourier decompositions, dmdt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask import tally
from scope_dask.errors import OptionError
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves
from scope_dask.schema import DMDT, DMDT_SHAPE, FOURIER, LIGHTCURVES, STATISTICS, Schema, carried
from scope_dask.stage import Stage, is_cudf

if TYPE_CHECKING:
    from scope_dask.extraction.compute import Computed
    from scope_dask.periods.choice import AlgorithmResult
    from scope_dask.periods.gpu.device import Device

MIN_POINTS = 4


@dataclass(frozen=True, slots=True)
class FeatureOptions:
    """Options of the feature extraction.

    Attributes
    ----------
    periods : PeriodOptions
    fourier : {"raw", "documented"}
        Contents of the Fourier columns: coefficients A_n, B_n, or amplitudes and phases.
    device : {"auto", "cpu", "gpu"}
        What computes. ``auto``: a GPU where the worker sees one (a cuDF partition: always), else the CPU.
    threads_beside_gpu : int
        Threads that refine and judge on the host the periods that a GPU finds: the cores that a GPU worker has.
    """

    periods: PeriodOptions = field(default_factory=PeriodOptions)
    fourier: Literal["raw", "documented"] = "raw"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    threads_beside_gpu: int = 1

    def __post_init__(self) -> None:
        if self.threads_beside_gpu < 1:
            raise OptionError(f"threads_beside_gpu is {self.threads_beside_gpu}; it must be 1 or more")


def extract(partition: pd.DataFrame, options: FeatureOptions) -> pd.DataFrame:
    """Compute the features of every light curve of a partition.

    A light curve that nothing can be computed from (fewer than 4 points, a value that is not finite, an error that is
    not positive) becomes a row of NaN; one without a period (constant, all times equal, too few points for an
    algorithm) keeps its statistics, with period NaN and significance 0. Both are noted as set aside, with the reason.
    """
    computed, curves, device = _computed(partition, options)
    reasons = set_aside_reasons(curves)
    unusable = np.array([reason in _UNUSABLE for reason in reasons], dtype=bool)
    columns: dict[str, Any] = dict(zip(STATISTICS.names, computed.statistics.T, strict=True))
    columns |= _period_columns(computed.periods, unusable)
    threads = 1 if device is None else options.threads_beside_gpu
    columns |= _judged(curves, computed.periods, options.periods, unusable, threads)
    for algorithm, table in computed.fourier.items():
        columns |= _fourier_columns(table, algorithm, options.fourier)
    out = _as_frame(partition, columns, computed.dmdt, unusable, options, device)
    reasons = _with_missing_periods(reasons, {name: found.period for name, found in computed.periods.items()})
    ids = np.asarray(partition["_id"].to_numpy())
    return tally.note(out, set_aside=[(ids[i], r) for i, r in enumerate(reasons) if r])


def _computed(partition: Any, options: FeatureOptions) -> tuple[Computed, LightCurves, Device | None]:
    """Compute where the options and the partition say; return the light curves on the host, and the device, too."""
    from scope_dask.extraction.compute import compute
    from scope_dask.extraction.gpu import features as gpu
    from scope_dask.extraction.gpu import frame

    device = frame.device_for(partition, options.device)
    if device is None:
        curves = LightCurves.from_frame(partition)
        return compute(curves, options.periods), curves, None
    curves = frame.light_curves(partition) if is_cudf(partition) else LightCurves.from_frame(partition)
    computed = gpu.compute_on_device(curves, options.periods, device=device)
    return computed, gpu.host_curves(curves, device), device


def _as_frame(
    partition: Any,
    columns: dict[str, Any],
    dmdt: Any,
    unusable: np.ndarray,
    options: FeatureOptions,
    device: Device | None,
) -> Any:
    """Return the features as a frame of the partition's own kind."""
    order = options.periods.schema.without("dmdt").names
    if device is not None and is_cudf(partition):
        from scope_dask.extraction.gpu.frame import feature_frame

        dmdt[device.from_host(unusable)] = np.nan
        return feature_frame(partition, pd.DataFrame(columns)[order], dmdt)
    histograms = dmdt if device is None else device.to_host(dmdt)
    table = pd.DataFrame(columns, index=partition.index)[order]
    return pd.concat(
        [partition[carried(partition)], table, _dmdt_column(histograms, unusable, partition.index)], axis=1
    )


_UNUSABLE = (
    f"fewer than {MIN_POINTS} points",
    "a time, magnitude or error is not finite",
    "an error is not positive",
)


def set_aside_reasons(curves: LightCurves) -> list[str]:
    """Return, per light curve, why features (or only its period) cannot be computed; empty where they can."""
    few, infinite, negative = _UNUSABLE
    points = np.diff(curves.offsets)
    bad_value = ~(np.isfinite(curves.hjd) & np.isfinite(curves.mag) & np.isfinite(curves.magerr))
    tests = [
        (points < MIN_POINTS, few),
        (_any(bad_value, curves.offsets), infinite),
        (_any(curves.magerr <= 0, curves.offsets), negative),
        (_constant(curves.mag, curves.offsets), "constant magnitude: no period"),
        (_constant(curves.hjd, curves.offsets), "all times equal: no period"),
    ]
    chosen = np.select([t for t, _ in tests], np.arange(1, len(tests) + 1), 0)
    return [["", *(r for _, r in tests)][k] for k in chosen]


def _with_missing_periods(reasons: list[str], periods: dict[str, np.ndarray]) -> list[str]:
    """Add which algorithm found no period in light curves that nothing is wrong with (AOV: 20 points are too few)."""
    for algorithm, period in periods.items():
        reasons = [
            reason or ("" if found else f"no period by {algorithm}")
            for reason, found in zip(reasons, np.isfinite(period), strict=True)
        ]
    return reasons


def _any(flags: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    counts = np.concatenate([[0], np.cumsum(flags)])
    return np.asarray(counts[offsets[1:]] > counts[offsets[:-1]])


def _constant(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Tell which light curves have one and the same value at every point."""
    first = np.repeat(values[offsets[:-1][np.diff(offsets) > 0]], np.diff(offsets)[np.diff(offsets) > 0])
    return ~_any(values != first, offsets)


def _judged(
    curves: LightCurves,
    results: dict[str, AlgorithmResult],
    options: PeriodOptions,
    unusable: np.ndarray,
    threads: int,
) -> dict[str, Any]:
    from scope_dask.periods.judge import judge

    return {
        name: pd.array(np.where(unusable, np.nan, values), dtype=options.schema[name].pandas_dtype)
        for name, values in judge(curves, results, options, threads).items()
    }


def _period_columns(results: dict[str, AlgorithmResult], unusable: np.ndarray) -> dict[str, np.ndarray]:
    return {
        f"{name}_{algorithm}": np.where(unusable, np.nan, values)
        for algorithm, found in results.items()
        for name in ("period", "significance", "pdot", "log10_fap")
        if (values := getattr(found, name)) is not None
    }


def _fourier_columns(table: np.ndarray, algorithm: str, contents: str) -> dict[str, np.ndarray]:
    from scope_dask.extraction.fourier import documented

    if contents == "documented":
        table = documented(table)
    return {f"f1_{name}_{algorithm}": column for name, column in zip(FOURIER, table.T, strict=True)}


def _dmdt_column(histograms: np.ndarray, unusable: np.ndarray, index: pd.Index) -> pd.Series:
    histograms = np.where(unusable[:, None], np.float32(np.nan), histograms)
    flat = pa.array(np.ascontiguousarray(histograms, dtype=np.float32).ravel())
    lists = pa.FixedSizeListArray.from_arrays(flat, DMDT_SHAPE[0] * DMDT_SHAPE[1])
    return pd.Series(pd.arrays.ArrowExtensionArray(lists), index=index, dtype=DMDT.pandas_dtype, name="dmdt")


def _requires(options: FeatureOptions) -> Schema:
    return LIGHTCURVES


def _provides(options: FeatureOptions) -> Schema:
    return options.periods.schema


FEATURES_STAGE = Stage("features", extract, _requires, _provides)


def features(curves: Any, options: FeatureOptions | None = None, **changes: Any) -> Any:
    """Compute features: lazily for a Dask table, at once for a pandas partition.

    Parameters
    ----------
    curves : dask.dataframe.DataFrame, pandas.DataFrame or cudf.DataFrame
        Table with the columns of `schema.LIGHTCURVES`.
    options : FeatureOptions, optional
    **changes
        Fields of `FeatureOptions`, in place of `options`.

    Returns
    -------
    dask.dataframe.DataFrame, pandas.DataFrame or cudf.DataFrame
        Table with the identification and the columns of `schema.feature_schema`.

    Raises
    ------
    SchemaError
        If columns are missing or have another type.
    """
    return FEATURES_STAGE(curves, options or FeatureOptions(**changes))
