"""The catalogue of scores: how long it takes to build one of many sources, and to ask it.

    OMP_NUM_THREADS=1 python bench/catalog.py [--sources 1000000] [--curves 2] [--classes 20] [--rounds 5] [--hats]

Simulated predictions: sources at random over FIELDS fields of 7° × 7° that overlap, some light curves each, in
one file of run-inference a field; three in five have an identifier in Gaia, two in three one in PS1. Scores are random,
so that a cut in one class does not leave out tiles. Files are in the page cache. Building is one process of threads.
Questions are asked one after the other, each with a fresh look at the index; medians of rounds.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from workload import machine

from scope_dask.formats import write_table
from scope_dask.predictions import read_catalog, write_catalog

FIELDS = 10
WIDTH = 7.0


def write_field(folder: Path, number: int, stars: int, curves: int, classes: int) -> Path:
    """Write the predictions of a field, and return the file."""
    rng = np.random.default_rng(number)
    star = np.repeat(np.arange(stars), curves)
    dec = rng.uniform(20.0, 20.0 + WIDTH, stars)
    ra = 150.0 + 6.5 * number + rng.uniform(0, WIDTH, stars)
    identifier = 10**9 * number + star
    frame = pd.DataFrame(
        {
            "_id": 10**15 * (1 + number) + np.arange(len(star)),
            "Gaia_EDR3___id": np.where(star % 5 < 3, 2**60 + identifier, 0),
            "AllWISE___id": 0,
            "PS1_DR1___id": np.where(star % 3 < 2, 2**59 + identifier, 0),
            "ra": ra[star] + rng.normal(0, 3e-5, len(star)),
            "dec": dec[star] + rng.normal(0, 3e-5, len(star)),
            "period_ELS_ECE_EAOV": rng.random(len(star)),
            "field": 300 + number,
            "filter": 1 + np.arange(len(star)) % curves,
        }
    )
    names = [f"class{k}_xgb" for k in range(classes)]
    scores = pd.DataFrame(rng.random((len(star), classes), dtype=np.float32), columns=names)
    path = folder / f"preds_xgb/field_{300 + number}/field_{300 + number}.parquet"
    path.parent.mkdir(parents=True)
    write_table(pd.concat([frame, scores], axis=1), path)
    return path


def questions(path: Path, classes: int) -> dict[str, Callable[[], Any]]:
    """Return what the catalogue is asked."""
    two = {"class0_xgb": 0.95, f"class{classes - 1}_xgb": 0.5}
    some = ["_id", "ra", "dec", "class0_xgb"]
    return {
        "cone of 5″, all columns": lambda: read_catalog(path, (172.0, 23.0, 5.0)),
        "cone of 1°, all columns": lambda: read_catalog(path, (172.0, 23.0, 3600.0)),
        "cone of 1°, two classes": lambda: read_catalog(path, (172.0, 23.0, 3600.0), two),
        "all sky, two classes, 4 columns": lambda: read_catalog(path, None, two, some),
        "all sky, one class, all columns": lambda: read_catalog(path, None, {"class0_xgb": 0.95}),
    }


def seconds(ask: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Return the median CPU time, and the shortest wall time, of a question."""
    cpu, wall = [], []
    for _ in range(rounds):
        start = time.process_time(), time.perf_counter()
        ask()
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    return statistics.median(cpu), min(wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=1_000_000)
    parser.add_argument("--curves", type=int, default=2)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hats", action="store_true", help="a HATS catalogue, not zones of declination")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        stars, path = options.sources // FIELDS, Path(folder) / "catalog"
        files = [write_field(Path(folder), k, stars, options.curves, options.classes) for k in range(FIELDS)]
        cpu, start = time.process_time(), time.perf_counter()
        made = write_catalog(files, path, hats=options.hats)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{made.sources} sources of {options.curves * options.sources} light curves, {options.classes} classes,")
        print(f"{made.tiles} tiles: built in {cpu:.0f} s of CPU, {wall:.0f} s wall, peak {peak:.2f} GiB\n")
        print("| question | sources | CPU, ms | wall, ms |\n|---|--:|--:|--:|", flush=True)
        for name, ask in questions(path, options.classes).items():
            cpu, wall = seconds(ask, options.rounds)
            print(f"| {name} | {len(ask())} | {1000 * cpu:.0f} | {1000 * wall:.0f} |", flush=True)


if __name__ == "__main__":
    main()
