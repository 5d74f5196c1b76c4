"""The one-machine SLURM of ``cluster/slurm/up.sh``, where it runs."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SLURM_ROOT = Path(os.environ.get("SLURM_CI_ROOT") or "/var/lib/slurm-ci")
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def slurm_machine(tmp_path_factory) -> Iterator[Path]:
    """The test SLURM, one module at a time, and a folder for its clusters; never the SLURM of a real site."""
    configuration = SLURM_ROOT / "etc" / "slurm.conf"
    if os.geteuid() != 0:
        pytest.skip("the one-machine SLURM needs root")
    if not (SLURM_ROOT / ".slurm-ci").exists() or not configuration.exists():
        pytest.skip("no one-machine SLURM runs here: start it with cluster/slurm/up.sh")
    changes = pytest.MonkeyPatch()
    clusters = tmp_path_factory.mktemp("clusters")
    changes.setenv("SLURM_CONF", str(configuration))
    changes.setenv("SCOPE_DASK_CLUSTERS", str(clusters))
    paths = (TESTS / "cluster", TESTS, TESTS.parent)  # jobs unpickle our functions
    changes.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    with (SLURM_ROOT / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            subprocess.run(["sinfo", "--noheader"], check=True, capture_output=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            pytest.skip("the one-machine SLURM does not answer: start it with cluster/slurm/up.sh")
        subprocess.run(["scancel", "--user=root"], check=True, timeout=60)  # of tests that were ended
        yield clusters
    changes.undo()
