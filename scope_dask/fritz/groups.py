"""Groups that the token belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scope_dask.fritz.answers import field
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.entries import plain_list
from scope_dask.fritz.errors import FritzInputError

GROUPS = "/api/groups"


def groups(fritz: Fritz) -> list[dict[str, Any]]:
    """Return the groups that the token can read and write, by id.

    Raises
    ------
    FritzError
    """
    found = field(fritz.get(GROUPS), "user_accessible_groups", list, f"GET {GROUPS}")
    return sorted(found, key=lambda group: group["id"])


def groups_named(fritz: Fritz, name: str) -> list[dict[str, Any]]:
    """Return the groups of a name, by id.

    Raises
    ------
    FritzError
    """
    return plain_list(fritz, GROUPS, {"name": name}, sort=True)


def check_groups(fritz: Fritz, group_ids: Sequence[int]) -> tuple[int, ...]:
    """Return the groups, each once, having checked that there are any and that the token can write to all.

    What is sent without groups goes to everybody: functions that write ask for groups.

    Raises
    ------
    FritzInputError
        With all groups that the token cannot write to.
    FritzError
    """
    if not group_ids:
        raise FritzInputError({"groups are missing": ["name one at least"]})
    known = {int(group["id"]) for group in groups(fritz)}
    wanted = dict.fromkeys(int(group) for group in group_ids)
    if missing := [group for group in wanted if group not in known]:
        raise FritzInputError({"groups that do not exist or that the token does not belong to": missing})
    return tuple(wanted)
