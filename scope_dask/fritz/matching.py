"""Which source of Fritz a row of a table is, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scope_dask.fritz.client import Fritz
from scope_dask.fritz.sources import groups_of, source, sources_around
from scope_dask.sources.lists import position_name

RADIUS_ARCSEC = 2.0
PREFIX = "ZTFJ"  # of names that are made of positions
SURVEY_ID = "survey_id"


@dataclass(frozen=True)
class Target:
    """Where the classifications of a row go.

    Attributes
    ----------
    row : int
        In the table.
    obj_id : str
    ra, dec : float
        deg.
    new : bool
        Whether the source is not there, or not in all of the groups.
    """

    row: int
    obj_id: str
    ra: float
    dec: float
    new: bool


def target_of(
    fritz: Fritz,
    row: int,
    values: Mapping[str, Any],
    group_ids: tuple[int, ...],
    *,
    existing_ids: bool = False,
    survey_origin: str | None = None,
) -> Target:
    """Return the source that a row is: by its own id, by its survey id, or the newest of a position within 2 arcsec.

    Parameters
    ----------
    fritz : Fritz
    row : int
    values : mapping
        ``ra`` and ``dec`` (deg), ``obj_id`` where `existing_ids`, ``survey_id`` where `survey_origin`.
    group_ids : tuple of int
    existing_ids : bool
        The source is ``obj_id``, which is there or is made.
    survey_origin : str, optional
        Only a source within 2 arcsec that has ``survey_id`` in an annotation of this origin is the same.

    Raises
    ------
    FritzError
    """
    ra, dec = float(values["ra"]), float(values["dec"])
    if existing_ids:
        found = source(fritz, str(values["obj_id"]))
        name = str(values["obj_id"])
    else:
        near = sources_around(fritz, ra, dec, RADIUS_ARCSEC)
        if survey_origin is not None:
            survey = survey_id_of(values)
            same = [one for one in near if survey is not None and survey in survey_ids(one, survey_origin)]
        else:
            same = [one for one in near if str(one["id"]).startswith(PREFIX)]
        found = max(same, key=lambda one: str(one["created_at"]), default=None)
        name = position_name(ra, dec) if found is None else str(found["id"])
    return Target(row, name, ra, dec, found is None or not groups_of(found).issuperset(group_ids))


def survey_id_of(values: Mapping[str, Any]) -> str | None:
    """Return the survey id of a row as text, without the decimals that a column with gaps gives to integers, or None.

    >>> survey_id_of({"survey_id": 9000.0})
    '9000'
    """
    value = values.get(SURVEY_ID)
    if value is None or pd.isna(value):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def survey_ids(found: Mapping[str, Any], origin: str) -> dict[str, str]:
    """Return the survey ids of a source by the keys that they have, each as text: {id: key}."""
    notes = [note for note in found.get("annotations") or () if note["origin"] == origin]
    return {str(value): key for note in notes for key, value in note["data"].items() if key.startswith(SURVEY_ID)}
