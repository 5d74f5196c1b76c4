"""Computing the partitions of a lazy table in bounded windows, so that graph and memory stay flat at any count.

Tasks hand their small results over as events (`report`), not as task results: an event is with the client before the
task counts as finished, so a worker that dies afterwards takes nothing with it and nothing has to be gathered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from distributed import Client, as_completed, futures_of, get_worker
from distributed.scheduler import KilledWorker

BATCH_FRACTION = 4  # a window is refilled a quarter at a time


def report(topic: str, partition: int, result: Any) -> None:
    """Hand the result of a partition (lists, dicts, numbers, text) to whoever runs `outcomes`; called inside a task."""
    get_worker().log_event(topic, {"partition": partition, "result": result})


def outcomes(
    table: Any, partitions: Sequence[int], client: Client, in_flight: int, topic: str
) -> Iterator[tuple[int, Any]]:
    """Yield (partition, result or exception) as the partitions finish.

    A partition that kills its worker takes its neighbours' good name with it, so all partitions that were on workers
    that died are tried again one at a time at the end; what kills a worker alone is yielded with its `KilledWorker`.

    Parameters
    ----------
    table : dask collection with ``.partitions``
        Its tasks call `report` with this `topic`.
    partitions : sequence of int
        The partitions to compute.
    client : distributed.Client
    in_flight : int
        Upper bound of the partitions submitted and not yet finished.
    topic : str
        Unique to this call.
    """
    results: dict[int, Any] = {}

    def receive(event: tuple[float, dict[str, Any]]) -> None:
        results[event[1]["partition"]] = event[1]["result"]

    client.subscribe_topic(topic, receive)
    try:
        suspects: list[int] = []
        for partition, error in _windows(table, partitions, client, in_flight):
            outcome = _handed_over(results, partition, error)
            if isinstance(outcome, KilledWorker):
                suspects.append(partition)
            else:
                yield partition, outcome
        for alone in sorted(suspects):
            for partition, error in _windows(table.map_partitions(_again, meta=table._meta), [alone], client, 1):
                yield partition, _handed_over(results, partition, error)
    finally:
        client.unsubscribe_topic(topic)


def _handed_over(results: dict[int, Any], partition: int, error: Exception | None) -> Any:
    """Return the result of a partition, whatever became of its worker and its task afterwards; else the error."""
    return results.pop(partition) if error is None or partition in results else error


def _again(result: Any) -> Any:
    """Give the task of a second try a key of its own: the client may still be forgetting the first."""
    return result


def _windows(table: Any, partitions: Sequence[int], client: Client, in_flight: int) -> Iterator[tuple[int, Any]]:
    """Yield (partition, exception or None) as the tasks end."""
    batch = max(1, in_flight // BATCH_FRACTION)
    waiting = deque(list(partitions[i : i + batch]) for i in range(0, len(partitions), batch))
    running: dict[Any, int] = {}
    done = as_completed()
    try:
        while waiting or running:
            while waiting and len(running) + len(waiting[0]) <= in_flight:
                chunk = waiting.popleft()
                table_chunk = table.partitions[chunk].optimize()  # fused: one task a partition
                futures = sorted(futures_of(client.persist(table_chunk)), key=lambda future: int(future.key[1]))
                running.update({f.key: p for f, p in zip(futures, chunk, strict=True)})
                done.update(futures)
                del futures, table_chunk
            for future in done.next_batch(block=True):
                error = future.exception() if future.status == "error" else None
                if future.status not in ("finished", "error"):
                    error = RuntimeError(f"the task was {future.status}")
                yield running.pop(future.key), error
    finally:
        done.clear()
