"""Columns of lists and dicts: as Arrow, as Python objects, and as JSON text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from scope_dask.errors import SchemaError
from scope_dask.schema import CATFLAGS, CURVES, DMDT, DMDT_SHAPE

SIZE = DMDT_SHAPE[0] * DMDT_SHAPE[1]
DMDT_TYPE: pa.DataType = DMDT.pandas_dtype.pyarrow_dtype  # type: ignore[attr-defined]
# Columns that are lists or dicts wherever they occur; others are by their type.
NESTED = (DMDT.name, "coordinates", *CURVES.names, CATFLAGS.name)
_LISTS = {c.name: c.pandas_dtype.pyarrow_dtype for c in (*CURVES, CATFLAGS)}


def is_nested(dtype: pa.DataType) -> bool:
    """Tell whether an Arrow type is one of lists or dicts."""
    return bool(pa.types.is_nested(dtype))


def dmdt_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return dmdt histograms as fixed lists of 676 float32, row by row (Δm first).

    Parameters
    ----------
    column : pyarrow.Array
        Lists of 676 numbers, or of 26 lists of 26; missing rows stay missing, missing numbers become NaN.

    Raises
    ------
    SchemaError
        If a row has another number of values.
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if array.type == DMDT_TYPE:
        return array
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), DMDT_TYPE)
    there = array.drop_null()
    flat = pc.list_flatten(there)
    lengths = pc.list_value_length(there)
    expected = SIZE
    if pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type) or pa.types.is_fixed_size_list(flat.type):
        square = pc.all(pc.equal(pc.list_value_length(flat), DMDT_SHAPE[1]), min_count=0).as_py()
        expected, flat = DMDT_SHAPE[0] if square else -1, pc.list_flatten(flat)
    if not pc.all(pc.equal(lengths, expected), min_count=0).as_py():
        raise SchemaError(f"dmdt has rows of another size than {DMDT_SHAPE[0]} × {DMDT_SHAPE[1]}: compute it again")
    return _dmdt_of(flat.cast(pa.float32()).to_numpy(zero_copy_only=False), array.is_null())


def _dmdt_of(values: np.ndarray, missing: pa.Array) -> pa.Array:
    """Return the dmdt column of the values of the rows that are there."""
    gone = missing.to_numpy(zero_copy_only=False)
    full = np.full((len(gone), SIZE), np.nan, dtype=np.float32)
    full[~gone] = values.reshape(-1, SIZE)
    return pa.FixedSizeListArray.from_arrays(pa.array(full.ravel()), type=DMDT_TYPE, mask=missing)


def from_objects(name: str, values: Any) -> pa.Array:
    """Return a column of Python lists, arrays and dicts (None or NaN where missing) as Arrow.

    Raises
    ------
    SchemaError
        If they have no common type.
    """
    plain = [None if _missing(v) else v.tolist() if isinstance(v, np.ndarray) else v for v in values]
    try:
        if name == DMDT.name:
            missing = pa.array([v is None for v in plain], type=pa.bool_())
            flat = [np.asarray(v, dtype=np.float32).ravel() for v in plain if v is not None]
            if any(len(row) != SIZE for row in flat):
                raise SchemaError(f"dmdt has rows of another size than {DMDT_SHAPE[0]} × {DMDT_SHAPE[1]}")
            return _dmdt_of(np.concatenate([np.empty(0, np.float32), *flat]), missing)
        return pa.array(plain, type=_LISTS.get(name), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(f"the column {name} has values of no common type: {str(error).splitlines()[0]}") from None


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def to_objects(name: str, column: pa.ChunkedArray) -> list[Any]:
    """Return a nested column as Python lists and dicts; dmdt as arrays of 26 × 26, which pickle in a tenth."""
    if name != DMDT.name:
        return list(column.to_pylist())
    array = dmdt_array(column)
    rows = iter(array.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, *DMDT_SHAPE))
    return [next(rows) if there else None for there in array.is_valid().to_pylist()]


def to_json(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a nested column as JSON text; dmdt as 26 lists of 26, each number as short as float32 allows."""
    if name == DMDT.name:
        return pa.chunked_array([_dmdt_text(dmdt_array(chunk)) for chunk in column.chunks], type=pa.string())
    text = [None if v is None else json.dumps(v) for v in column.to_pylist()]
    return pa.chunked_array([pa.array(text, type=pa.string())])


def _dmdt_text(array: pa.Array) -> pa.Array:
    numbers = pa.array(array.drop_null().flatten())
    text = pc.if_else(pc.is_nan(numbers), "NaN", pc.cast(numbers, pa.string()))
    for size in reversed(DMDT_SHAPE):
        offsets = pa.array(np.arange(0, len(text) + 1, size, dtype=np.int32))
        joined = pc.binary_join(pa.ListArray.from_arrays(offsets, text), ", ")
        text = pc.binary_join_element_wise("[", joined, "]", "")
    place = pc.cumulative_sum(pc.cast(array.is_valid(), pa.int64()))
    return text.take(pc.if_else(array.is_valid(), pc.subtract(place, 1), pa.scalar(None, pa.int64())))


def from_json(name: str, column: pa.ChunkedArray, where: str) -> pa.ChunkedArray:
    """Return a nested column of its JSON text.

    Raises
    ------
    SchemaError
        If the text is not JSON, or dmdt has another size.
    """
    try:
        if name == DMDT.name:
            return pa.chunked_array([_dmdt_of_text(chunk) for chunk in column.chunks], type=DMDT_TYPE)
        values = [None if text is None else json.loads(text) for text in column.to_pylist()]
        return pa.chunked_array([from_objects(name, values)])
    except (ValueError, pa.ArrowException) as error:
        raise SchemaError(f"{where}: the column {name} is not JSON ({str(error).splitlines()[0]})") from None


def _dmdt_of_text(chunk: pa.Array) -> pa.Array:
    there = chunk.drop_null()
    plain = pc.replace_substring_regex(there, pattern=r"[\[\]\s]", replacement="")
    rows = pc.split_pattern(pc.replace_substring(plain, "null", "NaN"), ",")
    if not pc.all(pc.equal(pc.list_value_length(rows), SIZE), min_count=0).as_py():
        raise SchemaError(f"dmdt has rows of another size than {DMDT_SHAPE[0]} × {DMDT_SHAPE[1]}")
    numbers = pc.cast(pc.list_flatten(rows), pa.float32())
    return _dmdt_of(numbers.to_numpy(zero_copy_only=False), chunk.is_null())
