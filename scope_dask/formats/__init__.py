"""Tables in files: CSV, HDF5 and Parquet, each with its metadata, and lists of light-curve ids.

A table that is read has its metadata in ``attrs["scope"]``; integers are exact, and ``dmdt`` is a list column of the
type in `scope_dask.schema`, whatever the file holds.
"""

from scope_dask.formats.ids import read_ids, write_ids
from scope_dask.formats.join import common_schema, join_files, part_files, parts_folder, stream_parts
from scope_dask.formats.tables import FORMATS, read_table, suffix_of, table_writer, write_table

__all__ = [
    "FORMATS",
    "common_schema",
    "join_files",
    "part_files",
    "parts_folder",
    "read_ids",
    "read_table",
    "stream_parts",
    "suffix_of",
    "table_writer",
    "write_ids",
    "write_table",
]
