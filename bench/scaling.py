"""Weak scaling: as many partitions a worker, each of which sleeps, with ever more single-thread workers.

    python bench/scaling.py --seconds 1 --each 20

What is lost is the time to build graphs, to schedule, and to write files and records; sleeping takes no core, so that
more workers than cores tell it too. All workers run from the beginning, and half of them leave after each row.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import dask.dataframe as dd
import pandas as pd
from distributed import Client
from overhead import cluster

from scope_dask.writing import WriteOptions, write_tables


def asleep(partition: int, seconds: float) -> pd.DataFrame:
    """Return a row after some seconds."""
    time.sleep(seconds)
    return pd.DataFrame({"_id": [partition]})


def table(count: int, seconds: float) -> Any:
    """Return `count` partitions that sleep."""
    return dd.from_map(asleep, range(count), seconds=seconds, meta=asleep(0, 0.0).iloc[:0])


def wall(client: Client, count: int, seconds: float) -> float:
    """Return the seconds that it takes to write `count` partitions."""
    with tempfile.TemporaryDirectory() as folder:
        lazy = {"rows": table(count, seconds)}
        start = time.perf_counter()
        summary = write_tables(lazy, Path(folder) / "run", client, WriteOptions())
        taken = time.perf_counter() - start
    if summary.failed:
        raise RuntimeError(summary)
    return taken


def shrink(client: Client, workers: int) -> None:
    """Let workers leave until so many are there."""
    addresses = list(client.scheduler_info(n_workers=-1)["workers"])
    client.retire_workers(addresses[workers:])
    while len(client.scheduler_info(n_workers=-1)["workers"]) > workers:
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Weak scaling with partitions that sleep.")
    parser.add_argument("--most", type=int, default=16, metavar="WORKERS")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a partition")
    parser.add_argument("--each", type=int, default=20, help="partitions of a worker")
    parser.add_argument("--rounds", type=int, default=1)
    asked = parser.parse_args()
    ideal = asked.each * asked.seconds
    print(f"{'workers':>8} {'partitions':>10} {'wall s':>8} {'ideal s':>8} {'efficiency':>10}")
    with cluster(asked.most) as (address, _), Client(address) as client:
        client.wait_for_workers(asked.most)
        wall(client, 4 * asked.most, 0.0)  # imports
        workers = asked.most
        while workers:
            shrink(client, workers)
            count = workers * asked.each
            taken = median(wall(client, count, asked.seconds) for _ in range(asked.rounds))
            print(f"{workers:>8} {count:>10} {taken:>8.2f} {ideal:>8.2f} {ideal / taken:>10.1%}", flush=True)
            workers //= 2


if __name__ == "__main__":
    main()
