"""What the logs of jobs tell: when they ran, for how long, and why they failed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from scope_dask.cluster.batch import ENDED, STARTED
from scope_dask.errors import SourceError

EDGE_BYTES = 16_384  # of a log's beginning and end that are looked at
RUNS = "no end: it runs, or was killed"
KILLED = {  # what SLURM writes into the log of a job that it ends
    r"DUE TO TIME LIMIT": "the time limit was reached",
    r"oom[-_ ]kill|out of memory|exceeded (job )?memory limit": "out of memory",
    r"DUE TO NODE FAILURE": "the node failed",
    r"DUE TO PREEMPTION": "preempted",
    r"CANCELLED AT": "cancelled",
}

_START = re.compile(
    rf"^{STARTED}: (?P<job>\S+) (?:\w+=(?P<task>\S+) )?on (?P<node>\S+) at (?P<time>\S+Z)$", re.MULTILINE
)
_END = re.compile(rf"^{ENDED}: exit code (\d+) after (\d+) s$", re.MULTILINE)
_ROWS = re.compile(r"^(\d+) light curves", re.MULTILINE)


@dataclass(frozen=True)
class JobLog:
    """The log of one job.

    Attributes
    ----------
    path : Path
        Of its output.
    job, task : str
        Its id, and which of the tasks of its script it did.
    node : str
    started : datetime or None
        UTC.
    seconds : float or None
        From its start to its end.
    exit_code : int or None
        None: there is no end.
    rows : int or None
        Light curves that it wrote.
    last_line : str
        Of its errors, else of its output.
    killed : str
        Why SLURM ended it; empty if it did not.
    """

    path: Path
    job: str
    task: str
    node: str
    started: datetime | None
    seconds: float | None
    exit_code: int | None
    rows: int | None
    last_line: str
    killed: str

    @property
    def done(self) -> bool:
        """Whether the job did what it was to do."""
        return self.exit_code == 0

    @property
    def reason(self) -> str:
        """Why it failed, without the numbers and names in which one failure differs from another; empty if done."""
        if self.done:
            return ""
        if self.killed or self.exit_code is None:
            return self.killed or RUNS
        return re.sub(r"\d+(\.\d+)?", "#", self.last_line) or f"exit code {self.exit_code}"


def log_path(logs: Path, job_name: str, job_id: str, task: str, suffix: str = "out") -> Path:
    """Return the log of a job that was submitted for a task."""
    return logs / f"{job_name}_{job_id}_{task}.{suffix}"


def read_log(path: Path) -> JobLog:
    """Read the beginning and the end of a log; its errors are beside it, in a file that ends in ``.err``.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    try:
        text = _edges(path)
        errors = path.with_suffix(".err")
        said = _edges(errors) if errors != path and errors.is_file() else ""
    except OSError as error:
        raise SourceError(f"the log {path} cannot be read: {error.strerror}") from None
    start, end, rows = _START.search(text), _END.search(text), _ROWS.search(text)
    told = start.groupdict() if start else {}
    own = [line for line in text.splitlines() if not line.startswith((STARTED, ENDED))]
    return JobLog(
        path,
        told.get("job") or "",
        told.get("task") or "",
        told.get("node") or "",
        datetime.fromisoformat(told["time"]) if told else None,
        float(end[2]) if end else None,
        int(end[1]) if end else None,
        int(rows[1]) if rows else None,
        _last(said.splitlines()) or _last(own),
        next((meaning for pattern, meaning in KILLED.items() if re.search(pattern, said + text)), ""),
    )


def find_logs(folder: Path, pattern: str = "", suffix: str = "out") -> Iterator[JobLog]:
    """Yield the logs whose names begin with `pattern`, the oldest first.

    Raises
    ------
    SourceError
        If the folder is absent, or has no such files.
    """
    if not folder.is_dir():
        raise SourceError(f"there is no folder of logs {folder}: name it with --logs-path")
    paths = [path for path in folder.glob(f"*.{suffix}") if path.name.startswith(pattern) and path.is_file()]
    if not paths:
        raise SourceError(f"{folder} has no logs {pattern}*.{suffix}")
    yield from map(read_log, sorted(paths, key=lambda path: (path.stat().st_mtime, path.name)))


def _edges(path: Path) -> str:
    """Return the text of a log, without the middle of a long one."""
    with path.open("rb") as file:
        head = file.read(EDGE_BYTES)
        file.seek(max(EDGE_BYTES, path.stat().st_size - EDGE_BYTES))
        return (head + file.read()).decode(errors="replace")


def _last(lines: list[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
