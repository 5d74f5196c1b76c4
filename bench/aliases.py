"""How often the period of a real variable star is recovered, before and after the choice between aliases.

    python bench/aliases.py --data FOLDER [--every N] [--no-boxes]

FOLDER holds labelled light curves in IRSA's bulk layout and truth.parquet (_id, survey, class_label, period_days).
Recovered is P, P/2 or 2 P, to 0.5 % or 1.5/baseline in frequency, of light curves with 50 points or more after
conditioning; terrestrial windows are not masked. LS: the highest Lomb-Scargle peak. BLS: the highest box peak.
resolved: `aliases.resolve` between the 12 best Lomb-Scargle peaks; with boxes: and the 8 best box peaks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scope_dask import ragged
from scope_dask.conditioning.points import select_points
from scope_dask.periods.aliases import agreement, resolve
from scope_dask.periods.boxes import box_peaks, eclipse_grid
from scope_dask.periods.grid import frequency_grid
from scope_dask.periods.options import BoxOptions, PeriodOptions
from scope_dask.periods.search import search
from scope_dask.ragged import LightCurves, gather

LS_CANDIDATES, BOX_CANDIDATES = 12, 8
CADENCE, MIN_POINTS = 30 / 1440, 50


def load(folder: Path, every: int) -> tuple[LightCurves, pd.DataFrame]:
    """Return every N-th labelled light curve with a period, conditioned, and its row of truth."""
    columns = ["objectid", "hmjd", "mag", "magerr", "catflags"]
    files = sorted(folder.glob("ztf_*.parquet"))
    raw = pd.concat([pd.read_parquet(f, columns=columns, dtype_backend="pyarrow") for f in files], ignore_index=True)
    truth = pd.read_parquet(folder / "truth.parquet").set_index("_id").loc[raw["objectid"].to_numpy()].reset_index()
    hjd, offsets = ragged.split(raw["hmjd"])
    mag, magerr, flags = (ragged.split(raw[name])[0] for name in ("mag", "magerr", "catflags"))
    hjd, mag, magerr = (np.array(a, dtype=np.float64) for a in (hjd, mag, magerr))
    usable = (flags == 0) & np.isfinite(hjd) & np.isfinite(mag) & np.isfinite(magerr) & (magerr > 0)
    points, selected = select_points(hjd, usable, offsets, CADENCE)
    known = (np.diff(selected) >= MIN_POINTS) & (truth["period_days"].to_numpy(float) > 0)
    rows = np.flatnonzero(known)[::every]
    inner, final = gather(selected, rows)
    points = points[inner]
    return LightCurves(hjd[points], mag[points], magerr[points], final), truth.iloc[rows].reset_index(drop=True)


def recovered(
    frequency: np.ndarray, curves: LightCurves, truth: pd.DataFrame, multiples: tuple[float, ...] = (1.0, 2.0, 0.5)
) -> np.ndarray:
    """Tell which frequencies are a multiple of the catalogue's."""
    start = curves.offsets[:-1]
    baseline = np.maximum.reduceat(curves.hjd, start) - np.minimum.reduceat(curves.hjd, start)
    found = np.zeros(len(frequency), bool)
    for multiple in multiples:
        f = multiple / truth["period_days"].to_numpy(float)
        found |= np.abs(frequency - f) < np.maximum(0.005 * f, 1.5 / baseline)
    return found


def timed(name: str, n: int, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function and print the CPU time per light curve."""
    start = time.process_time()
    result = function(*args)
    print(f"{name}: {1e3 * (time.process_time() - start) / n:.1f} ms CPU per light curve")
    return result


def warm_up(curves: LightCurves) -> None:
    """Compile everything on one light curve."""
    a, b = curves.offsets[:2]
    one = LightCurves(curves.hjd[a:b], curves.mag[a:b], curves.magerr[a:b], np.array([0, b - a]))
    candidates = search(one, PeriodOptions(algorithms=("LS",), max_freq=2.0))["LS"].candidate_frequency
    resolve(one.hjd, one.mag, one.magerr, one.offsets, candidates)
    grid = eclipse_grid(frequency_grid(one.hjd, one.offsets, PeriodOptions()), 1.0)
    box_peaks(one.hjd, one.mag, one.magerr, one.offsets, grid, 3, 10, BoxOptions())


def measure(curves: LightCurves, truth: pd.DataFrame, with_boxes: bool) -> dict[str, np.ndarray]:
    """Return what each way recovers."""
    n = len(curves)
    points = (curves.hjd, curves.mag, curves.magerr, curves.offsets)
    options = PeriodOptions(algorithms=("LS",), top_n_periods=LS_CANDIDATES)
    lomb_scargle = timed("LS", n, search, curves, options)["LS"].candidate_frequency
    chosen = timed("resolve", n, resolve, *points, lomb_scargle)
    columns = {
        "LS": recovered(lomb_scargle[:, 0], curves, truth),
        "LS P": recovered(lomb_scargle[:, 0], curves, truth, (1.0,)),
        "resolved": recovered(chosen.frequency, curves, truth),
    }
    if with_boxes:
        grid = eclipse_grid(frequency_grid(curves.hjd, curves.offsets, PeriodOptions()))
        found = timed("BLS", n, box_peaks, *points, grid, BOX_CANDIDATES, 10, BoxOptions())
        boxes = np.where(found.index >= 0, grid.fmin[:, None] + found.index * grid.df[:, None], np.nan)
        chosen = timed("resolve", n, resolve, *points, np.hstack([lomb_scargle, boxes]))
        both = np.column_stack([lomb_scargle[:, 0], boxes[:, 0], chosen.frequency])
        columns["BLS"] = recovered(boxes[:, 0], curves, truth)
        columns["BLS P, P/2"] = recovered(boxes[:, 0], curves, truth, (1.0, 2.0))
        columns["with boxes"] = recovered(chosen.frequency, curves, truth)
        columns["with boxes P"] = recovered(chosen.frequency, curves, truth, (1.0,))
        columns["agreement"] = timed("agreement", n, agreement, curves.hjd, curves.offsets, both)
    return columns


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--no-boxes", action="store_true")
    arguments = parser.parse_args()
    curves, truth = load(arguments.data, arguments.every)
    start = time.process_time()
    warm_up(curves)
    print(f"{len(curves)} light curves; compiled or loaded in {time.process_time() - start:.1f} s CPU")
    values = pd.DataFrame(measure(curves, truth, not arguments.no_boxes))
    key = truth["survey"] + " " + truth["class_label"]
    table = values.groupby(key).mean()
    table.insert(0, "n", key.value_counts())
    table.loc["all"] = [len(values), *values.mean()]
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
