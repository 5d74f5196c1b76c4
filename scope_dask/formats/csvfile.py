"""CSV files: one line ``# scope: {json}``, then the header; lists and dicts are JSON text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv as pa_csv

from scope_dask.errors import SourceError
from scope_dask.formats.frames import NESTED_NAME, TYPES, described, metadata_of, stored, type_names
from scope_dask.formats.nested import NESTED, from_json, is_nested, to_json

PREFIX = "# scope: "
# The key of the first line that tells the types of the columns; it is no part of the metadata.
COLUMNS = "columns"


def read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return a CSV file as Arrow; types that its first line does not tell are inferred, missing integers stay exact.

    Raises
    ------
    SourceError
        If it cannot be read.
    SchemaError
        If a column of lists is not JSON.
    """
    try:
        stated, skip, header = _head(path)
        columns = None if columns is None else stored(columns, header, path)
        told = {name: kind for name, kind in (stated.pop(COLUMNS, None) or {}).items() if kind in TYPES}
        types = {name: pa.string() for name in NESTED if name in header}
        types |= {name: TYPES[kind] for name, kind in told.items()}
        table = _read(path, skip, types, columns)
        dates = {field.name: pa.string() for field in table.schema if pa.types.is_temporal(field.type)}
        if dates:  # what looks like a date is text here
            table = _read(path, skip, {**types, **dates}, columns)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as CSV: {str(error).splitlines()[0]}") from error
    integers = {name for name, kind in told.items() if kind == "Int64"}
    for name in table.column_names:
        if name in NESTED or told.get(name) == NESTED_NAME:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, from_json(name, table.column(name), str(path)))
    return table.replace_schema_metadata(_described(table.schema, integers, stated))


def _head(path: Path) -> tuple[dict[str, Any], int, list[str]]:
    """Return (metadata, lines before the header, names in the header)."""
    stated: dict[str, Any] = {}
    skip = 0
    with path.open(encoding="utf-8", newline="") as file:
        for line in file:
            if not line.startswith("#"):
                return stated, skip, next(csv.reader([line]))
            if line.startswith(PREFIX):
                try:
                    stated = json.loads(line.removeprefix(PREFIX))
                except ValueError as error:
                    raise SourceError(f"{path}: the first line is no JSON after {PREFIX!r}: {error}") from None
            skip += 1
    raise SourceError(f"{path} has no header: expected the names of the columns in its first line")


def _read(path: Path, skip: int, types: dict[str, pa.DataType], columns: Sequence[str] | None) -> pa.Table:
    convert = pa_csv.ConvertOptions(
        column_types=types,
        include_columns=None if columns is None else list(columns),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=["", "nan", "NaN", "NA", "<NA>", "None", "null", "NULL", "N/A", "n/a", "-nan"],
    )
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    # A row with dmdt has 10 kB: the default block of 1 MiB is enough, but a longer row must fit as well.
    table = pa_csv.read_csv(path, pa_csv.ReadOptions(skip_rows=skip, block_size=16 << 20), parse, convert)
    return table.drop_columns([""]) if "" in table.column_names else table  # the index that pandas writes


def _described(schema: pa.Schema, integers: set[str], metadata: dict[str, Any]) -> dict[bytes, bytes]:
    """Return a schema's metadata that names the nullable integers, as pandas does in Parquet."""
    pandas = {"columns": [{"name": name, "numpy_type": "Int64"} for name in sorted(integers)]}
    return {b"pandas": json.dumps(pandas).encode(), **described(schema.remove_metadata(), metadata)}


class Writer:
    """A CSV file in the making."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._nested = [field.name for field in schema if is_nested(field.type)]
        flat = pa.schema([pa.field(f.name, pa.string()) if f.name in self._nested else f for f in schema])
        self._file = path.open("wb")
        stated = {**metadata_of(schema), COLUMNS: type_names(schema)}
        self._file.write(f"{PREFIX}{json.dumps(stated, default=str)}\n".encode())
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(schema.names)
        self._file.write(header.getvalue().encode())
        options = pa_csv.WriteOptions(include_header=False)
        self._writer = pa_csv.CSVWriter(self._file, flat.remove_metadata(), write_options=options)

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        for name in self._nested:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, to_json(name, table.column(name)))
        self._writer.write_table(table.replace_schema_metadata(None))

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
        self._file.close()
