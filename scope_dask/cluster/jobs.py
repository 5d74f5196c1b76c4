"""The jobs of a cluster, made by dask-jobqueue: their scripts, how they are started and ended.

Only the jobs are dask-jobqueue's. Its cluster objects (0.9.0) never replace a job that has several worker processes or
that ends before its worker registers, and only log that a submission was refused; `keeper` does these.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import dask
from distributed.security import Security

from scope_dask.cluster.jobqueue import Job, SLURMJob
from scope_dask.cluster.profile import WORKER_COMMANDS, ClusterProfile
from scope_dask.cluster.queue import QueuedJob, cancel, queued, refusal
from scope_dask.errors import RunError

EXIT_SECONDS = 10.0


class JobSystem(Protocol):
    """Where jobs run."""

    async def submit(self, job: Job) -> str:
        """Start a job and return its id; `RunError` if it is refused."""

    async def look(self) -> dict[str, QueuedJob]:
        """Return the jobs that have not ended, by id; `RunError` if the system does not answer."""

    async def cancel(self, job_ids: list[str]) -> None:
        """End jobs."""


class _LocalJob(Job):
    config_name = "local"

    def __init__(self, scheduler: str | None = None, name: str | None = None, **options: Any) -> None:
        super().__init__(scheduler=scheduler, name=name, **options)
        self.job_header = ""


class Slurm:
    """Jobs of SLURM with one name."""

    def __init__(self, job_name: str) -> None:
        self.job_name = job_name

    async def submit(self, job: Job) -> str:
        """Start a job and return its id; `RunError` if SLURM refuses it."""
        try:
            await job.start()
        except FileNotFoundError:
            raise RunError("there is no sbatch on this machine: SLURM's commands must be on the PATH") from None
        except (RuntimeError, ValueError) as error:
            raise refusal(str(error).partition("stderr:")[2] or str(error)) from None
        return str(job.job_id)

    async def look(self) -> dict[str, QueuedJob]:
        """Return the jobs that have not ended, by id."""
        return await asyncio.to_thread(queued, self.job_name)

    async def cancel(self, job_ids: list[str]) -> None:
        """Cancel jobs."""
        await asyncio.to_thread(cancel, job_ids)


class Local:
    """Jobs as processes of this machine, each a process group of its own."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def submit(self, job: Job) -> str:
        """Start a job; its id is the process id."""
        with (self.logs / f"{job.name}.err").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                "bash",
                "-c",
                job.job_script(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._processes[str(process.pid)] = process
        return str(process.pid)

    async def look(self) -> dict[str, QueuedJob]:
        """Return the processes that have not ended, by id."""
        ended = [job_id for job_id, process in self._processes.items() if process.returncode is not None]
        for job_id in ended:
            del self._processes[job_id]
        return {job_id: QueuedJob(job_id, "RUNNING", "") for job_id in self._processes}

    async def cancel(self, job_ids: list[str]) -> None:
        """End processes: asked first, then killed."""
        chosen = [process for job_id, process in self._processes.items() if job_id in job_ids]
        for process in chosen:
            _signal(process.pid, signal.SIGTERM)
        if chosen:
            await asyncio.wait([asyncio.ensure_future(p.wait()) for p in chosen], timeout=EXIT_SECONDS)
        for process in chosen:
            _signal(process.pid, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def job_system(profile: ClusterProfile, name: str, logs: Path) -> JobSystem:
    """Return where the jobs of a cluster run."""
    return Slurm(job_name(name)) if profile.system == "slurm" else Local(logs)


def job_name(name: str) -> str:
    """Return the name that all jobs of a cluster have."""
    return f"scope-{name}"


def make_job(
    profile: ClusterProfile, name: str, address: str, cluster: str, logs: Path, security: Security | None
) -> Job:
    """Return a job that is not submitted yet.

    Parameters
    ----------
    profile : ClusterProfile
    name : str
        Of its worker; several workers of a job are called ``<name>-0``, ``<name>-1`` …
    address : str
        Of the scheduler.
    cluster : str
        Name of the cluster.
    logs : Path
        Folder for the job's output.
    security : Security or None
        With the paths of the keys.
    """
    options: dict[str, Any] = {
        "scheduler": address,
        "name": name,
        "cores": profile.workers_per_job * profile.threads_per_worker,
        "processes": profile.workers_per_job,
        "memory": f"{profile.worker_bytes * profile.workers_per_job} B",
        "python": profile.python or shlex.quote(sys.executable),
        "worker_command": WORKER_COMMANDS[profile.worker],
        "worker_extra_args": _worker_arguments(profile, security),
        "interface": profile.interface,
        "protocol": "tls://" if security else None,
        "death_timeout": int(profile.seconds("death_timeout")),
        "local_directory": profile.scratch or shlex.quote(tempfile.gettempdir()),
        "job_script_prologue": _prologue(profile),
        "job_extra_directives": directives(profile),
        "job_directives_skip": ["--mem="] if profile.memory_rule != "mem" else [],
        "log_directory": str(logs),
        "shebang": "#!/bin/bash",
        "job_name": job_name(cluster),
    }
    # dask-jobqueue fills what is None from the user's jobqueue.yaml; a profile is the only place here.
    empty = dict.fromkeys(("queue", "account", "walltime", "job-cpu", "job-mem", "interface"))
    with dask.config.set({"jobqueue.slurm": {**dask.config.get("jobqueue.slurm"), **empty}}):
        if profile.system == "local":
            return _LocalJob(**options)
        return SLURMJob(
            queue=profile.partition,
            account=profile.account,
            walltime=slurm_time(profile.walltime_seconds),
            job_cpu=profile.cpus,
            job_mem=f"{profile.job_mebibytes}M",
            **options,
        )


def _worker_arguments(profile: ClusterProfile, security: Security | None) -> list[str]:
    arguments = ["--dashboard-address", "127.0.0.1:0"]  # else a worker's page listens to everybody
    if security is not None:
        config = security.get_tls_config_for_role("worker")
        for option, key in (("--tls-ca-file", "ca_file"), ("--tls-cert", "cert"), ("--tls-key", "key")):
            arguments += [option, shlex.quote(config[key])]
    return arguments


def _prologue(profile: ClusterProfile) -> list[str]:
    """Return the lines before the worker: as variables, what only one of the two kinds of worker has an option for."""
    variables = {}
    if profile.system == "slurm":
        variables = {
            "DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION": f"{profile.lifetime_seconds:.0f} s",
            "DASK_DISTRIBUTED__WORKER__LIFETIME__STAGGER": f"{profile.stagger_seconds:.0f} s",
        }
    return [*prologue(profile, variables), "set +e"]


def prologue(profile: ClusterProfile, variables: Mapping[str, str] | None = None, threads: int = 1) -> list[str]:
    """Return the lines of a job before its program: variables, those of the profile last, and the profile's lines.

    One that fails ends the job: better than a program in another environment.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    stated = {**dict.fromkeys(names, str(threads)), **(variables or {}), **(profile.environment or {})}
    return ["set -e", *(f"export {key}={shlex.quote(value)}" for key, value in stated.items()), *profile.prologue]


def directives(profile: ClusterProfile) -> list[str]:
    """Return what a job asks SLURM for beside partition, account, CPUs, time, and memory by the node."""
    asked = {"--qos": profile.qos, "--constraint": profile.constraint, "--gres": profile.gres}
    if profile.memory_rule == "mem-per-cpu":
        asked["--mem-per-cpu"] = f"{-(-profile.job_mebibytes // profile.cpus)}M"
    lines = [f"{option}={value}" for option, value in asked.items() if value is not None]
    # A job that SLURM starts again would be a second one: who submitted it has replaced it.
    return ["--no-requeue", *lines, *profile.directives]


def slurm_time(seconds: float) -> str:
    """Return a time as SLURM takes it."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    return f"{days}-{h:02d}:{m:02d}:{s:02d}"
