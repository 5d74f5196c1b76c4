"""Photometry of a source, and the instruments that it can be of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.errors import nearest
from scope_dask.fritz.answers import field
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.entries import plain_list
from scope_dask.fritz.errors import FritzInputError
from scope_dask.fritz.sources import path_of

PHOTOMETRY = "/api/photometry"
MOST_ROWS = 10_000  # of a call; the service takes no more
_COLUMNS = ("mjd", "mag", "magerr", "limiting_mag", "filter")


def instrument_id(fritz: Fritz, name: str = "ZTF") -> int:
    """Return the id that this deployment has for an instrument.

    Raises
    ------
    FritzInputError
        If it has none of that name.
    FritzError
    """
    found = {str(entry["name"]): int(entry["id"]) for entry in plain_list(fritz, "/api/instrument", {"name": name})}
    if name not in found:
        raise FritzInputError({"instruments that Fritz does not have": [name + nearest(name, found)]})
    return found[name]


def photometry(fritz: Fritz, obj_id: str) -> pd.DataFrame:
    """Return the points of a source in AB magnitudes, by time; columns as the service names them.

    Raises
    ------
    FritzError
        With status 403 where there is no such source or the token may not see it.
    """
    points = plain_list(fritz, path_of(obj_id, "photometry"), {"format": "mag", "magsys": "ab"})
    frame = pd.DataFrame(points)
    return frame.sort_values("mjd", ignore_index=True) if len(frame) else frame


def put_photometry(
    fritz: Fritz,
    obj_id: str,
    points: pd.DataFrame,
    instrument: int,
    group_ids: Sequence[int],
    *,
    origin: str = "scope_dask",
) -> list[int]:
    """Add points to a source, and return their ids; points that it has already are not added again.

    A point is known again by instrument, origin, time and flux: with another origin it would come in twice. Needs the
    permission Upload data.

    Parameters
    ----------
    fritz : Fritz
    obj_id : str
    points : pandas.DataFrame
        ``mjd`` (d, not heliocentric), ``mag``, ``magerr``, ``limiting_mag`` (AB; `mag` and `magerr` both missing is an
        upper limit), ``filter`` (``ztfg``, ``ztfr``, ``ztfi``), optionally ``ra`` and ``dec`` (deg).
    instrument : int
        See `instrument_id`.
    group_ids : sequence of int
    origin : str

    Raises
    ------
    FritzInputError
        If columns are missing or values are not finite.
    FritzError
    """
    path_of(obj_id, "photometry")
    columns = _checked(points)
    ids: list[int] = []
    for start in range(0, len(points), MOST_ROWS):
        part = {name: values[start : start + MOST_ROWS] for name, values in columns.items()}
        body = {"obj_id": obj_id, "instrument_id": int(instrument), "magsys": "ab", "origin": origin, **part}
        answer = fritz.send("PUT", PHOTOMETRY, {**body, "group_ids": list(group_ids)}, acl="Upload data")
        ids += field(answer, "ids", list, f"PUT {PHOTOMETRY}")
    return ids


def _checked(points: pd.DataFrame) -> dict[str, list[Any]]:
    """Return the columns to send as lists, missing values as None."""
    if missing := [name for name in _COLUMNS if name not in points.columns]:
        raise FritzInputError({"columns of the photometry that are missing": missing})
    names = [*_COLUMNS, *(name for name in ("ra", "dec") if name in points.columns)]
    numbers = {name: points[name].to_numpy(np.float64, na_value=np.nan) for name in names if name != "filter"}
    limits = np.isnan(numbers["mag"]) & np.isnan(numbers["magerr"])
    bad = {}
    for name, values in numbers.items():
        allowed = np.isfinite(values) | (limits if name in ("mag", "magerr") else False)
        if rows := np.flatnonzero(~allowed).tolist():
            bad[f"rows of the photometry whose {name} is not finite"] = rows
    if bad:
        raise FritzInputError(bad)
    lists = {name: [None if np.isnan(v) else v for v in values.tolist()] for name, values in numbers.items()}
    return {**lists, "filter": points["filter"].astype(str).tolist()}
