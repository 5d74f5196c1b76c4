"""Light curves of HATS catalogues and collections, lazily: one row a light curve, its points in a nested column."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import dask.dataframe as dd
import numpy as np

from scope_dask.crossmatch.hats import open_hats, pixel_regions
from scope_dask.errors import OptionError, SourceError, nearest
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.archive import lazy_table
from scope_dask.sources.files import SourceFile, expand, first_line
from scope_dask.sources.layouts import HJD_OF_HMJD_ZERO, IRSA, LISTS, Layout
from scope_dask.sources.selection import Near, Selection, as_ids
from scope_dask.sources.slices import PARTITION_BYTES

_ADVICE = "name the columns with columns={…}, such as columns={'_id': 'oid', 'field': 0}"
_NESTED = {name: f"lightcurve.{IRSA.columns[name]}" for name in LISTS}

ZTF = dataclasses.replace(
    IRSA,
    name="ZTF's light curves in HATS",
    columns={**IRSA.columns, **_NESTED},
    signature=frozenset({"objectid", "lightcurve"}),
    advice=_ADVICE,
)


def read_hats(
    path: str,
    *,
    columns: Mapping[str, str | int | None] | None = None,
    time_offset: float = HJD_OF_HMJD_ZERO,
    field: int | Sequence[int] | None = None,
    ccd: int | Sequence[int] | None = None,
    quad: int | Sequence[int] | None = None,
    ids: Any = None,
    cone: tuple[float, float, float] | None = None,
    near: tuple[Any, Any, float] | None = None,
    partition_bytes: int | str = PARTITION_BYTES,
) -> dd.DataFrame:
    """Return the light curves of a HATS catalogue or collection as a lazy table.

    Only its properties, its list of pixels and the footers of the pixels that are asked for are read now. A pixel is
    cut into slices of row groups, and of rows inside a row group, so that a partition stays within `partition_bytes`
    however large the pixel is.

    Parameters
    ----------
    path : str
        Folder of a catalogue or of a collection (its main catalogue is read), or an address (``https://``, ``s3://``).
    columns : mapping of str to str, int or None, optional
        Where columns of ``schema.RAW_LIGHTCURVES`` come from, if not from where ZTF's data releases have them
        (``objectid``, ``fieldid``, ``rcid``, ``filterid``, ``lightcurve.hmjd``, …; the position from the columns that
        the catalogue itself names). A text is a stored column, ``nest.name`` one inside a nested column; a number
        stands for an integer column that the catalogue does not have; None for `catflags` says that there are none.
    time_offset : float
        Days to add to the stored times to have HJD.
    field, ccd, quad : int or list of int, optional
        Keep these.
    ids : array of int, optional
        Keep these light curves. Where the collection has an index of ids, only the pixels that it names are opened.
    cone : tuple of float, optional
        (right ascension in deg, declination in deg, radius in arcsec): keep what lies within. Pixels farther away are
        not opened.
    near : tuple of (array of float, array of float, float), optional
        (right ascensions in deg, declinations in deg, radius in arcsec): keep what lies within the radius of one of
        these positions; pixels as for `cone`.
    partition_bytes : int or str
        Bytes in memory that a partition may hold, estimated as by `read_archive`.

    Returns
    -------
    dask.dataframe.DataFrame
        With the columns of ``schema.RAW_LIGHTCURVES``: the nested column has become parallel lists. Rows are in the
        order of the pixels and, inside one, of the file.

    Raises
    ------
    SourceError
        If the package hats is not installed (it comes with ``pip install 'scope_dask[catalog]'``), the path is no HATS
        catalogue, or a pixel cannot be read or lacks a column.
    OptionError
        If an option is of another type or out of its range.

    Warns
    -----
    TimePrecisionWarning
        If times were stored as float32.
    """
    selection = Selection.of(field, ccd, quad, cone, near)
    wanted = as_ids(ids)
    opened = open_hats(path)
    catalog = getattr(opened, "main_catalog", opened)
    layout = layout_of_catalog(catalog.catalog_info, columns or {}, time_offset)
    files = _files(opened, catalog, selection, wanted, layout.columns["_id"])
    return lazy_table(files, selection, wanted, partition_bytes, "read_hats", layout)


def layout_of_catalog(info: Any, columns: Mapping[str, str | int | None], time_offset: float) -> Layout:
    """Return where the columns of a catalogue are: as in ZTF's releases, the position where it says, but for `columns`.

    Raises
    ------
    OptionError
        As `with_columns`.
    """
    own = {"ra": info.ra_column, "dec": info.dec_column}
    named: dict[str, str | int | None] = {name: str(column) for name, column in own.items() if column}
    layout = with_columns(ZTF, {**named, **columns}, time_offset)
    return dataclasses.replace(layout, name="the light curves of a HATS catalogue")


def with_columns(layout: Layout, columns: Mapping[str, str | int | None], time_offset: float) -> Layout:
    """Return a layout with some columns from elsewhere; for `columns` see `read_hats`.

    Raises
    ------
    OptionError
        If there is no such column, or it cannot come from what is given.
    """
    stored = dict(layout.columns)
    constants = dict(layout.constants)
    for name, source in columns.items():
        if name not in RAW_LIGHTCURVES:
            raise OptionError(
                f"columns has {name!r}{nearest(name, RAW_LIGHTCURVES.names)}; there are "
                f"{', '.join(RAW_LIGHTCURVES.names)}"
            )
        if isinstance(source, str):
            stored[name] = source
        elif source is None and name == "catflags":
            stored[name] = ""  # a column that no file has
        elif isinstance(source, int) and not isinstance(source, bool) and name in ("field", "ccd", "quad", "filter"):
            stored.pop(name, None)
            constants[name] = source
        else:
            raise OptionError(
                f"columns has {source!r} for {name!r}, expected the name of a stored column"
                " (or a number for field, ccd, quad and filter, or None for catflags)"
            )
    return dataclasses.replace(
        layout,
        columns=stored,
        constants=constants,
        derived={name: how for name, how in layout.derived.items() if name not in columns},
        optional=layout.optional | {""},
        time_offset=float(time_offset),
        typical_time=layout.typical_time + layout.time_offset - float(time_offset),
    )


def _files(
    opened: Any, catalog: Any, selection: Selection, wanted: np.ndarray | None, id_column: str
) -> list[SourceFile]:
    """Return the files of the pixels that may hold what is asked for."""
    paths = [str(path) for path in catalog.get_pixel_paths()]
    keep = np.ones(len(paths), dtype=bool)
    if paths and (selection.cone or selection.near):
        regions = pixel_regions(paths)
        around = [Near.of(selection.cone), selection.near]
        for near in filter(None, around):
            keep &= near.regions(regions)
    if wanted is not None:
        named = _indexed_pixels(opened, id_column, wanted)
        if named is not None:
            keep &= [(pixel.order, pixel.pixel) in named for pixel in catalog.get_healpix_pixels()]
    chosen = [path for path, kept in zip(paths, keep, strict=True) if kept]
    if not chosen:
        return []
    if catalog.catalog_info.npix_suffix == "/" or "://" not in chosen[0]:
        return [dataclasses.replace(file, named=True) for file in expand(chosen)]
    # Of remote files nothing is asked but the footer, which names their content: one request less for each.
    return [SourceFile(path, None, "", named=True) for path in chosen]


def _indexed_pixels(opened: Any, column: str, ids: np.ndarray) -> set[tuple[int, int]] | None:
    """Return (order, pixel) of the pixels that a collection's index names for these ids; None without an index."""
    if column not in (getattr(opened, "all_indexes", None) or {}):
        return None
    if not len(ids):
        return set()
    hats = importlib.import_module("hats")
    folder = opened.get_index_dir_for_field(column)
    try:
        pixels = hats.read_hats(folder).loc_partitions(ids)
    except (OSError, ValueError) as error:
        raise SourceError(f"the index {folder} of {column} cannot be read: {first_line(error)}") from error
    return {(pixel.order, pixel.pixel) for pixel in pixels}
