"""At most so many queries at a time, in the whole cluster."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

_local: dict[int, threading.BoundedSemaphore] = {}
_of_cluster: weakref.WeakKeyDictionary[Any, dict[int, Any]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


@contextlib.contextmanager
def one_of(most: int) -> Iterator[None]:
    """Hold one of `most` permissions for the time of the block; wait for one first.

    Where there is a Dask client, in its process and in tasks on its workers, the permissions are the cluster's
    (`distributed.Semaphore`: those of a worker that dies are given back after a while); otherwise this process's.
    """
    with _semaphore(most):
        yield


def _semaphore(most: int) -> Any:
    node = _node()
    with _lock:
        if node is None:
            return _local.setdefault(most, threading.BoundedSemaphore(most))
        known = _of_cluster.setdefault(node, {})
        if most not in known:
            from distributed import Semaphore

            known[most] = Semaphore(max_leases=most, name=f"scope_dask-kowalski-{most}")
        return known[most]


def _node() -> Any:
    """Return the worker that runs this task, or the client of this process, or None."""
    from distributed import Client, get_worker

    try:
        return get_worker()
    except ValueError:
        pass
    try:
        client = Client.current()
    except ValueError:
        return None
    return client if client.status == "running" else None
