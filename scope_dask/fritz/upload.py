"""Posting classifications, each exactly once, whatever fails on the way."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scope_dask.errors import OptionError
from scope_dask.fritz.checks import check_rows
from scope_dask.fritz.classifications import (
    CLASSIFICATION,
    classifications_in_groups,
    delete_classification,
    withdraw_classification,
)
from scope_dask.fritz.client import Fritz
from scope_dask.fritz.errors import FritzError, FritzNotFoundError, FritzRefusedError
from scope_dask.fritz.groups import check_groups
from scope_dask.fritz.sources import groups_of
from scope_dask.fritz.taxonomies import taxonomies
from scope_dask.journal import Journal
from scope_dask.remote import Passing

logger = logging.getLogger(__name__)

POSTED, THERE, REFUSED = "posted", "already there", "refused"


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How classifications are posted.

    Attributes
    ----------
    group_ids : tuple of int
        Who sees them.
    origin : str
        Where they come from; Fritz shows those of ``SCoPe`` in colours of their own.
    ml : bool
        Whether they come from machine learning.
    vote, label : bool
        Whether to vote for them, and to tick the box "labelled" of the sources.
    replace : bool
        Take the classifications that a source has in these groups out of them first.
    rows_per_call : int
        Classifications of a request; those of a source are in one.
    settle_seconds : float
        After a failure that may hide a write, how long the service may take to finish it; then what is there is
        counted once more. The service gives up on a request after 60 s, but may still be at it.
    """

    group_ids: tuple[int, ...]
    origin: str = "SCoPe"
    ml: bool = True
    vote: bool = False
    label: bool = False
    replace: bool = False
    rows_per_call: int = 10
    settle_seconds: float = 20.0

    def __post_init__(self) -> None:
        if self.rows_per_call < 1:
            raise OptionError(f"rows_per_call is {self.rows_per_call}, expected 1 or more")
        if not self.settle_seconds >= 0:
            raise OptionError(f"settle_seconds is {self.settle_seconds}, expected 0 or more")


@dataclass(slots=True)
class _Row:
    """A classification, and what became of it."""

    obj_id: str
    classification: str
    taxonomy_id: int
    probability: float
    groups: list[int] = field(default_factory=list)
    status: str = ""
    id: int | None = None
    message: str = ""

    def is_of(self, entry: dict[str, Any]) -> bool:
        return (entry["classification"], entry["taxonomy_id"]) == (self.classification, self.taxonomy_id)

    def asked(self) -> list[Any]:
        """What is to be posted, as it stands in the journal."""
        return [self.classification, self.taxonomy_id, self.probability]


@dataclass(slots=True)
class _Source:
    """A source with the classifications to be posted to it.

    Attributes
    ----------
    before : set of int
        Ids of the classifications it had before the first of these was posted.
    doubtful : bool
        Whether a failure, or an end of the program, may hide a write.
    """

    obj_id: str
    rows: list[_Row]
    before: set[int] = field(default_factory=set)
    begun: bool = False
    doubtful: bool = False


