"""The simulated field as lazy tables: the light curves, and the truth about them."""

from __future__ import annotations

from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd

from scope_dask import ragged
from scope_dask.errors import UsageError
from scope_dask.schema import CATFLAGS, CURVES, SOURCES, Column, Schema
from scope_dask.simulate.options import SimulationOptions
from scope_dask.simulate.stars import CLASS_LABELS, Curves, curves, key
from scope_dask.simulate.survey import survey

_POINTS = Schema(
    [
        CURVES["hjd"],
        Column("mag", "list<float32>", "mag", CURVES["mag"].meaning),
        Column("magerr", "list<float32>", "mag", CURVES["magerr"].meaning),
        CATFLAGS,
    ]
)

SIMULATED = Schema([*SOURCES, *_POINTS])

TRUTH = Schema(
    [
        SOURCES["_id"],
        Column("star_id", "int64", "", "number of the star: its light curves in g, r (and i) share it"),
        Column("class_label", "str", "", "class"),
        Column("period_days", "float64", "d", "period; NaN where aperiodic"),
        Column(
            "amplitude_mag",
            "float64",
            "mag",
            "peak to peak of the mean cycle; of a random walk √8 standard deviations; 0 where constant",
        ),
        Column("mean_mag", "float64", "mag", "mean magnitude over a cycle"),
        Column("n_points", "int64", "", "number of points, flagged ones included"),
    ]
)

# Label columns that several classes share.
PARENTS = {
    "variable": CLASS_LABELS[:-1],
    "periodic": ("RR Lyrae ab", "RR Lyrae c", "EA", "EW", "sinusoidal", "LPV"),
    "eclipsing": ("EA", "EW"),
    "RR Lyrae": ("RR Lyrae ab", "RR Lyrae c"),
    "pulsator": ("RR Lyrae ab", "RR Lyrae c", "LPV"),
}


def simulate_sources(options: SimulationOptions) -> Any:
    """Return the light curves of a field as a lazy table (columns: `SIMULATED`).

    Nothing is simulated until a partition is computed; only the columns that are used are made.

    Raises
    ------
    OptionError
        If the field is never visible in the time that the options give.
    """
    survey(options)
    return _from_map(source_partition, options, SIMULATED, "simulate")


def truth(options: SimulationOptions) -> Any:
    """Return the truth about every light curve as a lazy table (columns: `TRUTH`), partition by partition.

    No light curve is simulated for it.

    Raises
    ------
    OptionError
        If the field is never visible in the time that the options give.
    """
    survey(options)
    return _from_map(truth_partition, options, TRUTH, "truth")


def _from_map(function: Any, options: SimulationOptions, schema: Schema, label: str) -> Any:
    # Our strings already are Arrow-backed: the conversion would only add a task and another missing value.
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(function, range(options.npartitions), args=[options], meta=schema.empty(), label=label)


def source_partition(number: int, options: SimulationOptions, columns: list[str] | None = None) -> pd.DataFrame:
    """Return partition `number` of the light curves, or some `columns` of it."""
    wanted = SIMULATED.names if columns is None else columns
    drawn = curves(options, _numbers(number, options))
    data = _identification(options, drawn)
    if any(name in _POINTS for name in wanted):
        data |= _points(options, drawn)
    return pd.DataFrame({name: data[name] for name in wanted}, index=pd.RangeIndex(len(drawn.number)))


def truth_partition(number: int, options: SimulationOptions, columns: list[str] | None = None) -> pd.DataFrame:
    """Return partition `number` of the truth, or some `columns` of it."""
    drawn = curves(options, _numbers(number, options))
    labels = pd.Series(np.array(CLASS_LABELS, dtype=object)[drawn.kind])
    data = {
        "_id": _identifier(options, drawn),
        "star_id": drawn.star.astype(np.int64),
        "class_label": labels.astype("str"),
        "period_days": drawn.period,
        "amplitude_mag": drawn.amplitude,
        "mean_mag": drawn.mean_mag,
        "n_points": drawn.n_points,
    }
    wanted = TRUTH.names if columns is None else columns
    return pd.DataFrame({name: data[name] for name in wanted}, index=pd.RangeIndex(len(drawn.number)))


def label_table(truth_frame: pd.DataFrame) -> pd.DataFrame:
    """Return one 0/1 column per class label, and per group of classes, for a table with ``class_label``.

    Parameters
    ----------
    truth_frame : pandas.DataFrame
        With the columns ``_id`` and ``class_label``.

    Returns
    -------
    pandas.DataFrame
        ``_id``, then float64 columns: variable, periodic, eclipsing, RR Lyrae, pulsator and the class
        labels; the rows and the index of `truth_frame`.

    Raises
    ------
    SchemaError
        If a column is missing.
    UsageError
        If a label is not a class of the simulation.
    """
    Schema([TRUTH["_id"], TRUTH["class_label"]]).require(truth_frame, "label_table")
    label = truth_frame["class_label"]
    unknown = label[~label.isin(CLASS_LABELS)]
    if len(unknown):
        raise UsageError(
            f"label_table found the class {unknown.iloc[0]!r} in {len(unknown)} rows, "
            f"expected one of {', '.join(CLASS_LABELS)}: map the labels first"
        )
    members = PARENTS | {name: (name,) for name in CLASS_LABELS}
    columns = {name: label.isin(group).astype("float64") for name, group in members.items()}
    return pd.DataFrame({"_id": truth_frame["_id"], **columns})


def _numbers(number: int, options: SimulationOptions) -> np.ndarray:
    start = number * options.light_curves_per_partition
    return np.arange(start, min(start + options.light_curves_per_partition, options.n_light_curves), dtype=np.int64)


def _identifier(options: SimulationOptions, drawn: Curves) -> np.ndarray:
    """Return identifiers with the digits of the survey's: field, filter, ccd (2), quadrant, counter (8)."""
    channel = (drawn.rc // 4 + 1) * 10 + drawn.rc % 4 + 1
    return ((options.field * 10 + drawn.band) * 1000 + channel) * 10**8 + drawn.counter


def _identification(options: SimulationOptions, drawn: Curves) -> dict[str, Any]:
    return {
        "_id": _identifier(options, drawn),
        "ra": drawn.ra,
        "dec": drawn.dec,
        "field": np.full(len(drawn.number), options.field, np.int64),
        "ccd": drawn.rc // 4 + 1,
        "quad": drawn.rc % 4 + 1,
        "filter": drawn.band,
    }


def _points(options: SimulationOptions, drawn: Curves) -> dict[str, Any]:
    from scope_dask.simulate.points import make_points

    offsets = np.concatenate([[0], np.cumsum(drawn.n_points)]).astype(np.int64)
    size = offsets[-1]
    flat = [np.empty(size, t) for t in (np.float64, np.float32, np.float32, np.int32)]
    spoiled = (float(options.flagged_fraction), float(options.outlier_fraction))
    make_points(key(options), drawn, survey(options), spoiled, offsets, *flat)
    return {name: ragged.join(values, offsets) for name, values in zip(_POINTS.names, flat, strict=True)}
