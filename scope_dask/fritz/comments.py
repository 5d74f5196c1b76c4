"""Comments on a source, with attachments."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from scope_dask.fritz.answers import field
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.entries import delete_entry, entries_of
from scope_dask.fritz.sources import path_of


def comments_of(fritz: Fritz, obj_id: str) -> list[dict[str, Any]]:
    """Return the comments on a source, oldest first.

    Raises
    ------
    FritzError
    """
    return entries_of(fritz, obj_id, "comments")


def post_comment(
    fritz: Fritz,
    obj_id: str,
    text: str,
    group_ids: Sequence[int],
    attachment: tuple[str, bytes] | None = None,
) -> int:
    """Post a comment, and return its id; the same comment again is the one that is there. Needs the permission Comment.

    Parameters
    ----------
    fritz : Fritz
    obj_id, text : str
    group_ids : sequence of int
    attachment : tuple of str and bytes, optional
        Name of a file and its content.

    Raises
    ------
    FritzError
    """
    path = path_of(obj_id, "comments")
    body: dict[str, Any] = {"text": text, "group_ids": list(group_ids)}
    if attachment is not None:
        name, content = attachment
        body["attachment"] = {"name": name, "body": base64.b64encode(content).decode()}
    answer = fritz.send("POST", path, body, acl="Comment")
    return int(field(answer, "comment_id", int, f"POST {path}"))


def delete_comment(fritz: Fritz, entry: dict[str, Any]) -> None:
    """Delete a comment. Needs the permission Comment.

    Raises
    ------
    FritzError
    """

    delete_entry(fritz, entry, "comments", "Comment")
