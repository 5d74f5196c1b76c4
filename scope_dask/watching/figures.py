"""The numbers that are shown of a run: one code path for page, metrics, terminal and log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scope_dask.summary import RunSummary
from scope_dask.watching.state import Failure, FieldState, Report


@dataclass(frozen=True)
class Figures:
    """What is shown of a run.

    Attributes
    ----------
    run, folder : str
        Its name, and where it writes.
    state : {"running", "finished", "ended", "lost"}
        ``ended``: given up before its end, `said` is why; ``lost``: the program that ran it is gone.
    said : str
    started : float
        Seconds since 1970.
    elapsed : float
        Seconds since then, or until the end.
    failed : int
        Partitions that could not be computed.
    light_curves : int
        Those that came in, those of an earlier run included.
    light_curves_per_second, seconds_left : float
        While it runs, at the pace of the last minutes (None: nothing finished in these); of a run that has ended, the
        mean, and None.
    bytes_expected : int or None
        Written at the end, if the partitions to come are as large as those that are done.
    failures : list of Failure
        The most frequent first.
    fields : dict of str to FieldState
        Those under way first, then those to come, then those that are complete.
    summary : RunSummary
        Without the reasons of each partition.
    """

    run: str
    folder: str
    state: Literal["running", "finished", "ended", "lost"]
    said: str
    started: float
    elapsed: float
    failed: int
    light_curves: int
    light_curves_per_second: float
    seconds_left: float | None
    bytes_expected: int | None
    failures: list[Failure]
    fields: dict[str, FieldState]
    summary: RunSummary

    @property
    def finished(self) -> int:
        """Partitions that are done or failed."""
        return self.summary.computed + self.summary.reused + self.failed

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self.state == "running"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain dicts and lists, for JSON."""
        return {**asdict(self), "finished": self.finished}


def figures(report: Report, age: float = 0.0, lost: bool = False) -> Figures:
    """Return what is shown of a run.

    Parameters
    ----------
    report : dict
        Of `scope_dask.watching.state.RunState.report`.
    age : float
        Seconds since the report was made; of a run that was lost, until it was.
    lost : bool
        Whether the program that ran it is gone.
    """
    running = report["state"] == "running" and not lost
    passed = age if report["state"] == "running" else 0.0
    summary = RunSummary.from_dict(report["summary"])
    pace, seconds = report["pace"], report["pace"]["seconds"] + passed
    todo = summary.partitions - summary.computed - summary.reused - report["failed"]
    done = summary.computed + summary.reused
    return Figures(
        **{name: report[name] for name in ("run", "folder", "said", "started", "failed", "light_curves")},
        state="lost" if lost and report["state"] == "running" else report["state"],
        elapsed=report["elapsed"] + passed,
        light_curves_per_second=pace["light_curves"] / seconds if seconds > 0 else 0.0,
        seconds_left=seconds / pace["partitions"] * todo if running and pace["partitions"] else None,
        bytes_expected=round(summary.bytes_written / done * (done + todo)) if running and done else None,
        failures=sorted((Failure(**f) for f in report["failures"]), key=lambda f: -f.count),
        fields=dict(sorted(_field_states(report["fields"]).items(), key=_order)),
        summary=summary,
    )


def _field_states(told: Mapping[str, Mapping[str, Any]]) -> dict[str, FieldState]:
    return {name: FieldState(**own) for name, own in told.items()}


def _order(item: tuple[str, FieldState]) -> tuple[int, int]:
    name, own = item
    finished = own.done + own.failed
    if finished == own.partitions:
        return 2, int(name)
    return (0 if finished else 1), int(name)


def clock(seconds: float) -> str:
    """Return a time span as days, hours, minutes and seconds."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return (f"{days} d " if days else "") + f"{h:02d}:{m:02d}:{s:02d}"