def upload_classifications(
    fritz: Fritz,
    rows: pd.DataFrame,
    options: UploadOptions,
    *,
    journal: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Post classifications of saved sources: each exactly once. Needs the permission Classify.

    A classification that a source has already in the groups, whoever posted it and with whatever probability, is not
    posted again. What is there is read before anything is posted, and again before anything is repeated that failed
    without a clear answer; copies that a late write left behind are deleted at the end.

    Parameters
    ----------
    fritz : Fritz
    rows : pandas.DataFrame
        ``obj_id``, ``classification``, ``taxonomy_id``, ``probability`` (0 to 1).
    options : UploadOptions
    journal : path, optional
        A file that keeps, line by line, what is done; with it an interrupted upload goes on where it was.
    progress : callable, optional
        Called with the number of sources done and their total, after each request that posts.

    Returns
    -------
    pandas.DataFrame
        The rows with ``status`` (``posted``, ``already there``, ``refused``), ``classification_id`` and ``message``
        (why it was refused).

    Raises
    ------
    SchemaError, FritzInputError
        Before anything is sent, with everything that is wrong.
    FritzError
        If the service fails for good; what was done is in the journal.
    """
    check_rows(rows, taxonomies(fritz))
    options = replace(options, group_ids=check_groups(fritz, options.group_ids))
    upload = _Upload(fritz, options, _sources(rows))
    with contextlib.ExitStack() as stack:
        if journal is not None:
            upload.journal = stack.enter_context(Journal(Path(journal), "obj_id"))
        upload.run(progress or (lambda done, total: None))
    return upload.result()


def _sources(rows: pd.DataFrame) -> list[_Source]:
    """Return the sources in the order in which they come first."""
    found: dict[str, _Source] = {}
    columns = (rows[name] for name in ("obj_id", "classification", "taxonomy_id", "probability"))
    for obj_id, label, taxonomy, probability in zip(*columns, strict=True):
        row = _Row(str(obj_id), str(label), int(taxonomy), float(probability))
        found.setdefault(row.obj_id, _Source(row.obj_id, [])).rows.append(row)
    return list(found.values())


class _Upload:
    """One call of `upload_classifications`."""

    def __init__(self, fritz: Fritz, options: UploadOptions, sources: list[_Source]) -> None:
        self.fritz, self.options, self.sources = fritz, options, sources
        self._by_id = {source.obj_id: source for source in sources}
        self.journal: Journal | None = None
        self._failed_at = 0.0

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Post what is not done yet."""
        waiting = self._resume()
        done = len(self.sources) - len(waiting)
        for batch in self._batches(waiting):
            self._begin(batch)
            self._post([row for source in batch for row in source.rows if not row.status])
            for source in batch:
                self._end(source)
            done += len(batch)
            progress(done, len(self.sources))
        self._settle()

    def result(self) -> pd.DataFrame:
        """Return the rows in the order of their sources, with what became of them."""
        names = ("obj_id", "classification", "taxonomy_id", "probability", "status", "id", "message")
        rows = [row for source in self.sources for row in source.rows]
        frame = pd.DataFrame({name: [getattr(row, name) for row in rows] for name in names})
        return frame.astype({"id": "Int64"}).rename(columns={"id": "classification_id"})

    def _resume(self) -> list[_Source]:
        """Take over what the journal has, and return the sources that are not done."""
        records = self.journal.read() if self.journal is not None else {}
        for source in self.sources:
            record = records.get(source.obj_id, {})
            if record.get("asked") != [row.asked() for row in source.rows] or record.get("how") != self._how():
                continue
            source.begun, source.before = True, set(record["before"])
            if record["state"] == "done":
                for row, (status, number) in zip(source.rows, record["rows"], strict=True):
                    row.status, row.id = status, number
            else:
                source.doubtful = True
                self._failed_at = time.monotonic()
        return [source for source in self.sources if not source.rows[0].status]

    def _batches(self, sources: list[_Source]) -> Iterator[list[_Source]]:
        """Yield sources that fit into one request."""
        batch: list[_Source] = []
        for source in sources:
            if batch and sum(len(s.rows) for s in [*batch, source]) > self.options.rows_per_call:
                yield batch
                batch = []
            batch.append(source)
        if batch:
            yield batch

    def _begin(self, batch: list[_Source]) -> None:
        """Read what the sources have, note it, and withdraw it where asked for."""
        for source in batch:
            there = self._there(source)
            if there is None:
                continue
            if not source.begun:
                source.before = {int(entry["id"]) for entry in there}
                source.begun = True
                self._record(source, "begun")
            if self.options.replace:
                for entry in there:
                    if entry["id"] in source.before:
                        withdraw_classification(self.fritz, entry, self.options.group_ids)
            self._compare(source.rows, source, there)

    def _there(self, source: _Source) -> list[dict[str, Any]] | None:
        """Return the classifications of a source; where it is not saved, None, and its rows are refused."""
        try:
            return classifications_in_groups(self.fritz, source.obj_id)
        except FritzNotFoundError as error:
            for row in source.rows:
                row.status, row.message = REFUSED, str(error)
            return None

    def _post(self, rows: list[_Row]) -> None:
        """Post the rows that are not there yet, and note those that are refused."""
        if not rows:
            return
        unsure = False

        def ask() -> None:
            nonlocal unsure
            if unsure:
                self._read_back(rows)
            try:
                self._send([row for row in rows if not row.status])
            except Passing as failure:
                unsure = unsure or failure.uncertain
                if failure.uncertain:
                    self._doubt(rows)
                raise

        try:
            self.fritz.insist(ask, f"POST {CLASSIFICATION}", "Classify")
        except FritzRefusedError as error:
            self._one_by_one(rows, error)

    def _send(self, rows: list[_Row]) -> None:
        """Send one request with these rows."""
        if not rows:
            return
        bodies = [self._body(row) for row in rows]
        answer = self.fritz.once("POST", CLASSIFICATION, body={"classifications": bodies})
        ids = answer.get("classification_ids") if isinstance(answer, dict) else None
        if not isinstance(ids, list) or len(ids) != len(rows):
            raise Passing(f"expected the ids of {len(rows)} classifications, found {ids!r}")
        for row, number in zip(rows, ids, strict=True):
            row.status, row.id = POSTED, int(number)

    def _body(self, row: _Row) -> dict[str, Any]:
        options = self.options
        body = {"obj_id": row.obj_id, "classification": row.classification, "taxonomy_id": row.taxonomy_id}
        body |= {"probability": row.probability, "origin": options.origin, "ml": options.ml}
        return body | {"vote": options.vote, "label": options.label, "group_ids": row.groups}

    def _one_by_one(self, rows: list[_Row], error: FritzError) -> None:
        """Go on after a refusal: the service has kept the rows before the one that it refused."""
        self._read_back(rows)
        left = [row for row in rows if not row.status]
        if len(rows) == 1 and left:
            rows[0].status, rows[0].message = REFUSED, str(error)
            logger.warning("%s %s is refused: %s", rows[0].obj_id, rows[0].classification, error)
            return
        for row in left:
            self._post([row])

    def _read_back(self, rows: list[_Row]) -> None:
        """Find out which of the rows are there."""
        for obj_id in dict.fromkeys(row.obj_id for row in rows):
            source = self._by_id[obj_id]
            if (there := self._there(source)) is not None:
                self._compare([row for row in rows if row.obj_id == obj_id], source, there)

    def _compare(self, rows: list[_Row], source: _Source, there: list[dict[str, Any]]) -> None:
        """Note the rows that are there, and the groups that the others are still to be posted to."""
        wanted = set(self.options.group_ids)
        if self.options.replace:
            there = [entry for entry in there if entry["id"] not in source.before]
        for row in (row for row in rows if not row.status):
            same = [entry for entry in there if row.is_of(entry)]
            held = set().union(*(groups_of(entry) for entry in same))
            row.groups = sorted(wanted - held)
            if not row.groups:
                own = [entry for entry in same if self._is_ours(entry, row, source)]
                row.id = int((own or same)[0]["id"])
                row.status = POSTED if own else THERE

    def _is_ours(self, entry: dict[str, Any], row: _Row, source: _Source) -> bool:
        """Whether a classification of the class of a row is what this upload posted."""
        if entry["id"] in source.before or entry["probability"] is None:
            return False
        same = math.isclose(entry["probability"], row.probability, rel_tol=1e-6, abs_tol=1e-12)
        return same and (entry["origin"], entry["ml"]) == (self.options.origin, self.options.ml)

    def _doubt(self, rows: list[_Row]) -> None:
        for row in rows:
            self._by_id[row.obj_id].doubtful = True
        self._failed_at = time.monotonic()

    def _settle(self) -> None:
        """Count once more what failures may have hidden; delete copies."""
        doubtful = [source for source in self.sources if source.doubtful]
        if not doubtful:
            return
        time.sleep(max(0.0, self._failed_at + self.options.settle_seconds - time.monotonic()))
        for source in doubtful:
            for row in source.rows:
                if row.status == POSTED:
                    self._drop_copies(source, row)
            source.doubtful = False
            self._end(source)

    def _drop_copies(self, source: _Source, row: _Row) -> None:
        """Delete the classifications that are the same as the one posted, but for their id."""
        there = self._there(source) or ()
        ours = [entry for entry in there if row.is_of(entry) and self._is_ours(entry, row, source)]
        own = next((entry for entry in ours if entry["id"] == row.id), None)
        for entry in ours:
            if own is not None and entry is not own and entry.get("author_id") == own.get("author_id"):
                logger.info("%s %s was there twice: one is deleted", source.obj_id, row.classification)
                delete_classification(self.fritz, entry)

    def _end(self, source: _Source) -> None:
        if not source.doubtful and all(row.status != REFUSED for row in source.rows):
            self._record(source, "done")

    def _how(self) -> list[Any]:
        """What a record must agree in, to be of the same upload."""
        options = self.options
        return [sorted(options.group_ids), options.origin, options.ml, options.replace]

    def _record(self, source: _Source, state: str) -> None:
        if self.journal is None:
            return
        record = {"obj_id": source.obj_id, "state": state, "how": self._how(), "before": sorted(source.before)}
        record["asked"] = [row.asked() for row in source.rows]
        record["rows"] = [[row.status, row.id] for row in source.rows]
        self.journal.append(record)
