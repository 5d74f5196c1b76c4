"""Fixtures of the source tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pyarrow.parquet as pq
import pytest
from irsa_files import irsa_table


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def irsa_file(tmp_path: Path) -> Callable[..., Path]:
    """Write light curves as one IRSA file below the temporary folder; its name says nothing true."""

    def write(sizes: Any, name: str = "ztf_000111_zi_c16_q4_dr1.parquet", **options: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = ("row_group_size", "compression", "write_page_checksum", "write_statistics")
        how = {k: options.pop(k) for k in keys if k in options}
        pq.write_table(irsa_table(sizes, **options), path, **how)
        return path

    return write
