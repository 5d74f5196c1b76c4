"""The scheduler's side: it keeps what it was told of runs, and answers on its HTTP server.

Installed by the keeper of a launched cluster, and by each run; on a scheduler of another kind by
``dask scheduler --preload scope_dask.watching.scheduler``, where the page shall be there before the first run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distributed import Scheduler
from distributed.diagnostics.plugin import SchedulerPlugin

from scope_dask.watching.figures import Figures, figures
from scope_dask.watching.state import Report

MOST_ENDED = 50  # runs that are kept after their end


@dataclass
class _Told:
    report: Report
    received: float
    gone: float | None = None  # since when the program that ran it is


@dataclass(frozen=True)
class Cluster:
    """What a scheduler has at its hands; `waiting` is what its cluster waits for, in a sentence."""

    workers: int
    threads: int
    processing: int
    waiting: str = ""


class Runs(SchedulerPlugin):
    """The runs that a scheduler was told of."""

    name = "scope_dask-runs"
    idempotent = True

    def __init__(self) -> None:
        self.waiting: Callable[[], str] | None = None
        self._leave_dask: Callable[[], None] | None = None
        self._told: dict[str, _Told] = {}

    async def start(self, scheduler: Scheduler) -> None:
        """Listen to programs and answer to browsers."""
        from scope_dask.watching.http import routes
        from scope_dask.watching.metrics import join_dask

        self.scheduler = scheduler
        scheduler.handlers |= {"scope_report": self.hear, "scope_runs": self.tell}
        scheduler.http_application.add_handlers(".*$", routes(self))
        self._leave_dask = join_dask(self.figures)

    async def close(self) -> None:
        """Take back what outlives the scheduler (Dask calls this)."""
        if self._leave_dask is not None:
            self._leave_dask()

    def hear(self, report: Report) -> None:
        """Take a report, which replaces the earlier ones of its run."""
        self._told[report["run"]] = _Told(report, time.monotonic())
        ended = [name for name, told in self._told.items() if told.gone or told.report["state"] != "running"]
        for name in ended[:-MOST_ENDED]:
            del self._told[name]

    def tell(self) -> list[dict[str, Any]]:
        """Return the arguments of `figures` of each run, the newest first."""
        now = time.monotonic()
        return [
            {"report": told.report, "age": (told.gone or now) - told.received, "lost": told.gone is not None}
            for told in reversed(self._told.values())
        ]

    def remove_client(self, scheduler: Scheduler, client: str) -> None:
        """Note that a program is gone (Dask calls this)."""
        for told in self._told.values():
            if told.report["client"] == client and told.report["state"] == "running":
                told.gone = time.monotonic()

    def figures(self) -> list[Figures]:
        """Return what is shown of each run, the newest first."""
        return [figures(**told) for told in self.tell()]

    def cluster(self) -> Cluster:
        """Return what the scheduler has at its hands now."""
        workers = self.scheduler.workers.values()
        return Cluster(
            workers=len(workers),
            threads=sum(worker.nthreads for worker in workers),
            processing=sum(len(worker.processing) for worker in workers),
            waiting=self.waiting() if self.waiting is not None else "",
        )


async def install(scheduler: Scheduler) -> Runs:
    """Have a scheduler keep what it is told of runs."""
    await scheduler.register_scheduler_plugin(Runs(), idempotent=True)
    return scheduler.plugins[Runs.name]


async def dask_setup(scheduler: Scheduler) -> None:
    """Do what a preload does (Dask calls this)."""
    await install(scheduler)
