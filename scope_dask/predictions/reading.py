"""Features in files as a lazy table: a bounded number of rows a partition, read as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scope_dask.errors import SchemaError, SourceError, nearest
from scope_dask.formats.frames import metadata_of, respelt, stored, to_frame
from scope_dask.sources.files import SourceFile, check_unchanged, expand, first_line, opened, read_metadata

PARTITION_BYTES = 128 << 20  # of what is read, uncompressed
_STREAM_ROWS = 8192


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows `first` up to `last` of a row group of a file."""

    path: str
    fingerprint: str
    group: int
    first: int
    last: int


@dataclass(frozen=True)
class FeatureFiles:
    """Files with the features of the same columns.

    Attributes
    ----------
    files : tuple of SourceFile
    schemas : tuple of pyarrow.Schema
        Of each file, its names as `scope_dask.formats.frames.respelt` gives them.
    """

    files: tuple[SourceFile, ...]
    schemas: tuple[pa.Schema, ...]

    @classmethod
    def find(cls, paths: Sequence[Path]) -> FeatureFiles:
        """Look at files without reading rows.

        Raises
        ------
        SourceError
            If one cannot be read.
        """
        files = tuple(expand(list(paths)))
        return cls(files, tuple(_schema(file) for file in files))

    @property
    def columns(self) -> list[str]:
        """Columns that all files have."""
        return [name for name in self.schemas[0].names if all(name in schema.names for schema in self.schemas)]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the metadata of the first file say."""
        return metadata_of(self.schemas[0])

    def stated(self, key: str, default: str) -> str:
        """Return what the metadata of all files say below a key.

        Raises
        ------
        SchemaError
            If they say different things.
        """
        found = [str(metadata_of(schema).get(key, default)) for schema in self.schemas]
        if len(set(found)) > 1:
            other = next(k for k, value in enumerate(found) if value != found[0])
            raise SchemaError(
                f"{self.files[0].path} has {key} {found[0]!r} and {self.files[other].path} {found[other]!r}: "
                "score them separately, or generate them alike"
            )
        return found[0]

    def check_ids(self) -> int:
        """Check that every light curve is there once; return how many there are.

        Raises
        ------
        SchemaError, SourceError
            If one is there twice, or a file has no ``_id``.
        """
        if "_id" not in self.columns:
            lacking = next(f.path for f, s in zip(self.files, self.schemas, strict=True) if "_id" not in s.names)
            raise SchemaError(f"{lacking} has no column _id{nearest('_id', self.schemas[0].names)}: is it of features?")
        ids = [_column(file, "_id") for file in self.files]
        values = np.concatenate(ids)
        order = np.argsort(values, kind="stable")
        same = np.flatnonzero(values[order][1:] == values[order][:-1])
        if len(same):
            ends = np.cumsum([len(own) for own in ids])
            first, second = (np.searchsorted(ends, order[same[0] + k], side="right") for k in (0, 1))
            where = {self.files[first].path: None, self.files[second].path: None}
            raise SchemaError(
                f"{len(same)} light curves are there twice, such as {values[order[same[0]]]} in "
                f"{' and '.join(where)}: move one of the files away"
            )
        return len(values)

    def pieces(self, columns: Sequence[str], batch_rows: int) -> Iterator[Piece]:
        """Yield pieces of at most so many rows, and about `PARTITION_BYTES` of these columns; at least one."""
        count = 0
        for file in self.files:
            metadata = read_metadata(file.path, file.size)
            for number in range(metadata.num_row_groups):
                group = metadata.row_group(number)
                size = sum(
                    group.column(k).total_uncompressed_size
                    for k in range(group.num_columns)
                    if respelt(group.column(k).path_in_schema.partition(".")[0]) in columns
                )
                most = max(1, min(batch_rows, PARTITION_BYTES * group.num_rows // max(size, 1)))
                for first in range(0, group.num_rows, most):
                    count += 1
                    yield Piece(file.path, file.fingerprint, number, first, min(first + most, group.num_rows))
        if not count:
            yield Piece(self.files[0].path, self.files[0].fingerprint, 0, 0, 0)

    def meta(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return the table without rows."""
        return to_frame(pa.schema([self.schemas[0].field(name) for name in columns]).empty_table())

    def table(self, columns: Sequence[str], batch_rows: int) -> Any:
        """Return some columns as a lazy table; its partitions are in the order of files and rows."""
        pieces = list(self.pieces(columns, batch_rows))
        with dask.config.set({"dataframe.convert-string": False}):
            return dd.from_map(
                read_piece,
                pieces,
                names=tuple(columns),
                meta=self.meta(columns),
                enforce_metadata=False,
                label="features",
            )


def _schema(file: SourceFile) -> pa.Schema:
    schema = read_metadata(file.path, file.size).schema.to_arrow_schema()
    return pa.schema([field.with_name(respelt(field.name)) for field in schema], schema.metadata)


def _column(file: SourceFile, name: str) -> np.ndarray:
    try:
        return np.asarray(pq.read_table(file.path, columns=[name]).column(name).to_numpy(), dtype=np.int64)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise SourceError(f"{file.path}: {name} cannot be read ({first_line(error)})") from error


def read_piece(piece: Piece, names: tuple[str, ...]) -> pd.DataFrame:
    """Read rows of a row group as a stream: the memory is that of the rows, not of the row group.

    Raises
    ------
    SourceError
        If the file has changed or cannot be read.
    SchemaError
        If it lacks one of the columns.
    """
    check_unchanged(piece.path, piece.fingerprint)
    try:
        with opened(piece.path) as file:
            spelt = stored(names, file.schema_arrow.names, Path(piece.path))
            schema = pa.schema([file.schema_arrow.field(name) for name in spelt], file.schema_arrow.metadata)
            return to_frame(pa.Table.from_batches(list(_batches(file, piece, spelt)), schema))
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{piece.path}, row group {piece.group} cannot be read ({first_line(error)})") from error


def _batches(file: pq.ParquetFile, piece: Piece, names: list[str]) -> Iterator[pa.RecordBatch]:
    start = 0
    if piece.first == piece.last:
        return
    for batch in file.iter_batches(_STREAM_ROWS, row_groups=[piece.group], columns=names, use_threads=False):
        end = start + batch.num_rows
        if end > piece.first:
            low = max(piece.first - start, 0)
            yield batch.slice(low, min(piece.last - start, batch.num_rows) - low).select(names)
        start = end
        if start >= piece.last:
            return
