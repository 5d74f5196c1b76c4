"""What SLURM says of jobs, submitting and ending them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
    """A job in the queue: its state, the reason why it does not run, its name, its script and the script's words."""

    job_id: str
    state: str
    reason: str
    name: str = ""
    command: str = ""


def queued(job_name: str | None = None, user: str | None = None) -> dict[str, QueuedJob]:
    """Return the jobs that have not ended, by id.

    Parameters
    ----------
    job_name : str, optional
        Only those of this name.
    user : str, optional
        Whose jobs; by default the caller's.

    Raises
    ------
    RunError
        If SLURM does not answer.
    """
    which = ["--me" if user is None else f"--user={user}", *([f"--name={job_name}"] if job_name else [])]
    out = _call(["squeue", *which, "--noheader", "--format=%i|%T|%r|%j|%o"])
    jobs = (QueuedJob(*line.strip().split("|", 4)) for line in out.splitlines() if line.count("|") >= 4)
    return {job.job_id: job for job in jobs if job.state not in ENDING}


def submit_script(
    script: Path, options: Sequence[str] = (), words: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> str:
    """Submit a script as a job and return its id.

    Parameters
    ----------
    script : Path
    options : sequence of str
        Of ``sbatch``; they come before those in the script.
    words : sequence of str
        What the script is called with.
    variables : mapping of str to str, optional
        Added to the environment, which the job has as well.

    Raises
    ------
    RunError
        If SLURM refuses it, with its reason.
    """
    # What tells of the job that this process runs in is not of the new one.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_") or k == "SLURM_CONF"}
    command = ["sbatch", "--parsable", *options, str(script), *words]
    try:
        done = _run(command, env={**kept, **(variables or {})})
    except subprocess.CalledProcessError as error:
        raise refusal(error.stderr) from None
    return done.strip().partition(";")[0]


def refusal(said: str) -> RunError:
    """Return the error for what ``sbatch`` says when it refuses a job."""
    lines = [line for line in said.splitlines() if "Batch job submission failed" in line] or [said]
    return RunError(f"sbatch refused the job: {first_line(lines[0]).removeprefix('sbatch: error: ')}")


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
        return _run(command)
    except subprocess.CalledProcessError as error:
        raise RunError(f"{command[0]}: {first_line(error.stderr) or f'exit code {error.returncode}'}") from None


def _run(command: list[str], env: Mapping[str, str] | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True, env=env)
    except FileNotFoundError:
        raise RunError(f"there is no {command[0]} on this machine: SLURM's commands must be on the PATH") from None
    except subprocess.TimeoutExpired:
        raise RunError(f"{command[0]} did not answer within {TIMEOUT_SECONDS:.0f} s") from None
    return done.stdout


def first_line(text: str) -> str:
    """Return the first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
