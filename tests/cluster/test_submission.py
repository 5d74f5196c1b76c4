"""Submitting the jobs of a script until all tasks are done: here one after the other, without SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import started

from scope_dask.cluster.batch import BatchJob, WrittenScript, write_scripts
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.cluster.submission import (
    LoopOptions,
    SerialJobs,
    SlurmJobs,
    Standing,
    Submission,
    Task,
    forget_submitted,
    records_path,
)
from scope_dask.errors import RunError, UsageError
from scope_dask.formats.atomic import locked

QUICK = LoopOptions(wait_seconds=0.0, interval_seconds=0.0)


def written(folder: Path, line: str) -> WrittenScript:
    """Return a script of one line, which is called with its task as ``$1``."""
    job = BatchJob(
        "work", ClusterProfile(), [f"{{ {line}; }} < /dev/null"], folder / "logs", "QID", "a task", folder=folder
    )
    write_scripts({folder / "slurm" / "slurm.sub": job.text()})
    return WrittenScript.read(folder / "slurm" / "slurm.sub", "a test")


def tasks(folder: Path, *names: str, by_output: bool = True) -> list[Task]:
    return [Task(name, f"task {name}", folder / "out" / name if by_output else None) for name in names]


def submission(script: WrittenScript, work: list[Task], said: list[str], options: LoopOptions = QUICK) -> Submission:
    return Submission(script, work, SerialJobs(script, "QID"), options, said.append)


def logs(script: WrittenScript) -> list[str]:
    """Return the tasks of the jobs that ran, in their order."""
    return [path.stem.rpartition("_")[2] for path in sorted(script.logs.glob("*.out"))]


@pytest.fixture
def script(tmp_path) -> WrittenScript:
    """A job that makes its output, unless a file ``bad_<task>`` is there."""
    (tmp_path / "out").mkdir()
    return written(
        tmp_path,
        f'cd {tmp_path}; test ! -e "bad_$QID" || {{ echo "no luck with $QID" >&2; exit 3; }}; touch "out/$QID"',
    )


def test_all_tasks_are_done_once(script, tmp_path) -> None:
    said: list[str] = []
    work = tasks(tmp_path, "0", "1", "2")
    (tmp_path / "out" / "1").touch()
    end = submission(script, work, said).run()
    assert (end.done, end.failed, end.over) == (work, [], True)
    assert logs(script) == ["0", "2"], "what is there is not computed again"
    assert said == ["3 of 3 done"]
    submission(script, work, said).run()
    assert logs(script) == ["0", "2"]


def test_where_there_is_no_output_the_logs_tell(script, tmp_path) -> None:
    work = tasks(tmp_path, "0", "1", by_output=False)
    (tmp_path / "bad_1").touch()
    said: list[str] = []
    end = submission(script, work, said, LoopOptions(attempts=2)).run()
    assert ([t.name for t in end.done], [t.name for t in end.failed]) == (["0"], ["1"])
    assert logs(script) == ["0", "1", "1"]
    submission(script, work, said).standing()
    forget_submitted(script.path)
    assert submission(script, work, said).standing().open == work


def test_a_task_that_fails_is_tried_again_after_the_others_and_listed(script, tmp_path) -> None:
    (tmp_path / "bad_0").touch()
    loop = submission(script, tasks(tmp_path, "0", "1", "2"), said := [])
    end = loop.run()
    assert [task.name for task in end.failed] == ["0"]
    assert logs(script) == ["0", "1", "2", "0", "0"]
    assert said == ["2 of 3 done, 1 failed"]
    line = loop.failure(end.failed[0])
    assert line.startswith("task 0: 3 jobs, the last in ")
    assert line.endswith("_0.err: no luck with 0")
    (tmp_path / "bad_0").unlink()
    assert len(submission(script, tasks(tmp_path, "0", "1", "2"), said).run().failed) == 1, "it stays failed"
    forget_submitted(script.path)
    assert submission(script, tasks(tmp_path, "0", "1", "2"), said).run().failed == []


def test_a_task_that_failed_once_may_succeed(script, tmp_path) -> None:
    script = written(tmp_path, f'cd {tmp_path}; test -e tried || {{ touch tried; exit 1; }}; touch "out/$QID"')
    end = submission(script, tasks(tmp_path, "0"), []).run()
    assert (len(end.done), logs(script)) == (1, ["0", "0"])


def test_where_all_fail_it_ends_early(script, tmp_path) -> None:
    names = [str(k) for k in range(20)]
    for name in names:
        (tmp_path / f"bad_{name}").touch()
    with pytest.raises(
        RunError, match=r"none of the first 4 jobs did its task, no more are submitted; task .*: no luck"
    ):
        submission(script, tasks(tmp_path, *names), []).run()
    assert logs(script) == ["0", "1", "2", "3"]


def test_an_older_output_is_none(script, tmp_path) -> None:
    old = tmp_path / "out" / "0"
    old.touch()
    os.utime(old, (time.time() - 1000,) * 2)
    work = [Task("0", "task 0", old, since=time.time() - 100)]
    submission(script, work, []).run()
    assert logs(script) == ["0"]


def test_two_loops_do_not_submit_the_same(script, tmp_path) -> None:
    with (
        locked(records_path(script.path).with_suffix(".lock")),
        pytest.raises(UsageError, match=r"slurm.sub are being submitted by another process already"),
    ):
        submission(script, tasks(tmp_path, "0"), []).run()
    assert logs(script) == []


PROGRAM = """
import sys, pathlib
sys.path[:0] = {tests!r}
from test_submission import submission, tasks, WrittenScript
folder = pathlib.Path({folder!r})
submission(WrittenScript.read(folder / "slurm" / "slurm.sub", "a test"), tasks(folder, "0", "1", "2"), []).run()
"""


def test_an_interrupted_loop_ends_its_job_and_the_next_one_goes_on(script, tmp_path) -> None:
    script = written(
        tmp_path, f'cd {tmp_path}; test -e calm -o "$QID" = 0 || {{ touch begun; exec sleep 600; }}; touch "out/$QID"'
    )
    tests = [str(folder) for folder in Path(__file__).parents[:2]]
    code = PROGRAM.format(tests=tests, folder=str(tmp_path))
    with started([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 120
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    (tmp_path / "calm").touch()
    said: list[str] = []
    assert len(submission(script, tasks(tmp_path, "0", "1", "2"), said).run().done) == 3
    assert logs(script) == ["0", "1", "1", "2"]
    assert said == ["3 of 3 done"]


def test_an_import_leaves_the_signals_as_they_are() -> None:
    code = (
        "import signal; numbers = (signal.SIGINT, signal.SIGTERM); before = [*map(signal.getsignal, numbers)]; "
        "import scope_dask.cluster.jobs; print([*map(signal.getsignal, numbers)] == before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "True\n"


def test_what_is_waited_for_is_one_line() -> None:
    from scope_dask.cluster.queue import QueuedJob

    work = [Task(str(k), f"task {k}") for k in range(9)]
    queue = {str(k): QueuedJob(str(k), "RUNNING" if k < 3 else "PENDING", "Resources") for k in range(1, 5)}
    now = Standing(done=work[:1], open=work[5:8], failed=work[8:], queued=queue)
    assert str(now) == "1 of 9 done, 2 run, 2 in the queue (Resources), 3 to submit, 1 failed"
    assert not now.over
    assert str(Standing(done=work)) == "9 of 9 done"


def test_without_slurm_it_says_so(script, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match="there is no squeue on this machine"):
        Submission(script, tasks(tmp_path, "0"), SlurmJobs(script, "QID"), QUICK, [].append).standing()
