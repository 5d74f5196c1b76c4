"""A run on a real SLURM keeps its results through every way in which jobs, nodes, scheduler and client fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from clusters import computed, table
from distributed import Client
from processes import started
from slurm_cluster import connected, jobs, launched, slurm, until

from scope_dask.cluster.connect import client_of
from scope_dask.cluster.folder import ClusterFolder
from scope_dask.cluster.launch import launch
from scope_dask.errors import RunError, UsageError
from scope_dask.summary import RunSummary
from scope_dask.writing import WriteOptions, write_tables

COUNT = 48
SECONDS = 0.3  # a partition
UNDER_WAY = 4  # partitions on one worker: what it computes, and what waits there


@pytest.fixture(scope="module")
def folder(slurm_machine: Path) -> Iterator[ClusterFolder]:
    """A cluster of two jobs, for all tests in which jobs fail."""
    with launched("lasting", 2, worker_timeout="8 s") as folder:
        yield folder


@pytest.fixture
def client(folder: ClusterFolder) -> Iterator[Client]:
    until(connected(folder, 2))
    with client_of(folder.name) as client:
        yield client


def run(client: Client, where: Path, trouble: Callable[[], Any], **troubles: Any) -> tuple[RunSummary, Counter[int]]:
    """Write a table with something going wrong when a sixth of it is there; return the calls by partition."""
    log = where / "log"
    log.mkdir(exist_ok=True)
    lazy = table(COUNT, log=log, seconds=SECONDS, **troubles)
    seen: list[int] = []
    failure = threading.Thread(target=trouble)

    def watch(record: dict[str, Any]) -> None:
        seen.append(record["partition"])
        if len(seen) == COUNT // 6:
            failure.start()

    try:
        summary = write_tables({"": lazy}, where / "out", client, WriteOptions(resume=True, watch=watch))
    finally:
        if seen[COUNT // 6 - 1 :]:
            failure.join()
    return summary, Counter(computed(log))


def check(summary: RunSummary, calls: Counter[int], again: int = UNDER_WAY) -> None:
    """Check that all partitions are written, and no more of them computed again than were under way."""
    assert summary.failed == {}
    assert summary.rows == {"": 2 * COUNT}
    assert sorted(calls) == list(range(COUNT))
    assert sum(calls.values()) - COUNT <= again, calls


def worker_process(job_id: str) -> psutil.Process:
    """Return the process of a job that computes."""
    for process in psutil.process_iter(["environ", "cmdline"]):
        environment, command = process.info["environ"] or {}, process.info["cmdline"] or []
        if environment.get("SLURM_JOB_ID") == job_id and any("spawn_main" in word for word in command):
            return process
    raise LookupError(job_id)


@pytest.mark.parametrize("how", [["scancel"], ["scancel", "--signal=KILL", "--full"]], ids=["cancelled", "killed"])
def test_a_job_that_ends_in_a_run(folder, client, tmp_path, how) -> None:
    first = min(jobs(folder.name))
    summary, calls = run(client, tmp_path, lambda: slurm(*how, first))
    check(summary, calls)
    until(lambda: len(jobs(folder.name)) == 2 and first not in jobs(folder.name))


def test_a_node_that_is_drained_while_its_worker_dies(folder, client, tmp_path) -> None:
    first = min(jobs(folder.name))
    node = slurm("squeue", "--noheader", "--jobs", first, "--format=%N")

    def trouble() -> None:
        slurm("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")
        worker_process(first).kill()

    try:
        summary, calls = run(client, tmp_path, trouble)
        check(summary, calls)
        before = jobs(folder.name)
        slurm("scancel", first)
        (new,) = until(lambda: jobs(folder.name) - before)
        until(connected(folder, 2))
        assert slurm("squeue", "--noheader", "--jobs", new, "--format=%N") not in ("", node)
    finally:
        slurm("scontrol", "update", f"NodeName={node}", "State=RESUME")


def test_a_job_at_its_time_limit(folder, client, tmp_path) -> None:
    first = min(jobs(folder.name))
    slurm("scontrol", "update", f"JobId={first}", "EndTime=now+1")  # SLURM looks every half minute
    start = time.monotonic()
    while first in jobs(folder.name):
        where = tmp_path / str(time.monotonic_ns())
        where.mkdir()
        check(*run(client, where, lambda: None))
        assert time.monotonic() - start < 90
    assert "TIMEOUT" in slurm("scontrol", "show", "job", first)
    until(connected(folder, 2))


def test_a_partition_that_needs_more_memory_than_its_job_has(folder, client, tmp_path) -> None:
    troubles = tmp_path / "troubles"
    troubles.mkdir()
    (troubles / "grow-5").touch()
    summary, calls = run(client, tmp_path, lambda: None, troubles=troubles)
    assert list(summary.failed) == [5]
    assert "KilledWorker" in summary.failed[5]
    assert sum(calls.values()) - COUNT <= UNDER_WAY
    (troubles / "grow-5").unlink()
    again, calls = run(client, tmp_path, lambda: None, troubles=troubles)
    check(again, calls + Counter({p: 1 for p in range(COUNT) if p != 5}))
    assert dict(calls) == {5: 1}, "only what is missing"


def test_a_worker_that_hangs(folder, client, tmp_path) -> None:
    first = min(jobs(folder.name))
    summary, calls = run(client, tmp_path, worker_process(first).suspend)
    check(summary, calls)


def test_a_client_that_is_killed(folder, client, tmp_path) -> None:
    program = (
        "import sys; from pathlib import Path; from clusters import table\n"
        "from scope_dask.cluster.connect import client_of\n"
        "from scope_dask.writing import WriteOptions, write_tables\n"
        "with client_of(sys.argv[1]) as client:\n"
        "    lazy = table(int(sys.argv[3]), log=sys.argv[2] + '/log', seconds=float(sys.argv[4]))\n"
        "    write_tables({'': lazy}, Path(sys.argv[2], 'out'), client, WriteOptions())\n"
    )
    (tmp_path / "log").mkdir()
    arguments = [folder.name, str(tmp_path), str(COUNT), str(SECONDS)]
    with started([sys.executable, "-c", program, *arguments], stderr=subprocess.DEVNULL) as process:
        journal = tmp_path / "out" / "_records.jsonl"
        until(lambda: journal.exists() and journal.read_text().count("\n") > COUNT // 6)
        process.kill()
    first = Counter(computed(tmp_path / "log"))
    summary, second = run(client, tmp_path, lambda: None)
    assert summary.reused > COUNT // 6
    check(summary, first + second, 2 * UNDER_WAY)
    assert len(jobs(folder.name)) == 2


def test_a_disk_that_is_full(folder, client, tmp_path) -> None:
    disk = tmp_path / "out"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        with pytest.raises(OSError, match="No space left on device"):
            run(client, tmp_path, lambda: None)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        summary, _ = run(client, tmp_path, lambda: None)
        assert summary.failed == {}
        assert summary.reused + summary.computed == COUNT
        assert summary.reused > 0
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_workers_that_reach_their_lifetime(slurm_machine, tmp_path) -> None:
    count = 30  # 9 s of work, so that one end at least falls into it
    with launched("expiring", 1, lifetime="8 s", lifetime_stagger="0 s") as folder:
        until(connected(folder, 1))
        first = jobs(folder.name)
        log, recorded = tmp_path / "log", {}
        log.mkdir()
        how = WriteOptions(watch=lambda record: recorded.setdefault(record["partition"], time.time()))
        with client_of(folder.name) as client:
            summary = write_tables({"": table(count, log=log, seconds=SECONDS)}, tmp_path / "out", client, how)
        assert summary.rows == {"": 2 * count}
        started = [(int(call.name.split(".")[0]), call.stat().st_mtime) for call in log.iterdir()]
        again = [partition for partition, when in started if when > recorded[partition]]
        assert again == [], "what was finished is not computed again"
        assert not first & jobs(folder.name)
        assert folder.state.lost == 0, "an end that was planned"


def test_a_scheduler_that_is_killed(slurm_machine, tmp_path) -> None:
    with launched("orphaned", 1) as folder:
        until(connected(folder, 1))
        keys = folder.path / "tls" / "key.pem"
        with (
            client_of(folder.name) as client,
            pytest.raises(RunError, match="the scheduler is gone: what was finished"),
        ):
            run(client, tmp_path, lambda: os.kill(folder.state.pid, signal.SIGKILL))
        assert '"ok":false' not in (tmp_path / "out" / "_records.jsonl").read_text()
        first, old_key = Counter(computed(tmp_path / "log")), keys.read_text()
        with pytest.raises(UsageError, match=r"has ended unexpectedly.*launch it again"), client_of(folder.name):
            pass
        launch(folder.profile, folder.name, folder.wanted)
        assert keys.read_text() != old_key
        until(connected(folder, 1))
        with client_of(folder.name) as client:
            summary, second = run(client, tmp_path, lambda: None)
        assert summary.reused >= COUNT // 6
        check(summary, first + second)
    assert jobs(folder.name) == set()
