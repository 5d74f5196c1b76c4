"""Client and scheduler CPU and memory per partition, of many tiny partitions written to disk.

    python bench/overhead.py 2000 10000
    python bench/overhead.py --empty --every 100000 1000000

A scheduler, single-thread workers and the client are processes of their own; a partition is one simulated light curve,
conditioned and written, so that what is measured is the cost of running partitions, not of computing them. With
`--empty` it is one row that is written, made by a function of a module: one of this script would travel with each task.
The configuration is that of a local cluster (`scope_dask.diagnostics.LOCAL_CONFIG`), without dashboard. With `--every`
a long run has several rows, each of what was spent since the row before. The last row is a resume of the finished run:
nothing is left to do but to read its records.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import psutil
from distributed import Client
from workload import one_row

from scope_dask import SimulationOptions, lightcurves, simulate_sources
from scope_dask.diagnostics import LOCAL_CONFIG
from scope_dask.writing import WriteOptions, write_tables


def simulated(count: int) -> dict[str, dd.DataFrame]:
    """Return `count` partitions of one simulated light curve each, conditioned."""
    sources = simulate_sources(SimulationOptions(n_light_curves=count, light_curves_per_partition=1))
    return {"lightcurves": lightcurves(sources)}


def empty(count: int) -> dict[str, dd.DataFrame]:
    """Return `count` partitions that cost nothing to compute."""
    return {"rows": dd.from_map(one_row, range(count), meta=one_row(0).iloc[:0])}


@contextmanager
def cluster(workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """Yield the address and the process of a scheduler with single-thread workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with dask.config.set(LOCAL_CONFIG):
        config = dask.config.serialize(dask.config.config)
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    inherited = {**os.environ, "DASK_INTERNAL_INHERIT_CONFIG": config, "PYTHONPATH": path}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": inherited}
    dask_command = [sys.executable, "-m", "dask"]
    port = address.rsplit(":", 1)[1]
    commands = [
        [*dask_command, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"],
        [*dask_command, "worker", address, "--nworkers", str(workers), "--nthreads", "1", "--no-dashboard"],
    ]
    processes = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        yield address, psutil.Process(processes[0].pid)
    finally:
        for process in processes:
            process.terminate()
            process.wait()


class Meter:
    """Prints what client and scheduler spent since the row before."""

    def __init__(self, scheduler: psutil.Process) -> None:
        self.processes = (psutil.Process(), scheduler)
        self.done = 0
        self._done, self._cpu, self._wall = 0, self._spent(), time.perf_counter()

    def _spent(self) -> list[float]:
        times = [process.cpu_times() for process in self.processes]
        return [t.user + t.system for t in times]

    def row(self, name: str = "") -> None:
        """Print a row."""
        count, now, wall = self.done - self._done, self._spent(), time.perf_counter()
        spent = [1e3 * (after - before) / count for before, after in zip(self._cpu, now, strict=True)]
        memory = [process.memory_info().rss / 2**20 for process in self.processes]
        numbers = [*spent, sum(spent), 1e3 * (wall - self._wall) / count]
        print(
            f"{name or format(self.done, ','):>10} {' '.join(f'{n:>10.3f}' for n in numbers)}"
            f" {memory[0]:>10.0f} {memory[1]:>10.0f}",
            flush=True,
        )
        self._done, self._cpu, self._wall = self.done, now, wall


def measure(count: int, tables: Callable[[int], dict[str, dd.DataFrame]], every: int, workers: int) -> None:
    """Write `count` partitions, and resume; print a row for each `every` partitions."""
    with cluster(workers) as (address, scheduler), tempfile.TemporaryDirectory() as folder, Client(address) as client:
        client.wait_for_workers(workers)
        write_tables(tables(10), Path(folder) / "first", client, WriteOptions())
        meter = Meter(scheduler)

        def watch(_: object) -> None:
            meter.done += 1
            if meter.done % every == 0 or meter.done == count:
                meter.row()

        summary = write_tables(tables(count), Path(folder) / "run", client, WriteOptions(watch=watch))
        if summary.failed:
            raise RuntimeError(summary)
        meter.done += count
        write_tables(tables(count), Path(folder) / "run", client, WriteOptions(resume=True))
        meter.row("resumed")


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU and memory of client and scheduler, per partition.")
    parser.add_argument("counts", nargs="*", type=int, default=[2000, 10000], metavar="PARTITIONS")
    parser.add_argument("--empty", action="store_true")
    parser.add_argument("--every", type=int, default=10**9, metavar="PARTITIONS")
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    heads = ["client ms", "sched. ms", "both ms", "wall ms", "client MiB", "sched. MiB"]
    print(f"{'partitions':>10} " + " ".join(f"{h:>10}" for h in heads))
    for count in asked.counts:
        measure(count, empty if asked.empty else simulated, asked.every, asked.workers)


if __name__ == "__main__":
    main()
