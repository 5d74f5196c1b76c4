"""HATS catalogues on disk: which files hold the sources, and which part of the sky each covers."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Sequence
from typing import Any

import fsspec
import numpy as np

from scope_dask.crossmatch.sphere import Regions
from scope_dask.errors import SourceError
from scope_dask.sources.files import unreadable

_MARKS = ("hats.properties", "properties", "collection.properties")
_PIXEL = re.compile(r"Norder=(\d+)/(?:Dir=\d+/)?Npix=(\d+)")


def is_hats(path: str) -> bool:
    """Tell whether a path is the folder of a HATS catalogue or collection.

    Raises
    ------
    SourceError
        If its file system does not tell.
    """
    try:
        fs, bare = fsspec.core.url_to_fs(os.path.expanduser(path))
    except (ImportError, ValueError):
        return False  # `expand` says what is wrong with the address
    try:
        return any(fs.exists(f"{bare.rstrip('/')}/{mark}") for mark in _MARKS)
    except Exception as error:  # each file system raises errors of its own
        raise unreadable(path, error) from error


def open_hats(path: str) -> Any:
    """Return a HATS catalogue or collection as the package hats opens it.

    Raises
    ------
    SourceError
        If the package is not installed, or the catalogue cannot be read with it.
    """
    try:
        hats = importlib.import_module("hats")
    except ImportError as error:
        raise SourceError(f"{path} is a HATS catalogue: pip install 'scope_dask[catalog]' to read it") from error
    try:
        return hats.read_hats(path, read_moc=False)
    except Exception as error:  # each file system raises errors of its own
        raise unreadable(path, error, " as a HATS catalogue") from error


def resolve(path: str) -> tuple[str, dict[str, str]]:
    """Return the folder of a HATS catalogue's pixel files (of a collection: the main one's) and its position columns.

    Raises
    ------
    SourceError
        As `open_hats`.
    """
    catalog = open_hats(path)
    catalog = getattr(catalog, "main_catalog", catalog)
    info = catalog.catalog_info
    names = {"ra": info.ra_column, "dec": info.dec_column}
    return f"{catalog.catalog_base_dir}/dataset", {name: str(column) for name, column in names.items() if column}


def pixel_regions(paths: Sequence[str]) -> Regions:
    """Return the part of the sky that each pixel file covers.

    Raises
    ------
    SourceError
        If a path tells no pixel.
    """
    from astropy.coordinates import Latitude, Longitude

    nested = importlib.import_module("cdshealpix.nested")
    found = [_PIXEL.search(path.replace(os.sep, "/")) for path in paths]
    if not all(found):
        raise SourceError(f"{paths[found.index(None)]} tells no HEALPix pixel, expected …/Norder=K/Dir=D/Npix=N…")
    order, pixel = np.array([m.groups() for m in found if m], dtype=np.int64).T
    lon, lat = nested.healpix_to_lonlat(pixel.astype(np.uint64), order.astype(np.uint8))
    corners = nested.vertices(pixel.astype(np.uint64), order.astype(np.uint8))
    degrees = [Longitude(x).deg if k == 0 else Latitude(x).deg for k, x in enumerate(corners)]
    return Regions.of_outlines(lon.deg, lat.deg, (degrees[0], degrees[1]))
