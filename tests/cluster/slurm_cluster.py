"""A cluster on the one-machine SLURM, and looking at its jobs and workers from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scope_dask.cluster.folder import ClusterFolder, Wanted
from scope_dask.cluster.launch import launch, stop
from scope_dask.cluster.profile import ClusterProfile

PATIENCE = 120.0  # seconds; a worker starts in 5 on a machine at rest


def profile(**changes: Any) -> ClusterProfile:
    """Return a profile of small jobs, looked after every second."""
    plain: dict[str, Any] = {
        "partition": "cpu",
        "memory": "640 MiB",
        "walltime": "1:00:00",  # of no job or cluster that is not ended by a test, however busy the machine
        "interface": "lo",
        "poll": "1 s",
        "death_timeout": "20 s",
        "idle_timeout": "30 minutes",
    }
    return ClusterProfile(**plain | changes)


@contextmanager
def launched(name: str, jobs: int, **changes: Any) -> Iterator[ClusterFolder]:
    """Yield a cluster with so many jobs, and stop it."""
    folder = launch(profile(**changes), name, Wanted(jobs, jobs))
    try:
        yield folder
    finally:
        stop(name)


def slurm(*command: str) -> str:
    """Run a command of SLURM and return what it says."""
    return subprocess.run(command, check=True, text=True, capture_output=True, timeout=30).stdout.strip()


def jobs(name: str) -> set[str]:
    """Return the ids of a cluster's jobs that SLURM knows to wait or run."""
    states = "--states=PENDING,RUNNING"
    return set(slurm("squeue", "--noheader", f"--name=scope-{name}", states, "--format=%i").split())


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until something is true, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.2)
    return found


def workers(folder: ClusterFolder) -> dict[str, int]:
    """Return the number of connected workers by job id."""
    state = folder.state
    return {} if state is None else {job_id: job["workers"] for job_id, job in state.jobs.items()}


def connected(folder: ClusterFolder, count: int, each: int = 1) -> Callable[[], bool]:
    """Tell whether a cluster has so many jobs, each with its workers."""
    return lambda: workers(folder) == dict.fromkeys(jobs(folder.name), each) and len(workers(folder)) == count
