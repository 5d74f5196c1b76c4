"""Keeping the jobs of a cluster at the number that is wanted, whatever happens to them."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from dataclasses import dataclass
from typing import Any

from distributed import Scheduler
from distributed.security import Security

from scope_dask.cluster.folder import ClusterFolder, Wanted
from scope_dask.cluster.jobs import JobSystem, job_name, make_job
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.cluster.queue import QueuedJob
from scope_dask.errors import RunError

logger = logging.getLogger(__name__)

MOST_BACK_OFF_SECONDS = 300.0
MOST_EARLY_ENDS = 4  # jobs in a row that end before a worker connects; then something is wrong with all of them
SILENT_SECONDS = 30.0  # a nanny that restarts its worker needs a few
START_SECONDS = 240.0  # for the prologue and the imports of a job, beside the time in which it looks for its scheduler
PATIENCE_LOOKS = 6  # looks at the queue during which less work is wanted before jobs are given back
RETIRE_SECONDS = 60.0


class BackOff:
    """A pause that doubles with each failure."""

    def __init__(self, first_seconds: float) -> None:
        self._first = max(first_seconds, 1.0)
        self.failures = 0
        self._until = 0.0

    def failed(self) -> None:
        """Note a failure."""
        pause = min(self._first * 2**self.failures, MOST_BACK_OFF_SECONDS)
        self.failures += 1
        self._until = time.monotonic() + pause

    def succeeded(self) -> None:
        """Forget the failures."""
        self.failures, self._until = 0, 0.0

    @property
    def remaining(self) -> float:
        """Seconds until the next try."""
        return max(0.0, self._until - time.monotonic())


@dataclass
class Submitted:
    """A job that was submitted; when it was first seen to run, and its workers last seen connected (s, monotonic)."""

    name: str
    job_id: str
    running: float | None = None
    connected: float | None = None


class Fleet:
    """The jobs of a cluster.

    Parameters
    ----------
    folder : ClusterFolder
    profile : ClusterProfile
    scheduler : distributed.Scheduler
    system : JobSystem
    security : Security or None
    """

    def __init__(
        self,
        folder: ClusterFolder,
        profile: ClusterProfile,
        scheduler: Scheduler,
        system: JobSystem,
        security: Security | None,
    ) -> None:
        self.folder, self.profile, self.scheduler = folder, profile, scheduler
        self.system, self.security = system, security
        self.jobs: dict[str, Submitted] = {}
        self.lost = 0
        self._count = 0
        self._poll = profile.seconds("poll")
        self._lifetime_seconds = profile.lifetime_seconds - profile.stagger_seconds
        self._refusals, self._early = BackOff(self._poll), BackOff(self._poll)
        self._listed: dict[str, QueuedJob] = {}
        self._looked = -math.inf
        self._connected = 0
        self._trouble = ""
        self._too_many: float | None = None
        self._wanted: Wanted | None = None

    async def step(self, wanted: Wanted) -> None:
        """Compare what is there with what is wanted, and act."""
        if wanted != self._wanted:  # who asks again has seen to what was wrong
            self._refusals.succeeded()
            self._early.succeeded()
            self._wanted = wanted
        workers = self._workers()
        self._note_connected(workers)
        connected = sum(map(len, workers.values()))
        due = time.monotonic() - self._looked >= self._poll
        if due or connected < self._connected:
            await self._look(workers)
        self._connected = connected
        target = self._target(wanted)
        if len(self.jobs) > target:
            await self._shrink(len(self.jobs) - target)
        elif len(self.jobs) < target and self._early.failures < MOST_EARLY_ENDS:
            await self._grow(target - len(self.jobs))

    async def close(self) -> None:
        """End all jobs."""
        if self.jobs:
            await self.system.cancel(list(self.jobs))
        self.jobs.clear()

    def table(self) -> dict[str, dict[str, Any]]:
        """Return the state and the number of connected workers of each job, by id."""
        workers = self._workers()
        return {
            job_id: {
                "name": job.name,
                "state": self._listed[job_id].state if job_id in self._listed else "SUBMITTED",
                "workers": len(workers.get(job.name, ())),
            }
            for job_id, job in self.jobs.items()
        }

    @property
    def waiting(self) -> str:
        """What the cluster waits for, in one sentence."""
        if self._wanted is not None and self._wanted.maximum == 0:
            return f"no jobs are wanted: ask for some with dask scope scale {self.folder.name} N"
        if self._early.failures >= MOST_EARLY_ENDS:
            return (
                f"{self._early.failures} jobs in a row ended before a worker connected, no more are submitted: see "
                f"dask scope logs {self.folder.name}, and when it is mended dask scope scale {self.folder.name} N"
            )
        if self._refusals.remaining:
            return f"{self._trouble}; next try in {self._refusals.remaining:.0f} s"
        if self._early.remaining:
            return f"{self._trouble}; another is submitted in {self._early.remaining:.0f} s"
        return self._trouble or self._unconnected()

    def _unconnected(self) -> str:
        """Return how many jobs wait in the queue, or else have no worker yet."""
        pending = [job for job_id, job in self._listed.items() if job_id in self.jobs and job.state == "PENDING"]
        if pending:
            reasons = ", ".join(sorted({job.reason for job in pending}))
            return f"{len(pending)} of {len(self.jobs)} jobs wait in the queue ({reasons})"
        workers = self._workers()
        silent = sum(job.connected is None and job.name not in workers for job in self.jobs.values())
        return f"{silent} of {len(self.jobs)} jobs have no worker connected yet" if silent else ""

    def _workers(self) -> dict[str, list[Any]]:
        """Return the connected workers by the name of their job."""
        found: dict[str, list[Any]] = {}
        for worker in self.scheduler.workers.values():
            name = str(worker.name)
            found.setdefault(name.rpartition("-")[0] if self.profile.workers_per_job > 1 else name, []).append(worker)
        return found

    def _note_connected(self, workers: dict[str, list[Any]]) -> None:
        """Note which jobs have workers now: one may come and go between two looks at the queue."""
        for job in self.jobs.values():
            if workers.get(job.name):
                job.connected = time.monotonic()
                self._early.succeeded()

    async def _look(self, workers: dict[str, list[Any]]) -> None:
        before = set(self.jobs)
        try:
            listed = await self.system.look()
        except RunError as error:  # not a word about the jobs: none is taken for ended
            self._trouble = str(error)
            self._looked = time.monotonic()
            return
        if not self._refusals.remaining and not self._early.remaining:
            self._trouble = ""
        self._listed, self._looked = listed, time.monotonic()
        for job_id in before:
            job = self.jobs[job_id]
            if job_id not in listed:
                await self._ended(job, workers.get(job.name, []))
        await self._end_silent()

    async def _ended(self, job: Submitted, workers: list[Any]) -> None:
        del self.jobs[job.job_id]
        for worker in workers:  # a node that is gone does not close its connections
            await self.scheduler.remove_worker(worker.address, stimulus_id=f"job-{job.job_id}-ended")
        if job.connected is None:
            self._early.failed()
            self._trouble = f"job {job.job_id} ended before its worker connected{self._last_words(job)}"
            logger.warning(self._trouble)
        elif self._expired(job):
            logger.info("job %s reached its time", job.job_id)
        else:
            self.lost += 1
            logger.warning("job %s ended%s", job.job_id, self._last_words(job))

    def _expired(self, job: Submitted) -> bool:
        """Tell whether the workers of a job ended because their lifetime was over."""
        slurm = self.profile.system == "slurm"
        return slurm and job.running is not None and time.monotonic() - job.running >= self._lifetime_seconds

    def _last_words(self, job: Submitted) -> str:
        logs = self.folder.logs
        for path in (logs / f"{job_name(self.folder.name)}-{job.job_id}.err", logs / f"{job.name}.err"):
            if path.is_file():
                lines = path.read_text(errors="replace").strip().splitlines()
                return f", saying: {lines[-1].strip()}" if lines else ""
        return ""

    async def _end_silent(self) -> None:
        """Cancel jobs that run without a worker: their processes hang."""
        now, patience = time.monotonic(), self.profile.seconds("death_timeout") + START_SECONDS
        for job_id, job in list(self.jobs.items()):
            if self._listed[job_id].state != "RUNNING":
                continue
            job.running = job.running or now
            if now > (job.connected + SILENT_SECONDS if job.connected else job.running + patience):
                self.lost += 1
                logger.warning("job %s runs without a worker: cancelled", job_id)
                await self._cancel([job_id])

    def _target(self, wanted: Wanted) -> int:
        if not wanted.adaptive:
            return wanted.minimum
        asked = math.ceil(self.scheduler.adaptive_target() / self.profile.workers_per_job)
        asked = min(max(asked, wanted.minimum), wanted.maximum)
        if asked >= len(self.jobs):
            self._too_many = None
            return asked
        now = time.monotonic()
        self._too_many = self._too_many or now
        if now - self._too_many < PATIENCE_LOOKS * self._poll:
            return min(len(self.jobs), wanted.maximum)
        return asked

    async def _grow(self, count: int) -> None:
        if self._refusals.remaining or self._early.remaining:
            return
        for _ in range(count):
            name = f"{self.folder.name}-{self._count}"
            job = make_job(
                self.profile, name, self.scheduler.address, self.folder.name, self.folder.logs, self.security
            )
            try:
                job_id = await self.system.submit(job)
            except RunError as error:
                self._refusals.failed()
                self._trouble = str(error)
                logger.warning(self._trouble)
                return
            self._refusals.succeeded()
            self._trouble = ""
            self._count += 1
            self.jobs[job_id] = Submitted(name, job_id)
            logger.info("submitted job %s (%s)", job_id, name)

    async def _shrink(self, count: int) -> None:
        """Give back jobs: those that wait in the queue first, then those with the least to do."""
        workers = self._workers()

        def busy(job_id: str) -> tuple[int, int]:
            own = workers.get(self.jobs[job_id].name, [])
            return len(own), sum(len(worker.processing) for worker in own)

        chosen = sorted(self.jobs, key=busy)[:count]
        addresses = [w.address for job_id in chosen for w in workers.get(self.jobs[job_id].name, [])]
        if addresses:
            try:
                await asyncio.wait_for(
                    self.scheduler.retire_workers(workers=addresses, close_workers=True, remove=True), RETIRE_SECONDS
                )
            except TimeoutError:
                logger.warning("workers of %s did not hand over within %.0f s", ", ".join(chosen), RETIRE_SECONDS)
        await self._cancel(chosen)

    async def _cancel(self, job_ids: list[str]) -> None:
        try:
            await self.system.cancel(job_ids)
        except RunError as error:
            self._trouble = str(error)
            return
        for job_id in job_ids:
            del self.jobs[job_id]
