"""Lists of sources in CSV, HDF5 or Parquet files: ids of light curves or positions, and what to select by them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.errors import SchemaError, SourceError

RADIUS_ARCSEC = 2.0
SPELLINGS = {
    "ztf_id": ("ztf_id", "ztfid", "ZTFID", "_id"),
    "ra": ("ra", "RA", "R.A.", "r.a.", "radeg", "ra_deg"),
    "dec": ("dec", "DEC", "Dec.", "Decl.", "dedeg", "de_deg"),
    "obj_id": ("obj_id", "OBJ_ID", "object_id", "objectID", "name"),
}


@dataclass(frozen=True, eq=False)
class SourceList:
    """A list of sources.

    Attributes
    ----------
    ids : numpy.ndarray, shape (n,), int64, or None
        Of light curves.
    ra, dec : numpy.ndarray, shape (n,), float64, or None
        Degrees.
    names : tuple of str, length n
        From the file; else ``ZTF_<id>``, or after the position (`position_name`).
    """

    ids: np.ndarray | None
    ra: np.ndarray | None
    dec: np.ndarray | None
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def selection(self, radius_arcsec: float = RADIUS_ARCSEC) -> dict[str, Any]:
        """Return the arguments by which `read_archive`, `read_hats` and others select these sources.

        Light curves by id where there are ids, else what lies within the radius of a position.
        """
        if self.ids is not None:
            return {"ids": self.ids}
        return {"near": (self.ra, self.dec, radius_arcsec)}


def read_list(path: str | os.PathLike[str]) -> SourceList:
    """Read a list of sources.

    Parameters
    ----------
    path : path
        CSV, HDF5 or Parquet, with a column of ids or two of positions (deg), in any of the `SPELLINGS`, and perhaps
        one of names; or an HDF5 file with one data set of ids, as ``get-quad-ids`` writes it.

    Returns
    -------
    SourceList
        In the order of the file. Ids are exact.

    Raises
    ------
    SourceError
        If the file cannot be read, an id is no integer or missing, or a position is missing or not on the sphere.
    SchemaError
        If there are neither ids nor positions, or a column is there in two spellings.
    """
    from scope_dask.formats import read_ids, read_table

    path = Path(path)
    if path.suffix.lower() in (".h5", ".hdf5") and _is_data_set(path):
        stored = read_ids(path)
        return SourceList(stored, None, None, tuple(f"ZTF_{i}" for i in stored))
    table = read_table(path)
    found = {meaning: _named(table, meaning, path) for meaning in SPELLINGS}
    ids = None if found["ztf_id"] is None else _ids(table[found["ztf_id"]], f"{path}: {found['ztf_id']}")
    ra, dec = _positions(table, found, path)
    if ids is None and ra is None:
        raise SchemaError(
            f"{path} has neither ids ({', '.join(SPELLINGS['ztf_id'])}) nor positions (ra, dec); "
            f"it has {', '.join(map(str, table.columns))}"
        )
    return SourceList(ids, ra, dec, _names(table, found["obj_id"], ids, ra, dec))


def position_name(ra: float, dec: float) -> str:
    """Return the name ``ZTFJhhmmss.ss±ddmmss.s`` of a position in degrees, cut off and not rounded as the IAU asks."""
    seconds = int(np.floor(ra % 360.0 * 24000.0 + 1e-6)) % 8_640_000  # hundredths of a second of time
    arc = int(np.floor(abs(dec) * 36000.0 + 1e-6))  # tenths of an arcsecond
    hours, degrees = divmod(seconds, 360_000), divmod(arc, 36_000)
    right = f"{hours[0]:02d}{hours[1] // 6000:02d}{hours[1] % 6000 / 100:05.2f}"
    sign = "-" if dec < 0 else "+"
    return f"ZTFJ{right}{sign}{degrees[0]:02d}{degrees[1] // 600:02d}{degrees[1] % 600 / 10:04.1f}"


def _is_data_set(path: Path) -> bool:
    """Tell whether an HDF5 file holds plain data sets, not a frame of pandas."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return any(isinstance(file[key], h5py.Dataset) for key in file)
    except OSError:
        return False  # the reader of tables says what is wrong


def _named(table: pd.DataFrame, meaning: str, path: Path) -> Any:
    found = [name for name in SPELLINGS[meaning] if name in table.columns]
    if len(found) > 1:
        raise SchemaError(f"{path} has {meaning} in the columns {' and '.join(found)}: leave one of them")
    return found[0] if found else None


def _ids(column: pd.Series, where: str) -> np.ndarray:
    from scope_dask.crossmatch.external import exact_ids

    ids = exact_ids(column, where)
    if ids.isna().any():
        raise SourceError(f"{where}: row {int(np.flatnonzero(ids.isna())[0]) + 1} has no id")
    return ids.to_numpy(dtype=np.int64)


def _positions(table: pd.DataFrame, found: dict[str, Any], path: Path) -> tuple[np.ndarray | None, np.ndarray | None]:
    if found["ra"] is None and found["dec"] is None:
        return None, None
    missing = next((meaning for meaning in ("ra", "dec") if found[meaning] is None), None)
    if missing is not None:
        raise SchemaError(f"{path} has no {missing} beside the other coordinate; it has {', '.join(table.columns)}")
    try:
        ra, dec = (table[found[meaning]].to_numpy(dtype=np.float64, na_value=np.nan) for meaning in ("ra", "dec"))
    except (TypeError, ValueError) as error:
        raise SourceError(f"{path}: {found['ra']} and {found['dec']} must be degrees as numbers ({error})") from error
    bad = np.flatnonzero(~(np.isfinite(ra) & (np.abs(dec) <= 90)))
    if len(bad):
        row = int(bad[0])
        found_there = f"{ra[row]}, {dec[row]}"
        raise SourceError(f"{path}: row {row + 1} has the position {found_there}, expected degrees on the sphere")
    return ra, dec


def _names(
    table: pd.DataFrame, column: Any, ids: np.ndarray | None, ra: np.ndarray | None, dec: np.ndarray | None
) -> tuple[str, ...]:
    if ids is not None:
        own = [f"ZTF_{i}" for i in ids]
    elif ra is not None and dec is not None:
        own = [position_name(*at) for at in zip(ra, dec, strict=True)]
    else:
        own = []
    given = [None] * len(own) if column is None else table[column].astype(object).tolist()
    return tuple(mine if pd.isna(name) else str(name) for name, mine in zip(given, own, strict=True))
