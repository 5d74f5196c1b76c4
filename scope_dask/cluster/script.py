"""The script of a job, without a scheduler or SLURM."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scope_dask.cluster.folder import ClusterFolder
from scope_dask.cluster.jobs import make_job
from scope_dask.cluster.keys import key_paths
from scope_dask.cluster.profile import ClusterProfile

ADDRESS = "SCHEDULER_ADDRESS"


def example(profile: ClusterProfile, name: str) -> str:
    """Return the script of the first job of a cluster; the scheduler's address is not known before there is one."""
    folder = ClusterFolder(name)
    security = key_paths(folder.path / "tls") if profile.tls else None
    with tempfile.TemporaryDirectory() as there:  # dask-jobqueue makes the folder of the logs
        job = make_job(profile, f"{name}-0", ADDRESS, name, Path(there), security)
        return str(job.job_script()).replace(there, str(folder.logs))
