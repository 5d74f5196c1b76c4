"""Job scripts of SLURM: what they ask for, what they do, and reading them again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import started
from slurm_cluster import until

from scope_dask.cluster.batch import BatchJob, WrittenScript, write_scripts
from scope_dask.cluster.joblogs import RUNS, find_logs, read_log
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.errors import OptionError, SourceError

CANCELLED = "slurmstepd: error: *** JOB 12 ON cpu1 CANCELLED AT 2026-11-22T20:13:18"
END = "job ended: exit code {} after 61 s\n"


def job(folder: Path, lines: list[str], **more: Any) -> BatchJob:
    profile = more.pop("profile", ClusterProfile(partition="shared", memory="2 GiB", walltime="1:00:00"))
    return BatchJob(name="ztf_fg", profile=profile, lines=lines, logs=folder / "logs", folder=folder, **more)


def asked(script: str) -> dict[str, str]:
    """Return what a script asks for; an option without a value is ``""``."""
    lines = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def ran(script: Path, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], **variables}  # as of a job that inherits nothing
    return subprocess.run(
        ["bash", str(script), "--more"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_what_a_job_asks_for(tmp_path) -> None:
    profile = ClusterProfile(
        partition="gpu",
        account="abc123",
        qos="high",
        gres="gpu:1",
        directives=("--exclusive",),
        cpus_per_job=10,
        memory="90 GiB",
        walltime="2-00:00:00",
    )
    found = asked(job(tmp_path, [], profile=profile, nodes=2, mail_user="somebody@example.org").text())
    assert found == {
        "--job-name": "ztf_fg",
        "--output": f"{tmp_path}/logs/ztf_fg_%A_%a.out",
        "--error": f"{tmp_path}/logs/ztf_fg_%A_%a.err",
        "--chdir": str(tmp_path),
        "--partition": "gpu",
        "--account": "abc123",
        "--nodes": "2",
        "--ntasks-per-node": "1",
        "--cpus-per-task": "10",
        "--mem": "92160M",
        "--time": "2-00:00:00",
        "--mail-user": "somebody@example.org",
        "--mail-type": "BEGIN,END,FAIL",
        "--no-requeue": "",
        "--qos": "high",
        "--gres": "gpu:1",
        "--exclusive": "",
    }


def test_what_is_not_known_is_left_out(tmp_path) -> None:
    found = asked(job(tmp_path, [], profile=ClusterProfile(memory_rule="none")).text())
    assert not set(found) & {"--partition", "--account", "--mail-user", "--mail-type", "--mem", "--gres", "--qos"}
    rule = asked(job(tmp_path, [], profile=ClusterProfile(memory_rule="mem-per-cpu", cpus_per_job=4)).text())
    assert rule["--mem-per-cpu"] == "1024M"
    assert "--mem" not in rule


def test_a_script_runs_its_task_and_tells_when(tmp_path) -> None:
    profile = ClusterProfile(
        prologue=("GREETING=hello",), environment={"SITE": "a b"}, scratch=f"{tmp_path}/scratch_$QID"
    )
    shown = "import sys, os; print(sys.argv[1:], os.environ['OMP_NUM_THREADS'])"
    lines = [f'{{python}} -c "{shown}" "$GREETING" "$SITE" "$QID" "$@"']
    (tmp_path / "slurm.sub").write_text(job(tmp_path, lines, profile=profile, variable="QID", threads=3).text())
    done = ran(tmp_path / "slurm.sub", tmp_path, QID="17", SLURM_JOB_ID="1234")
    assert done.returncode == 0, done.stderr
    first, said, last = done.stdout.splitlines()
    assert first.startswith("job started: 1234 QID=17 on ")
    assert said == "['hello', 'a b', '17', '--more'] 3"
    assert last.startswith("job ended: exit code 0 after ")
    assert (tmp_path / "scratch_17").is_dir()
    without = ran(tmp_path / "slurm.sub", tmp_path)
    assert without.returncode != 0
    assert "QID: is not given" in without.stderr


def test_a_prologue_that_fails_ends_the_job(tmp_path) -> None:
    text = job(tmp_path, ["echo never"], profile=ClusterProfile(prologue=("false",))).text()
    (tmp_path / "slurm.sub").write_text(text)
    done = ran(tmp_path / "slurm.sub", tmp_path)
    assert done.returncode == 1
    assert "never" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("job ended: exit code 1 ")


def test_a_job_that_a_signal_ends_is_not_done(tmp_path) -> None:
    (tmp_path / "slurm.sub").write_text(job(tmp_path, ["touch begun; sleep 600"]).text())
    with (tmp_path / "log.out").open("wb") as log:
        command = ["bash", str(tmp_path / "slurm.sub")]
        with started(command, cwd=tmp_path, stdout=log, start_new_session=True) as process:
            until((tmp_path / "begun").exists)
            os.killpg(process.pid, signal.SIGTERM)  # as SLURM does it, to all processes of the job
            assert process.wait(60) == 143
    assert (read_log(tmp_path / "log.out").exit_code, read_log(tmp_path / "log.out").done) == (143, False)


def test_the_python_of_a_job(tmp_path) -> None:
    line = ["{python} -V"]
    assert f"{sys.executable} -V" in job(tmp_path, line).text()
    assert "/opt/python -V" in job(tmp_path, line, profile=ClusterProfile(python="/opt/python")).text()
    conda = job(tmp_path, line, python_env="scope-env").text()
    assert 'eval "$(conda shell.bash hook)"\nconda activate scope-env\n' in conda
    assert conda.endswith("python -V\n")
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "activate").write_text("python() { echo activated; }\n")
    (tmp_path / "slurm.sub").write_text(job(tmp_path, line, python_env=str(tmp_path / "env")).text())
    assert "activated" in ran(tmp_path / "slurm.sub", tmp_path).stdout
    with pytest.raises(OptionError, match=r"/none is no Python environment: it has no bin/activate"):
        job(tmp_path, line, python_env=str(tmp_path / "none")).text()


def test_names_and_nodes_are_checked(tmp_path) -> None:
    with pytest.raises(OptionError, match="the name of the job is 'a b', expected letters"):
        BatchJob("a b", ClusterProfile(), [], tmp_path)
    with pytest.raises(OptionError, match="the number of nodes is 0, expected 1 or more"):
        job(tmp_path, [], nodes=0)


def test_a_script_is_read_again(tmp_path) -> None:
    folder = tmp_path / "100% of it"
    line = """{python} -m scope_dask.commands.generate_features --filename 'a b' --quadrant-index "$QID" "$@\""""
    path = folder / "slurm" / "slurm.sub"
    assert write_scripts({path: job(folder, [line], variable="QID").text()}) == []
    assert os.access(path, os.X_OK)
    script = WrittenScript.read(path, "generate-features-slurm")
    assert (script.job_name, script.logs) == ("ztf_fg", folder / "logs")
    assert script.words("generate_features") == ["--filename", "a b", "--quadrant-index", "$QID"]
    with pytest.raises(SourceError, match=r"slurm.sub does not call combine-preds: write it again"):
        script.words("combine_preds")
    assert write_scripts({path: path.read_text()}) == []
    assert write_scripts({path: "#!/bin/bash\n"}) == [path]
    with pytest.raises(SourceError, match=r"slurm.sub has no --job-name and --output: write it again with maker"):
        WrittenScript.read(path, "maker")
    with pytest.raises(SourceError, match=r"other.sub cannot be read \(No such file or directory\): maker writes it"):
        WrittenScript.read(tmp_path / "other.sub", "maker")


