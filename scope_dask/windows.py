"""Computing the partitions of a lazy table in bounded windows, so that graph and memory stay flat at any count.

Tasks hand their small results over as events (`report`), not as task results: an event is with the client before the
task counts as finished, so a worker that dies afterwards takes nothing with it and nothing has to be gathered.
"""

from __future__ import annotations

import logging
import queue
import time
from asyncio import CancelledError
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from itertools import chain
from typing import Any

from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._expr import Expr, Fused, Partitions
from distributed import Client, Future, futures_of, get_worker
from distributed.scheduler import KilledWorker, Scheduler

from scope_dask.errors import RunError

BATCH_FRACTION = 4  # a window is refilled a quarter at a time
RELEASED_TOGETHER = 50  # futures of partitions that reported
HELD_SECONDS = 0.1  # longest that one is kept whose task has ended: what a worker holds that dies is computed again
ENDING_SECONDS = 0.5  # in which a task ends that has reported; later it never will, its worker is gone
POLL_SECONDS = 0.5  # between two looks for tasks that failed: they report nothing
RECONNECT_SECONDS = 5.0  # in which a client that lost its connection may have it again
MOST_LOSSES = 3  # of the connection, in a row and without a partition between them
SEND_SECONDS = 0.05  # between two messages of the scheduler to the client; Dask's 0.002 cost a quarter of all CPU time

logger = logging.getLogger(__name__)


def report(topic: str, partition: int, result: Any) -> None:
    """Hand the result of a partition (lists, dicts, numbers, text) to whoever runs `outcomes`; called inside a task."""
    get_worker().log_event(topic, {"partition": partition, "result": result})


def outcomes(
    table: Any, partitions: Sequence[int], client: Client, in_flight: int, topic: str
) -> Generator[tuple[int, Any], None, None]:
    """Yield (partition, result or exception) as the partitions finish.

    A partition that kills its worker takes its neighbours' good name with it, so all partitions that were on workers
    that died are tried again one at a time at the end; what kills a worker alone is yielded with its `KilledWorker`.
    A client that loses its connection and has it again computes what was under way once more.

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

    Raises
    ------
    RunError
        If the scheduler is gone.
    """
    if not partitions:
        return
    _check_connected(client)
    try:
        suspects: list[int] = []
        for partition, outcome in _connected(table, partitions, client, in_flight, topic):
            if isinstance(outcome, KilledWorker):
                suspects.append(partition)
            else:
                yield partition, outcome
        for alone in sorted(suspects):
            yield from _connected(_anew(table, "alone"), [alone], client, 1, topic)
    finally:
        if client.status != "closed":
            client.unsubscribe_topic(topic)


def _connected(
    table: Any, partitions: Sequence[int], client: Client, in_flight: int, topic: str
) -> Iterator[tuple[int, Any]]:
    """Yield (partition, result or exception); what is cancelled with a lost connection is computed again."""
    inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    fresh, losses, in_a_row = table, 0, 0
    while partitions and in_a_row < MOST_LOSSES:
        _check_connected(client)
        client.subscribe_topic(topic, lambda event: inbox.put(event[1]))
        client.run_on_scheduler(_send_less_often, client=client.id)
        lost = []
        for partition, outcome in _windows(fresh, partitions, client, in_flight, inbox):
            if isinstance(outcome, CancelledError):
                lost.append(partition)
            else:
                yield partition, outcome
        if lost:
            logger.warning("lost the scheduler for a moment: %d partitions that wait are submitted again", len(lost))
        losses, in_a_row = losses + 1, in_a_row + 1 if len(lost) == len(partitions) else 0
        fresh, partitions = _anew(table, f"loss {losses}"), sorted(lost)
    yield from ((partition, RuntimeError("the task was cancelled again and again")) for partition in partitions)


def _anew(table: Any, why: str) -> Any:
    """Return the table with tasks of other keys: the client may still be forgetting those that it had."""
    return table.map_partitions(_same, why, meta=table._meta)


