"""How an archive is cut into partitions: slices of row groups, each of a bounded number of bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from scope_dask.sources.footers import Footer

T = TypeVar("T")

PARTITION_BYTES = "8 MiB"
# A slice may hold this many times the bound if every light curve in it were the longest of its row group.
_WORST = 4


class Slice(NamedTuple):
    """One partition: rows ``first`` to ``last - 1`` of the row groups ``range(*groups)`` of a file.

    Rows are counted from the first row of the first row group. `ids` are the ids to keep (None: all).
    """

    path: str
    fingerprint: str
    groups: tuple[int, int]
    first: int
    last: int
    ids: np.ndarray | None


class Slices(Sequence[Slice]):
    """All partitions of an archive, kept in a few arrays: some forty bytes each.

    The token is computed once: a graph of a million partitions is named again for every window of it.

    Attributes
    ----------
    files : tuple of (str, str)
        Path and fingerprint of each file.
    table : numpy.ndarray, shape (n, 6), int64
        File, first row group, last row group + 1, first row, last row + 1, bytes in memory.
    ids : numpy.ndarray or None
        The ids to keep, sorted.
    spans : numpy.ndarray, shape (n, 2), int64, or None
        Which of `ids` lie in the range of each slice.
    fields : numpy.ndarray, shape (n,), int64
        The field of each slice, -1 where footers do not tell one.
    """

    def __init__(
        self,
        files: Sequence[tuple[str, str]],
        table: np.ndarray,
        ids: np.ndarray | None = None,
        spans: np.ndarray | None = None,
        fields: np.ndarray | None = None,
    ) -> None:
        self.files = tuple(files)
        self.table = table
        self.ids = ids
        self.spans = spans
        self.fields = np.full(len(table), -1, dtype=np.int64) if fields is None else fields
        digest = hashlib.sha256("\0".join(part for file in self.files for part in file).encode())
        for array in (table, ids, spans):
            digest.update(b"\1" if array is None else np.ascontiguousarray(array))
        self._token = digest.hexdigest()

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        file, start, stop, first, last, _ = self.table[i].tolist()
        ids = None if self.ids is None or self.spans is None else self.ids[slice(*self.spans[i])].copy()
        path, fingerprint = self.files[file]
        return Slice(path, fingerprint, (start, stop), first, last, ids)

    def __iter__(self) -> Iterator[Slice]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} slices of {len(self.files)} files>"

    def __dask_tokenize__(self) -> str:
        return self._token

    @property
    def rows(self) -> np.ndarray:
        """Rows of each slice, before the selection."""
        return self.table[:, 4] - self.table[:, 3]

    @property
    def nbytes(self) -> np.ndarray:
        """Estimated bytes of each slice in memory, before the selection."""
        return self.table[:, 5]


def pieces_of(frame: Any, kind: type[T]) -> T | None:
    """Return the sequence of a `kind` that a lazy table is read from, or None for other sources."""
    for expression in frame.expr.walk():
        for operand in expression.operands:
            if isinstance(operand, list) and operand and isinstance(operand[0], kind):
                return operand[0]
    return None


def cut(
    footers: Sequence[Footer],
    kept: Sequence[np.ndarray],
    ids: np.ndarray | None,
    bound: int,
    point_bytes: int,
) -> Slices:
    """Cut the row groups of an archive into slices.

    A row group that exceeds the bound is cut into equal numbers of rows; neighbouring row groups of a file
    that fit the bound together make one slice.

    Parameters
    ----------
    footers : sequence of Footer
    kept : sequence of numpy.ndarray of bool
        For each footer, which row groups may hold rows that are asked for.
    ids : numpy.ndarray or None
        Sorted ids to keep.
    bound : int
        Bytes of a slice in memory. Light curves of a row group count with their mean length (a footer knows
        no other); where the longest is known, a slice of only such stays below four times the bound.
    point_bytes : int
        Bytes of a point in memory.
    """
    files: list[tuple[str, str]] = []
    tables, spans = [np.zeros((0, 6), dtype=np.int64)], [np.zeros((0, 2), dtype=np.int64)]
    fields = [np.zeros(0, dtype=np.int64)]
    for footer, mask in zip(footers, kept, strict=True):
        parts = list(_runs(footer, mask, bound, point_bytes))
        if not parts:
            continue
        table = np.concatenate(parts)
        table[:, 0] = len(files)
        files.append((footer.file.path, footer.file.fingerprint))
        tables.append(table)
        fields.append(_fields(footer, table))
        if ids is not None:
            spans.append(_spans(footer, table, ids))
    merged = np.concatenate(tables)
    return Slices(files, merged, ids, np.concatenate(spans) if ids is not None else None, np.concatenate(fields))


def empty_slices() -> Slices:
    """Return one slice without rows: a table has at least one partition."""
    return Slices([("", "")], np.zeros((1, 6), dtype=np.int64))


def _runs(footer: Footer, kept: np.ndarray, bound: int, point_bytes: int) -> Iterator[np.ndarray]:
    """Yield the slices of the row groups of a file, in file order."""
    sizes, rows = footer.nbytes(point_bytes), footer.rows
    limits = _most_rows(footer, bound, point_bytes)
    group = 0
    while group < len(rows):
        if not kept[group] or rows[group] == 0:
            group += 1
            continue
        if rows[group] > limits[group]:
            yield _split(group, int(rows[group]), int(limits[group]), int(sizes[group]))
            group += 1
            continue
        end, size = group + 1, sizes[group]
        while end < len(rows) and kept[end] and size + sizes[end] <= bound:
            size, end = size + sizes[end], end + 1
        yield np.array([[0, group, end, 0, rows[group:end].sum(), size]], dtype=np.int64)
        group = end


def _most_rows(footer: Footer, bound: int, point_bytes: int) -> np.ndarray:
    """Return how many rows of each row group make a slice: at least one, all of them where they fit."""
    rows = np.maximum(footer.rows, 1)
    mean = np.maximum(footer.nbytes(point_bytes) / rows, 1)
    most = bound / np.maximum(mean, footer.longest * point_bytes / _WORST)
    return np.where(mean * rows <= bound, rows, np.maximum(most, 1)).astype(np.int64)


def _split(group: int, rows: int, most: int, nbytes: int) -> np.ndarray:
    count = -(-rows // most)
    edges = np.arange(count + 1, dtype=np.int64) * rows // count
    table = np.zeros((count, 6), dtype=np.int64)
    table[:, 1], table[:, 2] = group, group + 1
    table[:, 3], table[:, 4] = edges[:-1], edges[1:]
    table[:, 5] = np.ceil(np.diff(edges) * (nbytes / rows))
    return table


def _fields(footer: Footer, table: np.ndarray) -> np.ndarray:
    if "field" not in footer.ranges:
        return np.full(len(table), -1, dtype=np.int64)
    first, last = _range(footer, table, "field")
    return np.where(first == last, first, -1)


def _range(footer: Footer, table: np.ndarray, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest value of a column in each slice."""
    low, high = footer.ranges[column]
    first, last = low[table[:, 1]], high[table[:, 1]]
    for row in np.flatnonzero(table[:, 2] - table[:, 1] > 1):
        groups = slice(*table[row, 1:3])
        first[row], last[row] = low[groups].min(), high[groups].max()
    return first, last


def _spans(footer: Footer, table: np.ndarray, ids: np.ndarray) -> np.ndarray:
    first, last = _range(footer, table, "_id")
    return np.column_stack([np.searchsorted(ids, first, side="left"), np.searchsorted(ids, last, side="right")])
