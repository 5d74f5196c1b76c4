"""A local cluster for tests, and partitions that are computed, fail or kill their worker as told."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from distributed import Client, LocalCluster

from scope_dask.diagnostics import LOCAL_CONFIG

WAIT_SECONDS = 30.0


@contextlib.contextmanager
def two_workers() -> Iterator[Client]:
    """Yield the client of a cluster of two worker processes, one thread each, set up as a run does it."""
    with (
        dask.config.set(LOCAL_CONFIG),
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def partition(number: int, log: str = "", troubles: str = "", seconds: float = 0.0) -> pd.DataFrame:
    """Return two rows; note the call in the folder `log`; wait, fail, die or grow if a file in `troubles` says so."""
    if log:
        (Path(log) / f"{number}.{uuid.uuid4().hex}").touch()
    time.sleep(seconds)
    end = time.monotonic() + WAIT_SECONDS
    while troubles and (Path(troubles) / f"wait-{number}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    if troubles and (Path(troubles) / f"fail-{number}").exists():
        raise ValueError(f"partition {number} is bad\nsecond line")
    if troubles and (Path(troubles) / f"die-{number}").exists():
        os._exit(1)
    if troubles and (Path(troubles) / f"grow-{number}").exists():  # as a process of its own, which no nanny sees
        subprocess.run([sys.executable, "-c", "import time; x = b'1' * 2**30; time.sleep(60)"], check=True)
    return pd.DataFrame({"_id": np.array([2 * number, 2 * number + 1]), "x": np.sin([number, number + 0.5])})


def table(count: int, **arguments: Any) -> Any:
    """Return a lazy table of such partitions."""
    paths = {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()}
    return dd.from_map(partition, range(count), meta=partition(0).iloc[:0], **paths)


def computed(log: Path) -> list[int]:
    """Return the numbers of the partitions that were computed, one entry a call, and forget them."""
    calls = list(log.iterdir())
    for call in calls:
        call.unlink()
    return sorted(int(call.name.split(".")[0]) for call in calls)
