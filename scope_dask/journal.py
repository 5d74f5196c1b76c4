"""The done-records of a run: one line of JSON a partition, or a source, appended to one file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

FSYNC_SECONDS = 1.0

Record = dict[str, Any]


class Journal:
    """An append-only journal; a line torn by a crash is ignored when it is read back.

    Parameters
    ----------
    path : Path
    key : str
        The field that tells what a record is of.
    """

    def __init__(self, path: Path, key: str = "partition") -> None:
        self.path, self.key = path, key
        self._file: IO[bytes] | None = None
        self._synced = 0.0

    def read(self) -> dict[Any, Record]:
        """Return the last record of every partition (or what else `key` names)."""
        return {record[self.key]: record for record in self.latest()}

    def latest(self) -> Iterator[Record]:
        """Yield the last record of every partition (or what else `key` names), one at a time in memory.

        What another process appends meanwhile is left out.
        """
        last = {record[self.key]: number for number, record in self._whole()}
        for number, record in self._whole():
            if last.get(record[self.key]) == number:
                yield record

    def _whole(self) -> Iterator[tuple[int, Record]]:
        """Yield the records with the numbers of their lines."""
        try:
            lines = self.path.open("rb")
        except (FileNotFoundError, NotADirectoryError):
            return
        with lines:
            for number, line in enumerate(lines):
                try:
                    record = json.loads(line)
                    hash(record[self.key])
                except (ValueError, KeyError, TypeError):
                    continue  # torn by a crash: what it was of is done again
                yield number, record

    def append(self, record: Record) -> None:
        """Add a record; it is flushed at once and synced to disk once a second."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
            if self._file.tell() and _last_byte(self.path) != b"\n":
                self._file.write(b"\n")
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        if time.monotonic() - self._synced > FSYNC_SECONDS:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def close(self) -> None:
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)
