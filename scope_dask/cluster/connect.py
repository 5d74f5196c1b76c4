"""Clients of clusters that are named, described by a profile, or given by an address."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from distributed import Client

from scope_dask.cluster.folder import ClusterFolder, running_cluster
from scope_dask.cluster.keys import key_paths
from scope_dask.cluster.launch import launch, stop
from scope_dask.cluster.profile import find_profile, load_profile
from scope_dask.errors import RunError, SourceError, UsageError

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0


@contextlib.contextmanager
def client_of(cluster: str) -> Iterator[Client]:
    """Yield a client of a cluster for the time of the block.

    Parameters
    ----------
    cluster : str
        The name of a launched cluster; a profile, of which a cluster is launched and stopped again; or an address such
        as ``tcp://127.0.0.1:8786``.

    Raises
    ------
    UsageError
        If there is none.
    RunError
        If it does not answer.
    """
    if "://" in cluster:
        with _connected(cluster) as client, _told(f"scheduler {cluster}", partial(_without_workers, client)):
            yield client
        return
    with (
        _folder_of(cluster) as folder,
        client_of_folder(folder) as client,
        _told(f"cluster {folder.name}", partial(_waiting, folder)),
    ):
        yield client


@contextlib.contextmanager
def client_of_folder(folder: ClusterFolder) -> Iterator[Client]:
    """Yield a client of a cluster that runs."""
    state = folder.state
    if state is None:
        raise RunError(f"the cluster {folder.name!r} has stopped")
    keys = folder.path / "tls"
    with _connected(state.address, security=key_paths(keys) if keys.is_dir() else None) as client:
        yield client


@contextlib.contextmanager
def _connected(address: str, **options: object) -> Iterator[Client]:
    try:
        client = Client(address, **options)
    except (OSError, ValueError) as error:
        raise RunError(f"the scheduler at {address} does not answer: {error}") from None
    log = logging.getLogger("distributed.client")
    level = log.level
    log.setLevel(logging.CRITICAL)  # that a scheduler is gone is told in a sentence
    try:
        with client:
            yield client
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _folder_of(cluster: str) -> Iterator[ClusterFolder]:
    """Yield the cluster of a name, or one launched from a profile for the time of the block."""
    if Path(cluster).name == cluster:
        folder = ClusterFolder(cluster)
        if folder.alive:
            yield folder
            return
        try:
            find_profile(cluster)
        except SourceError as error:
            try:
                running_cluster(cluster)
            except UsageError as missing:
                raise UsageError(f"{missing}; and {error}") from None
    name = f"{Path(cluster).stem}-{os.getpid()}"
    folder = launch(load_profile(cluster), name)
    try:
        yield folder
    finally:
        with contextlib.suppress(UsageError):  # it has stopped by itself
            stop(name)
    shutil.rmtree(folder.path, ignore_errors=True)  # not after an error: its logs may tell why


@contextlib.contextmanager
def _told(name: str, waiting: Callable[[], str]) -> Iterator[None]:
    """Log what is waited for, as it changes."""
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(name, waiting, ended), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join(LOOK_SECONDS)


def _watch(name: str, waiting: Callable[[], str], ended: threading.Event) -> None:
    said = before = ""
    while not ended.wait(LOOK_SECONDS):
        now = waiting()
        if now and now == before and now != said:  # for two looks: not what passes by itself
            logger.info("%s: %s", name, now)
            said = now
        before = now


def _waiting(folder: ClusterFolder) -> str:
    """Return what a launched cluster waits for."""
    state = folder.state if folder.alive else None
    return "the scheduler has ended" if state is None else state.waiting.partition("; next try")[0]


def _without_workers(client: Client) -> str:
    """Return that a scheduler has no workers, where it has none."""
    try:
        there = client.status != "running" or client.nthreads()
    except (OSError, ValueError):  # the run tells that the scheduler is gone
        return ""
    return "" if there else "no workers are connected"
