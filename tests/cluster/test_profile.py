"""Profiles of sites: what is wrong in one is said in a sentence, and what is right becomes a job script."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import dask
import pytest
from click.testing import CliRunner

from scope_dask.cluster.profile import ClusterProfile, check_name, load_profile, packaged_profiles
from scope_dask.cluster.script import example
from scope_dask.commands.scope import scope
from scope_dask.errors import OptionError, SourceError
from scope_dask.mapping import from_mapping

PACKAGED = sorted(path.stem for path in packaged_profiles().glob("*.yaml"))
BARE = ClusterProfile(partition="cpu", walltime="1:00:00")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SCOPE_DASK_CLUSTERS", str(tmp_path / "clusters"))
    return tmp_path / "clusters"


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_profiles_make_scripts_that_bash_reads(name) -> None:
    script = example(load_profile(name), name)
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=True).stderr == ""
    assert "--tls-key" in script


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_profiles_name_no_person_account_or_secret(name) -> None:
    profile = load_profile(name)
    assert profile.account is None
    assert profile.tls
    text = (packaged_profiles() / f"{name}.yaml").read_text()
    assert not re.search(r"token|password|secret|@|/home/|/root", text, re.IGNORECASE)


def test_the_directives_of_a_job() -> None:
    profile = replace(
        BARE,
        account="abc123",
        gres="gpu:1",
        qos="normal",
        constraint="lustre",
        directives=("--exclusive",),
        workers_per_job=4,
        threads_per_worker=2,
        memory="8500 MiB",
        prologue=("module load x",),
    )
    lines = example(profile, "mine").splitlines()
    found = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    expected = {
        "-J scope-mine",
        "-p cpu",
        "-A abc123",
        "-n 1",
        "--cpus-per-task=8",
        "--mem=8500M",
        "-t 0-01:00:00",
        "--no-requeue",
        "--qos=normal",
        "--constraint=lustre",
        "--gres=gpu:1",
        "--exclusive",
    }
    assert {line for line in found if not line.startswith(("-e ", "-o "))} == expected
    assert "module load x" in lines
    worker = lines[-1]
    assert "--nworkers 4" in worker
    assert "--nthreads 2" in worker
    limit = (8500 / 4 - 160) / 1024
    assert f"--memory-limit {limit:.2f}GiB" in worker


@pytest.mark.parametrize(
    ("rule", "directives"),
    [("mem", ["--mem=4096M"]), ("mem-per-cpu", ["--mem-per-cpu=1366M"]), ("none", [])],
)
def test_the_memory_rule_of_a_site(rule, directives) -> None:
    script = example(replace(BARE, memory_rule=rule, memory="4 GiB", cpus_per_job=3), "mine")
    assert re.findall(r"--mem\S*=\S+", script) == directives


def test_a_gpu_worker_is_one_of_dask_cuda_with_a_lifetime() -> None:
    script = example(replace(BARE, worker="dask_cuda", gres="gpu:1", cpus_per_job=8), "mine")
    worker = script.splitlines()[-1]
    assert " -m dask_cuda.cli " in worker
    assert "--nanny" not in worker, "it has no such option"
    assert "--cpus-per-task=8" in script
    lifetime = float(re.search(r"LIFETIME__DURATION='(\d+) s'", script)[1])
    stagger = float(re.search(r"LIFETIME__STAGGER='(\d+) s'", script)[1])
    assert stagger < lifetime < lifetime + stagger < 3600


def test_values_of_the_users_own_jobqueue_file_do_not_come_in() -> None:
    with dask.config.set({"jobqueue.slurm.queue": "other", "jobqueue.slurm.account": "other"}):
        assert "other" not in example(replace(BARE, partition=None), "mine")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"walltime": "4 hours"}, "walltime is '4 hours'; expected hours:minutes:seconds"),
        ({"walltime": "1:00:00", "lifetime": "1 hour"}, "workers must end before their job is ended"),
        ({"lifetime": "3 minutes", "lifetime_stagger": "4 minutes"}, "it must be more than its stagger"),
        ({"lifetime": "soon"}, "lifetime is 'soon'; expected a time"),
        ({"memory": "much"}, "memory is 'much'; expected a size"),
        ({"memory": "1 GiB", "workers_per_job": 8}, "8 workers need 3328 MiB"),
        ({"workers_per_job": 0}, "workers_per_job is 0; it must be 1 or more"),
        ({"jobs": -1}, "jobs is -1; it must be 0 or more"),
        ({"partition": "a b"}, "partition is 'a b'; expected one word"),
        ({"account": "x\n#SBATCH --uid=0"}, "expected one word"),
        ({"directives": ["exclusive"]}, "expected options of sbatch"),
        ({"environment": {"A B": "1"}}, "expected the name of a variable"),
        ({"worker": "dask_cuda", "workers_per_job": 2}, "one worker, one GPU"),
        ({"partitoin": "cpu"}, "there is no option 'partitoin' .did you mean 'partition'"),
        ({"system": "pbs"}, "system is 'pbs'"),
    ],
)
def test_what_is_wrong_in_a_profile_is_said(wrong, sentence) -> None:
    with pytest.raises(OptionError, match=sentence):
        from_mapping(ClusterProfile, wrong, "mine.yaml")


@pytest.mark.parametrize(
    ("walltime", "seconds"), [("0:30:00", 1800), ("12:00:00", 43200), ("2-00:00:10", 172810), ("100:00:00", 360000)]
)
def test_walltimes(walltime, seconds) -> None:
    profile = ClusterProfile(walltime=walltime)
    assert profile.walltime_seconds == seconds
    assert 0 < profile.stagger_seconds < profile.lifetime_seconds
    assert profile.lifetime_seconds + profile.stagger_seconds <= seconds - 30


def test_an_unknown_profile_names_the_packaged_ones() -> None:
    with pytest.raises(SourceError, match=r"no cluster profile 'expanse' .did you mean 'expanse-.*packaged profiles"):
        load_profile("expanse")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "x" * 50])
def test_names_that_cannot_be_a_path(name) -> None:
    with pytest.raises(OptionError, match="cannot name a cluster"):
        check_name(name)


def test_the_script_command_needs_no_slurm_and_leaves_nothing(folder, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    done = CliRunner().invoke(scope, ["script", "delta-gpu", "--account", "abc123", "--partition", "gpuA40x4"])
    assert done.exit_code == 0, done.output
    assert "#SBATCH -A abc123" in done.stdout
    assert "#SBATCH -p gpuA40x4" in done.stdout
    assert not folder.exists()