def write_log(folder: Path, name: str, end: str, errors: str = "", rows: int = 0) -> Path:
    start = f"job started: {name.split('_')[2]} QID={name.split('_')[3]} on cpu1 at 2026-11-22T20:13:18Z\n"
    said = f"{rows} light curves in some file\n" if rows else "nothing\n"
    (folder / f"{name}.err").write_text(errors)
    (folder / f"{name}.out").write_text(start + said + end)
    return folder / f"{name}.out"


@pytest.mark.parametrize(
    ("end", "errors", "reason"),
    [
        (END.format(0), "Warning: something\n", ""),
        (END.format(2), "Error: field 301 has 12.5 sources\n\n", "Error: field # has # sources"),
        (END.format(1), "", "nothing"),
        ("", f"{CANCELLED} DUE TO TIME LIMIT ***\n", "the time limit was reached"),
        ("", f"{CANCELLED} ***\n", "cancelled"),
        (END.format(137), "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch.\n", "out of memory"),
        ("", "slurmstepd: error: Job 12 exceeded memory limit (9 > 8), being killed\n", "out of memory"),
        ("", f"{CANCELLED} DUE TO NODE FAILURE ***\n", "the node failed"),
        ("", "", RUNS),
    ],
)  # fmt: skip
def test_why_a_job_failed(tmp_path, end, errors, reason) -> None:
    log = read_log(write_log(tmp_path, "ztf_fg_12_5", end, errors))
    assert log.reason == reason
    assert log.done == (reason == "")
    assert (log.job, log.task, log.node, str(log.started)) == ("12", "5", "cpu1", "2026-11-22 20:13:18+00:00")
    assert log.seconds == (61.0 if end else None)


def test_logs_are_found_by_their_names_and_long_ones_are_not_read_whole(tmp_path) -> None:
    path = write_log(tmp_path, "ztf_fg_12_5", "x" * 10**6 + "\n" + END.format(0), rows=7)
    write_log(tmp_path, "train_x_13_6", END.format(1))
    (only,) = find_logs(tmp_path, "ztf_fg")
    assert (only.path, only.rows, only.exit_code) == (path, 7, 0)
    assert len(list(find_logs(tmp_path))) == 2
    with pytest.raises(SourceError, match=r"has no logs abc\*.out"):
        list(find_logs(tmp_path, "abc"))
    with pytest.raises(SourceError, match=r"there is no folder of logs .*/none: name it with --logs-path"):
        list(find_logs(tmp_path / "none"))
