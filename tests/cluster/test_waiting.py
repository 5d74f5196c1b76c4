"""A run that cannot go on says in one line what it waits for, whatever kind of cluster it is."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from clusters import table
from slurm_cluster import until

from scope_dask.cluster.connect import client_of
from scope_dask.cluster.folder import ClusterFolder, Wanted
from scope_dask.cluster.launch import launch, stop
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.writing import WriteOptions, write_tables

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("by_address", "sentence"),
    [
        (False, "cluster idle: no jobs are wanted: ask for some with dask scope scale idle N"),
        (True, "scheduler tcp://{port}: no workers are connected"),
    ],
    ids=["name", "address"],
)
def test_a_cluster_without_workers(tmp_path: Path, monkeypatch, caplog, by_address: bool, sentence: str) -> None:
    monkeypatch.setenv("SCOPE_DASK_CLUSTERS", str(tmp_path / "clusters"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
    caplog.set_level(logging.INFO, "scope_dask")
    profile = ClusterProfile(system="local", memory="1 GiB", interface="lo", tls=False, poll="1 s")
    folder = launch(profile, "idle", Wanted(0, 0))
    try:
        address = folder.state.address
        expected = sentence.format(port=address.removeprefix("tcp://"))
        with client_of(address if by_address else "idle") as client:
            until(lambda: expected in caplog.messages)
            ClusterFolder("idle").want(Wanted(1, 1))
            summary = write_tables({"": table(2)}, tmp_path / "out", client, WriteOptions())
        assert summary.failed == {}
        assert caplog.messages.count(expected) == 1, "once"
    finally:
        stop("idle")
