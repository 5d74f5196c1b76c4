"""What SLURM says of jobs, and ending them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from scope_dask.errors import RunError

TIMEOUT_SECONDS = 30.0
ENDING = frozenset(
    {
        "COMPLETING",
        "COMPLETED",
        "CANCELLED",
        "FAILED",
        "TIMEOUT",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "BOOT_FAIL",
        "DEADLINE",
    }
)


@dataclass(frozen=True)
class QueuedJob:
    """A job in the queue: its state, and the reason why it does not run."""

    job_id: str
    state: str
    reason: str


def queued(job_name: str) -> dict[str, QueuedJob]:
    """Return this user's jobs of that name that have not ended, by id.

    Raises
    ------
    RunError
        If SLURM does not answer.
    """
    out = _call(["squeue", "--me", "--noheader", f"--name={job_name}", "--format=%i|%T|%r"])
    jobs = (QueuedJob(*line.strip().split("|", 2)) for line in out.splitlines() if line.count("|") >= 2)
    return {job.job_id: job for job in jobs if job.state not in ENDING}


def cancel(job_ids: Iterable[str]) -> None:
    """Cancel jobs; those that have ended already do not matter.

    Raises
    ------
    RunError
        If SLURM does not answer.
    """
    ids = list(job_ids)
    if ids:
        _call(["scancel", "--quiet", *ids])


def _call(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True)
    except FileNotFoundError:
        raise RunError(f"there is no {command[0]} on this machine: SLURM's commands must be on the PATH") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{command[0]} did not answer within {TIMEOUT_SECONDS:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise RunError(f"{command[0]}: {first_line(error.stderr) or f'exit code {error.returncode}'}") from None
    return done.stdout


def first_line(text: str) -> str:
    """Return the first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
