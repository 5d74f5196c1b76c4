"""Reading and writing a table; the ending of the file's name tells the format."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from scope_dask.errors import OptionError, SourceError
from scope_dask.formats import parquet
from scope_dask.formats.atomic import replacing
from scope_dask.formats.frames import to_arrow, to_frame

FORMATS = (".csv", ".h5", ".parquet")
_NAMES = {".csv": "csvfile", ".h5": "hdf5", ".hdf5": "hdf5", ".hdf": "hdf5", ".parquet": "parquet", ".pq": "parquet"}


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Return the ending of a file's name: one of ``.csv``, ``.h5``, ``.parquet`` (or a usual variant of them).

    Raises
    ------
    OptionError
        If it is another.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _NAMES:
        raise OptionError(f"{path} is of no known format: expected a name that ends in {', '.join(FORMATS)}")
    return suffix


def _module(path: str | os.PathLike[str]) -> Any:
    """Return the module of a file's format; PyTables is loaded for HDF5 only."""
    return importlib.import_module(f"scope_dask.formats.{_NAMES[suffix_of(path)]}")


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table from a CSV, HDF5 or Parquet file, or from a folder of Parquet files.

    Parameters
    ----------
    path : path
    columns : sequence of str, optional
        Which columns, in this order; by default all.

    Returns
    -------
    pandas.DataFrame
        Integers are exact, as int64, or Int64 where some are missing; lists and dicts are Arrow's, ``dmdt`` is
        676 float32 row by row; the metadata are in ``attrs["scope"]``.

    Raises
    ------
    OptionError
        If the name does not tell the format.
    SourceError
        If the file is absent or cannot be read.
    SchemaError
        If a column is not there, or dmdt has another size.
    """
    path = Path(path)
    if not path.exists():
        raise SourceError(f"{path} does not exist; expected a file that ends in {', '.join(FORMATS)}")
    module = parquet if path.is_dir() else _module(path)
    frame = to_frame(module.read(path, columns))
    return frame if columns is None else frame[list(columns)]


@contextmanager
def table_writer(path: str | os.PathLike[str], schema: pa.Schema) -> Iterator[Any]:
    """Yield the writer of a file that is written piece by piece, and is there whole or not at all.

    Parameters
    ----------
    path : path
        Its ending tells the format. An HDF5 file is held in memory until it is written at the end.
    schema : pyarrow.Schema
        Of every piece; its metadata go into the file.

    Yields
    ------
    object
        Its ``write(table)`` appends the rows of a `pyarrow.Table`.

    Raises
    ------
    OptionError
        If the name does not tell the format.
    SourceError
        If the file cannot be written.
    """
    module = _module(path)
    try:
        with replacing(path) as temporary:
            writer = module.Writer(temporary, schema)
            try:
                yield writer
            except BaseException:
                writer.abandon()
                raise
            writer.close()
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror or error}") from error


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write a table with its metadata as CSV, HDF5 or Parquet; the file is there whole or not at all.

    Parquet has the metadata as JSON under the schema metadata key ``scope``. HDF5 has the frame under the key ``df``,
    the metadata as its attribute ``metadata``, and lists and dicts under keys of their own. CSV has one first line
    ``# scope: {json}``, which readers pass over with ``comment="#"``, and lists and dicts as JSON text.

    Parameters
    ----------
    frame : pandas.DataFrame
        The index is not written.
    path : path
        Its ending tells the format.
    metadata : mapping, optional
        By default ``frame.attrs["scope"]``.

    Raises
    ------
    OptionError
        If the name does not tell the format.
    SchemaError
        If a column has values of no common type.
    SourceError
        If the file cannot be written.
    """
    suffix_of(path)
    table = to_arrow(frame, frame.attrs.get("scope", {}) if metadata is None else metadata)
    with table_writer(path, table.schema) as writer:
        writer.write(table)
