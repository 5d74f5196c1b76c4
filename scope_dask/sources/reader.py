"""Reading one slice of an archive: the kernel of the sources stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scope_dask import ragged, tally
from scope_dask.errors import SourceError
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.files import cached_metadata, check_unchanged, first_line, opened
from scope_dask.sources.layouts import LISTS, OWN, SCALARS, Layout, layout_of
from scope_dask.sources.leaves import leaf_positions, leaf_types, pick
from scope_dask.sources.selection import Selection
from scope_dask.sources.slices import Slice

_BATCH_BYTES = 4 << 20
_BATCH_ROWS, _MOST_BATCH_ROWS = 1 << 12, 1 << 16
_POINT_BYTES = 8  # a batch holds one list column at a time
_UNEVEN = "its lists {names} differ in length: it is kept without points"

Lists = tuple[np.ndarray, np.ndarray]  # (values, sizes)


def meta(floats: dict[str, str]) -> pd.DataFrame:
    """Return the table without rows; `floats` are the float types of the lists mag and magerr."""
    frame = RAW_LIGHTCURVES.empty()
    for name, dtype in floats.items():
        frame[name] = frame[name].astype(pd.ArrowDtype(pa.list_(pa.from_numpy_dtype(np.dtype(dtype)))))
    return frame


def read_slice(
    piece: Slice,
    selection: Selection,
    floats: dict[str, str],
    layout: Layout | None = None,
    *,
    columns: Sequence[str],
) -> pd.DataFrame:
    """Read the rows of a slice that are asked for.

    Scalar columns are read first; lists only up to the last row that is kept, a few megabytes at a time, so
    that a slice inside a row group of gigabytes needs the memory of the slice.

    Parameters
    ----------
    piece : Slice
    selection : Selection
    floats : dict of str to str
        Float type of the lists mag and magerr.
    layout : Layout, optional
        By default the one that the columns of the file tell.
    columns : sequence of str
        Columns of ``RAW_LIGHTCURVES`` to read.

    Returns
    -------
    pandas.DataFrame
        In file order, with the slice's history (`scope_dask.tally`).

    Raises
    ------
    SourceError
        If the file has changed or a page of it cannot be read; the message names the file and the row group.
    """
    start = time.perf_counter()
    names = list(columns)
    uneven: list[tuple[int, str]] = []
    if piece.first == piece.last:
        frame, count = meta(floats)[names], 0
    else:
        with ExitStack() as stack:
            part = _Part(piece, stack, layout)
            keep = part.keep(selection)
            data = part.scalars([n for n in names if n in SCALARS], keep)
            lists, uneven = part.lists([n for n in names if n in LISTS], keep, floats)
        count = int(keep.sum())
        frame = pd.DataFrame({**data, **lists}, index=pd.RangeIndex(count))[names]
    rows = piece.last - piece.first
    entry = {
        "stage": "sources",
        "rows_in": rows,
        "rows_out": count,
        "seconds": time.perf_counter() - start,
        "dropped": {"outside the selection": rows - count} if rows > count else {},
        "set_aside": uneven,
    }
    return tally.put(frame, [entry])


class _Part:
    """An opened slice."""

    def __init__(self, piece: Slice, stack: ExitStack, layout: Layout | None) -> None:
        self.piece = piece
        check_unchanged(piece.path, piece.fingerprint)
        metadata = cached_metadata(piece.path, piece.fingerprint)
        self.parquet: pq.ParquetFile = stack.enter_context(opened(piece.path, metadata))
        self.present = leaf_types(self.parquet.schema_arrow)
        self.positions = leaf_positions(metadata, self.present)
        self.layout: Layout = layout or layout_of(list(self.present)) or OWN
        self.rows = piece.last - piece.first

    def keep(self, selection: Selection) -> np.ndarray:
        """Return which rows of the slice are asked for."""
        names = selection.columns(self.piece.ids)
        everything = np.ones(self.rows, dtype=bool)
        return selection.rows(self.scalars(names, everything), self.piece.ids, self.rows)

    def scalars(self, names: list[str], keep: np.ndarray) -> dict[str, np.ndarray]:
        """Return scalar columns of the rows kept."""
        if not names or not keep.any():
            return {n: np.empty(0, dtype=RAW_LIGHTCURVES[n].dtype) for n in names}
        stored = self.layout.stored(names, self.present)
        batches = list(self.batches(stored, self.piece.last)) if stored else []
        read = {c: np.concatenate([self._numbers(b, i) for b in batches]) for i, c in enumerate(stored)}
        columns = {}
        for name in names:
            if name in self.layout.constants:
                columns[name] = np.full(int(keep.sum()), self.layout.constants[name], RAW_LIGHTCURVES[name].dtype)
                continue
            values = read[self.layout.columns[name]].astype(RAW_LIGHTCURVES[name].dtype)
            columns[name] = self.layout.derived.get(name, _as_is)(values)[keep]
        return columns

    def lists(
        self, names: list[str], keep: np.ndarray, floats: dict[str, str]
    ) -> tuple[dict[str, pd.Series], list[tuple[int, str]]]:
        """Return list columns of the rows kept, and (_id, reason) of rows with lists of unequal lengths.

        One column after the other: the pieces of one at most are held beside what is returned.
        """
        if not names:
            return {}, []
        read = {n: self._read_list(n, keep, floats) for n in names if self.layout.columns[n] in self.present}
        # Our own archive may have no flags: zeros as many as there are points.
        _, sizes = next(iter(read.values())) if read else self._read_list("mag", keep, floats)
        read |= {n: (np.zeros(int(sizes.sum()), dtype=np.int32), sizes) for n in names if n not in read}
        uneven = self._blank_uneven(read, keep)
        return {n: ragged.join(read[n][0], _offsets(read.pop(n)[1])) for n in names}, uneven

    def _read_list(self, name: str, keep: np.ndarray, floats: dict[str, str]) -> Lists:
        column, dtype = self.layout.columns[name], _dtype(name, floats)
        values, sizes = [np.empty(0, dtype=dtype)], [np.empty(0, dtype=np.int64)]
        kept = np.flatnonzero(keep)
        row, stop = 0, int(kept[-1]) + 1 if len(kept) else 0
        for batch in self.batches([column], self.piece.first + stop):
            mask = keep[row : row + len(batch)]
            row += len(batch)
            wanted = batch if mask.all() else batch.filter(pa.array(mask))
            values.append(self._elements(name, wanted.column(0), dtype))
            sizes.append(pc.list_value_length(wanted.column(0)).fill_null(0).to_numpy().astype(np.int64))
        return np.concatenate(values), np.concatenate(sizes)

    def batches(self, stored: list[str], last: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the slice before row `last` in batches of a few megabytes."""
        row = 0
        for group in range(*self.piece.groups):
            count = self.parquet.metadata.row_group(group).num_rows
            if row + count <= self.piece.first or row >= last:
                row += count
                continue
            for batch in self._stream(group, stored):
                low, high = max(self.piece.first - row, 0), min(last - row, len(batch))
                row += len(batch)
                if high > low:
                    yield batch.slice(low, high - low)
                if row >= last:
                    return

    def _stream(self, group: int, stored: list[str]) -> Iterator[pa.RecordBatch]:
        size = self._batch_rows(group)
        paths = [c if c in self.parquet.schema_arrow.names else self._path(c) for c in stored]
        try:
            batches = self.parquet.iter_batches(size, row_groups=[group], columns=paths, use_threads=False)
            while (batch := next(batches, None)) is not None:
                yield pick(batch, stored)
        except (OSError, pa.ArrowException) as error:
            raise SourceError(
                f"{self.piece.path}, row group {group}: a page cannot be read ({first_line(error)}): "
                "fetch the file again or leave it out"
            ) from error

    def _path(self, inner: str) -> str:
        return str(self.parquet.metadata.schema.column(self.positions[inner]).path)

    def _batch_rows(self, group: int) -> int:
        metadata = self.parquet.metadata.row_group(group)
        most = max(metadata.column(i).num_values for i in range(metadata.num_columns))
        rows = min(_BATCH_BYTES * metadata.num_rows // (_POINT_BYTES * max(most, 1)), max(self.rows, _BATCH_ROWS))
        return int(np.clip(rows, 16, _MOST_BATCH_ROWS))

    def _numbers(self, batch: pa.RecordBatch, i: int) -> np.ndarray:
        column = batch.column(i)
        if column.null_count and not pa.types.is_floating(column.type):
            raise SourceError(f"{self._where()}: {batch.schema.names[i]} is missing in {column.null_count} rows")
        return column.to_numpy(zero_copy_only=False)

    def _elements(self, name: str, lists: pa.Array, dtype: np.dtype) -> np.ndarray:
        values = lists.flatten()
        if dtype.kind == "f":
            floats = values.to_numpy(zero_copy_only=False).astype(dtype, copy=False)
            return floats + self.layout.time_offset if name == "hjd" else floats
        if values.null_count:
            raise SourceError(f"{self._where()}: {name} is missing for {values.null_count} points")
        try:
            return values.cast(pa.from_numpy_dtype(dtype)).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            raise SourceError(f"{self._where()}: {name} exceeds 32 bits ({first_line(error)})") from error

    def _blank_uneven(self, read: dict[str, Lists], keep: np.ndarray) -> list[tuple[int, str]]:
        """Empty the lists of rows whose lists differ in length; return their (_id, reason)."""
        sizes = np.array([lengths for _, lengths in read.values()])
        good = (sizes == sizes[0]).all(axis=0)
        if good.all():
            return []
        for name, (values, lengths) in read.items():
            read[name] = values[np.repeat(good, lengths)], np.where(good, lengths, 0)
        reason = _UNEVEN.format(names=", ".join(read))
        return [(int(i), reason) for i in self.scalars(["_id"], keep)["_id"][~good]]

    def _where(self) -> str:
        start, stop = self.piece.groups
        groups = f"row group {start}" if stop == start + 1 else f"row groups {start} to {stop - 1}"
        return f"{self.piece.path}, {groups}"


def _dtype(name: str, floats: dict[str, str]) -> np.dtype:
    kinds = {"hjd": "float64", "catflags": "int32", **floats}
    return np.dtype(kinds[name])


def _offsets(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _as_is(values: np.ndarray) -> np.ndarray:
    return values
