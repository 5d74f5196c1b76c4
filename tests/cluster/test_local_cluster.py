"""Clusters of this machine, from the command line: they outlive it, are found by name, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
from slurm_cluster import until

from scope_dask.cluster.connect import client_of
from scope_dask.cluster.folder import ClusterFolder
from scope_dask.formats.atomic import locked

TESTS = Path(__file__).parents[1]
EXIT_USAGE = 2


@pytest.fixture(scope="module", autouse=True)
def clusters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clusters")
    with pytest.MonkeyPatch.context() as changes:
        changes.setenv("SCOPE_DASK_CLUSTERS", str(folder))
        changes.setenv("PYTHONPATH", os.pathsep.join([str(TESTS), str(TESTS.parent)]))
        yield folder


def scope(*arguments: str, code: int = 0) -> str:
    """Run a command in a process of its own and return what it prints."""
    command = [sys.executable, "-m", "dask", "scope", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def launched(clusters):
    said = scope("launch", "local", "--name", "here", "--jobs", "1")
    assert said.startswith("here: 1 jobs wanted, ")
    state = ClusterFolder("here").state
    assert f"watch it on {state.host} at {state.dashboard.replace('/status', '/scope')}, from elsewhere: dask " in said
    yield ClusterFolder("here")
    if ClusterFolder("here").alive:
        scope("stop", "here")


def test_it_is_found_by_name_and_computes(launched) -> None:
    until(lambda: launched.state.workers == 1)
    assert scope("status") == "here: 1 jobs wanted, 1 running, 1 workers\n"
    with client_of("here") as client:
        assert client.submit(sum, [1, 2]).result() == 3
    (job,) = launched.state.jobs
    status = scope("status", "here")
    assert re.search(rf"job {job} +RUNNING +1 workers +here-0", status)
    assert "jobs lost and replaced: 0" in status


def test_the_dashboard_listens_on_this_machine_only(launched) -> None:
    said = scope("dashboard", "here")
    (address,) = re.findall(r"http://127.0.0.1:(?!8787)\d+/status", said)
    assert f"on {launched.state.host}: {launched.state.page} (runs), {address} (Dask)" in said
    assert re.search(rf"ssh -N -L 8787:127.0.0.1:{address.split(':')[2].split('/')[0]} \S+@{launched.state.host}", said)
    for page in (address, launched.state.page):
        with urllib.request.urlopen(page, timeout=30) as answer:
            assert answer.status == 200
    listening = [c.laddr.ip for c in psutil.Process(launched.state.pid).net_connections() if c.status == "LISTEN"]
    assert set(listening) == {"127.0.0.1"}


def test_a_run_with_its_name(launched, tmp_path) -> None:
    assert "run out-" not in scope("status", "here")
    said = scope("run", "smoke.yaml", "--out", str(tmp_path / "out"), "--cluster", "here")
    assert "4 of 4 partitions computed" in said
    status = scope("status", "here")
    assert re.search(r"run out-\w+: finished, since .*; 4 of 4 partitions, [\d.]+ light curves/s", status)
    _, counts = (line.split() for line in said.splitlines() if line.startswith("features "))  # of plan and summary
    assert any(line.split() == counts for line in status.splitlines()), "the figures of the run"


def test_a_worker_that_dies_is_replaced(launched) -> None:
    (first,) = launched.state.jobs
    os.killpg(int(first), signal.SIGKILL)
    until(lambda: launched.state.workers == 1 and first not in launched.state.jobs)
    assert launched.state.lost == 1


def test_wrong_use_is_said_in_one_sentence(launched, tmp_path) -> None:
    for arguments, sentence in (
        (["launch", "local", "--name", "here"], "Error: a cluster 'here' is running already"),
        (["launch", "locl"], "Error: there is no cluster profile 'locl' (did you mean 'local'?)"),
        (["launch", "local", "--jobs", "1", "--adapt", "1", "2"], "Error: a number of jobs and --adapt are both given"),
        (["scale", "here", "--adapt", "3", "2"], "Error: 3 to 2 jobs are asked for"),
        (["scale", "here"], "Error: how many jobs?"),
        (["scale", "her", "2"], "Error: no cluster 'her' is running (did you mean 'here'?); running: here"),
        (["stop", "nosuch"], "Error: there is no cluster 'nosuch' to stop"),
        (["logs", "nosuch"], "Error: there are no logs of a cluster 'nosuch'"),
        (["run", "smoke.yaml", "--out", str(tmp_path / "x"), "--cluster", "hre"], "Error: no cluster 'hre' is running"),
    ):
        (line,) = [line for line in scope(*arguments, code=EXIT_USAGE).splitlines() if line.startswith("Error")]
        assert line.startswith(sentence)


def test_of_two_launches_at_once_one_wins() -> None:
    command = [sys.executable, "-m", "dask", "scope", "launch", "local", "--name", "twice", "--jobs", "0"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        (won, _, _), (lost, said, wrong) = sorted(
            (one.returncode, *told) for one in both for told in [one.communicate(timeout=90)]
        )
        assert (won, lost, said) == (0, EXIT_USAGE, "")
        assert re.fullmatch(
            r"Error: a cluster 'twice' is (being launched by another process|running already): .*\n", wrong
        )
        assert ClusterFolder("twice").alive
    finally:
        scope("stop", "twice")


def test_a_launch_while_another_is_under_way_says_so(clusters) -> None:
    with locked(clusters / ".held.lock"):
        said = scope("launch", "local", "--name", "held", code=EXIT_USAGE)
    assert said.startswith("Error: a cluster 'held' is being launched by another process: wait for it, or launch under")
    assert not (clusters / "held").exists()


def test_it_stops_and_leaves_logs_only(launched) -> None:
    state = launched.state
    processes = [p for job in state.jobs for p in [psutil.Process(int(job)), *psutil.Process(int(job)).children(True)]]
    assert scope("stop", "here") == "here has stopped\n"
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes), 15)
    assert not launched.alive
    assert {path.name for path in launched.path.iterdir()} == {"profile.yaml", "keeper.log", "logs"}
    assert scope("status") == "no cluster is launched\n"
    assert "stopped" in scope("logs", "here")


def test_an_idle_cluster_stops_itself(tmp_path) -> None:
    profile = tmp_path / "short.yaml"
    profile.write_text("system: local\njobs: 0\ninterface: lo\nidle_timeout: 4 s\ntls: false\n")
    scope("launch", str(profile))
    folder = ClusterFolder("short")
    address = folder.state.address
    assert address.startswith("tcp://127.0.0.1:")
    with client_of(address) as client:
        assert client.scheduler_info()["workers"] == {}
    until(lambda: not folder.alive and folder.state is None, 30)
    assert not (folder.path / "tls").exists()
