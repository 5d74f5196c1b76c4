"""Catalogue periods recovered on real light curves, per survey and class: ours beside astropy's on the same rows.

    OMP_NUM_THREADS=1 python bench/recovery.py [--data ../shared/data/irsa] [--every 1] [--workers 2] [--csv FILE]

Light curves of 50 points or more after conditioning, each on its own default grid up to 48 cycles a day. Ours: the
nested search ELS_ECE_EAOV (the default of a run), the period resolved among the peaks of its methods, and LS alone;
with --boxes also both where box least squares proposes candidates, too; astropy: LombScargle with floating mean and
weights, method fastnifty (package nifty-ls; left out with --no-astropy). A period counts as recovered at P, P/2 or 2P
within 0.5 % or 1.5/baseline in frequency; "alias" is one cycle a day off P.
"""

from __future__ import annotations

import argparse
import functools
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from workload import machine

from scope_dask.conditioning.lightcurves import lightcurves
from scope_dask.demo.recovery import OUTCOMES, astropy_periods, recovery_table
from scope_dask.periods.judge import judge
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import search
from scope_dask.ragged import LightCurves
from scope_dask.sources.archive import read_archive

NESTED, LS, BOXES = PeriodOptions(), PeriodOptions(algorithms=("LS",)), PeriodOptions(nested_boxes=True)
CHUNK = 40


def load(data: Path, every: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return every k-th of the light curves that have a known period and enough points, and the truth."""
    truth = pd.read_parquet(data / "truth.parquet")
    truth = truth[truth["period_days"] > 0].reset_index(drop=True)
    paths = sorted(str(path) for path in data.glob("ztf_*.parquet"))
    table = lightcurves(read_archive(paths)).compute(scheduler="synchronous")
    return table[table["_id"].isin(truth["_id"])].iloc[::every].reset_index(drop=True), truth


def nested(curves: LightCurves, options: PeriodOptions) -> tuple[np.ndarray, np.ndarray]:
    """Return the period of the nested search and the one resolved."""
    results = search(curves, options)
    return results["ELS_ECE_EAOV"].period, judge(curves, results, options)["period_resolved"]


def periods(table: pd.DataFrame, boxes: bool, astropy: bool) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return the periods that each way finds for some light curves, and its CPU seconds."""
    curves = LightCurves.from_frame(table)
    found = pd.DataFrame({"_id": table["_id"].to_numpy(), "n": np.diff(curves.offsets).astype(float)})
    found["baseline_days"] = [np.ptp(curves[i][0]) for i in range(len(curves))]
    ways = {("nested", "resolved"): lambda: nested(curves, NESTED)}
    if boxes:
        ways["with boxes", "boxes resolved"] = lambda: nested(curves, BOXES)
    ways["LS",] = lambda: (search(curves, LS)["LS"].period,)
    if astropy:
        ways["astropy",] = lambda: (astropy_periods(curves, LS),)
    seconds = {}
    for names, run in ways.items():
        start = time.process_time()
        found[list(names)] = np.column_stack(run())
        seconds[names[0]] = time.process_time() - start
    return found, seconds


def summary(found: pd.DataFrame, truth: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Return, per group and for all, the percentages of the ways to search."""
    columns = {}
    for way in [name for name in found if name not in ("_id", "n", "baseline_days")]:
        table = recovery_table(found, truth, found["baseline_days"], column=way)
        groups = {"all": table} | {" ".join(key): group for key, group in table.groupby(by)}
        for name, group in groups.items():
            share = {outcome: 100 * (group["match"] == outcome).mean() for outcome in OUTCOMES}
            row = columns.setdefault(name, {"light curves": len(group)})
            if way == "nested":
                row |= {outcome: value for outcome, value in share.items() if outcome != "missed"}
            row[way] = share["P"] + share["P/2"] + share["2P"]
    return pd.DataFrame(columns).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "irsa")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--boxes", action="store_true")
    parser.add_argument("--no-astropy", action="store_true")
    parser.add_argument("--csv", type=Path, help="also write the periods found, with the truth")
    args = parser.parse_args()
    table, truth = load(args.data, args.every)
    run = functools.partial(periods, boxes=args.boxes, astropy=not args.no_astropy)
    run(table.iloc[:2])  # compiles before the workers start
    chunks = [table.iloc[i : i + CHUNK] for i in range(0, len(table), CHUNK)]
    start = time.perf_counter()
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(run, chunks))
    wall = time.perf_counter() - start
    found = pd.concat([result for result, _ in results], ignore_index=True)
    print(machine())
    each = 1e3 * pd.DataFrame([seconds for _, seconds in results]).sum() / len(found)
    spent = ", ".join(f"{way} {milliseconds:.1f}" for way, milliseconds in each.items())
    print(f"{len(found)} light curves in {wall:.0f} s; CPU ms each (nested: and resolved): {spent}")
    for by in (["survey"], ["survey", "class_label"]):
        print(summary(found, truth, by).round(1).to_string(), end="\n\n")
    if args.csv:
        found.merge(truth, on="_id").to_csv(args.csv, index=False)


if __name__ == "__main__":
    main()
