"""Joining the partitions of a run to the file that users of SCoPe know: dmdt is 26 lists of 26."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scope_dask.formats import common_schema, stream_parts, table_writer
from scope_dask.schema import DMDT, DMDT_SHAPE

SQUARE = pa.list_(pa.list_(pa.float32()))


def join_features(parts: Sequence[Path], path: Path, metadata: Mapping[str, Any]) -> int:
    """Join partitions of features to one Parquet file that is there whole or not at all; return the rows.

    Parameters
    ----------
    parts : sequence of path
        In the order of the rows.
    path : path
    metadata : mapping

    Raises
    ------
    SchemaError, SourceError
        If there are no parts, or they do not fit together.
    """
    schema = common_schema(parts, metadata)
    place = schema.get_field_index(DMDT.name)
    joined = schema.set(place, pa.field(DMDT.name, SQUARE))
    rows = 0
    with table_writer(path, joined) as writer:
        for table in stream_parts(parts, schema):
            column = pa.chunked_array([square(chunk) for chunk in table.column(place).chunks], type=SQUARE)
            writer.write(table.set_column(place, joined.field(place), column).replace_schema_metadata(joined.metadata))
            rows += table.num_rows
    return rows


def square(dmdt: pa.Array) -> pa.Array:
    """Return histograms of 676 numbers, row by row, as 26 lists of 26 (the outer list is dm)."""
    rows, columns = DMDT_SHAPE
    values = dmdt.flatten()
    inner = pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, columns, dtype=np.int32)), values)
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(inner) + 1, rows, dtype=np.int32)), inner)
