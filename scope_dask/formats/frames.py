"""Between pandas and Arrow: integers exact, missing ones too, and list columns as Arrow lists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask.errors import SchemaError, nearest
from scope_dask.formats.nested import dmdt_array, from_objects, is_nested
from scope_dask.schema import DMDT

_INDEX = re.compile(r"__index_level_\d+__")
# Names of types in files that do not know them all; nested: a list or a dict.
NESTED_NAME = "nested"
TYPES = {
    "int64": pa.int64(),
    "Int64": pa.int64(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "str": pa.string(),
    NESTED_NAME: pa.string(),
}
_TEXT = pd.StringDtype(na_value=np.nan)
# Columns of catalogues as the documents of SCoPe 0.9.5 spell some of them, with one underscore.
_OTHER_SPELLING = re.compile(r"(AllWISE|Gaia_EDR3|PS1_DR1)_([^_].*|_id)")


def to_arrow(frame: pd.DataFrame, metadata: Mapping[str, Any] | None = None) -> pa.Table:
    """Return a table as Arrow, with `metadata` as JSON under the schema metadata key ``scope``.

    Columns of Python lists and dicts become Arrow's; the index is left out.

    Raises
    ------
    SchemaError
        If a column has values of no common type.
    """
    plain = frame.copy(deep=False)
    plain.attrs = {}
    for name in frame.columns:
        if (nested := _nested(str(name), frame[name])) is not None:
            plain[name] = pd.Series(pd.arrays.ArrowExtensionArray(nested), index=frame.index)
    table = pa.Table.from_pandas(plain, preserve_index=False)
    return table.replace_schema_metadata(described(table.schema, metadata or {}))


def _nested(name: str, column: pd.Series) -> pa.Array | None:
    """Return a column of lists or dicts as Arrow where it is not so yet."""
    arrow = getattr(column.dtype, "pyarrow_dtype", None)
    if arrow is not None:
        return dmdt_array(column.array.__arrow_array__()) if name == DMDT.name and arrow != DMDT.pandas_dtype else None
    if column.dtype != object:
        return None
    if name != DMDT.name and not column.map(lambda v: isinstance(v, list | tuple | dict | np.ndarray)).any():
        return None
    return from_objects(name, column)


def described(schema: pa.Schema, metadata: Mapping[str, Any]) -> dict[bytes, bytes]:
    """Return a schema's metadata: ``scope``, and what pandas needs to know of the columns.

    Lists are left out of the latter: pandas cannot read the dtype names that it writes for them.
    """
    keys = {b"scope": json.dumps(metadata, default=str).encode()}
    if (pandas := schema.pandas_metadata) is not None:
        nested = {field.name for field in schema if is_nested(field.type)}
        columns = [column for column in pandas["columns"] if column["name"] not in nested]
        keys[b"pandas"] = json.dumps({**pandas, "columns": columns}).encode()
    return keys


def metadata_of(schema: pa.Schema) -> dict[str, Any]:
    """Return what stands under the schema metadata key ``scope``; empty where there is none, or no JSON object."""
    try:
        found = json.loads((schema.metadata or {}).get(b"scope", b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def nullable(schema: pa.Schema) -> set[str]:
    """Return the columns that pandas wrote as nullable integers."""
    columns: Iterable[Mapping[str, Any]] = (schema.pandas_metadata or {}).get("columns", ())
    return {column["name"] for column in columns if column["numpy_type"] == "Int64"}


def type_names(schema: pa.Schema) -> dict[str, str]:
    """Return the names of the types of the columns, in their order; of a type without a name an empty text."""
    integers = nullable(schema)
    names = {dtype: name for name, dtype in TYPES.items() if name not in ("Int64", NESTED_NAME)} | {
        pa.large_string(): "str"
    }
    found = {}
    for field in schema:
        kind = NESTED_NAME if is_nested(field.type) else names.get(field.type)
        found[field.name] = "Int64" if field.name in integers else kind or ""
    return found


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as pandas, its metadata in ``attrs["scope"]``.

    Integers are int64, or Int64 where some are missing or pandas wrote them so; texts are ``str``; lists and dicts
    stay Arrow's. ``AllWISE_w1mpro`` and the like become ``AllWISE__w1mpro``.
    """
    integers = nullable(table.schema)
    columns = {
        respelt(name): _series(name, column, name in integers)
        for name, column in zip(table.column_names, table.columns, strict=True)
        if not _INDEX.fullmatch(name)
    }
    frame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
    frame.attrs["scope"] = metadata_of(table.schema)
    return frame


def _series(name: str, column: pa.ChunkedArray, integer: bool) -> pd.Series:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if name == DMDT.name and (is_nested(kind) or pa.types.is_null(kind)):
        return pd.Series(pd.arrays.ArrowExtensionArray(dmdt_array(column)))
    if is_nested(kind):
        return pd.Series(pd.arrays.ArrowExtensionArray(column))
    if pa.types.is_integer(kind) and (integer or column.null_count):
        return pd.Series(pd.Int64Dtype().__from_arrow__(column.cast(pa.int64())))
    if pa.types.is_boolean(kind) and column.null_count:
        return pd.Series(pd.BooleanDtype().__from_arrow__(column))
    if pa.types.is_null(kind):
        return pd.Series(np.full(len(column), np.nan))
    series = column.to_pandas()
    return series.astype(_TEXT) if pa.types.is_string(kind) or pa.types.is_large_string(kind) else series


def respelt(name: str) -> str:
    """Return the name of a column of a catalogue with two underscores; other names are as they are.

    Examples
    --------
    >>> [respelt(name) for name in ("AllWISE_w1mpro", "AllWISE__w1mpro", "AllWISE__id", "period_LS")]
    ['AllWISE__w1mpro', 'AllWISE__w1mpro', 'AllWISE___id', 'period_LS']
    """
    return _OTHER_SPELLING.sub(r"\1__\2", name) if _OTHER_SPELLING.fullmatch(name) else name


def stored(columns: Sequence[str], have: Sequence[str], path: Path) -> list[str]:
    """Return how a file that has the columns `have` spells these.

    Raises
    ------
    SchemaError
        If one is not there.
    """
    spelt = {respelt(name): name for name in have} | {name: name for name in have}
    missing = [name for name in columns if name not in spelt]
    if missing:
        raise SchemaError(
            f"{path} has no column {missing[0]!r}{nearest(missing[0], have)}; it has {', '.join(map(str, have))}"
        )
    return [spelt[name] for name in columns]
