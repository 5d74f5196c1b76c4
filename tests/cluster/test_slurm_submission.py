"""The documented commands for SLURM and their scripts, on a real SLURM."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dask
import generation_sky as sky
import pyarrow.parquet as pq
import pytest
from prediction_tables import FIELD, feature_table, save_xgb_models, write_features
from processes import started
from slurm_cluster import PATIENCE, slurm, until
from training_tables import labelled_table

from scope_dask.cluster import submission as module
from scope_dask.cluster.batch import BatchJob, WrittenScript, write_scripts
from scope_dask.cluster.joblogs import find_logs
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.cluster.submission import LoopOptions, SlurmJobs, Submission, Task
from scope_dask.commands.analyze_logs import summary
from scope_dask.errors import RunError
from scope_dask.formats import read_table, write_table

pytestmark = pytest.mark.usefixtures("slurm_machine")

SITE = ["--cluster-name", "one-machine-slurm", "--memory-GB", "2", "--time", "0:10:00", "--submit-memory-GB", "1"]
LOOP = ["--wait-time-minutes", "0.01", "--submit-interval-seconds", "0"]
QUICK = LoopOptions(max_instances=2, wait_seconds=0.3, interval_seconds=0.0, attempts=2)


def command(folder: Path, name: str, *words: object, code: int = 0) -> str:
    """Run a command in a process of its own; return what it says."""
    called = [sys.executable, "-m", f"scope_dask.commands.{name}", *map(str, words)]
    done = subprocess.run(called, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def script(folder: Path, line: str, **profile: Any) -> WrittenScript:
    """Return a script whose jobs do ``line``."""
    (folder / "out").mkdir(exist_ok=True)
    stated = {"partition": "cpu", "memory": "500 MiB", "walltime": "0:10:00", **profile}
    job = BatchJob(folder.name, ClusterProfile(**stated), [line], folder / "logs", "QID", "a task", folder=folder)
    write_scripts({folder / "slurm" / "slurm.sub": job.text()})
    return WrittenScript.read(folder / "slurm" / "slurm.sub", "a test")


def submission(folder: Path, tasks: str, said: list[str], options: LoopOptions = QUICK) -> Submission:
    written = WrittenScript.read(folder / "slurm" / "slurm.sub", "a test")
    work = [Task(name, f"task {name}", folder / "out" / name) for name in tasks.split()]
    return Submission(written, work, SlurmJobs(written, "QID"), options, said.append)


def records(folder: Path) -> list[str]:
    """Return the tasks that were submitted, in their order."""
    return re.findall(r'"task":"(\w+)"', (folder / "slurm" / ".slurm.jsonl").read_text())


def in_queue(folder: Path) -> list[str]:
    names = slurm("squeue", "--noheader", "--states=PENDING,RUNNING", "--format=%j").splitlines()
    return sorted(name for name in names if name.startswith(folder.name))


def test_features_of_all_quadrants_by_the_scripts(tmp_path) -> None:
    with dask.config.set(scheduler="sync"):
        archive = sky.save(tmp_path)["archive"]
    words = ["--source-archive", archive, "--min-n-lc-points", 30, "--generateQuadrantFile", "--skipCloseSources"]
    loop = ["--runParallel", "--wait-time-minutes", 0.01, "--submit-interval-minutes", 0]
    said = command(tmp_path, "generate_features_slurm", *SITE, *words, *loop)
    folder = tmp_path / "generated_features"
    assert (folder / "slurm" / "slurm.dat").read_text() == "0 301 2 3\n1 301 2 4\n"
    assert f"sbatch {folder}/slurm/slurm_submission.sub" in said
    first, second = (folder / "field_301" / f"gen_features_field_301_ccd_2_quad_{quad}.parquet" for quad in (3, 4))
    first.parent.mkdir()
    first.touch()  # it is there already
    slurm("sbatch", str(folder / "slurm" / "slurm_submission.sub"))
    assert "\n2 of 2 done\n" in ended(folder / "logs", "submit_ztf_fg")
    assert pq.read_metadata(second).num_rows > 5
    assert records(folder) == ["1"]
    job = slurm("sbatch", "--parsable", "--export=QID=0", str(folder / "slurm" / "slurm.sub"), "--dry-run")
    assert f"would write {first.relative_to(tmp_path)}" in ended(folder / "logs", f"ztf_fg_{job}")
    assert summary(list(find_logs(folder / "logs", "ztf_fg")))[0] == "2 logs of 2 tasks: 2 done, 0 not"


def ended(logs: Path, name: str) -> str:
    """Wait for the end of a job, and return its log."""
    return until(lambda: next((t for p in logs.glob(f"{name}_*.out") if "job ended" in (t := p.read_text())), ""), 240)


def test_never_more_jobs_than_the_limit_and_a_failing_one_is_listed(tmp_path) -> None:
    written = script(tmp_path, 'test "$QID" != c || { echo "no luck" >&2; exit 3; }; sleep 1; touch "out/$QID"')
    said: list[str] = []
    loop = submission(tmp_path, "a b c d e", said)
    end = loop.run()
    assert [task.name for task in end.failed] == ["c"]
    assert records(tmp_path) == ["a", "b", "c", "d", "e", "c"]
    assert said[-1] == "4 of 5 done, 1 failed"
    counts = [sum(map(int, re.findall(r"(\d+) (?:run|in the queue)", line))) for line in said]
    assert max(counts) == 2
    assert re.fullmatch(
        rf"task c: 2 jobs, the last in {written.logs}/\S+_\d+_c.err: no luck", loop.failure(end.failed[0])
    )


def test_a_cancelled_job_is_submitted_again(tmp_path) -> None:
    written = script(tmp_path, "test -e calm || { touch calm; sleep 600; }")
    work = [Task("a", "task a")]  # whose log tells whether it is done
    jobs, ends = SlurmJobs(written, "QID"), []
    loop = threading.Thread(target=lambda: ends.append(Submission(written, work, jobs, QUICK, [].append).run()))

    loop.start()
    until((tmp_path / "calm").exists)
    slurm("scancel", f"--name={tmp_path.name}_a")
    loop.join(PATIENCE)
    assert ends[0].done == work
    assert records(tmp_path) == ["a", "a"]


def test_an_interrupted_submission_goes_on_from_the_queue(tmp_path) -> None:
    made = "d=preds_dnn/field_$1; mkdir -p $d; touch $d/field_$1.parquet"
    (tmp_path / "get_all_preds.sh").write_text(f"while test ! -e calm; do sleep 0.2; done; {made}")
    command(tmp_path, "run_inference_slurm", *SITE, "--Ncore", 1, "--job-name", tmp_path.name)
    words = ["--fields", "1", "2", "3", "--max-instances", "2", *LOOP]
    called = [sys.executable, "-m", "scope_dask.commands.run_inference_job_submission", *words]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    try:
        with started(called, cwd=tmp_path, **piped) as process:
            until(lambda: len(in_queue(tmp_path)) == 2, 120)
            process.send_signal(signal.SIGTERM)
            said, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert said.endswith("jobs that are in the queue stay there: scancel ends them\n")
        assert told == "interrupted: what was finished is kept, the same command goes on from there\n"
        assert in_queue(tmp_path) == [f"{tmp_path.name}_1", f"{tmp_path.name}_2"]
    finally:
        (tmp_path / "calm").touch()
    assert command(tmp_path, "run_inference_job_submission", *words).endswith("3 of 3 done\n")
    assert len(list((tmp_path / "inference" / "logs").glob("*.out"))) == 3, "no field had two jobs"


def test_a_submission_that_slurm_refuses(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MOST_REFUSALS", 2)
    script(tmp_path, "true", partition="nowhere")
    said: list[str] = []
    with pytest.raises(RunError, match=r"sbatch refused the job: .*Invalid partition name specified \(2 times"):
        submission(tmp_path, "a b", said).run()
    assert said == [said[0]]
    assert re.fullmatch(r"sbatch refused the job: .*Invalid partition name specified; next look in \d s", said[0])


def test_classes_are_trained_and_fields_scored(tmp_path) -> None:
    write_table(labelled_table(120), tmp_path / "set.parquet", {"fourier": "raw"})
    lines = [
        f"scope-train --tag {tag} --algorithm xgb --path-dataset set.parquet --dry-run" for tag in ("vnv", "rrlyr")
    ]
    (tmp_path / "train_script.sh").write_text("\n".join(["#!/bin/bash", "", "# classes", *lines, ""]))
    command(tmp_path, "train_algorithm_slurm", *SITE, "--Ncore", 1)
    assert command(tmp_path, "train_algorithm_job_submission", *LOOP).splitlines()[-1] == "2 of 2 done"
    logs = "".join(path.read_text() for path in (tmp_path / "training" / "logs").glob("train_*.out"))
    assert "TID=vnv" in logs
    assert "TID=rrlyr" in logs
    (tmp_path / "get_all_preds.sh").write_text(
        "d=preds_dnn/field_$1; test $1 != 297 && mkdir -p $d && touch $d/field_$1.parquet\n"
    )
    (tmp_path / "config.yaml").write_text("inference: {fields_to_run: [296, 297, specific_ids]}\n")
    command(tmp_path, "run_inference_slurm", *SITE, "--Ncore", 1)
    said = command(tmp_path, "run_inference_job_submission", *LOOP, "--retries", "0", code=1)
    assert "2 of 3 done, 1 failed" in said
    assert re.search(r"field 297: 1 jobs, the last in \S+run_inference_\d+_297.err: it says nothing", said)


def test_a_field_is_scored_by_workers_of_a_profile_and_combined_by_a_job(tmp_path) -> None:
    save_xgb_models(tmp_path / "models_xgb", ("vnv",))
    write_features(feature_table(40), tmp_path / f"features/field_{FIELD}/field_{FIELD}_iter_0.parquet")
    words = ["--paths-models", "models_xgb", "--field", FIELD, "--whole-field"]
    command(tmp_path, "run_inference", *words, "--cluster", "one-machine-slurm")
    command(tmp_path, "combine_preds_slurm", *SITE[:-2])  # it has no job that submits others
    folder = tmp_path / "combine_preds"
    job = slurm("sbatch", "--parsable", str(folder / "slurm" / "slurm.sub"), "--write-csv")
    assert f"{FIELD}: 40 rows" in ended(folder / "logs", f"combine_preds_{job}")
    scored, combined = (
        read_table(tmp_path / path)
        for path in (f"preds_xgb/field_{FIELD}/field_{FIELD}.parquet", f"preds_dnn_xgb/field_{FIELD}.parquet")
    )
    assert combined["vnv_xgb"].tolist() == scored["vnv_xgb"].tolist()
