"""The classifications to be posted, what became of each, and the records of it on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from scope_dask.journal import Journal, Record

WAITING, POSTED, THERE, REFUSED = "waiting", "posted", "already there", "refused"


@dataclass(slots=True)
class Row:
    """A classification, and what became of it."""

    obj_id: str
    classification: str
    taxonomy_id: int
    probability: float
    groups: list[int] = field(default_factory=list)
    status: str = WAITING
    id: int | None = None
    message: str = ""

    @property
    def waits(self) -> bool:
        return self.status == WAITING

    def is_of(self, entry: dict[str, Any]) -> bool:
        """Whether a classification of the service is of the same class."""
        return (entry["classification"], entry["taxonomy_id"]) == (self.classification, self.taxonomy_id)

    def asked(self) -> list[Any]:
        """What is to be posted, as it stands in the journal."""
        return [self.classification, self.taxonomy_id, self.probability]


@dataclass(slots=True)
class Source:
    """A source with the classifications to be posted to it.

    Attributes
    ----------
    before : set of int
        Ids of the classifications it had before the first of these was posted.
    doubtful : bool
        Whether a failure, or an end of the program, may hide a write.
    """

    obj_id: str
    rows: list[Row]
    before: set[int] = field(default_factory=set)
    begun: bool = False
    doubtful: bool = False

    @property
    def waits(self) -> bool:
        return any(row.waits for row in self.rows)


def sources_of(rows: pd.DataFrame) -> list[Source]:
    """Return the sources of a table of classifications, in the order in which they come first."""
    found: dict[str, Source] = {}
    columns = (rows[name] for name in ("obj_id", "classification", "taxonomy_id", "probability"))
    for obj_id, label, taxonomy, probability in zip(*columns, strict=True):
        row = Row(str(obj_id), str(label), int(taxonomy), float(probability))
        found.setdefault(row.obj_id, Source(row.obj_id, [])).rows.append(row)
    return list(found.values())


def table_of(sources: Iterable[Source]) -> pd.DataFrame:
    """Return the rows of sources, in the order of these, with what became of them."""
    names = ("obj_id", "classification", "taxonomy_id", "probability", "status", "id", "message")
    rows = [row for source in sources for row in source.rows]
    frame = pd.DataFrame({name: [getattr(row, name) for row in rows] for name in names})
    return frame.astype({"id": "Int64"}).rename(columns={"id": "classification_id"})


class Ledger:
    """The records of an upload: a line a source before its first write, and one when it is done.

    Parameters
    ----------
    journal : Journal or None
        None: nothing is kept.
    how : list
        What a record must agree in, to be of the same upload.
    """

    def __init__(self, journal: Journal | None, how: list[Any]) -> None:
        self._journal, self._how = journal, how

    def take_over(self, sources: Iterable[Source]) -> None:
        """Give the sources what the records say of them."""
        records = self._journal.read() if self._journal is not None else {}
        for source in sources:
            record = records.get(source.obj_id, {})
            if record.get("asked") != [row.asked() for row in source.rows] or record.get("how") != self._how:
                continue
            source.begun, source.before = True, set(record["before"])
            source.doubtful = record["state"] != "done"
            if not source.doubtful:
                for row, (status, number) in zip(source.rows, record["rows"], strict=True):
                    row.status, row.id = status, number

    def begin(self, source: Source) -> None:
        """Record that the first write to a source comes next."""
        self._add(source, "begun")

    def end(self, source: Source) -> None:
        """Record that a source is done, unless it is open what was written, or something was refused."""
        if not source.doubtful and all(row.status != REFUSED for row in source.rows):
            self._add(source, "done")

    def _add(self, source: Source, state: str) -> None:
        if self._journal is None:
            return
        record: Record = {"obj_id": source.obj_id, "state": state, "how": self._how, "before": sorted(source.before)}
        record["asked"] = [row.asked() for row in source.rows]
        record["rows"] = [[row.status, row.id] for row in source.rows]
        self._journal.append(record)
