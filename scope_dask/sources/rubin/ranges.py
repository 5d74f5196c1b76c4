"""Partitions of tables that are one measurement a row: ranges of object ids, and the row groups that may hold them.

The measurements of an object may lie in several files. A range of ids is complete whatever the order of the rows; where
files or row groups hold objects that are near in id, as those of a tract and patch do, each is read once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from scope_dask.errors import SourceError
from scope_dask.sources.files import SourceFile, read_metadata
from scope_dask.sources.footers import bounds_of, digest_of
from scope_dask.sources.rubin.photometry import object_ids

_THREADS = 16
ROW_BYTES = 100  # a measurement in memory: as read, sorted, and in the lists


class Groups(NamedTuple):
    """Some row groups of a file."""

    path: str
    fingerprint: str
    groups: tuple[int, ...]


@dataclass(frozen=True)
class TableFiles:
    """The files of a table and what their footers tell.

    Attributes
    ----------
    files : tuple of SourceFile
    groups : numpy.ndarray, shape (n, 3), int64
        File, row group, rows.
    low, high : dict of str to numpy.ndarray, shape (n,)
        Least and greatest value of some columns in each row group; unbounded where there are no statistics.
    types : dict of str to pyarrow.DataType
        Columns of the first file.
    """

    files: tuple[SourceFile, ...]
    groups: np.ndarray
    low: dict[str, np.ndarray]
    high: dict[str, np.ndarray]
    types: dict[str, pa.DataType]

    def overlapping(self, column: str, low: int, high: int) -> list[Groups]:
        """Return the row groups that may hold values from `low` to `high`, both included."""
        chosen = np.flatnonzero((self.high[column] >= low) & (self.low[column] <= high))
        return [
            Groups(self.files[k].path, self.files[k].fingerprint, tuple(part[:, 1].tolist()))
            for k in np.unique(self.groups[chosen, 0])
            if len(part := self.groups[chosen][self.groups[chosen, 0] == k])
        ]

    def digest(self) -> bytes:
        """Return what changes when a file does."""
        return "\0".join(f"{file.path}\0{file.fingerprint}" for file in self.files).encode()


def table_files(
    files: Sequence[SourceFile], columns: Sequence[str], ranges: Sequence[str], floating: Sequence[str] = ()
) -> TableFiles:
    """Read the footers of the files of a table, several at a time.

    Parameters
    ----------
    files : sequence of SourceFile
    columns : sequence of str
        That every file must have.
    ranges : sequence of str
        Columns whose least and greatest values are wanted.
    floating : sequence of str
        Those of `ranges` that are floats.

    Raises
    ------
    SourceError
        If a file is not Parquet or lacks a column.
    """
    with ThreadPoolExecutor(min(_THREADS, len(files))) as pool:
        metadata = list(pool.map(lambda file: read_metadata(file.path, file.size), files))
    named, rows, low, high = [], [], {c: [] for c in ranges}, {c: [] for c in ranges}  # type: ignore[var-annotated]
    for k, (file, footer) in enumerate(zip(files, metadata, strict=True)):
        names = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
        missing = [c for c in columns if c not in names]
        if missing:
            raise SourceError(
                f"{file.path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
                f"it has {', '.join(names)}: is it another table?"
            )
        named.append(file if file.fingerprint else replace(file, fingerprint=digest_of(footer)))
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        rows += [(k, i, group.num_rows) for i, group in enumerate(groups)]
        for column in ranges:
            least, most = bounds_of(groups, names[column], floating=column in floating)
            low[column].append(least)
            high[column].append(most)
    return TableFiles(
        tuple(named),
        np.array(rows, dtype=np.int64).reshape(-1, 3),
        {c: np.concatenate(low[c]) for c in ranges},
        {c: np.concatenate(high[c]) for c in ranges},
        {field.name: field.type for field in metadata[0].schema.to_arrow_schema()},
    )


class Piece(NamedTuple):
    """One partition: object ids from `low` to `high`, both included, and the row groups that may hold them."""

    low: int
    high: int
    measured: list[Groups]
    objects: list[Groups]
    ids: np.ndarray | None


class Ranges(Sequence[Piece]):
    """All partitions of a table.

    Parameters
    ----------
    measured, objects : TableFiles
        With the ranges of `column`.
    column : str
        Of object ids.
    edges : numpy.ndarray, shape (n, 2), int64
        Least and greatest object id of each partition.
    rows : numpy.ndarray, shape (n,)
        Estimated measurements of each partition.
    ids : numpy.ndarray or None
        Sorted ids of light curves to keep.
    """

    def __init__(
        self,
        measured: TableFiles,
        objects: TableFiles,
        column: str,
        edges: np.ndarray,
        rows: np.ndarray,
        ids: np.ndarray | None,
    ) -> None:
        self.measured, self.objects, self.column = measured, objects, column
        self.edges, self.rows, self.ids = edges, rows, ids
        digest = hashlib.sha256(measured.digest() + b"\1" + objects.digest())
        for array in (edges, ids):
            digest.update(b"\1" if array is None else np.ascontiguousarray(array))
        self._token = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.edges)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        low, high = self.edges[i].tolist()
        measured, objects = (table.overlapping(self.column, low, high) for table in (self.measured, self.objects))
        return Piece(low, high, measured, objects, _within(self.ids, low, high))

    @property
    def nbytes(self) -> np.ndarray:
        """Estimated bytes of each partition in memory."""
        return self.rows * ROW_BYTES

    def __repr__(self) -> str:
        return f"<{len(self)} ranges of object ids in {len(self.measured.files)} files>"

    def __dask_tokenize__(self) -> str:
        return self._token


def _within(ids: np.ndarray | None, low: int, high: int) -> np.ndarray | None:
    """Return the ids of light curves whose objects lie between `low` and `high`."""
    if ids is None:
        return None
    objects = object_ids(ids)
    return ids[np.searchsorted(objects, low) : np.searchsorted(objects, high, side="right")].copy()


def cut(low: np.ndarray, high: np.ndarray, rows: np.ndarray, most: float) -> tuple[np.ndarray, np.ndarray]:
    """Cut the ids of row groups into ranges that hold about `most` rows.

    The rows of a group are taken as spread evenly over its ids; a footer tells no more. One id is never divided.

    Parameters
    ----------
    low, high, rows : numpy.ndarray, shape (n,), int64
        Least and greatest id, and rows, of each row group.
    most : float

    Returns
    -------
    edges : numpy.ndarray, shape (m, 2), int64
        Least and greatest id of each range, both included.
    rows : numpy.ndarray, shape (m,), float64
        Estimated rows.
    """
    some = rows > 0
    low, high, rows = low[some], high[some], rows[some]
    if not len(low):
        return np.zeros((0, 2), np.int64), np.zeros(0)
    first, last = int(low.min()), int(high.max())
    # From the first id, in floats: exact enough to place an edge, which may lie anywhere.
    start, stop = (low - first).astype(np.float64), (high - first).astype(np.float64) + 1.0
    density = rows / (stop - start)
    at = np.concatenate([start, stop])
    order = np.argsort(at, kind="stable")
    at, slope = at[order], np.cumsum(np.concatenate([density, -density])[order])
    total = np.concatenate([[0.0], np.cumsum(np.maximum(slope[:-1], 0.0) * np.diff(at))])
    count = max(int(np.ceil(total[-1] / most)), 1)
    inner = np.interp(np.arange(1, count) * total[-1] / count, total, at)
    begin = np.unique(np.concatenate([[0], np.clip(np.floor(inner).astype(np.int64), 0, last - first)])) + first
    edges = np.column_stack([begin, np.concatenate([begin[1:] - 1, [last]])])
    return edges, np.diff(np.interp((np.append(begin, last + 1) - first).astype(np.float64), at, total))
