"""Light curves of a ZTF-like survey for the benchmarks, and the clock that they use."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from scope_dask.ragged import LightCurves

BASELINE_DAYS = 1826.25

threadpool_limits(1)  # one core is what is measured: BLAS threads that wait count as CPU time


def light_curves(n: int, points: int, seed: int = 1, baseline_days: float = BASELINE_DAYS) -> LightCurves:
    """Return variable stars with noise: nights in seasons of eight months, half of them visited twice."""
    rng = np.random.default_rng(seed)
    nights = np.flatnonzero(np.arange(int(baseline_days)) % 365 < 240)
    curves = []
    for _ in range(n):
        first = rng.choice(nights, points, replace=points > len(nights)) + rng.uniform(0.2, 0.35, points)
        twice = first[: points // 3] + rng.uniform(0.03, 0.1, points // 3)
        hjd = 2458194.5 + np.sort(rng.choice(np.concatenate([first, twice]), points, replace=False))
        magerr = rng.uniform(0.02, 0.1, points)
        phase = hjd / 10 ** rng.uniform(-1.2, 1.5)
        mag = 17 + 0.3 * np.sin(2 * np.pi * phase + 1) + 0.1 * np.sin(4 * np.pi * phase)
        curves.append((hjd, mag + magerr * rng.standard_normal(points), magerr))
    return LightCurves.from_lists(curves)  # type: ignore[arg-type]


def one_row(partition: int) -> pd.DataFrame:
    """Return a partition of one row."""
    return pd.DataFrame({"_id": [partition]})


def cpu_seconds(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of each, taken in turn so that a busy moment of the machine meets all."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def machine() -> str:
    """Describe the machine and the software in one line."""
    import llvmlite
    import numba

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    cores = sum(line.startswith("processor") for line in lines)
    load = Path("/proc/loadavg").read_text().split()[0] if lines else "?"
    return (
        f"{model}, {cores} cores, load {load}; Python {platform.python_version()}, NumPy {np.__version__},"
        f" numba {numba.__version__}, llvmlite {llvmlite.__version__};"
        f" {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC; {' '.join(sys.argv)}"
    )
