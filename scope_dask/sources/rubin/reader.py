"""Rubin's forced photometry as a lazy table of light curves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import dask
import dask.dataframe as dd
import fsspec
import numpy as np
import pyarrow as pa

from scope_dask.errors import OptionError, SourceError, nearest
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.archive import as_bytes
from scope_dask.sources.files import expand
from scope_dask.sources.rubin.photometry import (
    BANDS,
    FLAGS,
    LOW,
    MIN_SNR,
    MOST_FLAGS,
    PARTITION_BYTES,
    Low,
    PhotometryRule,
    object_ids,
)
from scope_dask.sources.rubin.ranges import ROW_BYTES, Groups, Ranges, TableFiles, cut, table_files
from scope_dask.sources.rubin.tasks import DEC, ERROR, FLUX, ID, MJD, RA, TRACT, VISIT, How, read_range
from scope_dask.sources.selection import Selection, as_ids

_NAMES = {
    "objects": ("Object", "object"),
    "forced_sources": ("ForcedSource", "object_forced_source"),
    "visits": ("Visit", "visit_table"),
}


def read_rubin(
    path: str | os.PathLike[str] | None = None,
    *,
    objects: Any = None,
    forced_sources: Any = None,
    visits: Any = None,
    tract: int | Sequence[int] | None = None,
    bands: Sequence[str] = tuple(BANDS),
    ids: Any = None,
    cone: tuple[float, float, float] | None = None,
    near: tuple[Any, Any, float] | None = None,
    min_snr: float = MIN_SNR,
    low: Low = LOW,
    flags: Sequence[str] | None = None,
    partition_bytes: int | str = PARTITION_BYTES,
) -> dd.DataFrame:
    """Return Rubin's forced photometry as a lazy table, one light curve for each object and band.

    Only footers are read now. A partition is a range of object ids; its task reads the row groups that may hold them
    (where the files keep objects of a tract and patch together, each is read once).

    Parameters
    ----------
    path : path, optional
        Folder with the three tables, each a file or a folder of Parquet files: ``Object``, ``ForcedSource`` and
        ``Visit``, or ``object``, ``object_forced_source`` and ``visit_table``, with or without ``.parquet``.
    objects, forced_sources, visits : path or list of paths, optional
        A table by itself, in place of the one in the folder.
    tract : int or list of int, optional
        Keep these tracts.
    bands : sequence of str
        Keep these of u, g, r, i, z, y.
    ids : array of int, optional
        Keep these light curves, by ``_id``.
    cone : tuple of float, optional
        (right ascension in deg, declination in deg, radius in arcsec): keep the objects that lie within.
    near : tuple of (array of float, array of float, float), optional
        (right ascensions in deg, declinations in deg, radius in arcsec): keep the objects around these positions.
    min_snr : float
        A flux is low if it is below this many times its error, or not positive.
    low : {"drop", "flag"}
        What is done with low points (`PhotometryRule`): leave them out, or keep them flagged. Points without a time,
        flux or error are always left out. How many there were is in the tally of the run.
    flags : sequence of str, optional
        Columns of ForcedSource that spoil a point: bit k of `catflags` is the k-th of them. By default those of
        `photometry.FLAGS` that there are.
    partition_bytes : int or str
        Bytes in memory that a partition may hold, as far as footers tell.

    Returns
    -------
    dask.dataframe.DataFrame
        With the columns of ``schema.RAW_LIGHTCURVES``. ``_id`` is 8 objectId + filter, `filter` 1 g, 2 r, 3 i, 4 u,
        5 z, 6 y, `field` the tract, `ccd` and `quad` 0. Magnitudes are AB (`photometry.magnitudes`). ``hjd`` is
        the middle of the exposure, MJD + 2400000.5: TAI at the observatory, not corrected to the Sun.

    Raises
    ------
    SourceError
        If a table is not there, is not Parquet or lacks a column.
    OptionError
        If an option is of another type or out of its range.
    """
    selection, wanted = Selection.of(field=tract, cone=cone, near=near), as_ids(ids)
    rule = PhotometryRule(min_snr, low)
    codes = _codes(bands)
    around = bool(selection.cone or selection.near)
    paths = _paths(path, {"objects": objects, "forced_sources": forced_sources, "visits": visits})
    position = (RA, DEC) if around else ()
    tables = table_files(expand(paths["objects"]), [ID, RA, DEC], [ID, *position], floating=position)
    measured = table_files(expand(paths["forced_sources"]), [ID, VISIT, FLUX, ERROR], [ID])
    seen = table_files(expand(paths["visits"]), [VISIT, MJD], ())
    _check(tables, measured, seen, selection)
    how = How(_whole(seen), selection, codes, _flags(flags, measured), rule)
    ranges = _ranges(tables, measured, selection, wanted, as_bytes(partition_bytes))
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(read_range, ranges, args=(how,), meta=RAW_LIGHTCURVES.empty(), label="read_rubin")


def _paths(path: Any, given: dict[str, Any]) -> dict[str, Any]:
    paths = {key: value for key, value in given.items() if value is not None}
    missing = [key for key in given if key not in paths]
    if not missing:
        return paths
    if path is None:
        raise SourceError(f"no path was given for {', '.join(missing)}: name the folder of the tables, or each of them")
    folder = os.fspath(path).rstrip("/")
    fs, bare = fsspec.core.url_to_fs(os.path.expanduser(folder))
    for key in missing:
        tried = [f"{name}{suffix}" for name in _NAMES[key] for suffix in ("", ".parquet")]
        found = next((name for name in tried if fs.exists(f"{bare}/{name}")), None)
        if found is None:
            raise SourceError(f"{folder} has no table {_NAMES[key][0]}: looked for {', '.join(tried)}")
        paths[key] = f"{folder}/{found}"
    return paths


def _codes(bands: Sequence[str]) -> tuple[int, ...]:
    unknown = [band for band in bands if band not in BANDS]
    if unknown or not bands:
        found = f"has {unknown[0]!r}" if unknown else "is empty"
        raise OptionError(f"bands {found}, expected some of {', '.join(BANDS)}")
    return tuple(sorted(BANDS[band] for band in bands))


def _check(objects: TableFiles, measured: TableFiles, visits: TableFiles, selection: Selection) -> None:
    if "band" not in measured.types and "band" not in visits.types:
        raise SourceError(f"neither {measured.files[0].path} nor {visits.files[0].path} has the column band")
    if selection.field is not None and TRACT not in objects.types:
        raise SourceError(f"{objects.files[0].path} lacks the column {TRACT}, by which objects are asked for")


def _flags(flags: Sequence[str] | None, measured: TableFiles) -> tuple[str, ...]:
    if flags is None:
        return tuple(flag for flag in FLAGS if flag in measured.types)
    for flag in flags:
        if not pa.types.is_boolean(measured.types.get(flag, pa.null())):
            hint = nearest(flag, measured.types)
            raise OptionError(f"flags has {flag!r}, which is no column of truth values of ForcedSource{hint}")
    if len(flags) > MOST_FLAGS:
        raise OptionError(f"flags has {len(flags)} columns, expected {MOST_FLAGS} at most")
    return tuple(flags)


def _whole(table: TableFiles) -> tuple[Groups, ...]:
    return tuple(
        Groups(file.path, file.fingerprint, tuple(table.groups[table.groups[:, 0] == k, 1].tolist()))
        for k, file in enumerate(table.files)
    )


def _ranges(
    objects: TableFiles, measured: TableFiles, selection: Selection, wanted: np.ndarray | None, bound: int
) -> Ranges:
    """Cut the object ids into partitions, without those that hold nothing that is asked for."""
    edges, rows = cut(measured.low[ID], measured.high[ID], measured.groups[:, 2], max(bound / ROW_BYTES, 1.0))
    keep = np.ones(len(edges), dtype=bool)
    ids = None if wanted is None else np.unique(object_ids(wanted))
    if ids is not None:
        keep &= np.searchsorted(ids, edges[:, 1], side="right") > np.searchsorted(ids, edges[:, 0])
    if selection.cone or selection.near:
        sky = {name: (objects.low[c], objects.high[c]) for name, c in (("ra", RA), ("dec", DEC))}
        places = Selection(cone=selection.cone, near=selection.near)
        close = places.row_groups(sky, None, len(objects.groups))
        low, high = np.sort(objects.low[ID][close]), np.sort(objects.high[ID][close])
        # Intervals that begin before the range ends, less those that end before it begins.
        keep &= np.searchsorted(low, edges[:, 1], side="right") > np.searchsorted(high, edges[:, 0])
    edges, rows = edges[keep], rows[keep]
    if not len(edges):
        edges, rows = np.array([[0, -1]], dtype=np.int64), np.zeros(1)
    return Ranges(measured, objects, ID, edges, rows, wanted)
