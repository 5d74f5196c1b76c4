"""Taxonomies: trees of classes, by id and version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scope_dask.fritz.answers import field
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.entries import plain_list
from scope_dask.fritz.errors import FritzInputError

TAXONOMY = "/api/taxonomy"

Taxonomy = dict[str, Any]


def taxonomies(fritz: Fritz) -> dict[int, Taxonomy]:
    """Return the taxonomies that the token can see, by id, in the order of the ids.

    Raises
    ------
    FritzError
    """
    return {int(found["id"]): found for found in plain_list(fritz, TAXONOMY, sort=True)}


def taxonomies_with(fritz: Fritz, ids: Sequence[int] | None) -> dict[int, Taxonomy]:
    """Return the taxonomies of these ids, or all where there are none given.

    Raises
    ------
    FritzInputError
        With all ids that do not exist or that the token does not see.
    FritzError
    """
    known = taxonomies(fritz)
    if missing := [number for number in dict.fromkeys(ids or ()) if number not in known]:
        raise FritzInputError({no_taxonomy(known): missing})
    return {number: known[number] for number in ids or known}


def no_taxonomy(known: Iterable[int]) -> str:
    """Return what is said of ids of taxonomies that are not among the known ones."""
    listed = ", ".join(map(str, sorted(known))) or "none"
    return f"taxonomies that do not exist or that the token does not see (there are {listed})"


def classes_of(hierarchy: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of all classes of a tree, from its root on."""
    if "class" in hierarchy:
        yield str(hierarchy["class"])
    for below in hierarchy.get("subclasses") or ():
        yield from classes_of(below)


def post_taxonomy(
    fritz: Fritz,
    name: str,
    version: str,
    hierarchy: Mapping[str, Any],
    *,
    provenance: str | None = None,
    group_ids: Sequence[int] | None = None,
) -> int:
    """Post a taxonomy, and return its id. Needs the permission Post taxonomy.

    It becomes the latest of its name; the others of that name are not the latest any more.

    Parameters
    ----------
    fritz : Fritz
    name, version : str
    hierarchy : mapping
        ``class``, and a list ``subclasses`` of such mappings.
    provenance : str, optional
        Where it comes from.
    group_ids : sequence of int, optional
        Who sees it; by default everybody.

    Raises
    ------
    FritzError
    """
    body: dict[str, Any] = {"name": name, "version": version, "hierarchy": dict(hierarchy)}
    body |= {"provenance": provenance} if provenance is not None else {}
    body |= {"group_ids": list(group_ids)} if group_ids else {}

    def there() -> dict[str, Any] | None:
        same = [
            found["id"]
            for found in taxonomies(fritz).values()
            if (found["name"], found["version"], found["hierarchy"]) == (name, version, body["hierarchy"])
        ]
        return {"taxonomy_id": same[-1]} if same else None

    answer = fritz.send("POST", TAXONOMY, body, acl="Post taxonomy", done=there)
    return int(field(answer, "taxonomy_id", int, f"POST {TAXONOMY}"))
