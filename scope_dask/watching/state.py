"""What is told of a run while it goes on: totals, pace, fields and failures, kept by the program that runs."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from scope_dask.journal import Record
from scope_dask.sources.slices import pieces_of
from scope_dask.summary import RunSummary

PACE_SECONDS = 600.0  # the pace is that of the last ten minutes, or of the last partitions where these took longer
PACE_PARTITIONS = 20
SAMPLE_SECONDS = 1.0
MOST_REASONS = 20  # told apart
PARTITIONS_NAMED = 5  # of those that failed for one reason

Report = dict[str, Any]

_PASSING = re.compile(r"0x[0-9a-f]+|[0-9a-f]{16,}|\d+")


@runtime_checkable
class _Fielded(Protocol):
    """The pieces that a table is read from, where these know their field."""

    fields: np.ndarray


def fields_of(table: Any) -> np.ndarray | None:
    """Return the field of each partition of a lazy table (-1: not known beforehand); None where none is known."""
    pieces = pieces_of(table, _Fielded)  # type: ignore[type-abstract]  # a protocol can be asked for as well
    return pieces.fields if pieces is not None and len(pieces.fields) == table.npartitions else None


@dataclass
class Failure:
    """Partitions that failed for reasons that differ in numbers only: the first reason, how many, and which."""

    reason: str
    count: int = 0
    partitions: list[int] = field(default_factory=list)

    def add(self, partition: int) -> None:
        self.count += 1
        if len(self.partitions) < PARTITIONS_NAMED:
            self.partitions.append(partition)


@dataclass
class FieldState:
    """Partitions of a field that are done, that failed, and that there are (None: not known); rows written."""

    done: int = 0
    failed: int = 0
    partitions: int | None = None
    rows: int = 0


class _Sample(NamedTuple):
    time: float
    finished: int
    light_curves: int


class RunState:
    """A run from its beginning to its end, or to where it was given up.

    Parameters
    ----------
    root : Path
        Output folder.
    partitions : int
    fields : numpy.ndarray of int, shape (partitions,), or None
        Of the partitions, see `fields_of`.

    Attributes
    ----------
    summary : RunSummary
        Totals so far.
    """

    def __init__(self, root: Path, partitions: int, fields: np.ndarray | None = None) -> None:
        self.summary = RunSummary(partitions=partitions)
        self.run = f"{root.name or 'run'}-{uuid.uuid4().hex[:6]}"
        self.changes = 0
        self._root = root.resolve()
        self._fields = fields
        totals = {} if fields is None else Counter(fields[fields >= 0].tolist())
        self._by_field = {str(name): FieldState(partitions=count) for name, count in totals.items()}
        self._failures: dict[str, Failure] = {}
        self._lock = threading.Lock()  # the totals are told by a thread of their own
        self._state, self._said = "running", ""
        self.begin()

    def reuse(self, record: Record) -> None:
        """Add a partition of an earlier run."""
        self.summary.add(record, reused=True)
        self._add_fields(record)

    def begin(self) -> None:
        """Start the clock: what was there before is no part of the pace."""
        self._started = time.time()
        self._first = _Sample(time.monotonic(), self.summary.finished, self._light_curves())
        self._samples = deque([self._first])

    def add(self, record: Record) -> None:
        """Add a partition."""
        with self._lock:
            self.summary.add(record)
            self._add_fields(record)
            if not record["ok"]:
                self._add_failure(record)
            self.changes += 1
            if time.monotonic() - self._samples[-1].time > SAMPLE_SECONDS:
                self._sample()

    def end(self, said: str = "") -> None:
        """Note that the run has ended; `said` is why it ended early."""
        with self._lock:
            self.summary.wall_seconds = time.monotonic() - self._first.time
            self._state, self._said = ("ended", said) if said else ("finished", "")
            self.changes += 1

    def report(self) -> Report:
        """Return what is told, in plain dicts, lists, numbers and text; see `scope_dask.watching.figures`."""
        with self._lock:
            now, pace = time.monotonic(), self._samples[0] if self._state == "running" else self._first
            elapsed = self.summary.wall_seconds if self._state != "running" else now - self._first.time
            return {
                "run": self.run,
                "folder": str(self._root),
                "state": self._state,
                "said": self._said,
                "started": self._started,
                "elapsed": elapsed,
                "failed": len(self.summary.failed),
                "light_curves": self._light_curves(),
                "pace": {
                    "seconds": elapsed - (pace.time - self._first.time),
                    "partitions": self.summary.finished - pace.finished,
                    "light_curves": self._light_curves() - pace.light_curves,
                },
                "failures": [asdict(failure) for failure in self._failures.values()],
                "fields": {name: vars(own).copy() for name, own in self._by_field.items()},
                "summary": replace(self.summary, failed={}).as_dict(),
            }

    def _light_curves(self) -> int:
        stages = self.summary.stages
        return next(iter(stages.values())).rows_in if stages else sum(self.summary.rows.values())

    def _sample(self) -> None:
        now = _Sample(time.monotonic(), self.summary.finished, self._light_curves())
        self._samples.append(now)
        while len(self._samples) > 2:
            second = self._samples[1]
            if now.time - second.time < PACE_SECONDS or now.finished - second.finished < PACE_PARTITIONS:
                break
            self._samples.popleft()

    def _add_fields(self, record: Record) -> None:
        rows = record.get("fields", {})
        known = -1 if self._fields is None else int(self._fields[record["partition"]])
        for name in [str(known)] if known >= 0 else rows:
            own = self._by_field.setdefault(name, FieldState())
            if record["ok"]:
                own.done += 1
            else:
                own.failed += 1
        for name, count in rows.items():
            self._by_field.setdefault(name, FieldState()).rows += count

    def _add_failure(self, record: Record) -> None:
        reason = record["reason"]
        alike = _PASSING.sub("#", reason)
        if alike not in self._failures and len(self._failures) >= MOST_REASONS:
            alike = reason = "other reasons"
        self._failures.setdefault(alike, Failure(reason)).add(record["partition"])
