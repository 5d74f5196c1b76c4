"""What Fritz says of sources, as texts for a table: classifications, votes, periods, labellers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.fritz.classifications import classifications_of
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.sources import source, sources_around

RADIUS_ARCSEC = 2.0
SEPARATOR = ";"
NEEDED = ("classification", "probability", "period_origin", "period")
COLUMNS = (*NEEDED, "ztf_id_origin", "ztf_id", "labellers", "sum_votes")

Record = dict[str, str | None]


def find_source(
    fritz: Fritz, obj_id: str | None, ra: float | None = None, dec: float | None = None
) -> dict[str, Any] | None:
    """Return a source by its id, or else the one nearest to a position (deg) within 2 arcsec, or None.

    Raises
    ------
    FritzError
    """
    found = source(fritz, obj_id, includeLabellers=True) if obj_id else None
    if found is not None or ra is None or dec is None or not np.isfinite([ra, dec]).all():
        return found
    near = sources_around(fritz, ra, dec, RADIUS_ARCSEC, includeLabellers=True)
    return min(near, key=lambda one: separation_arcsec(one, ra, dec), default=None)


def separation_arcsec(found: dict[str, Any], ra: float, dec: float) -> float:
    """Return the angle between a source and a position (deg) in arcsec."""
    from astropy.coordinates import angular_separation

    places = np.radians([found["ra"], found["dec"], ra, dec])
    return float(np.degrees(angular_separation(*places)) * 3600.0)


def record_of(fritz: Fritz, found: dict[str, Any]) -> Record:
    """Return what Fritz says of a source: a text for each of `COLUMNS`, or None where there is nothing.

    Of several classifications, annotations or labellers the values are joined by ``;``, the oldest first. The votes
    are asked for where the source came without them.

    Raises
    ------
    FritzError
    """
    entries = sorted(found.get("classifications") or (), key=lambda entry: entry["id"])
    votes = _votes(fritz, found["id"], entries)
    texts: dict[str, list[str]] = {
        "classification": [str(entry["classification"]) for entry in entries],
        "probability": [_number(entry.get("probability")) for entry in entries],
        "labellers": sorted((str(one["id"]) for one in found.get("labellers") or ()), key=int),
        "sum_votes": [str(votes[entry["id"]]) for entry in entries],
    }
    for key in ("period", "ztf_id"):
        pairs = [(str(a["origin"]), a["data"][key]) for a in _annotations(found) if key in a["data"]]
        texts[f"{key}_origin"] = [origin for origin, _ in pairs]
        texts[key] = [_number(value) if key == "period" else str(value) for _, value in pairs]
    return {name: SEPARATOR.join(texts[name]) if texts[name] else None for name in COLUMNS}


def split(text: Any) -> list[str]:
    """Return the values that a text of `record_of` holds, whatever a file made of it."""
    return [] if pd.isna(text) or text == "" else str(text).split(SEPARATOR)


def _votes(fritz: Fritz, obj_id: str, entries: list[dict[str, Any]]) -> dict[int, int]:
    if not all("votes" in entry for entry in entries):
        entries = classifications_of(fritz, obj_id)
    counted = {entry["id"]: sum(int(one["vote"]) for one in entry.get("votes") or ()) for entry in entries}
    return _Counted(counted)


class _Counted(dict[int, int]):
    """Votes by classification; one that came meanwhile has none."""

    def __missing__(self, key: int) -> int:
        return 0


def _annotations(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in sorted(found.get("annotations") or (), key=lambda entry: entry["id"]):
        if isinstance(entry.get("data"), dict):
            yield entry


def _number(value: Any) -> str:
    return "nan" if value is None else str(value)
