"""Asking Fritz for the classifications of many sources, and going on where an interrupted call was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scope_dask.commands._resuming import THREADS, Resumed, counting, journal_of
from scope_dask.commands._threads import side_by_side
from scope_dask.fritz.download import COLUMNS, find_source, record_of
from scope_dask.fritz.saving import saving
from scope_dask.fritz.sources import sources

if TYPE_CHECKING:
    from scope_dask.commands._parser import Call
    from scope_dask.fritz import Fritz

AT_A_TIME = 100


@dataclass(frozen=True)
class Download:
    """What is downloaded, and where it goes.

    Attributes
    ----------
    table : pandas.DataFrame or None
        Sources by ``obj_id`` or by ``ra`` and ``dec``; None: those of `groups`.
    groups : tuple of int
    start : int
        First row of the table, from 0, or first page of the groups, from 1.
    file : Path
        Of the result.
    """

    table: pd.DataFrame | None
    groups: tuple[int, ...]
    start: int
    file: Path

    @property
    def request(self) -> list[Any]:
        """What tells this download from others."""
        rows = None if self.table is None else self.table[place_columns(self.table)].to_json(orient="values")
        return [rows, list(self.groups), self.start]


def place_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of a table that tell where its sources are."""
    return [name for name in ("obj_id", "ra", "dec") if name in table.columns]


def download(call: Call, fritz: Fritz, wanted: Download) -> pd.DataFrame:
    """Ask for the classifications, votes, periods and labellers of sources, and save them as they come.

    Returns
    -------
    pandas.DataFrame
        The rows of the table, from `start` on, or the sources of the groups, with the columns of
        `scope_dask.fritz.download` added (joined by ``;``).

    Raises
    ------
    FritzError
        If the service fails for good; what has come is kept for the next call.
    """
    from scope_dask.formats import write_table

    with Resumed(journal_of(wanted.file), wanted.request) as resumed:
        if resumed.done:
            call.say(f"{len(resumed.done)} sources are there from an interrupted call")
        steps = _of_groups(fritz, wanted, resumed) if wanted.table is None else _of_table(fritz, wanted, resumed)
        total = None if wanted.table is None else len(wanted.table) - wanted.start

        def save() -> None:
            write_table(_frame(wanted, resumed), wanted.file, metadata=_metadata(wanted))

        with saving(save) as step, counting(call, "source", total, len(resumed.done)) as add:
            for number in steps:
                add(number)
                step()
        resumed.finish()
    return _frame(wanted, resumed)


def _of_table(fritz: Fritz, wanted: Download, resumed: Resumed) -> Iterator[int]:
    """Ask for the rows of a table that are not there yet; yield how many came."""
    assert wanted.table is not None
    rows = [row for row in range(wanted.start, len(wanted.table)) if str(row) not in resumed.done]
    places = wanted.table[place_columns(wanted.table)].to_dict("records")  # a row as a Series would make ids floating

    def ask(row: int) -> dict[str, Any]:
        return _asked(fritz, places[row])

    for start in range(0, len(rows), AT_A_TIME):
        some = rows[start : start + AT_A_TIME]
        for row, record in zip(some, side_by_side(ask, some, THREADS), strict=True):
            resumed.add(str(row), record)
            yield 1


def _asked(fritz: Fritz, row: dict[str, Any]) -> dict[str, Any]:
    """Return the record of the source of a row, with its id; empty where Fritz has none."""
    obj_id = row.get("obj_id")
    ra, dec = (_float(row.get(name)) for name in ("ra", "dec"))
    found = find_source(fritz, None if pd.isna(obj_id) else str(obj_id), ra, dec)
    return {} if found is None else _record(fritz, found)


def _record(fritz: Fritz, found: dict[str, Any]) -> dict[str, Any]:
    return {"obj_id": found["id"], "ra": found["ra"], "dec": found["dec"], **record_of(fritz, found)}


def _float(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _of_groups(fritz: Fritz, wanted: Download, resumed: Resumed) -> Iterator[int]:
    """Ask for the sources of the groups from a page on; yield how many came."""
    page_rows = fritz.options.page_rows
    skipped = max(wanted.start - 1, 0) * page_rows

    for page in sources(fritz, wanted.groups, includeLabellers=True):
        before, skipped = skipped, max(skipped - len(page), 0)
        fresh = [found for found in page[before:] if found["id"] not in resumed.done]
        for record in side_by_side(partial(_record, fritz), fresh, THREADS):
            resumed.add(record["obj_id"], record)
            yield 1


def _frame(wanted: Download, resumed: Resumed) -> pd.DataFrame:
    """Return what has come, as a table."""
    done = resumed.done
    if wanted.table is None:
        frame = pd.DataFrame([done[key] for key in sorted(done)], columns=["obj_id", "ra", "dec", *COLUMNS])
        return frame.astype({"ra": np.float64, "dec": np.float64})
    rows = sorted(map(int, done))
    frame = wanted.table.iloc[rows].reset_index(drop=True)
    for name in COLUMNS:
        frame[name] = pd.array([done[str(row)].get(name) for row in rows], dtype="string")
    found = [done[str(row)].get("obj_id") for row in rows]
    if "obj_id" not in frame:
        frame.insert(0, "obj_id", pd.array(found, dtype="string"))
    else:
        own = frame["obj_id"].astype("string")
        frame["obj_id"] = pd.array([f or o for f, o in zip(found, own, strict=True)], dtype="string")
    for name in (name for name in ("ra", "dec") if name not in frame):
        frame[name] = np.array([done[str(row)].get(name, np.nan) for row in rows], dtype=np.float64)
    return frame


def _metadata(wanted: Download) -> dict[str, Any]:
    from scope_dask._version import __version__

    before = {} if wanted.table is None else dict(wanted.table.attrs.get("scope", {}))
    return {**before, "scope_code_version": __version__, "fritz_group_ids": list(wanted.groups)}
