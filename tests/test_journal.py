"""The journal of a run: the last record of each partition counts, and reading it takes little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from scope_dask.journal import Journal

COUNT = 2000
BYTES = 4096  # of a record, about


def test_the_last_record_of_a_partition_counts(tmp_path: Path) -> None:
    path = tmp_path / "records"
    with Journal(path) as journal:
        for partition, ok in ((0, False), (1, True), (0, True), (2, False), (2, True)):
            journal.append({"partition": partition, "ok": ok})
        journal.append({"partition": 2, "ok": False})
    assert list(Journal(path).latest()) == [
        {"partition": 1, "ok": True},
        {"partition": 0, "ok": True},
        {"partition": 2, "ok": False},
    ]
    assert Journal(path).read()[2] == {"partition": 2, "ok": False}


def test_what_is_appended_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    with Journal(tmp_path / "records") as journal:
        for partition in (0, 1):
            journal.append({"partition": partition, "ok": False})
        reading = Journal(journal.path).latest()
        found = [next(reading)]
        for partition in (1, 2):
            journal.append({"partition": partition, "ok": True})
        found += reading
    assert found == [{"partition": 0, "ok": False}, {"partition": 1, "ok": False}]


def test_what_is_no_record_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_text('{"partition":0}\n{"other":1}\n[]\n{"partition":[]}\n\n{"partition":1')
    with Journal(path) as journal:
        journal.append({"partition": 1})  # not on the torn line
    assert sorted(Journal(path).read()) == [0, 1]
    assert list(Journal(tmp_path / "nothing").latest()) == []


def test_one_record_at_a_time_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "records"
    with Journal(path) as journal:
        for partition in range(COUNT):
            journal.append({"partition": partition, "text": "x" * BYTES})
    tracemalloc.start()
    try:
        with Journal(path) as journal:
            assert sum(1 for _ in journal.latest()) == COUNT
            journal.append({"partition": COUNT})
        assert tracemalloc.get_traced_memory()[1] < COUNT * BYTES / 4
    finally:
        tracemalloc.stop()
