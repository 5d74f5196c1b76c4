"""Peak memory of the training of trees by workers that read their share of a table, and of the training in memory.

    python bench/out_of_core.py 200000 2000000

Tables of 60 features in files of 250,000 rows; two workers of one thread limited to 2 GiB each. Every run is a process
of its own, so that its peak is its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from memory import LIMIT, peak
from workload import machine

from scope_dask.formats import read_table, write_table
from scope_dask.training.options import TrainingOptions

FEATURES = tuple(f"f{k:02d}" for k in range(60))
FILE_ROWS = 250_000
OPTIONS = TrainingOptions(features=FEATURES, num_boost_round=30, n_jobs=1)


def save(rows: int, folder: Path) -> None:
    """Write a table of so many rows, of which a twentieth are members."""
    for first in range(0, rows, FILE_ROWS):
        count = min(FILE_ROWS, rows - first)
        rng = np.random.default_rng(first)
        frame = pd.DataFrame(rng.standard_normal((count, len(FEATURES)), np.float32), columns=list(FEATURES))
        signal = frame["f00"] + 0.5 * frame["f01"] + rng.standard_normal(count)
        frame = frame.assign(_id=np.arange(first, first + count), variable=(signal > 2.5).astype("f4"))
        write_table(frame, folder / f"part_{first:010d}.parquet", {})


def in_memory(folder: Path) -> dict[str, Any]:
    """Train on the table as a whole."""
    from scope_dask.training.fitting import train

    table = pd.concat([read_table(path) for path in sorted(folder.iterdir())], ignore_index=True)
    model = train(table, table["variable"], "vnv", OPTIONS)
    return {"workers": [], "metrics": model.manifest.metrics}


def by_workers(folder: Path) -> dict[str, Any]:
    """Train by two workers."""
    from dask.distributed import Client

    from scope_dask.config import RunOptions
    from scope_dask.diagnostics import local_cluster
    from scope_dask.training.out_of_core import train_out_of_core

    limits = RunOptions(n_workers=2, memory_limit=LIMIT, dashboard_address="127.0.0.1:0")
    with local_cluster(limits) as cluster, Client(cluster) as client:
        model = train_out_of_core(folder, "variable", "vnv", OPTIONS, client)
        peaks = list(client.run(peak).values())
    return {"workers": peaks, "metrics": model.manifest.metrics}


RUNS = {"in memory": in_memory, "by workers": by_workers}


def measure(name: str, rows: int, folder: Path) -> None:
    """Run in a process of its own and print a row."""
    start = time.monotonic()
    command = [sys.executable, __file__, "--one", name, str(folder)]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    seconds = time.monotonic() - start
    workers = max(found["workers"], default=0) / 2**20
    area = found["metrics"]["test"]["roc_auc"]
    print(f"{rows:>12,} {name:>12} {found['own'] / 2**20:>12.0f} {workers:>12.0f} {seconds:>8.0f} {area:>8.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=int, nargs="*", default=[200_000, 2_000_000])
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        name, folder = args.one
        print(json.dumps({**RUNS[name](Path(folder)), "own": peak()}))
        return
    print(machine())
    heads = ("rows", "training", "client MiB", "worker MiB", "seconds", "area")
    print(" ".join(f"{h:>{w}}" for h, w in zip(heads, (12, 12, 12, 12, 8, 8), strict=True)))
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            save(rows, Path(folder))
            for name in RUNS:
                measure(name, rows, Path(folder))


if __name__ == "__main__":
    main()
