"""Waiting for several answers at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield ``function(item)`` in the order of the items, computed in threads.

    The first error ends it: what has not begun does not begin. An interrupted command does not wait for the threads.

    Examples
    --------
    >>> list(side_by_side(abs, [-1, 2, -3], 2))
    [1, 2, 3]
    """
    from distributed.threadpoolexecutor import ThreadPoolExecutor  # its threads do not keep a process from ending

    executor = ThreadPoolExecutor(threads)
    futures = [executor.submit(function, item) for item in items]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()
        executor.shutdown(wait=False)
