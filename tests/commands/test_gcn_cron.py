"""gcn_cronjob as cron and systemd start it: the lines of the usage page, locking, ending, going on."""

from __future__ import annotations

import configparser
import gc
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gcn_event
import pandas as pd
import psutil
import pytest
from gcn_event import LABEL, NAME, QUICK, THRESHOLD, checkpoint, posted, writes

from scope_dask import compiled
from scope_dask.commands import gcn_cronjob
from scope_dask.commands.gcn_cronjob import TimeLimitError
from scope_dask.commands.scope_initialize import script
from scope_dask.compiled import cache_dir
from scope_dask.formats import read_table

PAGE = (Path(__file__).parents[2] / "docs" / "usage.md").read_text(encoding="utf-8")
LOG = "log_gcn_cronjob.txt"
GTIMEOUT = "/opt/homebrew/bin/gtimeout"  # of a Mac; `timeout` elsewhere
TIMEOUT = shutil.which("timeout") or shutil.which("gtimeout") or "timeout"


def blocks(section: str) -> list[str]:
    """Return the code blocks of a section of the usage page."""
    text = PAGE[PAGE.index(f"\n### {section}\n") :]
    return re.findall(r"```\n(.*?)```", text[: text.index("\n##", 4)], re.DOTALL)


def crontab(number: int) -> tuple[dict[str, str], str]:
    """Return the environment and the command of a crontab of the usage page, as cron understands it."""
    block = blocks("cron")[number]
    assert block.endswith("\n")
    environment, commands = {}, []
    for line in filter(None, block.split("\n")):
        if found := re.fullmatch(r"(\w+)\s*=\s*(.*)", line):
            environment[found[1]] = found[2]
        else:
            *when, command = line.split(None, 5)
            assert when == ["0", "*/2", "*", "*", "*"]
            commands.append(command.partition("%")[0])
    (command,) = commands
    return environment, command


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gcn_event.save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def home(place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with the working folder ``scope`` and the Python of the crontab lines."""
    home = tmp_path_factory.mktemp("home")
    (home / "scope").symlink_to(place.folder)
    (home / ".cache").mkdir()
    (home / ".cache" / "scope_dask").symlink_to(cache_dir(Path(compiled.__file__)).parent)  # of compiled kernels
    python = home / "miniforge3" / "envs" / "scope-env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (place.folder / "gcn_cronjob.py").write_text(script(NAME))
    return home


def start(home: Path, command: str, **more: str) -> subprocess.Popen[bytes]:
    """Run a command as cron does: in the home folder, with next to nothing in the environment, not even a PATH."""
    environment = {"HOME": str(home), "SHELL": "/bin/sh", "LOGNAME": "username", **more}
    return subprocess.Popen(["/bin/sh", "-c", command], cwd=home, env=environment, start_new_session=True)


def wait_for(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_both_crontabs_as_printed(place, models, home) -> None:
    """The first one answers the event, features, both kinds of models and all; the second one has nothing to do."""
    names = gcn_event.prepare(place, models, networks=True)
    environment, command = crontab(0)
    assert environment == {}
    log = place.folder / LOG
    assert start(home, command).wait(240) == 0, log.read_text()
    said = log.read_text().splitlines()
    assert said[-1].endswith("done: 3 new sources in 1 events, 0 events failed")
    assert all("\r" not in line and "\x1b" not in line for line in said)
    scores = [
        read_table(f"preds_{kind}/field_{LABEL}_specific_ids/field_{LABEL}_specific_ids.parquet")
        for kind in ("dnn", "xgb")
    ]
    assert scores[0]["vnv_dnn"].notna().all()
    assert scores[1]["rrlyr_xgb"].notna().all()
    merged = read_table(f"preds_dnn_xgb/{LABEL}/merged_GCN_sources_{LABEL}.parquet")
    assert sorted(merged["obj_id"]) == names
    assert sorted(posted(place)) == expected(merged, 0.7)
    assert checkpoint(place) == {"gw": names, "grb": []}

    before = len(place.fritz.requests)
    environment, command = crontab(1)
    assert list(environment) == ["PYTHONPATH"]
    assert GTIMEOUT in command
    assert start(home, command.replace(GTIMEOUT, TIMEOUT), **environment).wait(240) == 0, log.read_text()
    said = log.read_text().splitlines()
    assert said[-1].endswith("done: 0 new sources in 1 events, 0 events failed")
    assert len(said) == 4
    assert writes(place, before) == []


def expected(merged: pd.DataFrame, threshold: float) -> list[tuple[str, str]]:
    """Return what is to be posted of the scores of sources."""
    rows = merged.to_dict("records")
    return sorted(
        (row["obj_id"], label) for row in rows for tag, (label, _) in gcn_event.CLASSES.items() if row[tag] >= threshold
    )


def test_the_units_of_systemd(place, models, home) -> None:
    service, timer = (configparser.ConfigParser(interpolation=None, strict=True) for _ in range(2))
    for parser, block in zip((service, timer), blocks("systemd"), strict=True):
        parser.optionxform = str  # type: ignore[method-assign,assignment]
        parser.read_string(block)
    assert service["Service"]["Type"] == "oneshot"
    assert timer["Timer"]["OnCalendar"] == "*-*-* 0/2:00:00"
    gcn_event.prepare(place, models)
    place.fritz.state.events.clear()
    called = shlex.split(service["Service"]["ExecStart"].replace("%h", str(home)))
    folder = service["Service"]["WorkingDirectory"].replace("%h", str(home))
    environment = {"HOME": str(home), "LOGNAME": "username"}
    done = subprocess.run(called, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done: 0 new sources in 0 events, 0 events failed\n")
    if analyze := shutil.which("systemd-analyze"):
        units = [place.folder / f"gcn-cronjob.{kind}" for kind in ("service", "timer")]
        for unit, block in zip(units, blocks("systemd"), strict=True):
            unit.write_text(block.replace("%h", str(home)))
        checked = subprocess.run(
            [analyze, "--user", "verify", *units], capture_output=True, text=True, check=False, timeout=60
        )
        assert "gcn-cronjob" not in checked.stderr


def test_sigterm_ends_it_a_second_copy_does_nothing_and_the_next_run_goes_on(place, models, home) -> None:
    names = gcn_event.prepare(place, models)
    place.kowalski.pause = 0.8
    _, command = crontab(0)
    process = start(home, command.replace("&& ", "&& exec ").replace(" > ", f" {shlex.join([*QUICK, *THRESHOLD])} > "))
    log = place.folder / LOG
    try:
        wait_for(lambda: log.exists() and "new sources with" in log.read_text())
        assert any("gcn_cronjob.py" in word for word in psutil.Process(process.pid).cmdline())  # as ps shows it
        (line,) = place.run_process(NAME, *QUICK).splitlines()
        assert "another gcn_cronjob is running" in line
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 130  # after GRACE_SECONDS at most, on a machine that has the time for it
        assert gcn_cronjob.GRACE_SECONDS < 10
        assert "interrupted" in log.read_text() or "ended while" in log.read_text()
    finally:
        place.kowalski.pause = 0.0
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
    place.run(NAME, *QUICK, *THRESHOLD)
    assert checkpoint(place)["gw"] == names
    assert len(posted(place)) == len(set(posted(place))) > 0


def test_a_killed_run_leaves_no_lock_and_sends_nothing_twice(place, models, home) -> None:
    names = gcn_event.prepare(place, models)
    _, command = crontab(1)
    command = command.replace(f"{GTIMEOUT} 2h ", "exec ").replace(" > ", f" {shlex.join([*QUICK, *THRESHOLD])} > ")
    process = start(home, command)
    wait_for(lambda: len(place.fritz.state.classifications) > 0 or process.poll() is not None)
    process.kill()
    process.wait(20)
    place.run(NAME, *QUICK, *THRESHOLD)
    assert checkpoint(place)["gw"] == names
    merged = read_table(f"preds_dnn_xgb/{LABEL}/merged_GCN_sources_{LABEL}.parquet")
    assert sorted(posted(place)) == expected(merged, 0.5)
    texts = [(one["obj_id"], one["text"]) for one in place.fritz.state.comments.values()]
    assert len(texts) == len(set(texts)) == 2 * len({name for name, _ in posted(place)})


def test_the_time_limit_ends_it(place, models) -> None:
    gcn_event.prepare(place, models)
    place.kowalski.pause = 3.0
    said = place.run_process(NAME, *QUICK, "--time-limit-minutes", "0.05", code=1)
    assert "the time limit of 0.05 minutes is reached" in said


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, KeyboardInterrupt), (signal.SIGALRM, TimeLimitError)])
def test_a_signal_within_the_garbage_collection_is_not_lost(number, error, monkeypatch) -> None:
    """Python ignores what is raised there."""
    monkeypatch.setattr(gcn_cronjob, "_exit", lambda code: None)

    def collecting(phase: str, info: object) -> None:
        gc.callbacks.remove(collecting)
        signal.raise_signal(number)

    gc.callbacks.append(collecting)
    with pytest.raises(error), gcn_cronjob.ending(0):  # noqa: PT012 - the collection is what is interrupted
        gc.collect()
        for _ in range(3000):
            time.sleep(0.01)
