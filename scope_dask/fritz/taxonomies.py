"""Taxonomies: trees of classes, by id and version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from scope_dask.fritz.answers import field
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.entries import plain_list

TAXONOMY = "/api/taxonomy"

Taxonomy = dict[str, Any]


def taxonomies(fritz: Fritz) -> dict[int, Taxonomy]:
    """Return the taxonomies that the token can see, by id, in the order of the ids.

    Raises
    ------
    FritzError
    """
    return {int(found["id"]): found for found in plain_list(fritz, TAXONOMY, sort=True)}


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
