"""The speed of the period search on a GPU, and whether it chooses the CPU's periods.

    python bench/periods_gpu.py [--curves N] [--points N …] [--agree N] [--save FILE]

Needs a CUDA device and CuPy; of scope_dask's other dependencies only NumPy, numba, pandas, pyarrow and SciPy. Light
curves are simulated: seasons and nights of a survey of five years, the full grid (876,580 frequencies for a baseline of
1826.25 d). Times are medians over repetitions of whole partitions that are on the device already, peaks and moments
included. pf: one point at one frequency.

The roofline of a method is the rate at which an H100 (132 multiprocessors, 1.755 GHz) would be bound by the resource
that its inner loop needs most, scaled to the device's multiprocessors and clock: 64 integer operations of the
arithmetic unit (CE: 5.1 per pf), 32 words of shared memory (AOV: 2.5 per pf, FPW: 5), 128 instructions (LS: 2.4,
ELS 2.1, MHAOV with three harmonics 38.5) per multiprocessor and cycle. Work beyond the inner loops (flushes, peaks)
counts as loss.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from scope_dask.periods.gpu.device import CupyDevice
from scope_dask.periods.gpu.engine import Engine, grid_of, load
from scope_dask.periods.gpu.search import search
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import search as cpu_search
from scope_dask.ragged import LightCurves

BASELINE = 1826.25
METHODS = ("CE", "AOV", "LS", "ELS", "MHAOV", "FPW", "BLS")
# What a multiprocessor does per cycle, over what a point-frequency needs.
PER_CYCLE = {"CE": 64 / 5.1, "AOV": 32 / 2.5, "LS": 128 / 2.4, "ELS": 128 / 2.1, "MHAOV": 128 / 38.5, "FPW": 32 / 5.0}


def simulate(n: int, points: int, seed: int) -> LightCurves:
    """Return periodic variables with noise, half of them sinusoids, half eclipsing; one in eight only noise."""
    rng = np.random.default_rng(seed)
    nights = np.flatnonzero(np.arange(int(BASELINE) - 1) % 365 < 240)
    curves = []
    for i in range(n):
        t = 2458200.5 + np.sort(
            rng.choice(nights, points, replace=points > len(nights)) + 0.2 + 0.3 * rng.random(points)
        )
        e = rng.uniform(0.02, 0.1, points)
        phase = t / 10 ** rng.uniform(-1.3, 2.0) % 1.0
        signal = np.sin(2 * np.pi * phase) if i % 2 else 2.0 * (np.abs(phase - 0.5) < 0.06)
        amplitude = 0.0 if i % 8 == 0 else rng.uniform(0.1, 0.6)
        curves.append((t, 17 + amplitude * signal + e * rng.standard_normal(points), e))
    return LightCurves.from_lists(curves)


def on_device(device: CupyDevice, curves: LightCurves) -> LightCurves:
    """Return the same light curves as CuPy arrays."""
    return LightCurves(*(device.xp.asarray(a) for a in (curves.hjd, curves.mag, curves.magerr, curves.offsets)))


def seconds(device: CupyDevice, run: Callable[[], Any], repetitions: int) -> float:
    """Return the median time of a run, after one that compiles and fills the memory pool."""
    times = []
    for i in range(repetitions + 1):
        device.synchronise()
        start = time.perf_counter()
        run()
        device.synchronise()
        if i:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def roofline(device: CupyDevice, name: str) -> float:
    """Return the bound on the rate, pf/s (NaN where there is none)."""
    attributes = device.xp.cuda.Device().attributes
    cycles = attributes["MultiProcessorCount"] * attributes["ClockRate"] * 1e3
    return cycles * PER_CYCLE.get(name, np.nan)


def measure(device: CupyDevice, points: int, n: int, budget: int, repetitions: int) -> list[str]:
    """Return the rows of the table for one number of points."""
    curves = on_device(device, simulate(n, points, seed=points))
    partition = load(device, curves)
    grid = grid_of(partition, PeriodOptions(baseline_days=BASELINE))
    work = float((partition.points * grid.size).sum())
    rows = []
    for name in METHODS:
        took = seconds(
            device, lambda name=name: Engine(device, partition, grid, budget).scan(name, 50, 10), repetitions
        )
        part = work / took / roofline(device, name)
        share = "" if np.isnan(part) else f"{part:.0%}"
        rows.append(f"| {name} | {points} | {took * 1e3 / n:.3f} | {n / took:,.0f} | {work / took:.2e} | {share} |")
    for nested in ("ELS_ECE_EAOV", "LS_CE_AOV"):
        options = PeriodOptions((nested,), baseline_days=BASELINE)
        took = seconds(device, lambda o=options: search(curves, o, device=device, budget=budget), repetitions)
        rows.append(f"| {nested}, whole search | {points} | {took * 1e3 / n:.3f} | {n / took:,.0f} | | |")
    if find_spec("cudf") and find_spec("dask"):
        rows += [measure_features(device, curves, judged, points, n, repetitions) for judged in (False, True)]
    return rows


def measure_features(
    device: CupyDevice, curves: LightCurves, judged: bool, points: int, n: int, repetitions: int
) -> str:
    """Return the row of the whole features stage from a cuDF partition, without or with what is judged on the CPU."""
    import cudf

    from scope_dask.extraction.features import FeatureOptions, features

    offsets = device.to_host(curves.offsets)
    lists = {
        name: cudf.Series(np.split(device.to_host(getattr(curves, name)), offsets[1:-1]))
        for name in ("hjd", "mag", "magerr")
    }
    facts = dict.fromkeys(("ra", "dec"), 0.0) | dict.fromkeys(("field", "ccd", "quad", "filter"), 1)
    partition = cudf.DataFrame({"_id": np.arange(n), **lists}).assign(**facts)
    options = FeatureOptions(PeriodOptions(baseline_days=BASELINE, refine=judged, aliases=judged), device="gpu")
    took = seconds(device, lambda: features(partition, options), repetitions)
    name = "features, with refined and resolved periods" if judged else "features"
    return f"| {name} | {points} | {took * 1e3 / n:.3f} | {n / took:,.0f} | | |"


def cpu_results(curves: LightCurves, options: PeriodOptions, threads: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (periods, values) of every algorithm from the CPU, in as many threads (its kernels release the lock)."""
    rows = np.array_split(np.arange(len(curves)), 4 * threads)
    parts = [LightCurves.from_lists([curves[i] for i in part]) for part in rows]
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(lambda part: cpu_search(part, options), parts))
    return {
        name: (np.concatenate([r[name].period for r in results]), np.concatenate([r[name].value for r in results]))
        for name in results[0]
    }


