"""Light curves to and from nested-pandas frames and LSDB catalogues: the points of a row are one nested column."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask import ragged
from scope_dask.errors import SchemaError, UsageError
from scope_dask.schema import CURVES, RAW_LIGHTCURVES
from scope_dask.sources.layouts import LISTS, OWN, Layout
from scope_dask.sources.leaves import pick

NAME = "lightcurve"
_SPATIAL_INDEX = "_healpix_29"


def nested_layout(name: str = NAME) -> Layout:
    """Return the layout of what `to_nested` makes."""
    inner = {column: f"{name}.{column}" for column in LISTS}
    return dataclasses.replace(
        OWN, name="nested light curves", columns={**OWN.columns, **inner}, optional=frozenset({inner["catflags"]})
    )


def to_nested(frame: Any, name: str = NAME) -> Any:
    """Put the lists of light curves into one nested column: lazily for a Dask table, at once for a partition.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame or pandas.DataFrame
        With the columns ``hjd``, ``mag`` and ``magerr``, and ``catflags`` where there are flags.
    name : str
        Of the nested column, which has a field of the name of each list.

    Returns
    -------
    dask.dataframe.DataFrame of nested frames, or nested_pandas.NestedFrame
        The other columns and the index are as they were.

    Raises
    ------
    UsageError
        If nested-pandas is not installed.
    SchemaError
        If columns are missing, or the lists of a row differ in length.
    """
    if isinstance(frame, dd.DataFrame):
        meta = to_nested(frame._meta, name)
        return dd.map_partitions(to_nested, frame, name, meta=meta, token="to_nested", enforce_metadata=False)
    nested_pandas = _nested_pandas()
    CURVES.require(frame, "to_nested")
    lists = [column for column in LISTS if column in frame.columns]
    arrays, offsets = [], None
    for column in lists:
        values, own = ragged.split(frame[column])
        if offsets is not None and not np.array_equal(own, offsets):
            raise SchemaError(f"to_nested needs lists of one length in each row: {lists[0]} and {column} differ")
        offsets = own
        arrays.append(ragged.join(values, own).array.__arrow_array__().combine_chunks())
    struct = pa.StructArray.from_arrays(arrays, names=lists)
    out = nested_pandas.NestedFrame(frame.drop(columns=lists))
    out[name] = pd.Series(
        struct, index=frame.index, dtype=nested_pandas.NestedDtype.from_pandas_arrow_dtype(pd.ArrowDtype(struct.type))
    )
    out.attrs = dict(frame.attrs)
    return out


def from_nested(frame: Any, layout: Layout | None = None) -> Any:
    """Take light curves out of a nested column: lazily for a Dask table, at once for a partition.

    Parameters
    ----------
    frame : dask.dataframe.DataFrame, pandas.DataFrame or nested_pandas.NestedFrame
        A nested column may be of nested-pandas, or of Arrow: a struct of lists or a list of structs.
    layout : Layout, optional
        Where the columns are: `hats.ZTF` for ZTF's data releases, `hats.with_columns` of it for others; by default as
        `to_nested` has them.

    Returns
    -------
    dask.dataframe.DataFrame or pandas.DataFrame
        The columns of ``schema.RAW_LIGHTCURVES`` (without ``catflags`` where the default layout has none), then the
        remaining columns; the index is as it was.

    Raises
    ------
    SchemaError
        If a column is missing.
    """
    layout = layout or nested_layout()
    if isinstance(frame, dd.DataFrame):
        meta = from_nested(frame._meta, layout)
        return dd.map_partitions(from_nested, frame, layout, meta=meta, token="from_nested", enforce_metadata=False)
    columns = {name: column for name in RAW_LIGHTCURVES.names if (column := _column(frame, layout, name)) is not None}
    used = {source.partition(".")[0] for source in layout.columns.values()}
    rest = [name for name in frame.columns if name not in used and name not in columns]
    out = pd.DataFrame({**columns, **{name: frame[name] for name in rest}}, index=frame.index)
    out.attrs = dict(frame.attrs)
    return out


def _column(frame: pd.DataFrame, layout: Layout, name: str) -> Any:
    """Return one column of light curves; None for flags that are not there."""
    if name in layout.constants:
        return np.full(len(frame), layout.constants[name], dtype=np.int64)
    source = layout.columns[name]
    top, _, inner = source.partition(".")
    if top not in frame.columns or (inner and inner not in _fields(frame[top])):
        if source in layout.optional:
            return None
        raise SchemaError(f"from_nested needs the column {source} for {name}; there are {', '.join(frame.columns)}")
    if name in LISTS:
        return _lists(frame[top], source, layout.time_offset if name == "hjd" else 0.0, name == "catflags")
    values = frame[top].to_numpy(dtype=RAW_LIGHTCURVES[name].dtype)
    return layout.derived[name](values) if name in layout.derived else values


def _arrow(column: pd.Series) -> pa.Array:
    array = pa.array(column.array)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _fields(column: pd.Series) -> list[str]:
    dtype = _arrow(column.iloc[:0]).type
    inner = dtype if pa.types.is_struct(dtype) else getattr(dtype, "value_type", None)
    return [field.name for field in inner] if inner is not None and pa.types.is_struct(inner) else []


def _lists(column: pd.Series, source: str, offset: float, flags: bool) -> pd.Series:
    batch = pa.RecordBatch.from_arrays([_arrow(column)], names=[str(column.name)])
    lists = pick(batch, [source]).column(0)
    values, offsets = ragged.split(pd.Series(pd.arrays.ArrowExtensionArray(lists)))
    if flags:
        values = values.astype(np.int32)
    elif offset:
        values = values.astype(np.float64) + offset
    return ragged.join(values, offsets, column.index)


def map_catalog(catalog: Any, *stages: Callable[[Any], Any]) -> Any:
    """Apply stages to the partitions of an LSDB catalogue, lazily.

    ``catalog.map_partitions`` takes every stage of scope_dask as it is; this adds what it needs besides: the table
    without rows that the stages make, and the spatial index, which the stages do not keep.

    Parameters
    ----------
    catalog : lsdb.Catalog
        With the position in ``ra`` and ``dec``.
    *stages : callable
        From partition to partition, such as ``from_nested``, ``lightcurves`` and ``features``; options are bound with
        ``functools.partial``.

    Returns
    -------
    lsdb.Catalog

    Raises
    ------
    SchemaError
        If the columns of the catalogue are not what the stages need.

    Examples
    --------
    >>> found = map_catalog(catalog, from_nested, sd.lightcurves, sd.features)  # doctest: +SKIP
    """
    return catalog.map_partitions(_in_turn, stages, meta=_in_turn(catalog.meta, stages))


def _in_turn(partition: Any, stages: Sequence[Callable[[Any], Any]]) -> Any:
    for stage in stages:
        partition = stage(partition)
    compute = importlib.import_module("hats.pixel_math.spatial_index").compute_spatial_index
    ra, dec = (partition[name].to_numpy(dtype=np.float64) for name in ("ra", "dec"))
    index = compute(ra, dec) if len(ra) else np.empty(0, np.int64)
    out = _nested_pandas().NestedFrame(partition)
    out.index = pd.Index(index, name=_SPATIAL_INDEX, dtype="int64")
    return out


def _nested_pandas() -> Any:
    try:
        return importlib.import_module("nested_pandas")
    except ImportError as error:
        raise UsageError("nested-pandas is not installed: pip install 'scope_dask[catalog]'") from error
