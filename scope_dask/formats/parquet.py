"""Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scope_dask.errors import SourceError
from scope_dask.formats.atomic import replacing
from scope_dask.formats.frames import stored, to_arrow

GROUP_BYTES = 64 << 20  # of a row group in memory, about


def read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a Parquet file, or a folder of them, as Arrow.

    Raises
    ------
    SourceError
        If it cannot be read.
    SchemaError
        If a column is not there.
    """
    try:
        dataset = pq.ParquetDataset(path)
        return dataset.read(columns=None if columns is None else stored(columns, dataset.schema.names, path))
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error


def write_parquet(frame: pd.DataFrame, path: Path, metadata: Mapping[str, Any]) -> int:
    """Write a table as Parquet, whatever the name; it is there whole or not at all. Return its bytes."""
    with replacing(path) as temporary:
        pq.write_table(to_arrow(frame, metadata), temporary, compression="zstd")
    return path.stat().st_size


class Writer:
    """A Parquet file in the making: small pieces are collected to row groups."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = pq.ParquetWriter(path, schema, compression="zstd")
        self._waiting: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._waiting.append(table)
        if sum(piece.nbytes for piece in self._waiting) >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(pa.concat_tables(self._waiting))
            self._waiting.clear()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def close(self) -> None:
        """Write what is left, and the footer."""
        self._flush()
        self._file.close()
