"""Sources: which there are, where, in which groups; saving them and ticking their labelled box."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from scope_dask.fritz.answers import field
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.errors import FritzInputError, FritzNotFoundError

SOURCES = "/api/sources"
# Ids that the service takes everywhere: some more can be saved, but not classified or annotated.
ID = re.compile(r"(?!\.+$)[0-9A-Za-z_.+-]+")


def path_of(obj_id: str, *parts: object) -> str:
    """Return the address of a source or of something below it.

    Raises
    ------
    FritzInputError
        If Fritz has no address for things below a source with this id.
    """
    if parts and not ID.fullmatch(obj_id):
        raise FritzInputError({"ids with other characters than letters, digits and _-.+": [obj_id]})
    return "/".join((SOURCES, quote(obj_id, safe="+:;"), *map(str, parts)))


def source(fritz: Fritz, obj_id: str, **include: bool) -> dict[str, Any] | None:
    """Return a source with its groups, classifications and annotations, or None where it is not saved.

    Parameters
    ----------
    fritz : Fritz
    obj_id : str
    **include : bool
        Such as ``includeComments``, ``includeLabellers``, ``includePhotometry``.

    Raises
    ------
    FritzError
    """
    path = path_of(obj_id)
    try:
        found = fritz.get(path, include)
    except FritzNotFoundError:
        return None
    field(found, "id", str, f"GET {path}")
    return dict(found)


def has_source(fritz: Fritz, obj_id: str) -> bool:
    """Tell whether a source is saved.

    Raises
    ------
    FritzError
    """
    return fritz.exists(path_of(obj_id))


def sources(fritz: Fritz, group_ids: Sequence[int] | None = None, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """Yield the sources page by page, in the order of their ids.

    Parameters
    ----------
    fritz : Fritz
    group_ids : sequence of int, optional
        Groups that they are saved to; by default all that the token can see.
    **query
        Further filters of the service, such as ``savedAfter``, ``classifications``, ``includeLabellers``.

    Raises
    ------
    FritzError
    """
    groups = list(group_ids) if group_ids else None
    yield from fritz.pages(SOURCES, "sources", {"group_ids": groups, "sortBy": "id", "sortOrder": "asc", **query})


def sources_around(
    fritz: Fritz, ra: float, dec: float, radius_arcsec: float, group_ids: Sequence[int] | None = None, **query: Any
) -> list[dict[str, Any]]:
    """Return the sources within a radius (arcsec) of a position (deg), in the order of their ids.

    Raises
    ------
    FritzError
    """
    cone = {"ra": repr(float(ra)), "dec": repr(float(dec)), "radius": repr(radius_arcsec / 3600.0)}
    return [found for page in sources(fritz, group_ids, **cone, **query) for found in page]


def save_source(fritz: Fritz, obj_id: str, ra: float, dec: float, group_ids: Sequence[int], **more: Any) -> list[int]:
    """Save a source to groups; it is safe to do so again. Needs the permission Upload data.

    The service takes any position, and keeps the one of a source that it has: check first (`check_sources`).

    Parameters
    ----------
    fritz : Fritz
    obj_id : str
    ra, dec : float
        deg.
    group_ids : sequence of int
    **more
        Further fields, such as ``origin``.

    Returns
    -------
    list of int
        The groups it was saved to by this.

    Raises
    ------
    FritzError
    """
    path_of(obj_id, "groups")
    body = {"id": obj_id, "ra": float(ra), "dec": float(dec), "group_ids": list(group_ids), **more}
    answer = fritz.send("POST", SOURCES, body, acl="Upload data")
    return list(field(answer, "saved_to_groups", list, f"POST {SOURCES}"))


def remove_source(fritz: Fritz, obj_id: str, group_id: int) -> None:
    """Take a source out of a group; the source stays. Needs the permission Manage sources.

    Raises
    ------
    FritzError
    """

    def gone() -> bool | None:
        found = source(fritz, obj_id)
        return True if found is None or group_id not in groups_of(found) else None

    fritz.send("DELETE", path_of(obj_id), {"group_id": int(group_id)}, acl="Manage sources", done=gone)


def add_to_groups(fritz: Fritz, obj_id: str, group_ids: Sequence[int]) -> list[int]:
    """Add a saved source to groups, and return those it was not in. Needs the permission Upload data.

    The service refuses the whole call where one of the groups has the source already, so these are left out.

    Raises
    ------
    FritzError
    FritzNotFoundError
        If the source is not saved.
    """

    def absent() -> list[int]:
        found = source(fritz, obj_id)
        if found is None:
            raise FritzNotFoundError(f"Fritz has no source {obj_id}", 404)
        return [group for group in group_ids if group not in groups_of(found)]

    new = absent()
    if new:
        body = {"objId": obj_id, "inviteGroupIds": new}
        fritz.send("POST", "/api/source_groups", body, acl="Upload data", done=lambda: None if absent() else new)
    return new


def groups_of(entry: dict[str, Any]) -> set[int]:
    """Return the ids of the groups of a source, classification or annotation."""
    return {int(group["id"] if isinstance(group, dict) else group) for group in entry.get("groups") or ()}


def tick_labelled(fritz: Fritz, obj_id: str, group_ids: Sequence[int], labelled: bool = True) -> None:
    """Tick (or clear) the box "labelled" of a source in groups; it is safe to do so again.

    Raises
    ------
    FritzError
    """
    method = "POST" if labelled else "DELETE"
    fritz.send(method, path_of(obj_id, "labels"), {"groupIds": list(group_ids)})
