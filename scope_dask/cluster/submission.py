"""Submitting one job script for many tasks, until all of them are done.

What is done is told by the files that tasks make (or by their logs), what runs by the queue; beside the script lies a
file with what was submitted. So a loop can be ended at any time, and the next one goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from scope_dask.cluster.batch import WrittenScript
from scope_dask.cluster.fleet import MOST_EARLY_ENDS, BackOff
from scope_dask.cluster.joblogs import JobLog, log_path, read_log
from scope_dask.cluster.queue import QueuedJob, queued, submit_script
from scope_dask.errors import RunError, SourceError, UsageError
from scope_dask.formats.atomic import locked
from scope_dask.journal import Journal

MOST_REFUSALS = 5  # in a row while none of the jobs is in the queue: then waiting changes nothing


@dataclass(frozen=True)
class Task:
    """What one job does.

    Attributes
    ----------
    name : str
        The value of the script's variable, and the end of the job's name.
    title : str
        For people.
    output : Path or None
        The file that tells that it is done; None: the log of its job tells.
    since : float
        An older file does not tell (Unix time).
    """

    name: str
    title: str
    output: Path | None = None
    since: float = 0.0


class Jobs(Protocol):
    """Where the jobs of a script run.

    `serial` tells whether `submit` runs a job to its end.
    """

    serial: ClassVar[bool]

    def look(self) -> dict[str, QueuedJob]:
        """Return the jobs that have not ended, by task; `RunError` if that cannot be told now."""

    def submit(self, task: Task) -> str:
        """Start the job of a task and return its id; `RunError` if it is refused."""


@dataclass(frozen=True)
class SlurmJobs:
    """Jobs of SLURM, each called ``<name of the script>_<task>``.

    Attributes
    ----------
    script : WrittenScript
    variable : str
        That tells the script its task.
    words : sequence of str
        What the script is called with.
    user : str or None
        Whose jobs; None: the caller's.
    """

    script: WrittenScript
    variable: str
    words: Sequence[str] = ()
    user: str | None = None
    serial: ClassVar[bool] = False

    def look(self) -> dict[str, QueuedJob]:
        """Return the jobs of this script that have not ended, by task."""
        own, prefix = str(self.script.path), f"{self.script.job_name}_"
        found = {}
        for job in queued(user=self.user).values():
            if job.name.startswith(prefix) and f"{job.command} ".startswith(f"{own} "):
                found[job.name.removeprefix(prefix)] = job
        return found

    def options(self, task: Task) -> list[str]:
        """Return the options of ``sbatch`` for the job of a task."""
        logs = str(self.script.logs).replace("%", "%%")
        log = log_path(Path(logs), self.script.job_name, "%A", task.name.replace("%", "%%"))
        named = f"--job-name={self.script.job_name}_{task.name}"
        return [named, f"--output={log}", f"--error={log.with_suffix('.err')}", "--export=ALL"]

    def submit(self, task: Task) -> str:
        """Submit the job of a task."""
        self.script.logs.mkdir(parents=True, exist_ok=True)  # else the job ends without a word
        return submit_script(self.script.path, self.options(task), self.words, {self.variable: task.name})


@dataclass(frozen=True)
class SerialJobs:
    """Jobs that run here, one after the other, by the same script."""

    script: WrittenScript
    variable: str
    words: Sequence[str] = ()
    serial: ClassVar[bool] = True

    def look(self) -> dict[str, QueuedJob]:
        """Return nothing: when there is time to look, no job runs."""
        return {}

    def submit(self, task: Task) -> str:
        """Run the job of a task to its end; return its number: the time, in nanoseconds."""
        self.script.logs.mkdir(parents=True, exist_ok=True)
        number = str(time.time_ns())
        log = log_path(self.script.logs, self.script.job_name, number, task.name)
        with log.open("wb") as out, log.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                ["bash", str(self.script.path), *self.words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, self.variable: task.name},
                start_new_session=True,
            )
            try:
                process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
                raise
        return number


@dataclass(frozen=True)
class LoopOptions:
    """How jobs are submitted.

    Attributes
    ----------
    max_instances : int or None
        Jobs in the queue at a time; None: all.
    wait_seconds : float
        Between two looks at the queue.
    interval_seconds : float
        Between two submissions.
    attempts : int
        Jobs of a task at most; then it has failed.
    """

    max_instances: int | None = 20
    wait_seconds: float = 300.0
    interval_seconds: float = 60.0
    attempts: int = 3

    def room(self, now: Standing) -> int:
        """Return how many jobs may be submitted."""
        return len(now.open) if self.max_instances is None else max(self.max_instances - len(now.queued), 0)


@dataclass
class Standing:
    """Where the tasks of a script are.

    Attributes
    ----------
    done, open, failed : list of Task
        Done; to be submitted, those that failed before last; failed for good.
    queued : dict of str to QueuedJob
        By task.
    ended_badly : int
        Jobs that ended without having done their task.
    """

    done: list[Task] = field(default_factory=list)
    open: list[Task] = field(default_factory=list)
    failed: list[Task] = field(default_factory=list)
    queued: dict[str, QueuedJob] = field(default_factory=dict)
    ended_badly: int = 0

    @property
    def over(self) -> bool:
        """Whether nothing is left to wait for."""
        return not self.open and not self.queued

    def __str__(self) -> str:
        count = len(self.done) + len(self.open) + len(self.failed) + len(self.queued)
        waiting = [job for job in self.queued.values() if job.state == "PENDING"]
        reasons = ", ".join(sorted({job.reason for job in waiting} - {"None"})) or "not looked at yet"
        parts = [
            f"{len(self.queued) - len(waiting)} run" if len(self.queued) > len(waiting) else "",
            f"{len(waiting)} in the queue ({reasons})" if waiting else "",
            f"{len(self.open)} to submit" if self.open else "",
            f"{len(self.failed)} failed" if self.failed else "",
        ]
        return ", ".join([f"{len(self.done)} of {count} done", *filter(None, parts)])


class Submission:
    """The tasks of one job script.

    Parameters
    ----------
    script : WrittenScript
    tasks : sequence of Task
        In the order in which they are submitted.
    jobs : SlurmJobs or SerialJobs
    options : LoopOptions
    say : callable
        Takes a line for the user.
    """

    def __init__(
        self, script: WrittenScript, tasks: Sequence[Task], jobs: Jobs, options: LoopOptions, say: Callable[[str], None]
    ) -> None:
        self.script, self.tasks, self.jobs, self.options, self.say = script, tasks, jobs, options, say
        self._records = Journal(records_path(script.path), "job")
        self._submitted: dict[str, list[str]] = {}
        self._done: set[str] = set()
        self._said = ""

    def standing(self) -> Standing:
        """Look at queue, outputs and logs.

        Raises
        ------
        RunError
            If the queue cannot be looked at.
        """
        self._submitted = {}
        for job_id, record in self._records.read().items():
            self._submitted.setdefault(record["task"], []).append(job_id)
        found = Standing()
        in_queue = self.jobs.look()  # before the outputs: what ends in between has left its output
        self._done |= self._finished([t for t in self.tasks if t.name not in self._done and t.name not in in_queue])
        for task in self.tasks:
            tries = len(self._submitted.get(task.name, ()))
            if task.name in in_queue:
                found.queued[task.name] = in_queue[task.name]
                found.ended_badly += max(tries - 1, 0)
            elif task.name in self._done:
                found.done.append(task)
            else:
                (found.open if tries < self.options.attempts else found.failed).append(task)
                found.ended_badly += tries
        found.open.sort(key=lambda task: len(self._submitted.get(task.name, ())))
        return found

    def run(self, *, afresh: bool = False) -> Standing:
        """Submit jobs until all tasks are done or have failed; return where they are then.

        Parameters
        ----------
        afresh : bool
            Forget what was submitted before, and so which tasks failed; jobs in the queue are seen there.

        Raises
        ------
        UsageError
            If another process submits jobs of this script.
        RunError
            If SLURM refuses all jobs, or none of the first ones does its task.
        """
        with self._alone():
            if afresh:
                forget_submitted(self.script.path)
            try:
                return self._run()
            except KeyboardInterrupt:
                if not self.jobs.serial:
                    self.say("jobs that are in the queue stay there: scancel ends them")
                raise

    def last_log(self, task: Task) -> JobLog | None:
        """Return the log of the job that was submitted last for a task; None: it has none."""
        if not (ids := self._submitted.get(task.name)):
            return None
        with contextlib.suppress(SourceError):
            return read_log(log_path(self.script.logs, self.script.job_name, ids[-1], task.name))
        return None

    def failure(self, task: Task) -> str:
        """Say in one line how a task failed."""
        log = self.last_log(task)
        tries = f"{task.title}: {len(self._submitted.get(task.name, ()))} jobs"
        if log is None:
            return f"{tries} ended before they began"
        said = ", ".join(filter(None, [log.killed, log.last_line])) or "it says nothing"
        return f"{tries}, the last in {log.path.with_suffix('.err')}: {said}"

    def _run(self) -> Standing:
        refusals = BackOff(min(self.options.wait_seconds, 10.0))
        now = None
        while True:
            try:
                now = self.standing()
            except RunError as error:  # not a word about the jobs: none is taken for ended
                if now is None:
                    raise
                self._tell(f"{error}; looking again in {_shown(self.options.wait_seconds)}")
                time.sleep(self.options.wait_seconds)
                continue
            self._check_hope(now)
            if now.over:
                self._tell(str(now))
                return now
            chosen = now.open[: 1 if self.jobs.serial else self.options.room(now)]
            trouble = self._submit(chosen, refusals, bool(now.queued)) if chosen else ""
            if not self.jobs.serial:
                self._wait(trouble, refusals)

    def _wait(self, trouble: str, refusals: BackOff) -> None:
        """Say what is waited for, and wait."""
        pause = refusals.remaining if trouble else self.options.wait_seconds
        if not trouble:
            with contextlib.suppress(RunError):
                trouble = str(self.standing())
        self._tell(f"{trouble}; next look in {_shown(pause)}")
        time.sleep(pause)

    def _submit(self, tasks: Sequence[Task], refusals: BackOff, some_queued: bool) -> str:
        """Submit jobs; return why that ended before the last one."""
        for number, task in enumerate(tasks):
            if number and not self.jobs.serial:
                time.sleep(self.options.interval_seconds)
            try:
                job_id = self.jobs.submit(task)
            except RunError as error:
                refusals.failed()
                if refusals.failures >= MOST_REFUSALS and not (some_queued or number):
                    raise RunError(f"{error} ({refusals.failures} times, with no job in the queue)") from None
                return str(error)
            refusals.succeeded()
            self._records.append({"job": job_id, "task": task.name, "time": int(time.time())})
        return ""

    def _check_hope(self, now: Standing) -> None:
        """End where all jobs fail: something is wrong with all of them."""
        if now.done or now.ended_badly < MOST_EARLY_ENDS or now.queued:
            return
        task = next(task for task in (*now.failed, *reversed(now.open)) if self._submitted.get(task.name))
        raise RunError(
            f"none of the first {now.ended_badly} jobs did its task, no more are submitted; {self.failure(task)}. "
            f"When it is mended, go on with --reset-running"
        )

    def _finished(self, tasks: Sequence[Task]) -> set[str]:
        """Return the tasks whose output is there (one look at each folder), or whose last log ends well."""
        folders: dict[Path, list[Task]] = {}
        found = set()
        for task in tasks:
            if task.output is not None:
                folders.setdefault(task.output.parent, []).append(task)
            elif (log := self.last_log(task)) is not None and log.done:
                found.add(task.name)
        for folder, own in folders.items():
            # A listing, for on a network file system a file that was not there is remembered as absent.
            times = {e.name: e.stat().st_mtime for e in os.scandir(folder)} if folder.is_dir() else {}
            found |= {task.name for task in own if task.output and times.get(task.output.name, -1.0) >= task.since}
        return found

    def _tell(self, line: str) -> None:
        if line != self._said:
            self.say(line)
            self._said = line

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        path = records_path(self.script.path)
        try:
            with locked(path.with_suffix(".lock"), wait=False), self._records:
                yield
        except BlockingIOError:
            raise UsageError(f"jobs of {self.script.path} are being submitted by another process already") from None


def records_path(script: Path) -> Path:
    """Return the file with what was submitted of a script."""
    return script.with_name(f".{script.stem}.jsonl")


def forget_submitted(script: Path) -> None:
    """Forget which jobs of a script were submitted."""
    records_path(script).unlink(missing_ok=True)


def _shown(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
