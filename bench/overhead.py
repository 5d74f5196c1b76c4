"""Client and scheduler CPU and memory per partition, of many tiny partitions written to disk.

    python bench/overhead.py 2000 10000

A scheduler, two single-thread workers and the client are processes of their own; a partition is one simulated light
curve, conditioned and written, so that what is measured is the cost of running partitions, not of computing them. The
configuration is that of a local cluster (`scope_dask.diagnostics.LOCAL_CONFIG`), without dashboard.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dask
import dask.dataframe as dd
import psutil
from distributed import Client

from scope_dask import SimulationOptions, lightcurves, simulate_sources
from scope_dask.diagnostics import LOCAL_CONFIG
from scope_dask.writing import WriteOptions, write_tables


def tables(count: int) -> dict[str, dd.DataFrame]:
    """Return `count` partitions of one simulated light curve each, conditioned."""
    sources = simulate_sources(SimulationOptions(n_light_curves=count, light_curves_per_partition=1))
    return {"lightcurves": lightcurves(sources)}


@contextmanager
def cluster() -> Iterator[tuple[str, psutil.Process]]:
    """Yield the address and the process of a scheduler with two workers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with dask.config.set(LOCAL_CONFIG):
        inherited = {**os.environ, "DASK_INTERNAL_INHERIT_CONFIG": dask.config.serialize(dask.config.config)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": inherited}
    dask_command = [sys.executable, "-m", "dask"]
    port = address.rsplit(":", 1)[1]
    commands = [
        [*dask_command, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"],
        [*dask_command, "worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"],
    ]
    processes = [subprocess.Popen(command, **quiet) for command in commands]
    try:
        yield address, psutil.Process(processes[0].pid)
    finally:
        for process in processes:
            process.terminate()
            process.wait()


def cpu(process: psutil.Process) -> float:
    """Return the CPU seconds of a process."""
    times = process.cpu_times()
    return times.user + times.system


def measure(count: int) -> str:
    """Write `count` partitions; return a row of the table."""
    with cluster() as (address, scheduler), tempfile.TemporaryDirectory() as folder, Client(address) as client:
        client.wait_for_workers(2)
        processes = [psutil.Process(), scheduler]
        write_tables(tables(10), Path(folder) / "first", client, WriteOptions())
        before, start = [cpu(p) for p in processes], time.perf_counter()
        write_tables(tables(count), Path(folder) / "run", client, WriteOptions())
        wall = time.perf_counter() - start
        spent = [1e3 * (cpu(p) - b) / count for p, b in zip(processes, before, strict=True)]
        memory = [p.memory_info().rss / 2**20 for p in processes]
    return (
        f"{count:>10,} {spent[0]:>10.2f} {spent[1]:>10.2f} {sum(spent):>10.2f} {1e3 * wall / count:>10.2f}"
        f" {memory[0]:>10.0f} {memory[1]:>10.0f}"
    )


def main() -> None:
    heads = ["client ms", "sched. ms", "both ms", "wall ms", "client MiB", "sched. MiB"]
    print(f"{'partitions':>10} " + " ".join(f"{h:>10}" for h in heads))
    for count in [int(a) for a in sys.argv[1:]] or [2000, 10000]:
        print(measure(count), flush=True)


if __name__ == "__main__":
    main()