def _same(result: Any, why: str) -> Any:
    return result


def _send_less_often(dask_scheduler: Scheduler, client: str) -> None:
    dask_scheduler.client_comms[client].interval = SEND_SECONDS


def _windows(
    table: Any, partitions: Sequence[int], client: Client, in_flight: int, inbox: queue.SimpleQueue[dict[str, Any]]
) -> Iterator[tuple[int, Any]]:
    batch = max(1, in_flight // BATCH_FRACTION)
    waiting = deque(list(partitions[i : i + batch]) for i in range(0, len(partitions), batch))
    running: dict[int, Future] = {}
    reported: list[tuple[float, Future]] = []
    looked = released = time.monotonic()
    while waiting or running:
        _check_connected(client)
        while waiting and len(running) + len(waiting[0]) <= in_flight:
            chunk = waiting.popleft()
            running.update(zip(chunk, _submit(table, chunk, client), strict=True))
        try:
            message = inbox.get(timeout=HELD_SECONDS if reported else POLL_SECONDS)
        except queue.Empty:
            pass
        else:
            partition = message["partition"]
            if partition in running:  # else computed twice: its worker died afterwards
                # No variable keeps the future: it would be computed again if its worker died.
                reported.append((time.monotonic(), running.pop(partition)))
                yield partition, message["result"]
        now = time.monotonic()
        if len(reported) >= RELEASED_TOGETHER or now - released > HELD_SECONDS:
            # Released before its task has ended, a future would have the scheduler cancel the task.
            reported = [(t, f) for t, f in reported if f.status == "pending" and now - t < ENDING_SECONDS]
            released = now
        if now - looked > POLL_SECONDS:
            if inbox.empty() and any(future.cancelled() for future in running.values()):
                yield from ((partition, CancelledError()) for partition in [*running, *chain(*waiting)])
                return
            yield from _failures(running, inbox, client)
            looked = now


def _submit(table: Any, chunk: list[int], client: Client) -> list[Future]:
    """Start computing some partitions and return their futures, in order."""
    # Not by table.partitions, which looks through the numbers of all partitions: a tenth of a second for a million.
    chosen = new_collection(Partitions(table.expr, chunk)).optimize()  # fused: one task a partition
    futures = futures_of(client.persist(_named(chosen)))
    return sorted(futures, key=lambda future: int(future.key[1]))


class _Steps(Fused):
    """Steps fused to one task, which is named after those of them that have a name.

    Dask itself names a task of more than four steps after the first and the last.
    """

    def __str__(self) -> str:
        steps = sorted(self.exprs, key=Expr._depth)
        names = [step.operand(key) for step in steps for key in ("label", "token") if key in step._parameters]
        # One word: of several the dashboard takes "features" for a hexadecimal number and leaves out the rest.
        return "+".join(dict.fromkeys(filter(None, names))) or super().__str__()


def _named(table: Any) -> Any:
    return new_collection(_Steps(*table.expr.operands)) if type(table.expr) is Fused else table


def _check_connected(client: Client) -> None:
    end = time.monotonic() + RECONNECT_SECONDS
    while client.status == "connecting" and time.monotonic() < end:
        time.sleep(0.05)
    if client.status != "running":
        raise RunError(
            "the scheduler is gone: what was finished is kept, and the same command goes on from there when there is a "
            "scheduler again"
        )


def _failures(
    running: dict[int, Future], inbox: queue.SimpleQueue[dict[str, Any]], client: Client
) -> Iterator[tuple[int, Any]]:
    """Yield (and forget) the tasks that ended without a report."""
    ended = {p: future.status for p, future in running.items() if future.status not in ("pending", "cancelled")}
    _check_connected(client)  # a client that lost its scheduler says so, then calls all its tasks cancelled
    if not inbox.empty():
        return  # some of these reported in the meantime; the next look tells
    for partition, status in ended.items():
        future = running.pop(partition)
        yield partition, future.exception() if status == "error" else RuntimeError(f"the task was {status}")
