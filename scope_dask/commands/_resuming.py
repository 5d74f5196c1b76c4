"""What the commands for Fritz share: going on after an interruption, showing how far they are, naming results."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from scope_dask.errors import OptionError
from scope_dask.journal import Journal

if TYPE_CHECKING:
    from scope_dask.commands._parser import Call

LINE_SECONDS = 10.0
THREADS = 4  # the limit of requests per second holds for all of them together
FORMATS = {"parquet": ".parquet", "h5": ".h5", "hdf5": ".h5", "csv": ".csv"}
_REQUEST = "request"


class Resumed:
    """The records of one request, key by key; those of another request are dropped.

    Parameters
    ----------
    path : Path
        Of the file, which `finish` deletes.
    request : object
        Plain content that tells this request from others.
    """

    def __init__(self, path: Path, request: Any) -> None:
        from scope_dask.commands._feature_files import digest

        self._journal = Journal(path, "key")
        self.done: dict[str, Any] = {key: one["value"] for key, one in self._journal.read().items()}
        if self.done.pop(_REQUEST, None) != digest(request):
            self.done = {}
            path.unlink(missing_ok=True)
            self.add(_REQUEST, digest(request))
            self.done.clear()

    def add(self, key: str, value: Any) -> None:
        """Record that something is done."""
        self._journal.append({"key": key, "value": value})
        self.done[key] = value

    def finish(self) -> None:
        """Delete the records: everything is done."""
        self._journal.close()
        self._journal.path.unlink(missing_ok=True)

    def __enter__(self) -> Resumed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._journal.close()


def journal_of(result: Path, what: str = "") -> Path:
    """Return the file of the records that belong to a result file."""
    return result.with_name(f".{result.name}{what}.jsonl")


@contextlib.contextmanager
def counting(call: Call, unit: str, total: int | None = None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """Show how many are done: a bar on a terminal, a line every ten seconds elsewhere; yield what adds to them."""
    if call.verbose and sys.stderr.isatty():
        from tqdm.auto import tqdm

        with tqdm(total=total, initial=done, unit=unit, dynamic_ncols=True) as bar:
            yield bar.update
        return
    count, line = done, time.monotonic()

    def add(more: int = 1) -> None:
        nonlocal count, line
        count += more
        if time.monotonic() - line > LINE_SECONDS or count == total:
            line = time.monotonic()
            call.say(f"{count} {unit}s done" if total is None else f"{count} of {total} {unit}s done")

    yield add


def with_ending(path: Path, form: str, option: str) -> Path:
    """Return a path with the ending of a format, unless it has one of a known format already.

    Raises
    ------
    OptionError
        If the format is unknown.
    """
    from scope_dask.formats.tables import FORMATS as ENDINGS

    if form.lower().lstrip(".") not in FORMATS:
        raise OptionError(f"{option} is {form!r}, expected parquet, h5 or csv")
    if path.suffix.lower() in ENDINGS:
        return path
    return path.with_name(f"{path.name}{FORMATS[form.lower().lstrip('.')]}")


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as plain content, those that change nothing of the result left out."""
    unused = ("verbose", "dry_run", "config_path", "check_configs", "default_config_name")
    return {name: value for name, value in options.items() if name not in unused}
