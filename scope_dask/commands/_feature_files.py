"""Feature tables of Kowalski in files: pages under ``.parts``, then files of so many rows."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask.commands._threads import side_by_side
from scope_dask.formats import common_schema, parts_folder, stream_parts, table_writer, write_table
from scope_dask.formats.atomic import replacing
from scope_dask.formats.frames import to_arrow, to_frame
from scope_dask.formats.parquet import GROUP_BYTES

if TYPE_CHECKING:
    from scope_dask.sources.kowalski import Kowalski


def digest(content: Any) -> str:
    """Return a short name of plain content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Target:
    """The light curves whose features go into the files of one name.

    Attributes
    ----------
    name : str
        Such as ``field 301, CCD 1, quadrant 2``.
    stem : Path
        Of the files: ``<stem>_iter_<i>.parquet``.
    ids : numpy.ndarray of int64
        Sorted, each once.
    """

    name: str
    stem: Path
    ids: np.ndarray

    @property
    def parts(self) -> Path:
        return parts_folder(self.stem)

    @property
    def record(self) -> Path:
        """What the files are the answer to, with their sizes."""
        return self.parts.with_name(f"{self.stem.name}.json")

    def file(self, number: int, suffix: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}_iter_{number}{suffix}")

    def files(self) -> list[Path]:
        """Return the files that there are."""
        name = re.compile(rf"{re.escape(self.stem.name)}_iter_\d+\.(parquet|csv)")
        folder = self.stem.parent
        return sorted(p for p in folder.iterdir() if name.fullmatch(p.name)) if folder.is_dir() else []

    def request(self, what: Mapping[str, Any]) -> str:
        """Return a name of what is asked for: these ids, and `what` besides."""
        return digest({**what, "ids": hashlib.sha256(self.ids.tobytes()).hexdigest()})

    def has(self, request: str) -> bool:
        """Tell whether the files that there are answer a request, whole."""
        try:
            known = json.loads(self.record.read_text())
            sizes = {name: self.stem.with_name(name).stat().st_size for name in known["files"]}
        except (OSError, ValueError, KeyError):
            return False
        return bool(known["request"] == request and sizes == known["files"])

    def finish(self, request: str, files: Iterable[Path]) -> None:
        """Record what the files answer; remove other files of this name, and the pages."""
        files = list(files)
        for file in set(self.files()) - set(files):
            file.unlink()
        content = {"request": request, "files": {file.name: file.stat().st_size for file in files}}
        with replacing(self.record) as temporary:
            temporary.write_text(json.dumps(content))
        self.forget_pages()

    def forget_pages(self) -> None:
        shutil.rmtree(self.parts, ignore_errors=True)


@dataclass(frozen=True)
class Download:
    """How features are asked for.

    Attributes
    ----------
    catalog : str
    columns : tuple of str or None
        None: all.
    page_rows : int
        Ids of a query.
    """

    catalog: str
    columns: tuple[str, ...] | None
    page_rows: int

    def pages(self, target: Target) -> list[tuple[Path, np.ndarray]]:
        """Return the pages of a target: (file, ids); the name of the file tells what is asked for."""
        ids = target.ids
        starts = range(0, max(len(ids), 1), self.page_rows)
        chunks = [ids[start : start + self.page_rows] for start in starts]
        what = [self.catalog, self.columns]
        return [
            (target.parts / f"page-{number:06d}-{digest([what, chunk.tolist()])}.parquet", chunk)
            for number, chunk in enumerate(chunks)
        ]

    def fetch(self, kowalski: Kowalski, target: Target) -> Iterator[tuple[Path, int]]:
        """Ask for the pages that are not there yet, several at a time; yield (file, ids) of every page in order.

        Raises
        ------
        KowalskiError
            If the service does not answer as it should; the pages that are there are kept.
        """
        from scope_dask.sources.kowalski import features_by_id

        def fetch(page: tuple[Path, np.ndarray]) -> tuple[Path, int]:
            file, ids = page
            if not file.is_file():
                rows = self.page_rows
                found = features_by_id(kowalski, ids, self.columns, catalog=self.catalog, query_rows=rows)
                write_table(found, file)
            return file, len(ids)

        yield from side_by_side(fetch, self.pages(target), kowalski.options.max_queries)


def read_pages(parts: list[Path], columns: list[str]) -> pd.DataFrame:
    """Return some columns of all pages."""
    whole = common_schema(parts)
    schema = pa.schema([whole.field(name) for name in columns], metadata=whole.metadata)
    return pd.concat([to_frame(table) for table in stream_parts(parts, schema)], ignore_index=True)


def never_there(parts: list[Path], columns: tuple[str, ...]) -> list[str]:
    """Return the columns that no row of the pages has."""
    if not columns:
        return []
    frame = read_pages(parts, list(columns))
    return [name for name in columns if len(frame) and frame[name].isna().all()]


def types_of(parts: list[Path], kinds: Mapping[str, str]) -> dict[str, str]:
    """Return the columns of integers, by what the configuration states of them and what is in them.

    Parameters
    ----------
    parts : list of path
        The pages.
    kinds : mapping
        Type of a column: ``int`` or ``Int64``; others are passed over.

    Returns
    -------
    dict
        ``int64``, or ``Int64`` where a value may be missing; columns with values that are no integers are not there.
    """
    names = [name for name in common_schema(parts).names if kinds.get(name) in ("int", "Int64") and name != "_id"]
    frame = read_pages(parts, names)
    found = {}
    for name in names:
        column = frame[name]
        if pd.api.types.is_numeric_dtype(column.dtype) and (known := column.dropna()).eq(known.round()).all():
            found[name] = "int64" if kinds[name] == "int" and len(known) == len(column) else "Int64"
    return found


def write_files(
    target: Target,
    parts: Sequence[Path],
    metadata: Mapping[str, Any],
    rows: int,
    suffixes: Sequence[str],
    change: Callable[[pd.DataFrame], pd.DataFrame],
) -> tuple[list[Path], int]:
    """Join pages and write them as files of so many rows, each there whole or not at all.

    Parameters
    ----------
    target : Target
    parts : sequence of path
        The pages.
    metadata : mapping
        Of every file.
    rows : int
        Of a file, the last aside.
    suffixes : sequence of str
        Formats; every file is written in each.
    change : callable
        Applied to the rows; it must not look from one row at another.

    Returns
    -------
    tuple
        (files, number of rows).
    """
    before = common_schema(parts, metadata)
    schema = to_arrow(change(to_frame(before.empty_table())), metadata).schema
    gathered = _gathered(stream_parts(parts, before))
    tables = (to_arrow(change(to_frame(table)), metadata).cast(schema) for table in gathered)
    files: list[Path] = []
    total = 0
    for number, pieces in itertools.groupby(_split(tables, schema, rows), key=lambda piece: piece[0]):
        with ExitStack() as stack:
            files += (paths := [target.file(number, suffix) for suffix in suffixes])
            writers = [stack.enter_context(table_writer(path, schema)) for path in paths]
            for _, piece in pieces:
                total += piece.num_rows
                for writer in writers:
                    writer.write(piece)
    return files, total


def _gathered(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of tables in larger ones: what is done to them costs as much a table as a thousand rows."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(piece.nbytes for piece in waiting) >= GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _split(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield (number of the file, rows for it); of no rows, an empty table for the first file."""
    yield 0, schema.empty_table()
    done = 0
    for table in tables:
        start = 0
        while start < table.num_rows:
            size = min(rows - done % rows, table.num_rows - start)
            yield done // rows, table.slice(start, size)
            start, done = start + size, done + size
