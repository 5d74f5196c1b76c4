"""Progress of a run: a bar on a terminal, plain lines in the log elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from scope_dask.watching.figures import figures
from scope_dask.watching.terminal import line

if TYPE_CHECKING:
    from scope_dask.watching.state import RunState

logger = logging.getLogger(__name__)

LINE_SECONDS = 10.0
BAR_SECONDS = 1.0


class Progress:
    """Shows partitions done, light curves per second and the remaining time.

    Parameters
    ----------
    state : RunState
        That the run keeps up to date.
    """

    def __init__(self, state: RunState) -> None:
        self.state = state
        self._shown = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from tqdm.auto import tqdm

            summary = self.state.summary
            self._bar = tqdm(total=summary.partitions, initial=summary.finished, unit="partition", dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self) -> None:
        """Show that one more partition is done."""
        waited, summary = time.monotonic() - self._shown, self.state.summary
        if self._bar is not None:
            if waited > BAR_SECONDS:
                rate = figures(self.state.report()).light_curves_per_second
                self._bar.set_postfix_str(f"{rate:,.1f} light curves/s", refresh=False)
                self._shown = time.monotonic()
            self._bar.update()
        elif waited > LINE_SECONDS or summary.finished == summary.partitions:
            logger.info(line(figures(self.state.report())))
            self._shown = time.monotonic()
