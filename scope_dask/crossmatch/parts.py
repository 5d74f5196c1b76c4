"""Parts of a local catalogue: files and row groups, where they lie, and what was read of them last."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zict
from dask.base import tokenize

from scope_dask.crossmatch.conditions import Condition
from scope_dask.crossmatch.hats import is_hats, pixel_regions, resolve
from scope_dask.crossmatch.sphere import Positions, Regions
from scope_dask.errors import SourceError
from scope_dask.sources.files import SourceFile, check_unchanged, expand, first_line, opened, read_metadata

CACHE_BYTES = 256 << 20
_TREE_BYTES = 40  # a row in a k-d tree: unit vector, position in the tree and its share of the nodes

T = TypeVar("T")


@dataclass(frozen=True)
class CatalogFiles:
    """The files of a catalogue.

    Attributes
    ----------
    files : tuple of SourceFile
    fingerprint : str
        Changes when a file does.
    regions : Regions or None
        Where each file lies, if that is known without opening it.
    schema : pyarrow.Schema
        Of the first file.
    names : dict of str to str
        Stored names of ``ra`` and ``dec``, where the catalogue itself says so.
    """

    files: tuple[SourceFile, ...]
    fingerprint: str
    regions: Regions | None
    schema: pa.Schema
    names: Mapping[str, str] = field(default_factory=dict)

    def near(self, positions: Positions, radius_arcsec: float) -> Iterator[SourceFile]:
        """Yield the files that may hold something within the radius of a position."""
        if self.regions is None:
            yield from self.files
            return
        yield from (self.files[k] for k in np.flatnonzero(positions.near(self.regions, radius_arcsec)))


def catalog_files(path: Any, fingerprint: str | None = None) -> CatalogFiles:
    """Find the files of a catalogue; with the `fingerprint` known, once per process.

    Raises
    ------
    SourceError
        If there are none, the first is not Parquet, or they are not those of `fingerprint`.
    """
    paths = (os.fspath(path),) if isinstance(path, str | os.PathLike) else tuple(os.fspath(p) for p in path)
    if fingerprint is None:
        return _find(paths)
    found = _find_once(paths, fingerprint)
    if found.fingerprint != fingerprint:
        raise SourceError(f"the catalogue {path} has changed since the table was set up: set it up again")
    return found


@functools.lru_cache(maxsize=32)
def _find_once(paths: tuple[str, ...], fingerprint: str) -> CatalogFiles:
    return _find(paths)


def _find(paths: tuple[str, ...]) -> CatalogFiles:
    names: Mapping[str, str] = {}
    regions = None
    if len(paths) == 1 and is_hats(paths[0]):
        dataset, names = resolve(paths[0])
        # A thumbnail of the data lies beside the pixels.
        files = tuple(f for f in expand(dataset) if "/Npix=" in f.path.replace(os.sep, "/"))
        regions = pixel_regions([f.path for f in files])
    else:
        files = tuple(expand(paths))
    fingerprint = tokenize([(f.path, f.fingerprint) for f in files])
    return CatalogFiles(files, fingerprint, regions, _schema(files[0]), names)


def _schema(file: SourceFile) -> pa.Schema:
    return read_metadata(file.path, file.size).schema.to_arrow_schema()


@functools.lru_cache(maxsize=8192)
def regions_of(file: SourceFile, ra: str, dec: str) -> Regions:
    """Return where the row groups of a file lie, from the least and greatest values in its footer.

    Raises
    ------
    SourceError
        If the file cannot be read or lacks the columns.
    """
    metadata = read_metadata(file.path, file.size)
    index = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    for name in (ra, dec):
        if name not in index:
            raise SourceError(f"{file.path} has no column {name}, which other files of the catalogue have")
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    return Regions.of_boxes(_range(groups, index[ra]), _range(groups, index[dec]))


def _range(groups: Sequence[Any], column: int) -> tuple[np.ndarray, np.ndarray]:
    bounds = np.full((len(groups), 2), [-np.inf, np.inf])
    for k, group in enumerate(groups):
        statistics = group.column(column).statistics
        # NaN, which some writers count in, fails the comparison.
        if statistics is not None and statistics.has_min_max and statistics.min <= statistics.max:
            bounds[k] = statistics.min, statistics.max
    return bounds[:, 0], bounds[:, 1]


@dataclass(frozen=True)
class Part:
    """A row group of a catalogue: its rows with a position that meet the conditions, in a k-d tree."""

    file: SourceFile
    group: int
    conditions: tuple[Condition, ...]
    kept: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    positions: Positions

    @property
    def nbytes(self) -> int:
        return int(self.kept.nbytes + self.ra.nbytes + self.dec.nbytes + len(self.kept) * (24 + _TREE_BYTES))

    def take(self, rows: np.ndarray, columns: Mapping[str, str]) -> pa.Table:
        """Return ``ra``, ``dec`` and columns ({name: stored name}) of some rows."""
        taken = {"ra": pa.array(self.ra[rows]), "dec": pa.array(self.dec[rows])}
        if columns:
            stored = tuple(dict.fromkeys(columns.values()))
            key = (self.file, self.group, self.conditions, stored)
            table = _cached(key, lambda: self._values(stored))
            chosen = table.take(pa.array(rows))
            taken |= {name: chosen.column(column) for name, column in columns.items()}
        return pa.table(taken)

    def _values(self, stored: tuple[str, ...]) -> pa.Table:
        table = _read(self.file, self.group, stored)
        return table if len(self.kept) == len(table) else table.take(pa.array(self.kept))


def read_part(file: SourceFile, group: int, sky: tuple[str, str], conditions: tuple[Condition, ...]) -> Part:
    """Return a row group of a catalogue, from memory if it was among the last that were read.

    Parameters
    ----------
    file : SourceFile
    group : int
    sky : tuple of str
        Stored names of right ascension and declination.
    conditions : tuple of Condition
        On stored columns; only rows that meet them count.

    Raises
    ------
    SourceError
        If it cannot be read.
    """

    def build() -> Part:
        table = _read(file, group, tuple(dict.fromkeys([*sky, *(condition.column for condition in conditions)])))
        ra, dec = (_floats(table.column(name)) for name in sky)
        keep = np.isfinite(ra) & np.isfinite(dec)
        for condition in conditions:
            keep &= condition.met(table.column(condition.column))
        kept = np.flatnonzero(keep)
        return Part(file, group, conditions, kept, ra[kept], dec[kept], Positions(ra[kept], dec[kept]))

    return _cached((file, group, conditions, sky, "positions"), build)


def _read(file: SourceFile, group: int, columns: tuple[str, ...]) -> pa.Table:
    check_unchanged(file.path, file.fingerprint)
    try:
        with opened(file.path) as parquet:
            return _read_group(parquet, group, columns)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise SourceError(
            f"{file.path}, row group {group}: {', '.join(columns)} cannot be read ({first_line(error)}): "
            "fetch the file again or leave it out"
        ) from error


def _read_group(parquet: pq.ParquetFile, group: int, columns: tuple[str, ...]) -> pa.Table:
    return parquet.read_row_group(group, columns=list(columns), use_threads=False).select(list(columns))


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)


_memory: zict.LRU[Hashable, Any] = zict.LRU(CACHE_BYTES, {}, weight=lambda key, value: value.nbytes)


def _cached(key: Hashable, build: Callable[[], T]) -> T:
    """Return what is in memory under `key`, or build it; neighbouring partitions read the same parts."""
    try:
        return _memory[key]
    except KeyError:
        pass
    value = build()
    _memory[key] = value
    return value
