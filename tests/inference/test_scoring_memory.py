"""Scoring takes no more memory for more partitions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from keras_files import keras2_file, network

from scope_dask.training.fitting import train
from scope_dask.training.options import TrainingOptions

FEW, MANY = 4, 28
ROWS = 6000
PARTITION_MIB = ROWS * 676 * 4 / 2**20
NAMES = ("a", "b", "c")

_PROGRAM = """
import re, sys
from pathlib import Path
import dask.dataframe as dd, numpy as np, pandas as pd, pyarrow as pa
import scope_dask as sd
from scope_dask.inference.preparation import Preparation
from scope_dask.schema import DMDT

FOLDER, ROWS, PARTS = Path(sys.argv[1]), int(sys.argv[2]), [int(n) for n in sys.argv[3:]]

def simulated(part, rows=ROWS):
    rng = np.random.default_rng(part)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    frame.insert(0, "_id", part * ROWS + np.arange(rows))
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rng.random(rows * 676, np.float32)), 676)
    return frame.assign(dmdt=pd.Series(pd.arrays.ArrowExtensionArray(lists), dtype=DMDT.pandas_dtype))

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

models = sd.load_models(FOLDER / "models", Preparation(("a", "b", "c"), (0.0,) * 3))
assert models.columns == ["net_dnn", "vnv_xgb"]
for count in PARTS:
    table = dd.from_map(simulated, range(count), meta=simulated(0, 1).iloc[:0])
    summary = sd.write(sd.scores(table, models), FOLDER / f"scores_{count}")
    assert summary.rows[""] == count * ROWS and not summary.failed
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak of memory")
def test_memory_does_not_grow_with_the_number_of_partitions(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(60, 3)), columns=list(NAMES)).assign(_id=range(60))
    labels = pd.DataFrame({"_id": frame["_id"], "vnv": (frame["a"] > 0).astype(float)})
    train(frame, labels, "vnv", TrainingOptions(features=NAMES, num_boost_round=5)).save(tmp_path / "models")
    (tmp_path / "models" / "net").mkdir()
    (tmp_path / "models" / "net" / "net.20260101_000000.h5").write_bytes(keras2_file(network(3, True)))
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path), str(ROWS), str(FEW), str(MANY)]
    few, many = map(float, subprocess.check_output(command, text=True).split())
    assert (MANY - FEW) * PARTITION_MIB > 350  # what would be held if partitions, or their histograms, were kept
    assert many - few < 100
