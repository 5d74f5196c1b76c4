"""Light curves on a cluster of CPUs, features on one of GPUs (made-up ones), joined by the dataset between them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from slurm_cluster import jobs, launched

import scope_dask as sd
from scope_dask.cluster.connect import client_of
from scope_dask.periods.options import PeriodOptions
from scope_dask.simulate import SimulationOptions

LIGHT_CURVES = 12
SOURCES = SimulationOptions(n_light_curves=LIGHT_CURVES, light_curves_per_partition=4, n_points=(60, 70, 80))
PERIODS = PeriodOptions(max_freq=1.0)
FIRST_PARTITION_SECONDS = 30.0  # on a machine at rest
IMPORT_SECONDS = 1.5  # likewise

pytestmark = pytest.mark.usefixtures("slurm_machine")


def visible_gpu(partition: pd.DataFrame) -> pd.DataFrame:
    assert os.environ.get("CUDA_VISIBLE_DEVICES") in {"0", "1"}
    return partition


def slowness() -> float:
    """Return how many times slower than at rest this machine is now."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import dask.dataframe"], check=True)
    return max(1.0, (time.monotonic() - start) / IMPORT_SECONDS)


def test_two_clusters_joined_by_a_dataset(tmp_path: Path) -> None:
    start = time.monotonic()
    curves = tmp_path / "curves"
    with launched("cpus", 1), client_of("cpus"):
        sd.write(sd.lightcurves(sd.simulate_sources(SOURCES)), curves)
        assert time.monotonic() - start < FIRST_PARTITION_SECONDS * slowness()
        assert sd.write(sd.lightcurves(sd.simulate_sources(SOURCES)), curves, resume=True).reused == 3
    assert jobs("cpus") == set()
    with launched("gpu", 1, partition="gpu", gres="gpu:1"), client_of("gpu"):
        lazy = sd.read_archive(curves)
        lazy = lazy.map_partitions(visible_gpu, meta=lazy._meta, enforce_metadata=False)
        summary = sd.write(sd.features(lazy, periods=PERIODS), tmp_path / "features")
        assert summary.failed == {}
        assert summary.rows[""] == len(pd.read_parquet(curves, columns=["_id"]))
