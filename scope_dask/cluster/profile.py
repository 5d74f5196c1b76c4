"""What a cluster is made of: the profile of a site, from YAML."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dask.utils import parse_bytes, parse_timedelta

from scope_dask.errors import OptionError, SourceError, nearest
from scope_dask.mapping import from_mapping, read_yaml

NANNY_BYTES = 160 * 2**20  # a nanny and its share of the job's shell, beside the worker itself
LEAST_WORKER_BYTES = 256 * 2**20
LIFETIME_MARGIN = (
    0.1,
    30.0,
    600.0,
)  # between the last end of a worker and its job's: share of the walltime, bounds (s)
STAGGER = (0.05, 600.0)  # share of the walltime, and the most (s)
WORKER_COMMANDS = {"dask": "distributed.cli.dask_worker", "dask_cuda": "dask_cuda.cli"}

_WALLTIME = re.compile(r"(?:(?P<d>\d+)-)?(?P<h>\d+):(?P<m>\d\d):(?P<s>\d\d)")
_WORD = re.compile(r"[A-Za-z0-9][\w.,:@=/+-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}")


@dataclass(frozen=True, slots=True)
class ClusterProfile:
    """What the jobs of a cluster ask for and how its processes find each other.

    Attributes
    ----------
    system : {"slurm", "local"}
        Jobs of SLURM, or processes of this machine.
    jobs : int
        Jobs to start with.
    workers_per_job, threads_per_worker : int
        Worker processes in a job, and the partitions that each computes at a time.
    cpus_per_job : int or None
        None: one for each thread.
    memory : str
        Of a job, such as ``8 GiB``. Its workers share what their nannies leave.
    memory_rule : {"mem", "mem-per-cpu", "none"}
        How a job asks for it; ``none`` for sites with a rule of their own.
    partition, account, qos, constraint, gres : str or None
        Those of SLURM. An account is better given at launch, or by the variable ``SBATCH_ACCOUNT``.
    directives : tuple of str
        More lines for the job script, such as ``--exclusive``.
    walltime : str
        Of a job: ``H:MM:SS`` or ``D-HH:MM:SS``.
    lifetime : str or None
        After this time a worker hands over what it has and ends, before SLURM ends it. None: the walltime less a tenth
        of it (at most 10 minutes) and less the stagger.
    lifetime_stagger : str or None
        Workers end up to this time earlier or later, so that those that started together do not end together. None: a
        twentieth of the walltime, at most 10 minutes.
    prologue : tuple of str
        Lines of shell before the worker starts, such as ``module load``.
    python : str or None
        The interpreter in the job; None: the one that launches.
    scratch : str or None
        Folder on the node for what workers spill; the job's environment is expanded.
    interface, scheduler_interface : str or None
        Network interface of the workers and of the scheduler.
    tls : bool
        Certificates and encryption between all processes.
    worker : {"dask", "dask_cuda"}
        ``dask_cuda``: workers with one GPU each.
    environment : dict
        Variables of the jobs. No secrets: a job script can be read by others.
    dashboard_address : str
        Where the dashboard listens on the machine of the scheduler.
    death_timeout : str
        How long a worker looks for its scheduler before it gives up.
    worker_timeout : str
        A worker that says nothing for so long is given up and its job replaced.
    poll : str
        Time between two looks at the queue.
    idle_timeout : str or None
        The cluster stops itself when it had nothing to do for so long.
    """

    system: Literal["slurm", "local"] = "slurm"
    jobs: int = 1
    workers_per_job: int = 1
    threads_per_worker: int = 1
    cpus_per_job: int | None = None
    memory: str = "4 GiB"
    memory_rule: Literal["mem", "mem-per-cpu", "none"] = "mem"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    directives: tuple[str, ...] = ()
    walltime: str = "4:00:00"
    lifetime: str | None = None
    lifetime_stagger: str | None = None
    prologue: tuple[str, ...] = ()
    python: str | None = None
    scratch: str | None = None
    interface: str | None = None
    scheduler_interface: str | None = None
    tls: bool = True
    worker: Literal["dask", "dask_cuda"] = "dask"
    environment: dict[str, str] | None = None
    dashboard_address: str = "127.0.0.1:0"
    death_timeout: str = "60 s"
    worker_timeout: str = "5 minutes"
    poll: str = "10 s"
    idle_timeout: str | None = "2 hours"

    def __post_init__(self) -> None:
        for name in ("jobs", "workers_per_job", "threads_per_worker", "cpus_per_job"):
            value = getattr(self, name)
            if value is not None and value < (0 if name == "jobs" else 1):
                raise OptionError(f"{name} is {value}; it must be {0 if name == 'jobs' else 1} or more")
        for name in ("partition", "account", "qos", "constraint", "gres", "interface", "scheduler_interface"):
            value = getattr(self, name)
            if value is not None and not _WORD.fullmatch(value):
                raise OptionError(f"{name} is {value!r}; expected one word")
        for name in ("lifetime", "lifetime_stagger", "death_timeout", "worker_timeout", "poll", "idle_timeout"):
            if getattr(self, name) is not None:
                self.seconds(name)
        self._check_directives()
        self._check_memory()
        self._check_times()

    def _check_directives(self) -> None:
        for line in self.directives:
            if not line.startswith("-") or "\n" in line:
                raise OptionError(f"directives has {line!r}; expected options of sbatch, such as --exclusive")
        for name in self.environment or {}:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise OptionError(f"environment has {name!r}; expected the name of a variable")
        if self.worker == "dask_cuda" and self.workers_per_job != 1:
            raise OptionError(
                f"workers_per_job is {self.workers_per_job}; a job with dask_cuda has one worker, one GPU"
            )

    def _check_memory(self) -> None:
        try:
            found = parse_bytes(self.memory)
        except ValueError:
            raise OptionError(f"memory is {self.memory!r}; expected a size such as '8 GiB'") from None
        if self.worker_bytes < LEAST_WORKER_BYTES:
            least = self.workers_per_job * (LEAST_WORKER_BYTES + NANNY_BYTES) / 2**20
            raise OptionError(
                f"memory is {self.memory}, {found / 2**20:.0f} MiB; {self.workers_per_job} workers need {least:.0f} MiB"
            )

    def _check_times(self) -> None:
        walltime, lifetime, stagger = self.walltime_seconds, self.lifetime_seconds, self.stagger_seconds
        if self.system == "slurm" and lifetime + stagger >= walltime:
            raise OptionError(
                f"lifetime is {lifetime:.0f} s, give or take {stagger:.0f} s, the walltime {walltime:.0f} s: workers "
                f"must end before their job is ended"
            )
        if self.system == "slurm" and lifetime <= stagger:
            raise OptionError(
                f"lifetime is {lifetime:.0f} s, give or take {stagger:.0f} s: it must be more than its stagger"
            )

    def seconds(self, name: str) -> float:
        """Return an option that is a time in seconds.

        Raises
        ------
        OptionError
            If it is no time.
        """
        value = getattr(self, name)
        try:
            found = float(parse_timedelta(value))
        except (ValueError, KeyError, TypeError):
            raise OptionError(f"{name} is {value!r}; expected a time such as '90 s' or '2 hours'") from None
        if not found >= 0:
            raise OptionError(f"{name} is {value!r}; a time cannot be negative")
        return found

    @property
    def walltime_seconds(self) -> float:
        """The walltime in seconds."""
        match = _WALLTIME.fullmatch(self.walltime)
        if match is None:
            raise OptionError(f"walltime is {self.walltime!r}; expected hours:minutes:seconds, such as '4:00:00'")
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)

    @property
    def lifetime_seconds(self) -> float:
        """The lifetime of a worker in seconds, before the stagger."""
        if self.lifetime is not None:
            return self.seconds("lifetime")
        share, least, most = LIFETIME_MARGIN
        margin = min(max(share * self.walltime_seconds, least), most)
        return self.walltime_seconds - margin - self.stagger_seconds

    @property
    def stagger_seconds(self) -> float:
        """Most seconds by which a worker ends earlier or later than its lifetime."""
        if self.lifetime_stagger is not None:
            return self.seconds("lifetime_stagger")
        return min(STAGGER[0] * self.walltime_seconds, STAGGER[1])

    @property
    def cpus(self) -> int:
        """CPUs of a job."""
        return self.cpus_per_job or self.workers_per_job * self.threads_per_worker

    @property
    def job_mebibytes(self) -> int:
        """Memory that a job asks for, in MiB."""
        return math.ceil(parse_bytes(self.memory) / 2**20)

    @property
    def worker_bytes(self) -> int:
        """Memory limit of a worker: its share of the job's, less its nanny."""
        return int(parse_bytes(self.memory) / self.workers_per_job) - NANNY_BYTES


