"""Writing our own archive: one Parquet file per partition, in numbered folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scope_dask import ragged
from scope_dask.errors import SchemaError, SourceError
from scope_dask.schema import CATFLAGS, LIGHTCURVES, RAW_LIGHTCURVES, Schema
from scope_dask.sources.layouts import ARCHIVE, METADATA_KEY, VERSION

_FOLDER_FILES = 1000
_WINDOW = 2000
_ROW_GROUP_BYTES = 16 << 20
_FOLDER = re.compile(r"\d{5}")
_STAGING = ".writing-"


def write_archive(frame: Any, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write a table of light curves as an archive that `read_archive` reads back exactly.

    This computes a lazy table, some partitions at a time. Each partition becomes one file, in folders of at
    most a thousand; the files appear in `path` only when all of them are written.

    Parameters
    ----------
    frame : dask or pandas DataFrame
        With the columns of ``LIGHTCURVES`` or ``RAW_LIGHTCURVES`` and no others.
    path : path
        A folder of a file system that all workers share.
    overwrite : bool
        Replace the archive that is there. Other files in the folder are left alone. The table may be read
        from the archive that it replaces.

    Raises
    ------
    SchemaError
        If the table has other columns.
    SourceError
        If the folder is not empty and not to be overwritten, or is not a folder.
    """
    lazy = isinstance(frame, dd.DataFrame)
    names = _columns(frame._meta if lazy else frame)
    target = Path(os.path.abspath(os.path.expanduser(path)))
    _check_target(target, overwrite)
    target.mkdir(parents=True, exist_ok=True)
    staging = target / f"{_STAGING}{uuid.uuid4().hex}"
    try:
        if lazy:
            _write_partitions(frame[names], staging)
        else:
            write_part(frame[names], 0, str(staging))
        _install(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _columns(meta: pd.DataFrame) -> list[str]:
    schema: Schema = RAW_LIGHTCURVES if CATFLAGS.name in meta.columns else LIGHTCURVES
    schema.require(meta, "write_archive")
    extra = [str(c) for c in meta.columns if c not in schema]
    if extra:
        raise SchemaError(f"write_archive keeps no column {', '.join(extra)}: drop all but {', '.join(schema.names)}")
    return schema.names


def _check_target(target: Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise SourceError(f"{target} is a file, expected a folder to write to: choose another")
    if not target.exists() or overwrite:
        return
    content = [p.name for p in target.iterdir() if not p.name.startswith(".")]
    if content:
        raise SourceError(
            f"{target} is not empty ({len(content)} entries, {content[0]} is one): "
            "choose another folder or set overwrite"
        )


def _write_partitions(frame: dd.DataFrame, staging: Path) -> None:
    with dask.config.set({"dataframe.convert-string": False}):
        numbers = dd.from_map(_number, range(frame.npartitions), meta=pd.Series(dtype="int64", name="part"))
    written = dd.map_partitions(
        _write_numbered,
        frame,
        numbers,
        str(staging),
        meta=pd.Series(dtype="int64"),
        align_dataframes=False,
        enforce_metadata=False,
        token="write_archive",
    )
    for start in range(0, frame.npartitions, _WINDOW):
        written.partitions[start : start + _WINDOW].compute()


def _number(i: int) -> pd.Series:
    return pd.Series([i], dtype="int64", name="part")


def _write_numbered(partition: pd.DataFrame, number: pd.Series, staging: str) -> pd.Series:
    return pd.Series([write_part(partition, int(number.iloc[0]), staging)], dtype="int64")


def write_part(partition: pd.DataFrame, number: int, folder: str) -> int:
    """Write one partition under its number, atomically; return its rows."""
    path = Path(folder) / f"{number // _FOLDER_FILES:05d}" / f"part-{number:08d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = _table(partition)
    rows = len(table)
    # Small row groups let a reader begin in the middle of a file without decoding what is before.
    size = max(int(rows * _ROW_GROUP_BYTES / max(table.nbytes, 1)), 1)
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    pq.write_table(table, temporary, row_group_size=size, compression="zstd", write_page_checksum=True)
    os.replace(temporary, path)
    return rows


def _table(partition: pd.DataFrame) -> pa.Table:
    arrays = {str(name): _array(str(name), partition[name]) for name in partition.columns}
    note = json.dumps({"layout": ARCHIVE, "version": VERSION, "rows": len(partition)})
    return pa.table(arrays).replace_schema_metadata({METADATA_KEY: note.encode()})


def _array(name: str, column: pd.Series) -> pa.Array:
    kind = RAW_LIGHTCURVES[name].dtype
    if not kind.startswith("list"):
        return pa.array(column.to_numpy(dtype=kind))
    values, offsets = ragged.split(column)
    if kind == "list<float>":
        dtype = np.dtype(values.dtype if values.dtype == np.float32 else np.float64)
    else:
        dtype = np.dtype(kind[len("list<") : -1])
    return ragged.join(values.astype(dtype, copy=False), offsets).array.__arrow_array__().combine_chunks()


def _install(staging: Path, target: Path) -> None:
    """Put the written folders in the place of those of an older archive."""
    for folder in _folders(target):
        shutil.rmtree(folder)
    for folder in _folders(staging):
        folder.rename(target / folder.name)


def _folders(path: Path) -> Iterable[Path]:
    return [p for p in sorted(path.iterdir()) if p.is_dir() and _FOLDER.fullmatch(p.name)]
