"""Scores and imputation: rows per second and core beside the libraries, and ten million light curves in bounded memory.

    python bench/scoring.py [--rows 200000] [--rounds 7] [--impute 1000000] [--survey 10000000]

Speed: CPU time of one thread, medians, ours and the peer in turn. Trees: 100 of depth 6 on 39 features, beside
XGBoost's own prediction; the network of 20,986 weights on 35 features and dmdt, beside TensorFlow where it is
installed; imputation of 13 features from similar stars, beside scikit-learn's KNNImputer with the same reference rows
(on few rows: its time is linear).

Survey (--survey 0: left out): light curves simulated in partitions of 100,000, the batches of run-inference, scored by
the trees and the network and written, on two workers of one thread limited to 2 GiB each. The peak is the largest
resident memory of each worker.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
from memory import peak
from workload import cpu_seconds, machine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from keras_files import keras2_file, network

from scope_dask.inference.dnn import network_score
from scope_dask.inference.preparation import Preparation
from scope_dask.inference.xgb import booster_score, load_booster
from scope_dask.schema import DMDT
from scope_dask.training.neighbours import Neighbours

TREES, DEPTH, N_FEATURES, SEEN_BY_NETWORK = 100, 6, 39, 35
NAMES = tuple(f"feature_{k}" for k in range(N_FEATURES))
PARTITION = 100_000
LIMIT = "2 GiB"


def trees() -> Any:
    """Return boosted trees with about fifty leaves each."""
    import xgboost

    rng = np.random.default_rng(1)
    x = rng.normal(size=(30_000, N_FEATURES)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + x[:, 2] ** 2 + 0.3 * x[:, 3:10].sum(axis=1) + rng.normal(0, 0.7, len(x)) > 1
    options = {"objective": "binary:logistic", "max_depth": DEPTH, "nthread": 1, "seed": 1}
    booster = xgboost.train(options, xgboost.DMatrix(x, y), TREES)
    return load_booster(bytes(booster.save_raw("json")))


def stars(rows: int, seed: int) -> np.ndarray:
    """Return magnitudes of stars of various colours and distances in 13 filters, a fifth of them missing."""
    rng = np.random.default_rng(seed)
    colour, distance = rng.normal(size=(2, rows, 1))
    values = 15 + 3 * distance + 0.3 * (np.arange(13) - 6) * colour + rng.normal(0, 0.03, (rows, 13))
    for first, last, missing in ((0, 2, 0.3), (2, 4, 0.8), (4, 8, 0.1), (8, 13, 0.25)):  # of one survey each
        values[rng.random(rows) < missing, first:last] = np.nan
    values[rng.random(values.shape) < 0.02] = np.nan
    return values


def tree_speed(rows: int, rounds: int) -> dict[str, float]:
    """Return rows per CPU second of ours and of XGBoost."""
    booster = trees()
    score, x = booster_score(booster), np.random.default_rng(2).normal(size=(rows, N_FEATURES)).astype(np.float32)
    found = cpu_seconds(
        {"ours": lambda: score(x, None, np.empty(0, np.int64)), "XGBoost": lambda: booster.inplace_predict(x)}, rounds
    )
    return {name: rows / seconds for name, seconds in found.items()}


def network_speed(rows: int, rounds: int) -> dict[str, float]:
    """Return rows per CPU second of ours and, where it is there, of TensorFlow."""
    rng = np.random.default_rng(3)
    x, images = rng.normal(size=(rows, SEEN_BY_NETWORK)).astype("f4"), rng.random((rows, 676)).astype("f4")
    score = network_score(network(SEEN_BY_NETWORK, True))
    contenders = {"ours": lambda: score(x, images, np.arange(rows))}
    if find_spec("tensorflow"):
        from scope_dask.training.dnn import build

        model = build(SEEN_BY_NETWORK, True, 1)
        given = {"features": x, "dmdt": images.reshape(-1, 26, 26, 1)}
        contenders["TensorFlow"] = lambda: model.predict(given, batch_size=1024, verbose=0)
    return {name: rows / seconds for name, seconds in cpu_seconds(contenders, rounds).items()}


def imputation_speed(rows: int) -> dict[str, float]:
    """Return rows per CPU second of ours and of scikit-learn."""
    from sklearn.impute import KNNImputer

    values = stars(rows, 5)
    near = Neighbours.fit(stars(50_000, 4), tuple(f"filter_{k}" for k in range(13)))
    peer = KNNImputer(n_neighbors=near.count).fit((near.donors - near.offset) / near.scale)
    few = (values[:2000] - near.offset) / near.scale
    start = time.process_time()
    near.fill(values)
    middle = time.process_time()
    peer.transform(few)
    return {"ours": rows / (middle - start), "scikit-learn": len(few) / (time.process_time() - middle)}


def simulated(part: int, rows: int = PARTITION) -> pd.DataFrame:
    """Return light curves with features, some of them missing, and histograms."""
    rng = np.random.default_rng([6, part])
    values = rng.normal(size=(rows, N_FEATURES))
    values[rng.random(values.shape) < 0.02] = np.nan
    frame = pd.DataFrame(values, columns=list(NAMES))
    frame.insert(0, "_id", 10**15 + part * PARTITION + np.arange(rows))
    flat = pa.array(rng.random(rows * 676, np.float32))
    lists = pa.FixedSizeListArray.from_arrays(flat, 676)
    return frame.assign(dmdt=pd.Series(pd.arrays.ArrowExtensionArray(lists), dtype=DMDT.pandas_dtype))


def save_models(folder: Path) -> dict[str, Preparation]:
    """Write the trees and a network; return how they are fed."""
    (folder / "trees.20260101_000000.json").write_bytes(bytes(trees().save_raw("json")))
    content = keras2_file(network(SEEN_BY_NETWORK, True))
    (folder / "net.20260101_000000.h5").write_bytes(content)
    return {
        "trees": Preparation(NAMES, (0.0,) * N_FEATURES),
        "net": Preparation(NAMES[:SEEN_BY_NETWORK], (0.0,) * SEEN_BY_NETWORK),
    }


def survey(rows: int) -> str:
    """Score a survey and return the figures."""
    from dask.distributed import Client

    import scope_dask as sd
    from scope_dask.config import RunOptions
    from scope_dask.diagnostics import local_cluster

    table = dd.from_map(simulated, range(-(-rows // PARTITION)), meta=simulated(0, 1).iloc[:0])
    limits = RunOptions(n_workers=2, memory_limit=LIMIT, dashboard_address="127.0.0.1:0")
    with tempfile.TemporaryDirectory() as name, local_cluster(limits) as cluster, Client(cluster) as client:
        folder = Path(name)
        found = sd.scores(table, sd.load_models(folder, save_models(folder)))
        start = time.perf_counter()
        summary = sd.write(found, folder / "scores")
        seconds = time.perf_counter() - start
        peaks = ", ".join(f"{memory / 2**20:.0f}" for memory in client.run(peak).values())
    return (
        f"{summary.rows['']:,} light curves scored by {TREES} trees and a network in {seconds:.0f} s (wall), "
        f"{len(summary.failed)} partitions failed; peak of the workers {peaks} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--impute", type=int, default=1_000_000)
    parser.add_argument("--survey", type=int, default=10_000_000)
    args = parser.parse_args()
    print(machine())
    if args.rows:
        report("trees (100, depth 6)", tree_speed(args.rows, args.rounds))
        report("network with dmdt", network_speed(args.rows // 10, args.rounds))
    if args.impute:
        speed = imputation_speed(args.impute)
        report("imputation", speed)
        print(f"{'':<22} {args.impute:,} rows in {args.impute / speed['ours']:.0f} s")
    if args.survey:
        print(survey(args.survey))


def report(what: str, speed: dict[str, float]) -> None:
    """Print rows per second and core."""
    print(f"{what:<22}", ", ".join(f"{name} {rate:,.0f} rows/s/core" for name, rate in speed.items()), flush=True)


if __name__ == "__main__":
    main()
