"""A disk that becomes full ends a run with one sentence, and with room on it the same command goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scope_dask.journal import Journal
from scope_dask.writing import JOURNAL

SMALL, LARGE = "size=100k", "size=64m"
EXIT_FAILED = 1


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that holds next to nothing."""
    path = tmp_path / "out"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", SMALL, "tmpfs", str(path)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_run_on_a_full_disk(disk: Path) -> None:
    command = [sys.executable, "-m", "dask", "scope", "run", "smoke.yaml", "--out", str(disk)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == EXIT_FAILED, ended.stderr
    (said,) = [line for line in ended.stderr.splitlines() if line.startswith("Error")]
    assert said == "Error: the disk is full: what was finished is kept, the same command goes on from there"
    assert "Traceback" not in ended.stderr
    kept = sum(record["ok"] for record in Journal(disk / JOURNAL).latest())
    subprocess.run(["mount", "-o", f"remount,{LARGE}", str(disk)], check=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert f"{4 - kept} of 4 partitions computed" in done.stdout
    assert ("taken from an earlier run" in done.stdout) == (kept > 0)
