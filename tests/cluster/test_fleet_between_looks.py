"""A worker that comes and goes between two looks at the queue counts as connected."""

from __future__ import annotations

import os
import signal

from slurm_cluster import until

from scope_dask.cluster.folder import Wanted
from scope_dask.cluster.launch import launch, stop
from scope_dask.cluster.profile import ClusterProfile


def test_a_job_that_connects_and_ends_between_two_looks_did_not_end_early(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SCOPE_DASK_CLUSTERS", str(tmp_path))
    profile = ClusterProfile(system="local", memory="1 GiB", interface="lo", poll="1 hour")
    folder = launch(profile, "rarely", Wanted(1, 1))
    try:
        until(lambda: folder.state.workers == 1)
        assert folder.state.waiting == ""
        (first,) = folder.state.jobs
        os.killpg(int(first), signal.SIGKILL)
        until(lambda: folder.state.workers == 1 and first not in folder.state.jobs)
        assert folder.state.lost == 1
    finally:
        stop("rarely")
