"""Where a run computes, and what is kept of how it went."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, performance_report

from scope_dask._version import __version__
from scope_dask.errors import RunError

if TYPE_CHECKING:
    from scope_dask.config import RunOptions
    from scope_dask.periods.options import PeriodOptions

logger = logging.getLogger(__name__)

PERFORMANCE_REPORT = "dask-report.html"

LOCAL_CONFIG = {
    # A worker that dies is started again by its nanny; on a busy machine that takes longer than the 15 s after which a
    # local cluster gives up on it for good. And the first death is enough to try a partition by itself
    # (windows.outcomes).
    "distributed.deploy.lost-worker-timeout": "10 minutes",
    "distributed.scheduler.allowed-failures": 0,
    # Partitions wait at the scheduler and their results are small: there is nothing to steal and no copy to manage,
    # and looking for it costs a fifth of the scheduler's time.
    "distributed.scheduler.work-stealing": False,
    # So a partition is given to a worker when it has nothing to do, not one more in advance, which would then wait
    # there behind a long one, and be computed twice where the worker dies.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.active-memory-manager.start": False,
    # Every connection keeps its last messages, for those who debug Dask: much memory of a scheduler of many workers.
    "distributed.admin.low-level-log-length": 100,
    # sys._current_frames, which the profiler keeps calling, can stop an older Python for good (CPython issue 106883).
    "distributed.worker.profile.enabled": (3, 11, 9) <= sys.version_info < (3, 12) or sys.version_info >= (3, 12, 3),
}


@contextlib.contextmanager
def cluster_for(client: Client | None, options: RunOptions, periods: PeriodOptions | None = None) -> Iterator[Client]:
    """Yield `client`, or one of a local cluster made for the time of the block, ready for a period search if given."""
    if client is not None:
        yield client
        return
    with dask.config.set(LOCAL_CONFIG), local_cluster(options, periods) as cluster, Client(cluster) as local:
        yield local


def local_cluster(options: RunOptions, periods: PeriodOptions | None = None) -> LocalCluster:
    """Return a cluster of worker processes on this machine, one thread each; log the dashboard, compile the kernels."""
    workers = options.n_workers or CPU_COUNT
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Port .* is already in use", category=UserWarning)
        cluster = LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            memory_limit=_memory(options.memory_limit, workers),
            dashboard_address=options.dashboard_address,
            silence_logs=logging.CRITICAL,
            preload=["scope_dask.workers"],
        )
    logger.info("dashboard: %s", cluster.dashboard_link)
    if periods is not None:
        from scope_dask.extraction.warm_up import warm_up

        warm_up(periods)  # compiles once, before the workers start and would each do it
    cluster.scale(workers)
    return cluster


def _memory(limit: str, workers: int) -> int | str:
    return int(usable_memory() * 0.9 / workers) if limit == "auto" else limit


def usable_memory() -> int:
    """Return the bytes that this process and its own may use: the machine's, or those of its cgroup or SLURM job."""
    from distributed.system import MEMORY_LIMIT

    def number(name: str) -> int:
        text = os.environ.get(f"SLURM_{name}", "")
        return int(text) if text.isdecimal() else 0

    mebibytes = number("MEM_PER_NODE") or number("MEM_PER_CPU") * number("CPUS_ON_NODE")
    return min(MEMORY_LIMIT, mebibytes * 2**20) if mebibytes else int(MEMORY_LIMIT)


@contextlib.contextmanager
def recorded(root: Path, enabled: bool) -> Iterator[None]:
    """Save Dask's performance report of the block in `root`."""
    with contextlib.ExitStack() as stack:
        if enabled:
            stack.enter_context(performance_report(filename=str(root / PERFORMANCE_REPORT)))
        try:
            yield
        except RunError:
            stack.pop_all()  # there is no scheduler to ask
            raise


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    names = ("dask", "distributed", "numba", "numpy", "pandas", "pyarrow", "scipy", "xgboost")
    found = {name: metadata.version(name) for name in names}
    return {"scope_dask": __version__, "python": platform.python_version(), **found}


def show_versions() -> None:
    """Print the versions of everything that results depend on, for reports of problems."""
    sys.stdout.writelines(f"{name:<12} {version}\n" for name, version in versions().items())
