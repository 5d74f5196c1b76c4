"""The jobs of dask-jobqueue, imported without the signal handlers that its import (0.9.0) sets: they exit with 0."""

from __future__ import annotations

import signal

_BEFORE = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

from dask_jobqueue.core import Job  # noqa: E402
from dask_jobqueue.slurm import SLURMJob  # noqa: E402

for _number, _handler in _BEFORE.items():
    signal.signal(_number, _handler)

__all__ = ["Job", "SLURMJob"]
