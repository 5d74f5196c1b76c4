"""What the processes of this machine may use."""

from __future__ import annotations

import psutil
import pytest

from scope_dask.diagnostics import usable_memory


def test_the_memory_of_a_job_is_that_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)
    whole = usable_memory()
    assert 0 < whole <= psutil.virtual_memory().total
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    assert usable_memory() == 100 * 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # all of the node
    assert usable_memory() == whole
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "50")
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "3")
    assert usable_memory() == 150 * 2**20
