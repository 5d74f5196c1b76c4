"""Partitions computed in bounded windows on real worker processes."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import pytest
from clusters import two_workers
from distributed import Client
from distributed.scheduler import KilledWorker

from scope_dask.errors import RunError
from scope_dask.windows import outcomes, report


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_workers() as client:
        yield client


def work(number: int, topic: str, failing: tuple[int, ...] = (), killing: tuple[int, ...] = ()) -> None:
    if number in failing:
        raise ValueError(f"no {number}")
    if number in killing:
        os._exit(1)
    report(topic, number, {"square": number**2})


def slow_work(number: int, topic: str, log: str, killing: int) -> None:
    (Path(log) / f"{number}.{uuid.uuid4().hex}").touch()
    time.sleep(0.3)
    if number == killing:
        os._exit(1)
    report(topic, number, number)


def lazy(count: int, topic: str, **troubles: Any) -> Any:
    return dd.from_map(work, range(count), topic=topic, meta=(None, object), label="write", **troubles)


def released(client: Client) -> bool:
    """Tell whether nothing of what was computed is held, soon (a worker may still be importing)."""
    for _ in range(600):
        if not client.futures and not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize("in_flight", [1, 3, 100])
def test_every_partition_once(client: Client, in_flight: int) -> None:
    topic = f"once-{in_flight}"
    got = list(outcomes(lazy(17, topic), range(17), client, in_flight, topic))
    assert sorted((p, r["square"]) for p, r in got) == [(p, p**2) for p in range(17)]
    assert released(client)


def test_only_the_partitions_asked_for(client: Client) -> None:
    wanted = [3, 4, 11, 16]
    got = dict(outcomes(lazy(17, "some"), wanted, client, 8, "some"))
    assert got == {p: {"square": p**2} for p in wanted}
    assert dict(outcomes(lazy(17, "none"), [], client, 8, "none")) == {}


def test_no_more_than_the_window_is_submitted(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    persist, submitted, received, held = client.persist, [], [], []

    def counted(collection: Any, **options: Any) -> Any:
        submitted.append(collection.npartitions)
        held.append(sum(submitted) - len(received))
        return persist(collection, **options)

    monkeypatch.setattr(client, "persist", counted)
    for outcome in outcomes(lazy(40, "window"), range(40), client, 8, "window"):
        received.append(outcome)
    assert len(received) == sum(submitted) == 40
    assert max(held) == 8
    assert len(submitted) == 20  # refilled a quarter at a time


def test_a_task_is_named_after_its_steps(client: Client) -> None:
    table = lazy(3, "names")
    for step in ("features", "to_scores", "write", "write"):
        table = table.map_partitions(lambda result: result, meta=table._meta, token=step)
    list(outcomes(table, range(3), client, 3, "names"))
    seen = client.run_on_scheduler(lambda dask_scheduler: set(dask_scheduler.task_prefixes))
    assert "write+features+to_scores" in seen
    assert not [name for name in seen if "fused" in name]


def test_a_partition_that_fails_fails_alone(client: Client) -> None:
    got = dict(outcomes(lazy(12, "fail", failing=(0, 7)), range(12), client, 6, "fail"))
    assert sorted(got) == list(range(12))
    assert {p: str(r) for p, r in got.items() if not isinstance(r, dict)} == {0: "no 0", 7: "no 7"}
    assert all(isinstance(got[p], ValueError) for p in (0, 7))


def test_who_stops_early_leaves_nothing_behind(client: Client) -> None:
    running = outcomes(lazy(30, "early"), range(30), client, 4, "early")
    assert len([next(running) for _ in range(5)]) == 5
    running.close()  # type: ignore[attr-defined]
    assert released(client)


def test_a_partition_that_kills_its_worker_is_found_alone(client: Client) -> None:
    got = list(outcomes(lazy(12, "kill", killing=(5,), failing=(2,)), range(12), client, 12, "kill"))
    assert sorted(p for p, _ in got) == list(range(12))
    results = dict(got)
    assert isinstance(results[5], KilledWorker)
    assert isinstance(results[2], ValueError)
    others = [p for p in range(12) if p not in (2, 5)]
    assert {p: results[p] for p in others} == {p: {"square": p**2} for p in others}
    assert released(client)


def test_what_a_worker_had_finished_before_it_died_is_not_computed_again(client: Client, tmp_path: Path) -> None:
    table = dd.from_map(
        slow_work, range(16), topic="held", log=str(tmp_path), killing=3, meta=(None, object), label="write"
    )
    got = dict(outcomes(table, range(16), client, 100, "held"))
    assert isinstance(got.pop(3), KilledWorker)
    assert got == {p: p for p in range(16) if p != 3}
    calls = [int(call.name.split(".")[0]) for call in tmp_path.iterdir()]
    assert set(calls) == set(range(16))
    assert len(calls) - 16 <= 3, "the partition twice, and what ran beside it"


def test_a_connection_that_breaks_costs_what_was_under_way(client: Client, tmp_path: Path) -> None:
    table = dd.from_map(
        slow_work, range(20), topic="broken", log=str(tmp_path), killing=-1, meta=(None, object), label="write"
    )
    with Client(client.scheduler.address) as own:
        running = outcomes(table, range(20), own, 8, "broken")
        got = []
        for count in (3, 4):
            got += [next(running) for _ in range(count)]
            own.loop.add_callback(own.scheduler_comm.comm.abort)
        got += running
        assert sorted(got) == [(p, p) for p in range(20)]
        assert released(own)
    assert len(list(tmp_path.iterdir())) - 20 <= 2 * 8, "what was under way, twice"


def test_a_scheduler_that_is_gone_ends_it() -> None:
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as client:
        running = outcomes(lazy(4, "gone"), range(4), client, 1, "gone")
        next(running)
        client.close()
        with pytest.raises(RunError, match="the scheduler is gone: what was finished is kept"):
            list(running)
