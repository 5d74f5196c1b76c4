"""Light curves from Parquet files, lazily: IRSA's bulk files and our own archive."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
from dask.utils import parse_bytes

from scope_dask.errors import OptionError
from scope_dask.sources.files import SourceFile, expand
from scope_dask.sources.footers import Footer, read_footers
from scope_dask.sources.layouts import Layout, TimePrecisionWarning, float_step
from scope_dask.sources.reader import meta, read_slice
from scope_dask.sources.selection import Selection, as_ids
from scope_dask.sources.slices import PARTITION_BYTES, Slices, cut, empty_slices, pieces_of
from scope_dask.sources.writer import write_archive

__all__ = ["TimePrecisionWarning", "read_archive", "slices_of", "write_archive"]

logger = logging.getLogger(__name__)


def read_archive(
    path: Any,
    *,
    field: int | Sequence[int] | None = None,
    ccd: int | Sequence[int] | None = None,
    quad: int | Sequence[int] | None = None,
    ids: Any = None,
    cone: tuple[float, float, float] | None = None,
    near: tuple[Any, Any, float] | None = None,
    partition_bytes: int | str = PARTITION_BYTES,
) -> dd.DataFrame:
    """Return the light curves of Parquet files as a lazy table.

    Only the files' footers are read now, several at a time. The files are IRSA's bulk light curves (HMJD +
    2400000.5 is the HJD; CCD and quadrant follow from the readout channel, rc = 4 (ccd - 1) + quad - 1;
    nothing is taken from file names) or an archive of `write_archive`; their columns tell which.

    Parameters
    ----------
    path : path or list of paths
        File, folder (searched to its depths), pattern, or URL of a protocol that fsspec has (``s3://``,
        ``https://``, …). A file of a folder or pattern that holds no light curves is left out with a note
        in the log.
    field, ccd, quad : int or list of int, optional
        Keep these ZTF fields, CCDs (1 to 16), quadrants (1 to 4).
    ids : array of int, optional
        Keep these light curves.
    cone : tuple of float, optional
        (right ascension in deg, declination in deg, radius in arcsec): keep what lies within, on the sphere.
    near : tuple of (array of float, array of float, float), optional
        (right ascensions in deg, declinations in deg, radius in arcsec): keep what lies within the radius of one of
        these positions.
    partition_bytes : int or str
        Bytes in memory that a partition may hold. What a footer does not tell is estimated: light curves
        count with the mean length of their row group. A single light curve is never divided.

    Returns
    -------
    dask.dataframe.DataFrame
        With the columns of ``schema.RAW_LIGHTCURVES``, in the order of the files. ``mag`` and ``magerr`` are
        lists of the float type of the files, float64 where files differ. Flags are 0 where our own archive
        has none. Row groups without a row that is asked for make no partition; where that leaves none, there
        is one without rows.

    Raises
    ------
    SourceError
        If nothing matches, or a file is not Parquet, lacks columns or has other types than it should.
    OptionError
        If an option is of another type or out of its range.

    Warns
    -----
    TimePrecisionWarning
        If times were stored as float32.

    Notes
    -----
    Only the columns that are used are read; ``len(frame)`` uses all of them, ``len(frame["_id"])`` one.
    """
    selection = Selection.of(field, ccd, quad, cone, near)
    return lazy_table(expand(path), selection, as_ids(ids), partition_bytes, "read_archive")


def lazy_table(
    files: Sequence[SourceFile],
    selection: Selection,
    wanted: np.ndarray | None,
    partition_bytes: int | str,
    label: str,
    layout: Layout | None = None,
) -> dd.DataFrame:
    """Return the light curves of files as a lazy table; for the arguments, errors and warnings see `read_archive`.

    Parameters
    ----------
    files : sequence of SourceFile
    selection : Selection
    wanted : numpy.ndarray or None
        Sorted ids to keep.
    partition_bytes : int or str
    label : str
        Of the tasks.
    layout : Layout, optional
        Of all files; by default the columns of each file tell its own.
    """
    bound = as_bytes(partition_bytes)
    footers = read_footers(files, list({*selection.columns(wanted), "field"}), layout)
    floats = _common_floats(footers)
    _warn_of_coarse_times(footers)
    kept = [selection.row_groups(f.ranges, wanted, len(f.rows)) for f in footers]
    # hjd and flags are eight and four bytes a point.
    point_bytes = 12 + sum(np.dtype(dtype).itemsize for dtype in floats.values())
    slices = cut(footers, kept, wanted, bound, point_bytes) or empty_slices()
    logger.info("%d partitions of %d files, %s bytes", len(slices), len(footers), f"{slices.nbytes.sum():,}")
    # There are no strings to convert: the step would only cost time on each partition.
    with dask.config.set({"dataframe.convert-string": False}):
        args = (selection, floats) if layout is None else (selection, floats, layout)
        return dd.from_map(read_slice, slices, args=args, meta=meta(floats), label=label)


def slices_of(frame: dd.DataFrame) -> Slices | None:
    """Return the slices that a lazy table is read from (files, rows and bytes), or None for other sources."""
    return pieces_of(frame, Slices)


def as_bytes(value: int | str) -> int:
    """Return the number of bytes that a size such as ``8 MiB`` stands for.

    Raises
    ------
    OptionError
    """
    try:
        bound = parse_bytes(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise OptionError(f"partition_bytes is {value!r}, expected a number of bytes such as '8 MiB'") from error
    if bound < 1:
        raise OptionError(f"partition_bytes is {value!r}, expected at least one byte")
    return int(bound)


def _common_floats(footers: Sequence[Footer]) -> dict[str, str]:
    """Return the float type of mag and magerr: the files' own, float64 where they differ."""
    common = {}
    for name in ("mag", "magerr"):
        types = {f.floats[name] for f in footers if f.rows.any()}
        common[name] = "float32" if types == {np.dtype(np.float32)} else "float64"
    return common


def _warn_of_coarse_times(footers: Sequence[Footer]) -> None:
    coarse = [f for f in footers if f.floats["hjd"].itemsize < 8 and f.rows.any()]
    if coarse:
        warnings.warn(
            f"{len(coarse)} of {len(footers)} files ({coarse[0].file.path} is one) store times as float32: "
            f"their step is {float_step(coarse[0].layout)}, and short periods suffer",
            TimePrecisionWarning,
            stacklevel=4,
        )
