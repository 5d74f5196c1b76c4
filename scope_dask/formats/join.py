"""One file of many: partitions are written beside it under ``.parts`` and joined, a row group at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from scope_dask.errors import SchemaError, SourceError
from scope_dask.formats.frames import described, metadata_of, nullable, to_frame
from scope_dask.formats.tables import table_writer


def parts_folder(path: str | os.PathLike[str]) -> Path:
    """Return the folder of the partitions of a file: ``.parts/<name>`` beside it."""
    return Path(path).parent / ".parts" / Path(path).name


def part_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the Parquet files of a folder of partitions, in their order; names that begin with _ or . are not."""
    root = Path(folder)
    found = (file.relative_to(root) for file in root.rglob("*.parquet"))
    return [root / file for file in sorted(found) if not any(part[0] in "_." for part in file.parts)]


def common_schema(parts: Sequence[Path], metadata: Mapping[str, Any] | None = None) -> pa.Schema:
    """Return the schema that fits all parts: every column that one of them has, in the order of first occurrence.

    Parameters
    ----------
    parts : sequence of path
    metadata : mapping, optional
        By default that of the first part.

    Raises
    ------
    SchemaError
        If a column has different types.
    SourceError
        If there are no parts.
    """
    if not parts:
        raise SourceError("there are no partitions to join")
    schemas = [pq.read_schema(part) for part in parts]
    try:
        schema = pa.unify_schemas([s.remove_metadata() for s in schemas])
    except pa.ArrowException as error:
        raise SchemaError(f"the partitions have different types: {str(error).splitlines()[0]}") from error
    lacking = {field.name for field in schema if any(field.name not in s.names for s in schemas)}
    integers = set().union(*(nullable(s) for s in schemas))
    integers |= {field.name for field in schema if field.name in lacking and pa.types.is_integer(field.type)}
    stated = metadata_of(schemas[0]) if metadata is None else metadata
    # What pandas is told of the columns comes from a table without rows that is as this one.
    empty = to_frame(schema.empty_table())
    empty = empty.astype(dict.fromkeys(integers, "Int64"))
    pandas = pa.Table.from_pandas(empty.iloc[:0], preserve_index=False).schema.metadata or {}
    return schema.with_metadata(described(schema.with_metadata(pandas), stated))


def stream_parts(parts: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the row groups of the parts as tables of this schema: no other columns, missing ones as missing values."""
    for part in parts:
        with pq.ParquetFile(part) as file:
            there = [name for name in file.schema_arrow.names if name in schema.names]
            for group in range(file.num_row_groups):
                yield _fit(file.read_row_group(group, columns=there), schema)


def _fit(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(field.name).cast(field.type)
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def join_files(parts: Sequence[Path], path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> int:
    """Join Parquet files to one file (Parquet, CSV or HDF5) that is there whole or not at all.

    Parameters
    ----------
    parts : sequence of path
        In the order of the rows; see `part_files`.
    path : path
        Its ending tells the format. Memory is bounded by the row groups, except of HDF5.
    metadata : mapping, optional
        By default that of the first part.

    Returns
    -------
    int
        Number of rows.

    Raises
    ------
    SchemaError, SourceError
        If there are no parts, or they do not fit together.
    """
    schema = common_schema(parts, metadata)
    rows = 0
    with table_writer(path, schema) as writer:
        for table in stream_parts(parts, schema):
            writer.write(table)
            rows += table.num_rows
    return rows
