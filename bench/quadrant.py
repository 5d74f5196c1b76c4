"""Memory, queries and time of `generate-features` for a quadrant of a test Kowalski: 5,000 and 50,000 light curves.

    python bench/quadrant.py [--light-curves 5000 50000] [--points 150] [--workers 2] [--queries 4]

The command as users call it, in processes of its own, with light curves, bright stars, alerts and three catalogues over
HTTP; periods are 1 d (neither --doCPU nor --doGPU), as a period search takes no memory that depends on the number of
light curves. Peaks are the kernel's (VmHWM) of each process; the number of queries at a time is the server's own count.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from workload import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kowalski_quadrant import PLACE, peaks, running
from kowalski_sky import write_config

TIMEOUT = 900.0


def row(light_curves: int, points: int, workers: int, queries: int) -> str:
    """Return a row of the table."""
    words = [word for name, number in PLACE.items() for word in (f"--{name}", str(number))]
    words += ["--Ncore", str(queries), "--n-workers", str(workers), "--verbose", "0"]
    command = [sys.executable, "-m", "scope_dask.commands.generate_features", *words]
    with tempfile.TemporaryDirectory() as folder, running(light_curves, points=points) as server:
        write_config(Path(folder), server)
        start = time.perf_counter()
        own, *others = peaks(command, Path(folder), TIMEOUT)
        seconds = time.perf_counter() - start
        (file,) = Path(folder).rglob("field_*/*.parquet")
        rows = pq.read_metadata(file).num_rows
        return (
            f"| {light_curves:,} | {rows:,} | {own >> 20} | {max(others) >> 20} | {server.peak} of {queries} | "
            f"{server.count():,} | {server.most_documents} | {seconds:.0f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--light-curves", type=int, nargs="+", default=[5000, 50_000])
    parser.add_argument("--points", type=int, default=150)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--queries", type=int, default=4)
    options = parser.parse_args()
    print(f"{machine()}\n")
    print("| light curves | rows | client MiB | worker MiB | queries at a time | queries | most a query | s |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    for number in options.light_curves:
        print(row(number, options.points, options.workers, options.queries), flush=True)


if __name__ == "__main__":
    main()
