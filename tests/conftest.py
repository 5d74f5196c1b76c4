"""Shared fixtures."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
# The profiler of Dask can stop Python 3.11.7 for good (scope_dask.diagnostics.LOCAL_CONFIG), and with it the tests.
os.environ.setdefault("DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED", "False")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # `make test &` in a script: what the tests start heeds it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give all tests of the one SLURM to one process: of two, one would wait for the other."""
    from xdist.scheduler import LoadScopeScheduling

    class OneSlurm(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if nodeid.startswith("tests/cluster/test_slurm_") else super()._split_scope(nodeid)

    return OneSlurm(config, log)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of third-party data beside the checkout (``SCOPE_DASK_DATA`` overrides it)."""
    path = Path(os.environ.get("SCOPE_DASK_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not path.is_dir():
        pytest.skip(f"the real light curves are not here (no folder {path.name}); set SCOPE_DASK_DATA to run this test")
    return path


@pytest.fixture
def user_folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder, no tokens in the environment."""
    for name in ("KOWALSKI_INSTANCE", "GLORIA_INSTANCE", "MELMAN_INSTANCE", "FRITZ"):
        monkeypatch.delenv(f"{name}_TOKEN", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path
