"""What footers tell of input files: layout, rows, points and ranges of row groups; no data row is read."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scope_dask.errors import SourceError
from scope_dask.sources.files import SourceFile, read_metadata
from scope_dask.sources.layouts import Layout, ccd_of, check_columns, check_version, layout_of, quad_of
from scope_dask.sources.leaves import leaf_positions, leaf_types
from scope_dask.sources.selection import Ranges

logger = logging.getLogger(__name__)

_THREADS = 16
_INT64 = np.iinfo(np.int64)
_SCALAR_BYTES = 56  # seven scalar columns of eight bytes


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer of one file.

    Attributes
    ----------
    file : SourceFile
    layout : Layout
    floats : dict of str to numpy.dtype
        Stored float types of the columns hjd, mag and magerr.
    rows, points, longest : numpy.ndarray, shape (row groups,), int64
        Light curves, points (an empty list counts as one), and points of the longest light curve
        (0: not known).
    ranges : dict of str to (numpy.ndarray, numpy.ndarray)
        Least and greatest value of the columns asked for; unbounded where there are no statistics.
    """

    file: SourceFile
    layout: Layout
    floats: dict[str, np.dtype]
    rows: np.ndarray
    points: np.ndarray
    longest: np.ndarray
    ranges: Ranges

    def nbytes(self, point_bytes: int) -> np.ndarray:
        """Return the bytes of each row group in memory, with `point_bytes` for each point."""
        return self.points * point_bytes + self.rows * _SCALAR_BYTES


def read_footers(files: Sequence[SourceFile], ranges: Sequence[str], layout: Layout | None = None) -> list[Footer]:
    """Read the footers of `files`, several at a time, with the ranges of the columns `ranges`.

    Without a `layout`, the columns of each file tell its own; a file in no known one is left out with a note in the
    log if it was not asked for by its name.

    Raises
    ------
    SourceError
        If a file is not Parquet, lacks columns or has other types, or if no file holds light curves.
    """
    with ThreadPoolExecutor(min(_THREADS, len(files) or 1)) as pool:
        footers = list(pool.map(lambda file: _read_footer(file, ranges, layout), files))
    kept = [f for f in footers if isinstance(f, Footer)]
    strangers = [f for f in footers if isinstance(f, _Stranger)]
    for stranger in strangers:
        if stranger.file.named or not kept:
            raise SourceError(
                f"{stranger.file.path} holds no light curves: its columns are {', '.join(stranger.columns)}, "
                "expected those of IRSA's bulk files (objectid, hmjd, …) or of write_archive (_id, hjd, …)"
            )
        logger.info("%s is left out: it has none of the layouts of light curves", stranger.file.path)
    return kept


@dataclass(frozen=True, slots=True)
class _Stranger:
    file: SourceFile
    columns: list[str]


def _read_footer(file: SourceFile, ranges: Sequence[str], layout: Layout | None) -> Footer | _Stranger:
    metadata = read_metadata(file.path, file.size)
    if not file.fingerprint:
        file = replace(file, fingerprint=digest_of(metadata))
    schema = _arrow_schema(metadata, file)
    layout = layout or layout_of(schema.names)
    if layout is None:
        return _Stranger(file, schema.names)
    types = leaf_types(schema)
    check_columns(layout, types, file.path)
    check_version(metadata.metadata, file.path)
    index = leaf_positions(metadata, types)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    mag = index[layout.columns["mag"]]
    return Footer(
        file=file,
        layout=layout,
        floats={n: _float_type(types[layout.columns[n]]) for n in ("hjd", "mag", "magerr")},
        rows=np.array([g.num_rows for g in groups], dtype=np.int64),
        points=np.array([g.column(mag).num_values for g in groups], dtype=np.int64),
        longest=_longest(groups, index),
        ranges={name: _range(groups, index, layout, name) for name in ranges},
    )


def digest_of(metadata: pq.FileMetaData) -> str:
    """Return what changes when a file does, for one whose server tells no mark of change."""
    footer = io.BytesIO()
    metadata.write_metadata_file(footer)
    return hashlib.sha256(footer.getvalue()).hexdigest()[:32]


def _arrow_schema(metadata: pq.FileMetaData, file: SourceFile) -> pa.Schema:
    try:
        return metadata.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{file.path} has column types that cannot be read ({error}): leave it out") from error


def _float_type(dtype: pa.DataType) -> np.dtype:
    return np.dtype(dtype.value_type.to_pandas_dtype())


def _longest(groups: Sequence[Any], index: dict[str, int]) -> np.ndarray:
    if "nepochs" not in index:
        return np.zeros(len(groups), dtype=np.int64)
    _, high = bounds_of(groups, index["nepochs"], floating=False)
    return np.where(high == _INT64.max, 0, high)


def _range(groups: Sequence[Any], index: dict[str, int], layout: Layout, name: str) -> tuple[np.ndarray, np.ndarray]:
    if name in layout.constants:
        return (np.full(len(groups), layout.constants[name], dtype=np.int64),) * 2
    low, high = bounds_of(groups, index[layout.columns[name]], floating=name in ("ra", "dec"))
    if name not in layout.derived:
        return low, high
    if name == "ccd":
        return ccd_of(low), ccd_of(high)
    same = ccd_of(low) == ccd_of(high)
    return np.where(same, quad_of(low), 1), np.where(same, quad_of(high), 4)


def bounds_of(groups: Sequence[Any], column: int, floating: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and greatest value of a column in each row group; unbounded where there are no statistics."""
    unknown = (-np.inf, np.inf) if floating else (_INT64.min, _INT64.max)
    pairs = [_pair(g.column(column).statistics, unknown) for g in groups]
    table = np.array(pairs, dtype=np.float64 if floating else np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _pair(statistics: Any, unknown: tuple[float, float]) -> tuple[float, float]:
    if statistics is None or not statistics.has_min_max:
        return unknown
    low, high = statistics.min, statistics.max
    return (low, high) if low <= high else unknown  # NaN: some writers count it in
