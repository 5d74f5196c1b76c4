"""Peak memory of a worker and of the client: many partitions against few, and large partitions against small.

    python bench/memory.py [--partitions 20 200] [--sizes 4 32 128]

The real pipeline on a simulated field with a short grid, two workers of one thread limited to 2 GiB each; every run is
a process of its own, so that its peak is its own. The first rows have partitions of 100 light curves: ten times more of
them must not take more memory. The others have two partitions a worker of the sizes given (MiB of light curves in
memory, as `partition_bytes` of an archive counts them) and a grid of few frequencies, since a grid's size does not
matter: it is never in memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from typing import Any

from workload import machine

from scope_dask.periods.options import PeriodOptions
from scope_dask.pipeline import BYTES_PER_POINT, Pipeline

POINTS = 300
LIMIT = "2 GiB"


def peak() -> int:
    """Return the largest resident memory of this process so far, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(partitions: int, light_curves: int, max_freq: float) -> dict[str, Any]:
    """Run the pipeline; return the peaks."""
    from dask.distributed import Client

    from scope_dask.config import RunOptions
    from scope_dask.diagnostics import local_cluster

    simulate = {
        "n_light_curves": partitions * light_curves,
        "light_curves_per_partition": light_curves,
        "n_points": [POINTS] * 3,
    }
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "out": folder,
            "sources": {"simulate": simulate},
            "lightcurves": {"min_n_lc_points": 10},
            "features": {"periods": {"max_freq": max_freq}},
        }
        limits = RunOptions(n_workers=2, memory_limit=LIMIT, dashboard_address="127.0.0.1:0")
        with local_cluster(limits, PeriodOptions()) as cluster, Client(cluster) as client:
            summary = Pipeline.from_config(options).run(client)
            workers = client.run(peak)
    return {"client": peak(), "workers": list(workers.values()), "failed": len(summary.failed), "rows": summary.rows}


def measure(partitions: int, light_curves: int, max_freq: float) -> None:
    """Run in a process of its own and print a row."""
    arguments = json.dumps([partitions, light_curves, max_freq])
    done = subprocess.run([sys.executable, __file__, "--one", arguments], capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    size = light_curves * POINTS * BYTES_PER_POINT / 2**20
    print(
        f"{partitions:>10,} {size:>12.1f} {result['rows']['features']:>12,} {max(result['workers']) / 2**20:>12.0f}"
        f" {result['client'] / 2**20:>12.0f} {result['failed']:>8}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=int, nargs="*", default=[20, 200])
    parser.add_argument("--sizes", type=float, nargs="*", default=[4, 32, 128])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(*json.loads(args.one))))
        return
    print(machine())
    heads = ("partitions", "MiB each", "rows", "worker MiB", "client MiB", "failed")
    print(" ".join(f"{h:>{w}}" for h, w in zip(heads, (10, 12, 12, 12, 12, 8), strict=True)))
    for count in args.partitions:
        measure(count, 100, 3.0)
    for size in args.sizes:
        measure(4, int(size * 2**20 / POINTS / BYTES_PER_POINT), 0.05)


if __name__ == "__main__":
    main()
