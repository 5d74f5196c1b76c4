"""The stage that adds columns of the nearest catalogue sources: Gaia, AllWISE, Pan-STARRS1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask import tally
from scope_dask.crossmatch.catalogs import Catalog
from scope_dask.crossmatch.matching import AddingStage, check_radius, neighbours, without_position
from scope_dask.crossmatch.schema import EXTERNAL_FIELDS, MISSING_VALUE, POSITIONS, external_column, external_schema
from scope_dask.errors import OptionError, SourceError, nearest
from scope_dask.schema import Column, Schema


@dataclass(frozen=True, slots=True)
class CrossmatchOptions:
    """Options of the cross-match.

    Attributes
    ----------
    radius_arcsec : float
        Largest separation of a match.
    fields : mapping of str to sequence of str
        Fields to take of each catalogue, in the order of the output.
    """

    radius_arcsec: float = 2.0
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(EXTERNAL_FIELDS))

    def __post_init__(self) -> None:
        check_radius("radius_arcsec", self.radius_arcsec)


@dataclass(frozen=True, slots=True)
class _Task:
    options: CrossmatchOptions
    catalogs: Mapping[str, Catalog]

    @property
    def fields(self) -> dict[str, tuple[str, ...]]:
        return {name: names for name, names in self.options.fields.items() if name in self.catalogs}


def match_partition(partition: pd.DataFrame, task: _Task) -> pd.DataFrame:
    """Add the columns of the nearest source of each catalogue; NaN (ids: NA) where there is none."""
    columns: dict[str, Any] = {}
    for name, fields in task.fields.items():
        found = neighbours(task.catalogs[name], partition, task.options.radius_arcsec, fields)
        best = found.nearest()
        stars = found.table.iloc[found.j[best]]
        for key in fields:
            column = external_column(name, key)
            columns[column.name] = _spread(stars[key], found.i[best], column, len(partition), MISSING_VALUE.get(name))
    out = pd.concat([partition, pd.DataFrame(columns, index=partition.index)], axis=1)  # at once: `assign` adds singly
    return tally.note(out, set_aside=without_position(partition))


def _spread(values: pd.Series, rows: np.ndarray, column: Column, size: int, missing: float | None) -> Any:
    """Return a column of `size` rows with `values` in some of them."""
    if column.dtype == "Int64":
        ids = np.zeros(size, np.int64)
        absent = np.ones(size, bool)
        exact = exact_ids(values, column.name)
        absent[rows] = exact.isna()
        ids[rows] = exact.fillna(0)
        return pd.arrays.IntegerArray(ids, absent)
    if column.dtype == "str":
        text = np.full(size, np.nan, dtype=object)
        text[rows] = values.astype(object).where(values.notna(), np.nan)
        return pd.array(text, dtype=column.pandas_dtype)
    numbers = np.full(size, np.nan)
    found = values.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers[rows] = found if missing is None else np.where(found == missing, np.nan, found)
    return numbers


def exact_ids(values: pd.Series, name: str) -> pd.Series:
    """Return identifiers as Int64, from integers or from strings of digits; never through floats.

    Raises
    ------
    SourceError
        If they are floats or other text.
    """
    try:
        if pd.api.types.is_float_dtype(values.dtype) and values.notna().any():
            raise ValueError("beyond 2**53 a float is not exact")
        arrow = pa.array(values.astype(object).where(values.notna(), None), from_pandas=True)
        whole = arrow.cast(pa.int64())
    except (ValueError, pa.ArrowException) as error:
        raise SourceError(f"{name} is {values.dtype}, expected integers or strings of digits ({error})") from error
    return pd.Series(whole.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get))


def _requires(task: _Task) -> Schema:
    return POSITIONS


def _provides(task: _Task) -> Schema:
    return external_schema(task.fields)


CROSSMATCH_STAGE = AddingStage("crossmatch", match_partition, _requires, _provides)


def crossmatch(
    table: Any, catalogs: Mapping[str, Catalog], options: CrossmatchOptions | None = None, **changes: Any
) -> Any:
    """Add columns of the nearest catalogue sources: lazily for a Dask table, at once for a pandas partition.

    Parameters
    ----------
    table : dask.dataframe.DataFrame or pandas.DataFrame
        Any table with ``_id``, ``ra`` and ``dec``.
    catalogs : mapping of str to Catalog
        Catalogues by the names that the columns begin with.
    options : CrossmatchOptions, optional
    **changes
        Fields of `CrossmatchOptions`, in place of `options`.

    Returns
    -------
    dask.dataframe.DataFrame or pandas.DataFrame
        The table with columns ``<catalogue>__<field>`` of `schema.external_schema` added.

    Raises
    ------
    OptionError
        If no fields are given for a catalogue.
    SchemaError
        If the table has no positions.
    SourceError
        If a catalogue lacks a field.
    """
    options = options or CrossmatchOptions(**changes)
    for name, catalog in catalogs.items():
        if name not in options.fields:
            raise OptionError(
                f"fields names no columns of the catalogue {name!r}{nearest(name, options.fields)}: "
                f"it has {', '.join(options.fields)}; say which fields to take"
            )
        catalog.require(options.fields[name])
    return CROSSMATCH_STAGE(table, _Task(options, dict(catalogs)))
