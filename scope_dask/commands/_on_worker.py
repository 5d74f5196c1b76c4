"""A command that runs as a whole on one worker of a cluster, in the same folder, its output here."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from scope_dask.errors import RunError

if TYPE_CHECKING:
    from distributed import Client, Worker

POLL_SECONDS = 0.2
EXIT_SECONDS = 10.0
STREAMS = ("stdout", "stderr")


def run_on_worker(name: str, words: Sequence[str], cluster: str) -> int:
    """Run a command on one worker of a cluster and return its exit code; what it prints is printed here.

    It needs no more of the cluster than a worker that sees the working folder. Interrupted, it is ended there too.

    Parameters
    ----------
    name : str
        Of the command; that of its module but for the dashes.
    words : sequence of str
        Its command line.
    cluster : str
        As of `scope_dask.cluster.connect.client_of`.

    Raises
    ------
    UsageError
        If there is no such cluster.
    RunError
        If its scheduler or the worker ends, or the worker does not see the working folder.
    """
    from scope_dask.cluster.connect import client_of

    key = f"{name}-{uuid.uuid4().hex}"
    module = f"scope_dask.commands.{name.replace('-', '_')}"
    with client_of(cluster) as client, _printed(client, key):
        return _result(client, key, [module, *words, "--cluster="])


@contextlib.contextmanager
def _printed(client: Client, topic: str) -> Iterator[None]:
    """Print the lines that come as events."""

    def show(event: tuple[float, dict[str, str]]) -> None:
        stream = getattr(sys, event[1]["stream"])
        stream.write(event[1]["line"])
        stream.flush()

    client.subscribe_topic(topic, show)
    try:
        yield
    finally:
        if client.status != "closed":
            client.unsubscribe_topic(topic)


def _result(client: Client, key: str, words: list[str]) -> int:
    from distributed import wait
    from distributed.scheduler import KilledWorker

    future = client.submit(call, words, os.getcwd(), key, key=key)
    try:
        while not future.done():
            if client.status != "running":
                raise RunError("the scheduler is gone, and with it what the command was doing")
            with contextlib.suppress(TimeoutError):
                wait(future, timeout=POLL_SECONDS)
        return int(future.result())
    except KilledWorker:
        raise RunError("the worker that ran the command ended: its job may need more memory or time") from None
    finally:
        future.cancel()


def call(words: list[str], folder: str, key: str) -> int:
    """Run a module in a process of its own inside a task, hand over what it prints, and return its exit code."""
    from distributed import get_worker

    worker = get_worker()
    if not os.path.isdir(folder):
        raise RunError(f"{socket.gethostname()} has no folder {folder}: workers must see the working folder")
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=os.environ | {"OMP_NUM_THREADS": str(worker.state.nthreads)},
    )
    readers = [threading.Thread(target=_hand_over, args=(process, name, worker, key)) for name in STREAMS]
    for reader in readers:
        reader.start()
    try:
        while process.poll() is None and _wanted(worker, key):
            time.sleep(POLL_SECONDS)
    finally:
        _end(process)
    for reader in readers:
        reader.join()
    return process.returncode if process.returncode >= 0 else 1


def _hand_over(process: subprocess.Popen[str], name: str, worker: Worker, topic: str) -> None:
    stream: IO[str] = getattr(process, name)
    with stream:
        for line in stream:
            worker.log_event(topic, {"stream": name, "line": line})


def _wanted(worker: Any, key: str) -> bool:
    """Tell whether a task is still to be computed here: who asked for it may have gone, the worker may be ending."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state == "executing" and worker.status.name in ("running", "paused")


def _end(process: subprocess.Popen[str]) -> None:
    """End a process: asked first, then killed."""
    process.terminate()
    try:
        process.wait(EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
