"""HDF5 files as pandas writes them: the frame under the key ``df``, lists and dicts under keys of their own.

The metadata are the attribute ``metadata`` of the frame. PyTables stores them, and lists and dicts, pickled: read
only files that you trust.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import tables

from scope_dask.errors import SourceError, UsageError
from scope_dask.formats.frames import metadata_of, stored, to_arrow, to_frame, type_names
from scope_dask.formats.nested import is_nested, to_objects

KEY = "df"
COLUMNS = "columns"  # attribute of the frame: names and types of all columns, in their order, as JSON
MISSING = np.iinfo(np.int64).min  # of nullable integers, which HDF5 does not know
_TEXT_MISSING = "<NA>"


def read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the frame of an HDF5 file as Arrow.

    Raises
    ------
    SourceError
        If it cannot be read, or holds no frame.
    SchemaError
        If a column is not there.
    """
    try:
        with _quiet(), pd.HDFStore(path, mode="r") as store:
            key, frame, kinds, metadata = _frame(store, path)
            beside = [k.lstrip("/") for k in store.keys() if k != f"/{key}"]  # noqa: SIM118 (a store is no mapping)
            columns = None if columns is None else stored(columns, [*frame.columns, *beside], path)
            for name in beside:
                if name not in frame.columns and (columns is None or name in columns):
                    frame[name] = _beside(store, name, len(frame), path)
    except UsageError:
        raise
    except (OSError, KeyError, TypeError, ValueError, AttributeError, tables.HDF5ExtError) as error:
        raise SourceError(f"{path} cannot be read as an HDF5 file of pandas: {_last_line(error)}") from error
    order = [name for name in (kinds if columns is None else columns) if name in frame.columns]
    frame = frame[[*order, *(() if columns is not None else (n for n in frame.columns if n not in order))]]
    for name in order:
        if kinds.get(name) == "Int64":
            values = frame[name].to_numpy(dtype=np.int64)
            frame[name] = pd.arrays.IntegerArray(values, values == MISSING)
    return to_arrow(frame, metadata)


def _last_line(error: Exception) -> str:
    """Return the line that says what was wrong: HDF5 puts it last."""
    return [line for line in str(error).splitlines() if line.strip()][-1]


def _frame(store: pd.HDFStore, path: Path) -> tuple[str, pd.DataFrame, dict[str, str], dict[str, Any]]:
    """Return (its key, frame, names of the types of all columns where the file tells them, metadata)."""
    keys = [key.lstrip("/") for key in store.keys()]  # noqa: SIM118
    key = KEY if KEY in keys or len(keys) != 1 else keys[0]
    if key not in keys:
        inside = ", ".join(keys or sorted(node._v_name for node in store.root)) or "nothing"
        raise SourceError(f"{path} has no frame of pandas under the key {KEY!r}; it holds {inside}")
    frame = store.get(key).reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    attributes = store.get_storer(key).attrs
    metadata = getattr(attributes, "metadata", None)
    kinds = json.loads(getattr(attributes, COLUMNS, "{}"))
    return key, frame, kinds, dict(metadata) if isinstance(metadata, dict) else {}


def _beside(store: pd.HDFStore, key: str, rows: int, path: Path) -> pd.Series:
    """Return a column that has a key of its own; it belongs to the rows by their order."""
    values = store.get(key)
    if len(values) != rows:
        raise SourceError(f"{path}: {key} has {len(values)} rows, the frame has {rows}: the file is damaged")
    return pd.Series(list(values), dtype=object)


class Writer:
    """An HDF5 file in the making; it is written when it is closed, for texts need the length of the longest."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._pieces: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._pieces.append(table)

    def abandon(self) -> None:
        """Let go of what was appended."""
        self._pieces.clear()

    def close(self) -> None:
        """Write the file."""
        table = pa.concat_tables([self._schema.empty_table(), *self._pieces])
        nested = [field.name for field in table.schema if is_nested(field.type)]
        frame = to_frame(table.drop_columns(nested))
        integers = [str(name) for name in frame.columns if frame[name].dtype == pd.Int64Dtype()]
        for name in integers:
            frame[name] = frame[name].to_numpy(dtype=np.int64, na_value=MISSING)
        frame.attrs = {}
        with _quiet(), pd.HDFStore(self._path, mode="w") as store:
            kind: Any = "table" if len(frame) else "fixed"  # pandas writes no table without rows
            store.put(KEY, frame, format=kind, index=False, nan_rep=_TEXT_MISSING, track_times=False)
            attributes = store.get_storer(KEY).attrs
            attributes.metadata = metadata_of(table.schema)
            attributes[COLUMNS] = json.dumps(type_names(table.schema))
            for name in nested:
                store.put(name, pd.Series(to_objects(name, table.column(name)), dtype=object), track_times=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Do not warn that lists are pickled, and that some names are no Python names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
        warnings.simplefilter("ignore", tables.NaturalNameWarning)
        yield
