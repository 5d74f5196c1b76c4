"""The process that holds the scheduler of a launched cluster: ``python -m scope_dask.cluster.keeper NAME``.

It outlives the terminal, keeps the jobs at the number that is wanted, tells its state, and cleans up when it ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from typing import Any

import dask
import psutil
from distributed import Scheduler, Status

from scope_dask.cluster.fleet import Fleet
from scope_dask.cluster.folder import ClusterFolder, State, Wanted
from scope_dask.cluster.jobs import job_system
from scope_dask.cluster.keys import make_keys
from scope_dask.cluster.profile import ClusterProfile
from scope_dask.diagnostics import LOCAL_CONFIG
from scope_dask.errors import RunError
from scope_dask.watching.scheduler import install

logger = logging.getLogger("scope_dask.cluster.keeper")  # as a program its __name__ is another

STEP_SECONDS = 0.5
TELL_SECONDS = 5.0


async def keep(folder: ClusterFolder) -> None:
    """Run a cluster until it shall stop, has been idle for too long, or this process is asked to end."""
    profile = folder.profile
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    security = make_keys(folder.path / "tls") if profile.tls else None
    try:
        with dask.config.set(_settings(profile)):
            async with Scheduler(**_scheduler_options(profile), security=security) as scheduler:
                system = job_system(profile, folder.name, folder.logs)
                fleet = Fleet(folder, profile, scheduler, system, security)
                (await install(scheduler)).waiting = lambda: fleet.waiting
                try:
                    await _run(folder, fleet, scheduler, ending)
                finally:
                    try:
                        await fleet.close()
                    except RunError as error:  # without a scheduler the workers end by themselves
                        logger.warning("jobs were not cancelled: %s", error)
    finally:
        folder.forget()
    logger.info("stopped")


def _settings(profile: ClusterProfile) -> dict[str, Any]:
    return LOCAL_CONFIG | {
        "distributed.scheduler.idle-timeout": profile.idle_timeout,
        "distributed.scheduler.worker-ttl": profile.worker_timeout,
    }


def _scheduler_options(profile: ClusterProfile) -> dict[str, Any]:
    return {
        "protocol": "tls://" if profile.tls else "tcp://",
        "interface": profile.scheduler_interface or profile.interface,
        "dashboard_address": profile.dashboard_address,
        "port": 0,
    }


async def _run(folder: ClusterFolder, fleet: Fleet, scheduler: Scheduler, ending: asyncio.Event) -> None:
    state = _first_state(scheduler)
    told: tuple[Any, ...] | None = None
    wanted = folder.wanted
    while not ending.is_set() and scheduler.status == Status.running:
        wanted = _asked(folder, wanted)
        if wanted.stop:
            return
        await fleet.step(wanted)
        state.jobs, state.waiting, state.lost = fleet.table(), fleet.waiting, fleet.lost
        news = (state.jobs, state.waiting, state.lost)
        if news != told or time.time() - state.written > TELL_SECONDS:
            _tell(folder, state)
            told = news
        await _pause(ending)


def _asked(folder: ClusterFolder, before: Wanted) -> Wanted:
    """Return what is wanted; as before where that cannot be read now, an end where the folder is gone."""
    try:
        return folder.wanted
    except FileNotFoundError:
        logger.warning("the folder of the cluster is gone")
        return replace(before, stop=True)
    except (OSError, ValueError) as error:
        logger.warning("what is wanted cannot be read: %s", error)
        return before


def _tell(folder: ClusterFolder, state: State) -> None:
    try:
        folder.tell(state)
    except OSError as error:  # a full disk is no reason to end a cluster
        logger.warning("the state cannot be written: %s", error)


async def _pause(ending: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(ending.wait(), STEP_SECONDS)
    except TimeoutError:
        return


def _first_state(scheduler: Scheduler) -> State:
    port = scheduler.http_server.port
    return State(
        address=scheduler.address,
        dashboard=f"http://127.0.0.1:{port}/status",
        host=socket.gethostname(),
        pid=os.getpid(),
        started=time.time(),
        created=psutil.Process().create_time(),
    )


def main() -> None:
    """Keep the cluster that is named on the command line."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    logging.getLogger("scope_dask").setLevel(logging.INFO)
    asyncio.run(keep(ClusterFolder(sys.argv[1])))


if __name__ == "__main__":
    main()