def agreement(device: CupyDevice, n: int, points: int, threads: int) -> list[str]:
    """Compare the periods of both searches on n simulated light curves; list every one that differs."""
    curves = simulate(n, points, seed=1)
    rows = ["| algorithm | same period | same value, other period | other |", "|---|--:|--:|--:|"]
    differing = []
    for algorithms in (("LS", "ELS", "CE", "ECE", "AOV"), ("ELS_ECE_EAOV",)):
        options = PeriodOptions(algorithms, baseline_days=BASELINE)
        ours, theirs = search(on_device(device, curves), options, device=device), cpu_results(curves, options, threads)
        for name in algorithms:
            period, value = ours[name].period, ours[name].value
            same = (period == theirs[name][0]) | (np.isnan(period) & np.isnan(theirs[name][0]))
            tie = ~same & np.isclose(value, theirs[name][1], rtol=1e-9, atol=0)
            rows.append(f"| {name} | {same.mean():.4%} | {tie.sum()} | {(~same & ~tie).sum()} |")
            differing += [
                f"{name} {i}: {period[i]:.9f} d ({value[i]:.9g}) on the GPU,"
                f" {theirs[name][0][i]:.9f} d ({theirs[name][1][i]:.9g}) on the CPU"
                for i in np.flatnonzero(~same)
            ]
    return [*rows, "", *(f"    {line}" for line in differing[:200])]


def machine(device: CupyDevice) -> str:
    """Return what was measured, on what, when."""
    runtime = device.xp.cuda.runtime
    name = runtime.getDeviceProperties(device.xp.cuda.Device().id)["name"].decode()
    attributes = device.xp.cuda.Device().attributes
    clock, cores = attributes["ClockRate"] / 1e6, attributes["MultiProcessorCount"]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, `python {' '.join(sys.argv)}`, {name} ({cores} multiprocessors,"
        f" {clock:.3f} GHz), CUDA {runtime.runtimeGetVersion()}, CuPy {device.xp.__version__},"
        f" Python {platform.python_version()}"
    )


def main() -> None:
    """Print the tables; with ``--save``, also write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=1024, help="light curves of a partition")
    parser.add_argument("--points", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--budget", type=int, default=2 << 30, help="bytes of intermediate results")
    parser.add_argument("--agree", type=int, default=0, help="light curves to search on the CPU too")
    parser.add_argument("--threads", type=int, default=8, help="of the search on the CPU")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    device = CupyDevice()
    lines = [machine(device), "", "| method | N | ms per light curve | light curves/s | pf/s | of the roofline |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    print("\n".join(lines), flush=True)
    for points in arguments.points:
        rows = measure(device, points, arguments.curves, arguments.budget, arguments.repetitions)
        print("\n".join(rows), flush=True)
        lines += rows
    if arguments.agree:
        rows = ["", f"Agreement with the CPU, {arguments.agree} light curves of 300 points:", ""]
        rows += agreement(device, arguments.agree, 300, arguments.threads)
        print("\n".join(rows), flush=True)
        lines += rows
    if arguments.save:
        arguments.save.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
