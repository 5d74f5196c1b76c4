"""What the worker processes of a local cluster do as they start (a preload of Dask's)."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which a terminal sends to every process of a run, to the process that started the cluster."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
