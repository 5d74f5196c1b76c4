"""The period search takes one thread, whatever the worker has, and leaves the others to other partitions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from dask import delayed
from distributed import Client

from scope_dask.periods.judge import judge
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import search
from scope_dask.ragged import LightCurves

OPTIONS = PeriodOptions(("LS", "CE", "AOV", "MHAOV", "BLS"), max_freq=8.0, baseline_days=1000.0)


def partition(seed: int) -> LightCurves:
    rng = np.random.default_rng(seed)
    t = 2459000.0 + np.sort(rng.uniform(0, 1000, (4, 100)), axis=1)
    m = 16 + 0.3 * np.sin(2 * np.pi * t / rng.uniform(0.3, 3.0, (4, 1))) + 0.03 * rng.standard_normal(t.shape)
    return LightCurves.from_lists([(a, b, np.full(100, 0.03)) for a, b in zip(t, m, strict=True)])


def periods_and_cores(seed: int) -> tuple[np.ndarray, float]:
    """Return the periods found, and the CPU time over the wall time of this thread's process."""
    curves = partition(seed)
    wall, cpu = time.perf_counter(), time.process_time()
    results = search(curves, OPTIONS)
    columns = judge(curves, results, OPTIONS)
    cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return np.column_stack([*(r.period for r in results.values()), columns["period_resolved"]]), cores


def test_a_search_uses_one_core() -> None:
    periods_and_cores(0)
    assert periods_and_cores(0)[1] < 1.2


@pytest.mark.parametrize("threads", [1, 4])
def test_partitions_side_by_side_in_a_worker_have_the_results_of_one_by_one(threads: int) -> None:
    seeds = range(6)
    alone = [periods_and_cores(seed)[0] for seed in seeds]
    address = "127.0.0.1:0"
    with Client(processes=False, n_workers=1, threads_per_worker=threads, dashboard_address=address) as client:
        together = client.gather(client.compute([delayed(periods_and_cores)(seed) for seed in seeds]))
    for expected, (found, _) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(found, expected)
