"""Posting classifications, each exactly once, whatever fails on the way."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
from scope_dask.fritz.ledger import POSTED, REFUSED, THERE, Ledger, Row, Source, sources_of, table_of
from scope_dask.fritz.saving import saving
from scope_dask.fritz.sources import groups_of
from scope_dask.fritz.taxonomies import taxonomies
from scope_dask.journal import Journal
from scope_dask.remote import Passing

logger = logging.getLogger(__name__)


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

    @property
    def how(self) -> list[Any]:
        """What tells an upload of the same rows from others."""
        return [sorted(self.group_ids), self.origin, self.ml, self.replace]


def upload_classifications(
    fritz: Fritz,
    rows: pd.DataFrame,
    options: UploadOptions,
    *,
    journal: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    save: Callable[[pd.DataFrame], object] | None = None,
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
    save : callable, optional
        Called with what is returned at the end, as far as it is known: every ten seconds, and however it ends.

    Returns
    -------
    pandas.DataFrame
        The rows with ``status`` (``posted``, ``already there``, ``refused``; ``waiting`` where it is not done yet),
        ``classification_id`` and ``message`` (why it was refused).

    Raises
    ------
    SchemaError, FritzInputError
        Before anything is sent, with everything that is wrong.
    FritzError
        If the service fails for good; what was done is in the journal.
    """
    check_rows(rows, taxonomies(fritz))
    options = replace(options, group_ids=check_groups(fritz, options.group_ids))
    sources = sources_of(rows)
    with contextlib.ExitStack() as stack:
        kept = None if journal is None else stack.enter_context(Journal(Path(journal), "obj_id"))
        upload = _Upload(fritz, options, sources, Ledger(kept, options.how))
        step = stack.enter_context(saving(lambda: save(table_of(sources)))) if save is not None else lambda: None
        for done in upload.run():
            step()
            if progress is not None:
                progress(done, len(sources))
    return table_of(sources)


class _Upload:
    """One call of `upload_classifications`."""

    def __init__(self, fritz: Fritz, options: UploadOptions, sources: list[Source], ledger: Ledger) -> None:
        self.fritz, self.options, self.sources, self.ledger = fritz, options, sources, ledger
        self._by_id = {source.obj_id: source for source in sources}
        self._failed_at = 0.0

    def run(self) -> Iterator[int]:
        """Post what is not done yet; yield how many sources are done."""
        self.ledger.take_over(self.sources)
        if any(source.doubtful for source in self.sources):
            self._failed_at = time.monotonic()
        waiting = [source for source in self.sources if source.waits]
        done = len(self.sources) - len(waiting)
        for batch in self._batches(waiting):
            self._begin(batch)
            self._post([row for source in batch for row in source.rows if row.waits])
            for source in batch:
                self.ledger.end(source)
            done += len(batch)
            yield done
        self._settle()

    def _batches(self, sources: list[Source]) -> Iterator[list[Source]]:
        """Yield sources that fit into one request."""
        batch: list[Source] = []
        for source in sources:
            if batch and sum(len(s.rows) for s in [*batch, source]) > self.options.rows_per_call:
                yield batch
                batch = []
            batch.append(source)
        if batch:
            yield batch

    def _begin(self, batch: list[Source]) -> None:
        """Read what the sources have, note it, and withdraw it where asked for."""
        for source in batch:
            there = self._there(source)
            if there is None:
                continue
            if not source.begun:
                source.before = {int(entry["id"]) for entry in there}
                source.begun = True
                self.ledger.begin(source)
            if self.options.replace:
                for entry in there:
                    if entry["id"] in source.before:
                        withdraw_classification(self.fritz, entry, self.options.group_ids)
            self._compare(source.rows, source, there)

    def _there(self, source: Source) -> list[dict[str, Any]] | None:
        """Return the classifications of a source; where it is not saved, None, and its rows are refused."""
        try:
            return classifications_in_groups(self.fritz, source.obj_id)
        except FritzNotFoundError as error:
            for row in source.rows:
                row.status, row.message = REFUSED, str(error)
            return None

    def _post(self, rows: list[Row]) -> None:
        """Post the rows that are not there yet, and note those that are refused."""
        if not rows:
            return
        unsure = False

        def ask() -> None:
            nonlocal unsure
            if unsure:
                self._read_back(rows)
            try:
                self._send([row for row in rows if row.waits])
            except Passing as failure:
                unsure = unsure or failure.uncertain
                if failure.uncertain:
                    self._doubt(rows)
                raise

        try:
            self.fritz.insist(ask, f"POST {CLASSIFICATION}", "Classify")
        except FritzRefusedError as error:
            self._one_by_one(rows, error)

    def _send(self, rows: list[Row]) -> None:
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

    def _body(self, row: Row) -> dict[str, Any]:
        options = self.options
        body = {"obj_id": row.obj_id, "classification": row.classification, "taxonomy_id": row.taxonomy_id}
        body |= {"probability": row.probability, "origin": options.origin, "ml": options.ml}
        return body | {"vote": options.vote, "label": options.label, "group_ids": row.groups}

    def _one_by_one(self, rows: list[Row], error: FritzError) -> None:
        """Go on after a refusal: the service has kept the rows before the one that it refused."""
        self._read_back(rows)
        left = [row for row in rows if row.waits]
        if len(rows) == 1 and left:
            rows[0].status, rows[0].message = REFUSED, str(error)
            logger.warning("%s %s is refused: %s", rows[0].obj_id, rows[0].classification, error)
            return
        for row in left:
            self._post([row])

    def _read_back(self, rows: list[Row]) -> None:
        """Find out which of the rows are there."""
        for obj_id in dict.fromkeys(row.obj_id for row in rows):
            source = self._by_id[obj_id]
            if (there := self._there(source)) is not None:
                self._compare([row for row in rows if row.obj_id == obj_id], source, there)

    def _compare(self, rows: list[Row], source: Source, there: list[dict[str, Any]]) -> None:
        """Note the rows that are there, and the groups that the others are still to be posted to."""
        wanted = set(self.options.group_ids)
        if self.options.replace:
            there = [entry for entry in there if entry["id"] not in source.before]
        for row in (row for row in rows if row.waits):
            same = [entry for entry in there if row.is_of(entry)]
            held = set().union(*(groups_of(entry) for entry in same))
            row.groups = sorted(wanted - held)
            if not row.groups:
                own = [entry for entry in same if self._is_ours(entry, row, source)]
                row.id = int((own or same)[0]["id"])
                row.status = POSTED if own else THERE

    def _is_ours(self, entry: dict[str, Any], row: Row, source: Source) -> bool:
        """Whether a classification of the class of a row is what this upload posted."""
        if entry["id"] in source.before or entry["probability"] is None:
            return False
        same = math.isclose(entry["probability"], row.probability, rel_tol=1e-6, abs_tol=1e-12)
        return same and (entry["origin"], entry["ml"]) == (self.options.origin, self.options.ml)

    def _doubt(self, rows: list[Row]) -> None:
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
            self.ledger.end(source)

    def _drop_copies(self, source: Source, row: Row) -> None:
        """Delete the classifications that are the same as the one posted, but for their id."""
        there = self._there(source) or ()
        ours = [entry for entry in there if row.is_of(entry) and self._is_ours(entry, row, source)]
        own = next((entry for entry in ours if entry["id"] == row.id), None)
        for entry in ours:
            if own is not None and entry is not own and entry.get("author_id") == own.get("author_id"):
                logger.info("%s %s was there twice: one is deleted", source.obj_id, row.classification)
                delete_classification(self.fritz, entry)
