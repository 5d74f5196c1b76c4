"""generate-features as a process that is interrupted while it computes, and called again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kowalski_quadrant import PLACE, running
from kowalski_sky import write_config
from processes import started

from scope_dask.formats import read_table
from scope_dask.writing import JOURNAL

LIGHT_CURVES = 3000  # three partitions
SECONDS = 300


def recorded(folder: Path) -> int:
    """Return how many partitions the journal of a run in the folder has."""
    return sum(len(path.read_text().splitlines()) for path in folder.rglob(JOURNAL))


@pytest.mark.slow
def test_an_interrupted_command_keeps_what_is_done_and_the_next_one_asks_for_the_rest(tmp_path: Path) -> None:
    words = [word for name, number in PLACE.items() for word in (f"--{name}", str(number))]
    command = [sys.executable, "-m", "scope_dask.commands.generate_features", *words, "--n-workers", "1"]
    with running(LIGHT_CURVES, points=70) as server:
        write_config(tmp_path, server)
        server.pause = 0.2
        with started(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            end = time.monotonic() + SECONDS
            while not recorded(tmp_path) and process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 130, said
        assert "interrupted: what was finished is kept, the same command goes on from there" in said
        assert "Traceback" not in said
        done = recorded(tmp_path)
        assert 1 <= done < 3
        assert not list(tmp_path.rglob("field_301/gen_features*.parquet"))
        server.pause, before = 0.0, server.count("find")
        subprocess.run(command, cwd=tmp_path, check=True, timeout=SECONDS, capture_output=True)
        assert server.count("find") - before == 3 * (3 - done), "the ids and two queries of light curves a partition"
    (file,) = tmp_path.rglob("field_301/gen_features*.parquet")
    ids = read_table(file, ["_id"])["_id"]
    assert ids.is_unique
    assert set(ids) <= set(server.ids)
    assert len(ids) > 0.98 * LIGHT_CURVES
