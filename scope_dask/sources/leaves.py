"""Columns of Parquet files by dotted names: ``lightcurve.hmjd`` is a list in each row, however it is nested there.

Light curves are stored as lists beside each other (``hmjd``), as a struct of lists, or as a list of structs.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq


def _is_list(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_list(dtype) or pa.types.is_large_list(dtype))


def leaf_types(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Return the types of the columns of a file, and of those inside structs and lists of structs."""
    types = {}
    for column in schema:
        types[column.name] = column.type
        if pa.types.is_struct(column.type):
            types |= {f"{column.name}.{inner.name}": inner.type for inner in column.type}
        elif _is_list(column.type) and pa.types.is_struct(column.type.value_type):
            types |= {f"{column.name}.{inner.name}": pa.list_(inner.type) for inner in column.type.value_type}
    return types


def leaf_positions(metadata: pq.FileMetaData, types: dict[str, pa.DataType]) -> dict[str, int]:
    """Return where each of the columns of `leaf_types` is among the columns of the Parquet file."""
    positions = {}
    for i in range(metadata.num_columns):
        top, *inner = metadata.schema.column(i).path.split(".")
        positions[top] = i
        if inner and pa.types.is_struct(types[top]):
            positions[f"{top}.{inner[0]}"] = i
        elif _is_list(types[top]) and pa.types.is_struct(types[top].value_type):
            positions[f"{top}.{inner[2]}"] = i  # after the two levels that Parquet has for a list
    return positions


def pick(batch: pa.RecordBatch, names: Sequence[str]) -> pa.RecordBatch:
    """Return the columns `names` of a batch, taken out of what they are nested in."""
    return pa.RecordBatch.from_arrays([_pick(batch, name) for name in names], names=list(names))


def _pick(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name in batch.schema.names:
        return batch.column(name)
    top, _, inner = name.partition(".")
    column = batch.column(top)
    if pa.types.is_struct(column.type):
        return column.field(inner)
    # The lists of null rows are empty in what Parquet readers give.
    make = pa.LargeListArray if pa.types.is_large_list(column.type) else pa.ListArray
    return make.from_arrays(column.offsets, column.values.field(inner))
