"""run-inference on a cluster: command and worker are killed in the middle, nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from clusters import two_workers
from prediction_tables import FIELD, feature_table, save_xgb_models, write_features
from processes import started

from scope_dask.commands import run_inference
from scope_dask.formats import parts_folder, read_table
from scope_dask.inference.models import load_models
from scope_dask.inference.scores import scores
from scope_dask.journal import Journal
from scope_dask.predictions.run import run
from scope_dask.writing import JOURNAL

OUT = Path(f"preds_xgb/field_{FIELD}/field_{FIELD}.parquet")
ROWS, BATCH, ENOUGH = 3000, 20, 15


def words(address: str) -> list[str]:
    line = f"--field {FIELD} --whole-field --paths-models models_xgb --batch-size {BATCH} --flag-ids"
    return [*line.split(), "--cluster", address]


def recorded() -> set[int]:
    """Return the partitions that are recorded as done."""
    found = Journal(parts_folder(OUT) / JOURNAL).read()
    return {partition for partition, record in found.items() if record["ok"]}


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_xgb_models(Path("models_xgb"))
    frame = feature_table(ROWS, missing=0.05)
    write_features(frame, Path(f"features/field_{FIELD}/field_{FIELD}.parquet"), fourier="raw")
    environment = os.environ | {"PYTHONPATH": str(Path(run_inference.__file__).parents[2])}
    with two_workers() as client:
        command = [sys.executable, "-m", "scope_dask.commands.run_inference", *words(client.scheduler.address)]
        with started(command, env=environment, stdout=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + 200
            while len(recorded()) < ENOUGH and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.01)
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            process.send_signal(signal.SIGKILL)
        before = recorded()
        assert ENOUGH <= len(before) < ROWS // BATCH
        assert not OUT.exists()
        call = run_inference.COMMAND.parse(words(client.scheduler.address))
        made = run(run_inference.job_of(call), client)
    assert made.summary is not None
    assert (made.summary.reused, made.summary.computed) == (len(before), ROWS // BATCH - len(before))
    found = read_table(OUT)
    assert found["_id"].tolist() == frame["_id"].tolist()
    expected = scores(frame, load_models("models_xgb"))
    for name in ("rrlyr_xgb", "vnv_xgb"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert not parts_folder(OUT).exists()
