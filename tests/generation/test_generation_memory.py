"""generate-features takes no more memory, and no more queries at a time, for more light curves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from kowalski_quadrant import PLACE, peaks, running
from kowalski_sky import write_config

from scope_dask.formats import read_table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak of memory"),
]

FEW, MANY = 2000, 5000  # a partition for each of two workers, and more
GROWTH = 60 << 20  # the answers of 3000 more light curves, 150 points each a dict of five numbers, are 150 MiB


def peak(light_curves: int, folder: Path) -> int:
    """Return the largest peak of a process of the command; check rows and queries."""
    folder.mkdir()
    words = [word for name, number in PLACE.items() for word in (f"--{name}", str(number))]
    words += ["--Ncore", "1", "--n-workers", "2", "--verbose", "0"]
    with running(light_curves, points=150) as server:
        write_config(folder, server)
        found = peaks([sys.executable, "-m", "scope_dask.commands.generate_features", *words], folder, 600)
        assert server.peak == 1
        assert server.most_documents <= 500
    (file,) = folder.rglob("field_*/*.parquet")
    rows = len(read_table(file, columns=["_id"]))
    assert 0.98 * light_curves < rows <= light_curves
    return max(found)


def test_memory_and_queries_do_not_grow_with_the_quadrant(tmp_path: Path) -> None:
    few, many = (peak(number, tmp_path / str(number)) for number in (FEW, MANY))
    assert many - few < GROWTH
