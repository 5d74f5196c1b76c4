"""Annotations of a source: a name (origin) and keys with values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scope_dask.fritz.answers import field
from scope_dask.fritz.checks import Findings, Problems
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.entries import delete_entry, entries_of
from scope_dask.fritz.errors import FritzRefusedError
from scope_dask.fritz.sources import path_of


def annotations_of(fritz: Fritz, obj_id: str) -> list[dict[str, Any]]:
    """Return the annotations of a source, oldest first.

    Raises
    ------
    FritzError
    """
    return entries_of(fritz, obj_id, "annotations")


def annotation(fritz: Fritz, obj_id: str, origin: str) -> dict[str, Any] | None:
    """Return the annotation of a source that has this origin, or None.

    Raises
    ------
    FritzError
    """
    return next((entry for entry in annotations_of(fritz, obj_id) if entry["origin"] == origin), None)


def origin_problems(origin: str) -> Problems:
    """Return what is wrong with the name of an annotation."""
    wrong = [] if re.match(r"\w", origin) else [origin]
    return {"origins that do not begin with a letter, digit or underscore": wrong}


def post_annotation(fritz: Fritz, obj_id: str, origin: str, data: Mapping[str, Any], group_ids: Sequence[int]) -> int:
    """Post an annotation, and return its id. Needs the permission Annotate.

    Parameters
    ----------
    fritz : Fritz
    obj_id, origin : str
        A source has one annotation of each origin.
    data : mapping
    group_ids : sequence of int

    Raises
    ------
    FritzInputError
        If the origin does not begin with a letter, digit or underscore, or a value is not finite.
    FritzRefusedError
        If there is one of this origin with other data already.
    FritzError
    """
    Findings(origin_problems(origin)).refuse()
    path = path_of(obj_id, "annotations")
    body = {"origin": origin, "data": dict(data), "group_ids": list(group_ids)}

    def there() -> dict[str, Any] | None:
        found = annotation(fritz, obj_id, origin)
        return {"annotation_id": found["id"]} if found is not None and found["data"] == body["data"] else None

    try:
        answer = fritz.send("POST", path, body, acl="Annotate", done=there)
    except FritzRefusedError as error:
        if "already exists" not in error.message or (answer := there()) is None:
            raise
    return int(field(answer, "annotation_id", int, f"POST {path}"))


def update_annotation(fritz: Fritz, entry: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Change keys of an annotation, keep its others, and return all. Needs the permission Annotate.

    Parameters
    ----------
    fritz : Fritz
    entry : mapping
        The annotation as it was read: the service replaces the data as a whole.
    changes : mapping

    Raises
    ------
    FritzError
    """
    data = {**entry["data"], **changes}
    replace_annotation(fritz, entry, data)
    return data


def replace_annotation(fritz: Fritz, entry: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Put other data in place of all those of an annotation. Needs the permission Annotate.

    Raises
    ------
    FritzError
    """
    body = {"data": dict(data), "origin": entry["origin"]}
    fritz.send("PUT", path_of(entry["obj_id"], "annotations", int(entry["id"])), body, acl="Annotate")


def delete_annotation(fritz: Fritz, entry: Mapping[str, Any]) -> None:
    """Delete an annotation. Needs the permission Annotate.

    Raises
    ------
    FritzError
    """

    delete_entry(fritz, entry, "annotations", "Annotate")
