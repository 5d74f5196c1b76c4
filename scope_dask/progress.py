"""Progress of a run: a bar on a terminal, plain lines in the log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scope_dask.summary import RunSummary

logger = logging.getLogger(__name__)

LINE_SECONDS = 10.0


class Progress:
    """Shows partitions done, light curves per second and the remaining time.

    Parameters
    ----------
    total : int
        Partitions of the run.
    summary : RunSummary
        Totals that the run keeps up to date.
    """

    def __init__(self, total: int, summary: RunSummary) -> None:
        self.total, self.summary = total, summary
        self._start = time.monotonic()
        self._before = summary.finished
        self._rows_before = self._rows()
        self._line = self._start
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=self.total, initial=self._before, unit="partition", dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """Show that one more partition is done."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{self._rate():,.1f} light curves/s", refresh=False)
            self._bar.update()
        elif time.monotonic() - self._line > LINE_SECONDS or self.summary.finished == self.total:
            self._line = time.monotonic()
            logger.info(self.line())

    def line(self) -> str:
        """Return the state in one line."""
        done = self.summary.finished
        elapsed = time.monotonic() - self._start
        pace = elapsed / max(1, done - self._before)
        left = time.strftime("%H:%M:%S", time.gmtime(pace * (self.total - done)))
        failed = f", {len(self.summary.failed)} set aside" if self.summary.failed else ""
        return f"{done} of {self.total} partitions{failed}, {self._rate():,.1f} light curves/s, {left} left"

    def _rows(self) -> int:
        stages = self.summary.stages
        return next(iter(stages.values())).rows_in if stages else sum(self.summary.rows.values())

    def _rate(self) -> float:
        return (self._rows() - self._rows_before) / max(1e-9, time.monotonic() - self._start)
