"""Classifications of a source: reading, withdrawing and voting; `upload_classifications` posts them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from scope_dask.fritz.answers import field
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.entries import delete_entry, entries_of
from scope_dask.fritz.errors import FritzNotFoundError
from scope_dask.fritz.sources import groups_of, path_of, source

CLASSIFICATION = "/api/classification"


def classifications_of(fritz: Fritz, obj_id: str) -> list[dict[str, Any]]:
    """Return the classifications of a source with their votes (but not their groups), oldest first.

    Raises
    ------
    FritzError
    """
    return entries_of(fritz, obj_id, "classifications")


def classifications_in_groups(fritz: Fritz, obj_id: str) -> list[dict[str, Any]]:
    """Return the classifications of a source with their groups (but not their votes), oldest first.

    Raises
    ------
    FritzError
    FritzNotFoundError
        If the source is not saved.
    """
    found = source(fritz, obj_id)
    if found is None:
        raise FritzNotFoundError(f"Fritz has no source {obj_id}: save it first", 404)
    return sorted(field(found, "classifications", list, f"GET {path_of(obj_id)}"), key=lambda entry: entry["id"])


def delete_classification(fritz: Fritz, entry: dict[str, Any], label: bool = False) -> None:
    """Delete a classification. Needs the permission Classify.

    Parameters
    ----------
    fritz : Fritz
    entry : dict
        The classification, as it was read.
    label : bool
        Tick the box "labelled" of the source.

    Raises
    ------
    FritzError
    """

    path = f"{CLASSIFICATION}/{int(entry['id'])}"
    delete_entry(fritz, entry, "classifications", "Classify", path, {"label": label})


def withdraw_classification(fritz: Fritz, entry: dict[str, Any], group_ids: Collection[int]) -> bool:
    """Take a classification out of groups, and delete it where no other group has it. Needs the permission Classify.

    Parameters
    ----------
    fritz : Fritz
    entry : dict
        The classification with its groups, as `classifications_in_groups` gives it.
    group_ids : collection of int

    Returns
    -------
    bool
        Whether it was in any of the groups.

    Raises
    ------
    FritzError
    """
    groups = groups_of(entry)
    kept = sorted(groups.difference(group_ids))
    if len(kept) == len(groups):
        return False
    if kept:
        # What is not given of ``ml`` becomes false.
        body = {"group_ids": kept, "ml": bool(entry.get("ml"))}
        fritz.send("PUT", f"{CLASSIFICATION}/{int(entry['id'])}", body, acl="Classify")
    else:
        delete_classification(fritz, entry)
    return True


def vote(fritz: Fritz, classification_id: int, value: int) -> None:
    """Vote for (1) or against (-1) a classification, in place of an earlier vote of the same user.

    The service ticks the box "labelled" of the source with it.

    Raises
    ------
    FritzError
    """
    fritz.send("POST", f"{CLASSIFICATION}/votes/{int(classification_id)}", {"vote": int(value)})
