"""Launching clusters that outlive the terminal, and stopping them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

from scope_dask.cluster.folder import FOLDER_VARIABLE, ClusterFolder, State, Wanted, clusters_folder
from scope_dask.cluster.jobs import job_name
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.cluster.queue import cancel, queued
from scope_dask.errors import RunError, UsageError
from scope_dask.formats.atomic import locked

START_SECONDS = 60.0
STOP_SECONDS = 60.0


def launch(profile: ClusterProfile, name: str, wanted: Wanted | None = None) -> ClusterFolder:
    """Start a cluster and return when its scheduler runs (its jobs may still wait in the queue).

    Parameters
    ----------
    profile : ClusterProfile
    name : str
        By which it is found again.
    wanted : Wanted, optional
        Number of jobs; by default the profile's.

    Raises
    ------
    UsageError
        If a cluster of that name runs already, or is being launched.
    RunError
        If the scheduler does not start.
    """
    folder = ClusterFolder(name)
    with _alone(folder):
        _start(folder, profile, wanted or Wanted(profile.jobs, profile.jobs))
    return folder


@contextlib.contextmanager
def _alone(folder: ClusterFolder) -> Iterator[None]:
    """Keep others from launching a cluster of that name for the time of the block."""
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder.path.with_name(f".{folder.name}.lock"), wait=False))
        except BlockingIOError:
            raise UsageError(
                f"a cluster {folder.name!r} is being launched by another process: wait for it, or launch under another "
                "--name"
            ) from None
        except OSError as error:
            raise RunError(
                f"{folder.path.parent} cannot be used ({error.strerror}): set {FOLDER_VARIABLE} to another folder"
            ) from None
        yield


def _start(folder: ClusterFolder, profile: ClusterProfile, wanted: Wanted) -> None:
    """Start the keeper of a cluster, and wait until its scheduler runs."""
    name = folder.name
    if folder.alive:
        raise UsageError(f"a cluster {name!r} is running already: stop it, scale it, or launch under another --name")
    if folder.state is not None:  # its keeper was killed: nothing of it shall stay
        _clear(folder)
    folder.make(profile, wanted)
    with folder.keeper_log.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "scope_dask.cluster.keeper", name],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {FOLDER_VARIABLE: str(clusters_folder())},
        )
    threading.Thread(target=process.wait, daemon=True).start()  # else it stays a zombie of a caller that lives on
    started = _until(lambda: folder.state is not None or process.poll() is not None, START_SECONDS)
    if not started or process.poll() is not None:
        process.kill()
        folder.forget()
        lines = folder.keeper_log.read_text(errors="replace").strip().splitlines()
        raise RunError(f"the scheduler of {name!r} did not start: {lines[-1] if lines else 'it said nothing'}")


def stop(name: str) -> list[str]:
    """Stop a cluster, or clean up after one whose keeper was killed; return the ids of jobs that had to be cancelled.

    Raises
    ------
    UsageError
        If there is no such cluster.
    RunError
        If it does not stop.
    """
    folder = ClusterFolder(name)
    state = folder.state
    if state is None:
        raise UsageError(f"there is no cluster {name!r} to stop")
    if folder.alive:
        folder.want(Wanted(0, 0, stop=True))
        if not _until(lambda: not folder.alive, STOP_SECONDS):
            _end(state)
        return []
    return _clear(folder)


def _end(state: State) -> None:
    if state.host != socket.gethostname():
        raise RunError(f"the scheduler does not stop: end process {state.pid} on {state.host}")
    os.kill(state.pid, signal.SIGKILL)


def _clear(folder: ClusterFolder) -> list[str]:
    """Cancel what is left of a cluster whose keeper was killed, and remove its keys."""
    left = []
    if folder.profile.system == "slurm":
        left = list(queued(job_name(folder.name)))
        cancel(left)
    folder.forget()
    return left


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; return whether it came true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
