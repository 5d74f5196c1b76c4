"""What a launched cluster leaves on disk, so that any terminal of the user finds it by its name.

The folder is on a file system that login nodes and jobs share. The keeper writes ``state.json`` and reads
``wanted.json``; commands do the opposite.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from scope_dask.cluster.profile import ClusterProfile, check_name
from scope_dask.errors import OptionError, UsageError, nearest
from scope_dask.formats.atomic import replacing
from scope_dask.mapping import from_mapping, read_yaml, to_mapping

STALE_SECONDS = 30.0  # a keeper writes its state every few seconds
FOLDER_VARIABLE = "SCOPE_DASK_CLUSTERS"


@dataclass(frozen=True)
class Wanted:
    """How many jobs a cluster shall have, a number or between two as the work asks for; or that it shall stop."""

    minimum: int
    maximum: int
    stop: bool = False

    @property
    def adaptive(self) -> bool:
        """Whether the number follows the work."""
        return self.minimum != self.maximum


@dataclass
class State:
    """What a keeper tells of itself and its jobs.

    Attributes
    ----------
    address, dashboard : str
        Of the scheduler; the dashboard listens on the keeper's machine.
    host, pid
        Of the keeper.
    jobs : dict
        Id of each job → its state and the number of its workers.
    waiting : str
        What the cluster waits for, in one sentence; empty where it has what it wants.
    lost : int
        Jobs that ended without having been asked to.
    """

    address: str
    dashboard: str
    host: str
    pid: int
    started: float
    created: float
    written: float = 0.0
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    waiting: str = ""
    lost: int = 0

    @property
    def workers(self) -> int:
        """The number of workers that are connected."""
        return sum(job["workers"] for job in self.jobs.values())

    @property
    def page(self) -> str:
        """Address of the page of runs, on the keeper's machine."""
        return self.dashboard.removesuffix("/status") + "/scope"


class ClusterFolder:
    """The folder of one cluster.

    Parameters
    ----------
    name : str
    """

    def __init__(self, name: str) -> None:
        self.name = check_name(name)
        self.path = clusters_folder() / name
        self.logs = self.path / "logs"
        self.keeper_log = self.path / "keeper.log"

    def make(self, profile: ClusterProfile, wanted: Wanted) -> None:
        """Make the folder afresh, readable by its owner only."""
        if any(c.isspace() for c in str(self.path)):
            raise OptionError(f"{self.path} has a blank, which SLURM's log files cannot have: set {FOLDER_VARIABLE}")
        shutil.rmtree(self.path, ignore_errors=True)
        self.logs.mkdir(parents=True)
        self.path.chmod(0o700)
        (self.path / "profile.yaml").write_text(yaml.safe_dump(to_mapping(profile), sort_keys=False))
        self.want(wanted)

    @property
    def profile(self) -> ClusterProfile:
        """The profile that the cluster was launched with."""
        return from_mapping(ClusterProfile, read_yaml(self.path / "profile.yaml"), self.name)

    @property
    def wanted(self) -> Wanted:
        """The number of jobs asked for."""
        return Wanted(**json.loads((self.path / "wanted.json").read_bytes()))

    def want(self, wanted: Wanted) -> None:
        """Ask for another number of jobs, or for the end."""
        self._write("wanted.json", asdict(wanted))

    def tell(self, state: State) -> None:
        """Write the state, with the time."""
        state.written = time.time()
        self._write("state.json", asdict(state))

    @property
    def state(self) -> State | None:
        """What the keeper told last; None before it told anything."""
        try:
            return State(**json.loads((self.path / "state.json").read_bytes()))
        except FileNotFoundError:
            return None

    @property
    def alive(self) -> bool:
        """Whether the keeper runs."""
        state = self.state
        if state is None:
            return False
        if state.host == socket.gethostname():
            return _same_process(state)
        return time.time() - state.written < STALE_SECONDS

    def log_files(self) -> list[Path]:
        """Return the log files of the keeper and the jobs, the oldest first."""
        found = [self.keeper_log, *self.logs.glob("*")]
        return sorted((f for f in found if f.is_file()), key=lambda f: f.stat().st_mtime)

    def forget(self) -> None:
        """Remove what a cluster needs while it runs, keys first; the logs stay."""
        shutil.rmtree(self.path / "tls", ignore_errors=True)
        for name in ("state.json", "wanted.json"):
            (self.path / name).unlink(missing_ok=True)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        with replacing(self.path / name) as temporary:
            temporary.write_text(json.dumps(content))


def _same_process(state: State) -> bool:
    try:
        process = psutil.Process(state.pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - state.created) < 1.0
    except psutil.NoSuchProcess:
        return False


def clusters_folder() -> Path:
    """Return the folder of all clusters of this user: ``SCOPE_DASK_CLUSTERS``, or one in the home folder."""
    given = os.environ.get(FOLDER_VARIABLE)
    return Path(given).absolute() if given else Path.home() / ".scope_dask" / "clusters"


def known_clusters() -> Iterator[ClusterFolder]:
    """Yield the clusters that were launched and not stopped, by name."""
    for path in sorted(clusters_folder().glob("*/wanted.json")):
        yield ClusterFolder(path.parent.name)


def running_cluster(name: str) -> ClusterFolder:
    """Return the folder of a cluster that runs.

    Raises
    ------
    UsageError
        If there is none of that name, or its keeper has ended.
    """
    folder = ClusterFolder(name)
    if folder.alive:
        return folder
    if folder.state is not None:
        raise UsageError(
            f"the scheduler of the cluster {name!r} has ended unexpectedly (see dask scope logs {name}): "
            f"launch it again, or clean up with dask scope stop {name}"
        )
    names = [other.name for other in known_clusters() if other.alive]
    raise UsageError(f"no cluster {name!r} is running{nearest(name, names)}; running: {', '.join(names) or 'none'}")
