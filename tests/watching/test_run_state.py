"""What is told of a run, and the numbers made of it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest

from scope_dask.sources.kowalski.reader import Pieces
from scope_dask.watching import state as state_module
from scope_dask.watching.figures import clock, figures
from scope_dask.watching.state import MOST_REASONS, RunState, fields_of
from scope_dask.watching.terminal import line


def record(partition: int, rows: int = 2, field: str = "", **changes: Any) -> dict[str, Any]:
    """Return the record of a partition that was written."""
    plain = {"partition": partition, "ok": True, "files": [["a", 100]], "rows": {"t": rows}, "history": []}
    return plain | {"fields": {field: rows} if field else {}} | changes


def failed(partition: int, reason: str) -> dict[str, Any]:
    return record(partition, ok=False, reason=reason, files=[], rows={})


def test_reasons_that_differ_in_numbers_are_one(tmp_path: Path) -> None:
    run = RunState(tmp_path, 100)
    for number in range(7):
        run.add(failed(number, f"ValueError: partition {number} at 0x7f{number}a is bad"))
    run.add(failed(8, "KilledWorker: task-5c0bfa31bd2c9e7a of tcp://127.0.0.1:40123"))
    run.add(failed(9, "KilledWorker: task-0a1bfa31bd2c9e7b of tcp://127.0.0.1:40999"))
    first, second = figures(run.report()).failures
    assert (first.count, first.partitions) == (7, [0, 1, 2, 3, 4])
    assert first.reason == "ValueError: partition 0 at 0x7f0a is bad"
    assert (second.count, second.partitions) == (2, [8, 9])


def test_reasons_of_all_kinds_stay_a_bounded_number(tmp_path: Path) -> None:
    run = RunState(tmp_path, 100)
    for number in range(30):
        run.add(failed(number, f"error {'x' * number}"))
    found = figures(run.report()).failures
    assert len(found) == MOST_REASONS + 1
    assert (found[0].reason, found[0].count) == ("other reasons", 30 - MOST_REASONS)
    assert figures(run.report()).failed == sum(failure.count for failure in found) == 30


def test_fields_known_beforehand_and_not(tmp_path: Path) -> None:
    run = RunState(tmp_path, 5, np.array([296, 296, 487, 487, -1]))
    run.add(record(0, field="296"))
    run.add(record(1, rows=0))  # all of its light curves were dropped
    run.add(failed(2, "bad"))
    run.add(record(4, field="512"))
    told = figures(run.report()).fields
    assert list(told) == ["487", "512", "296"], "what is under way first, what is complete last"
    assert [told[name].done for name in told] == [0, 1, 2]
    assert [told[name].failed for name in told] == [1, 0, 0]
    assert [told[name].partitions for name in told] == [2, None, 2]
    assert [told[name].rows for name in told] == [0, 2, 2]


def test_pieces_of_kowalski_tell_their_field_unless_they_are_of_ids() -> None:
    quadrants = np.array([[296, 1, 2, 0, 50], [487, 1, 2, 0, 50], [487, 1, 3, 0, 20]])
    for pieces, fields in ((Pieces(quadrants), [296, 487, 487]), (Pieces(quadrants * 0, np.arange(9)), [-1] * 3)):
        lazy = dd.from_map(lambda piece: pd.DataFrame({"_id": [0]}), pieces, meta=pd.DataFrame({"_id": [0]}))
        assert fields_of(lazy).tolist() == fields
        assert fields_of(lazy.map_partitions(len, meta=(None, int))).tolist() == fields
        assert fields_of(lazy.partitions[:2]) is None
    assert fields_of(dd.from_pandas(pd.DataFrame({"_id": [0]}))) is None


def test_the_pace_is_that_of_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(state_module.time, "monotonic", lambda: now)
    run = RunState(tmp_path, 1000)
    for number in range(100):  # one in ten seconds
        now += 10
        run.add(record(number))
    for number in range(100, 800):  # then one a second
        now += 1.001
        run.add(record(number))
    told = figures(run.report())
    assert told.light_curves_per_second == pytest.approx(2, rel=0.01)
    assert told.seconds_left == pytest.approx(200, rel=0.01)
    assert told.elapsed == pytest.approx(1700.7)
    assert line(told).startswith("800 of 1000 partitions, 2.0 light curves/s, 00:03:2")
    run.end()
    assert figures(run.report()).light_curves_per_second == pytest.approx(1600 / 1700.7)


def test_a_pace_of_few_long_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(state_module.time, "monotonic", lambda: now)
    run = RunState(tmp_path, 100)
    for number in range(50):  # an hour each
        now += 3600
        run.add(record(number))
    assert figures(run.report()).seconds_left == pytest.approx(50 * 3600)


def test_time_that_passes_since_a_report_is_counted(tmp_path: Path) -> None:
    run = RunState(tmp_path, 10)
    run.add(record(0))
    report = {**run.report(), "elapsed": 10.0, "pace": {"seconds": 10.0, "partitions": 1, "light_curves": 2}}
    assert figures(report).seconds_left == 90
    later = figures(report, age=20)
    assert (later.elapsed, later.seconds_left, later.light_curves_per_second) == (30, 270, pytest.approx(2 / 30))
    gone = figures(report, age=20, lost=True)
    assert (gone.state, gone.seconds_left, gone.bytes_expected) == ("lost", None, None)
    run.end()
    assert figures(run.report(), age=1e6, lost=True).state == "finished"
    assert figures(run.report(), age=1e6).elapsed == run.summary.wall_seconds


def test_before_the_first_partition(tmp_path: Path) -> None:
    told = figures(RunState(tmp_path, 10).report())
    assert (told.finished, told.seconds_left, told.bytes_expected) == (0, None, None)
    assert line(told) == "0 of 10 partitions, 0.0 light curves/s"


def test_a_report_is_whole_while_partitions_are_added(tmp_path: Path) -> None:
    """The totals of every report agree with each other."""
    run = RunState(tmp_path, 4000)
    entry = {"stage": "s", "rows_in": 2, "rows_out": 2, "seconds": 0.1, "dropped": {}, "set_aside": {}}
    adding = threading.Thread(target=lambda: [run.add(record(n, history=[entry])) for n in range(4000)])
    adding.start()
    while adding.is_alive():
        told = figures(run.report())
        assert told.light_curves == told.summary.rows.get("t", 0) == 2 * told.finished
    adding.join()
    assert figures(run.report()).finished == 4000


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00"), (59.6, "00:01:00"), (86399, "23:59:59"), (90061, "1 d 01:01:01")]
)
def test_time_spans(seconds: float, text: str) -> None:
    assert clock(seconds) == text