def load_profile(source: str | os.PathLike[str]) -> ClusterProfile:
    """Read a profile from a YAML file, or the packaged profile of that name.

    Raises
    ------
    SourceError, OptionError
    """
    path = find_profile(source)
    return from_mapping(ClusterProfile, read_yaml(path) or {}, str(source))


def find_profile(source: str | os.PathLike[str]) -> Path:
    """Return the file of a profile that is named by its path, or by its name among the packaged ones.

    Raises
    ------
    SourceError
        If there is none.
    """
    path = Path(source)
    if path.is_file():
        return path
    known = {file.stem: file for file in sorted(packaged_profiles().glob("*.yaml"))}
    if path.parent == Path() and path.name.removesuffix(".yaml") in known:
        return known[path.name.removesuffix(".yaml")]
    raise SourceError(
        f"there is no cluster profile {str(source)!r}{nearest(str(source), known)}: "
        f"neither a file nor one of the packaged profiles {', '.join(known)}"
    )


def packaged_profiles() -> Path:
    """Return the folder of the profiles that travel with the package."""
    installed = Path(__file__).parents[1] / "profiles"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "cluster" / "profiles"


def check_name(name: str) -> str:
    """Return the name of a cluster.

    Raises
    ------
    OptionError
        If it cannot be part of a path and of a job's name.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(f"{name!r} cannot name a cluster: letters, digits, '_', '-' and '.', at most 41 of them")
    return name
