"""Jobs on a real SLURM: started, scaled, replaced however they end, and gone with their cluster."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from shutil import which

import pytest
from slurm_cluster import connected, jobs, launched, slurm, until, workers

from scope_dask.cluster.connect import client_of
from scope_dask.cluster.folder import Wanted
from scope_dask.cluster.launch import launch
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.errors import RunError, UsageError

pytestmark = pytest.mark.usefixtures("slurm_machine")


def test_a_job_with_several_workers_is_replaced_and_nothing_is_left_behind() -> None:
    with launched("several", 1, workers_per_job=2, memory="1 GiB") as folder:
        (first,) = until(lambda: jobs("several"))
        until(connected(folder, 1, each=2))
        slurm("scancel", first)
        until(lambda: jobs("several") and first not in jobs("several"))
        until(connected(folder, 1, each=2))
        assert folder.state.lost == 1
        keys = list((folder.path / "tls").iterdir())
        assert [key.stat().st_mode & 0o077 for key in keys] == [0, 0]
    assert jobs("several") == set()
    assert not folder.alive
    assert {path.name for path in folder.path.iterdir()} == {"profile.yaml", "keeper.log", "logs"}


def test_jobs_as_many_as_wanted() -> None:
    with launched("scaled", 1) as folder:
        until(lambda: len(jobs("scaled")) == 1)
        folder.want(Wanted(3, 3))
        until(lambda: len(jobs("scaled")) == 3)
        until(connected(folder, 3))
        before = jobs("scaled")
        with client_of("scaled") as client:
            kept = client.submit(lambda: 7, pure=False)
            assert kept.result() == 7
            folder.want(Wanted(1, 1))
            until(lambda: len(jobs("scaled")) == 1)
            assert jobs("scaled") < before
            assert kept.result() == 7, "results move to the workers that stay"
        folder.want(Wanted(0, 2))
        until(lambda: jobs("scaled") == set())
        with client_of("scaled") as client:
            assert client.gather(client.map(lambda i: i * i, range(4))) == [0, 1, 4, 9]
            assert 1 <= len(jobs("scaled")) <= 2
        until(lambda: jobs("scaled") == set())


def test_jobs_that_end_before_their_worker_connects(tmp_path) -> None:
    switch = tmp_path / "mended"
    prologue = (f"test -e {switch} || {{ echo no such module >&2; exit 3; }}",)
    with launched("early", 1, prologue=prologue) as folder:
        until(lambda: "ended before its worker connected, saying: no such module" in folder.state.waiting)
        until(lambda: "4 jobs in a row ended before a worker connected" in folder.state.waiting, 90)
        assert jobs("early") == set(), "no storm of jobs"
        switch.touch()
        folder.want(Wanted(1, 1))
        folder.want(Wanted(2, 2))
        until(connected(folder, 2))
        assert folder.state.waiting == ""


def test_a_refused_submission_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "scope_dask")
    slurm("scontrol", "update", "PartitionName=all", "State=DRAIN")
    try:
        with launched("refused", 1, partition="all") as folder:
            until(lambda: "sbatch refused the job: " in folder.state.waiting)
            assert "next try in" in folder.state.waiting
            assert "partition" in folder.state.waiting.lower()
            with client_of("refused"):
                until(
                    lambda: any(
                        said.startswith("cluster refused: sbatch refused the job: ") for said in caplog.messages
                    )
                )
            slurm("scontrol", "update", "PartitionName=all", "State=UP")
            until(connected(folder, 1))
            assert folder.state.waiting == ""
    finally:
        slurm("scontrol", "update", "PartitionName=all", "State=UP")


def test_no_job_is_lost_while_slurm_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf, squeue = tmp_path / "deaf", tmp_path / "squeue"
    squeue.write_text(
        f'#!/bin/sh\ntest -e {deaf} && {{ echo no controller >&2; exit 1; }}\nexec {which("squeue")} "$@"\n'
    )
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with launched("deaf", 1) as folder:
        until(connected(folder, 1))
        before = workers(folder)
        deaf.touch()
        until(lambda: folder.state.waiting == "squeue: no controller")
        with client_of("deaf") as client:
            assert client.submit(sum, [1, 2]).result() == 3
        assert workers(folder) == before
        deaf.unlink()
        until(lambda: folder.state.waiting == "")
        assert workers(folder) == before
        assert folder.state.lost == 0


def test_a_pending_job_says_why_and_is_replaced_when_it_is_cancelled() -> None:
    slurm("scontrol", "update", "NodeName=gpu1", "State=DRAIN", "Reason=test")
    try:
        with launched("pending", 1, partition="gpu") as folder:
            until(lambda: "1 of 1 jobs wait in the queue (" in folder.state.waiting)
            (first,) = jobs("pending")
            slurm("scancel", first)
            until(lambda: jobs("pending") and first not in jobs("pending"))
    finally:
        slurm("scontrol", "update", "NodeName=gpu1", "State=RESUME")


def test_gpu_jobs_see_one_gpu_each() -> None:
    with launched("gpus", 2, partition="gpu", gres="gpu:1") as folder, client_of("gpus") as client:
        until(connected(folder, 2))
        seen = client.run(os.getenv, "CUDA_VISIBLE_DEVICES")
        assert sorted(seen.values()) == ["0", "1"]


def test_only_who_has_the_keys_is_let_in() -> None:
    from distributed import Client

    with launched("keys", 0) as folder:
        address = folder.state.address
        assert address.startswith("tls://127.0.0.1:")
        with pytest.raises((OSError, TypeError, ValueError)):
            Client(address.replace("tls://", "tcp://"), timeout="2s")
        with pytest.raises(UsageError, match="a cluster 'keys' is running already"):
            launch(folder.profile, "keys")
        assert workers(folder) == {}


def test_a_scheduler_that_cannot_start_says_why() -> None:
    with pytest.raises(RunError, match=r"the scheduler of 'nowhere' did not start: .*nosuch0"):
        launch(ClusterProfile(interface="nosuch0"), "nowhere")


def test_a_profile_is_launched_for_one_use_and_gone_after_it(slurm_machine: Path) -> None:
    with client_of("one-machine-slurm") as client:
        assert client.submit(sum, [1, 2]).result(timeout=40) == 3
        (path,) = [p for p in slurm_machine.iterdir() if p.name.startswith("one-machine-slurm-")]
        assert jobs(path.name)
    assert jobs(path.name) == set()
    assert not path.exists()
    with (
        pytest.raises(UsageError, match=r"no cluster 'nosuch' is running.*no cluster profile 'nosuch'"),
        client_of("nosuch"),
    ):
        pass
