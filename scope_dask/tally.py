"""What happened to the rows of a partition, carried beside them in ``DataFrame.attrs``.

A kernel notes what it dropped and what it set aside; the stage adds the counts and the time; the run adds it all up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

_KEY = "scope_dask"


def note(
    frame: pd.DataFrame, dropped: dict[str, int] | None = None, set_aside: Iterable[tuple[int, str]] = ()
) -> pd.DataFrame:
    """Note on a kernel's output how many rows were dropped by reason, and which (_id, reason) were set aside."""
    frame.attrs[_KEY] = {
        "dropped": {reason: int(count) for reason, count in (dropped or {}).items() if count},
        "set_aside": [(int(i), reason) for i, reason in set_aside],
    }
    return frame


def take(frame: pd.DataFrame) -> Any:
    """Remove and return what is noted on `frame` (None where nothing is)."""
    return frame.attrs.pop(_KEY, None)


def put(frame: pd.DataFrame, history: list[dict[str, Any]]) -> pd.DataFrame:
    """Attach the history of the stages so far: dicts of stage, rows_in, rows_out, seconds, dropped, set_aside."""
    frame.attrs[_KEY] = history
    return frame


def history(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the history of a partition, oldest stage first; empty where none came with it."""
    noted = frame.attrs.get(_KEY)
    return noted if isinstance(noted, list) else []
