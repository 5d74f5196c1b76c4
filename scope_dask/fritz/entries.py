"""What classifications, annotations and comments have in common: lists below a source, entries with an id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scope_dask.fritz.client import Fritz
from scope_dask.fritz.errors import FritzAnswerError
from scope_dask.fritz.sources import path_of


def entries_of(fritz: Fritz, obj_id: str, kind: str) -> list[dict[str, Any]]:
    """Return the entries of a kind (``classifications``, ``annotations``, ``comments``) of a source, oldest first.

    Raises
    ------
    FritzError
    """
    return plain_list(fritz, path_of(obj_id, kind), sort=True)


def plain_list(fritz: Fritz, path: str, query: Mapping[str, Any] | None = None, sort: bool = False) -> list[Any]:
    """Return the data of an answer that is a list, by id where asked for.

    Raises
    ------
    FritzError
    """
    found = fritz.get(path, query)
    if not isinstance(found, list):
        raise FritzAnswerError(f"Fritz GET {path}: expected a list, found {type(found).__name__}")
    return sorted(found, key=lambda entry: entry["id"]) if sort else found


def delete_entry(
    fritz: Fritz, entry: Mapping[str, Any], kind: str, acl: str, path: str = "", body: Mapping[str, Any] | None = None
) -> None:
    """Delete an entry of a source, by default at its place below the source.

    Raises
    ------
    FritzError
    """

    def gone() -> bool | None:
        left = entries_of(fritz, entry["obj_id"], kind)
        return None if any(other["id"] == entry["id"] for other in left) else True

    fritz.send("DELETE", path or path_of(entry["obj_id"], kind, int(entry["id"])), body, acl=acl, done=gone)
