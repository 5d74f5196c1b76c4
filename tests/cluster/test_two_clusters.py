"""Work of two kinds on two clusters that run at once, joined by a dataset that is resumed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import scope_dask as sd
from scope_dask.cluster.connect import client_of
from scope_dask.cluster.folder import Wanted
from scope_dask.cluster.launch import launch, stop
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.periods.options import PeriodOptions
from scope_dask.simulate import SimulationOptions

TESTS = Path(__file__).parents[1]
SOURCES = SimulationOptions(n_light_curves=12, light_curves_per_partition=4, n_points=(60, 70, 80))
PERIODS = PeriodOptions(max_freq=1.0)


def check(partition: pd.DataFrame, kind: str) -> pd.DataFrame:
    assert os.environ["KIND"] == kind, "computed on the other cluster"
    return partition


def on(frame: Any, kind: str) -> Any:
    """Let the partitions of a table fail anywhere but on a cluster."""
    return frame.map_partitions(check, kind, meta=frame._meta, enforce_metadata=False)


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two clusters of one worker each, which differ in a variable of their jobs."""
    monkeypatch.setenv("SCOPE_DASK_CLUSTERS", str(tmp_path / "clusters"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (TESTS / "cluster", TESTS, TESTS.parent))))
    kinds = ("cpus", "gpus")
    for kind in kinds:
        profile = ClusterProfile(system="local", memory="1 GiB", interface="lo", environment={"KIND": kind})
        launch(profile, kind, Wanted(1, 1))
    yield
    for kind in kinds:
        stop(kind)


def test_light_curves_on_one_features_on_the_other(clusters: None, tmp_path: Path) -> None:
    curves, features = tmp_path / "curves", tmp_path / "features"
    lazy = sd.lightcurves(sd.simulate_sources(SOURCES))
    with client_of("cpus"):
        assert sd.write(on(lazy, "cpus"), curves, resume=True).failed == {}
    with client_of("gpus"):
        made = sd.write(sd.features(on(sd.read_archive(curves), "gpus"), periods=PERIODS), features, resume=True)
    assert made.failed == {}
    assert made.rows[""] == len(pd.read_parquet(curves, columns=["_id"]))
    with client_of("cpus"):  # the same lines again: nothing is computed
        assert sd.write(on(lazy, "cpus"), curves, resume=True).reused == 3
    with client_of("gpus"):
        again = sd.write(sd.features(on(sd.read_archive(curves), "gpus"), periods=PERIODS), features, resume=True)
    assert (again.computed, again.reused) == (0, made.computed)
