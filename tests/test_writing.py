"""Tables written partition by partition: complete, resumed after any interruption, with what failed set aside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clusters import computed, partition, table, two_workers
from curve_tables import curve_table
from distributed import Client
from processes import started

from scope_dask import tally
from scope_dask._version import __version__
from scope_dask.errors import UsageError
from scope_dask.journal import Journal
from scope_dask.summary import RunSummary
from scope_dask.writing import JOURNAL, WriteOptions, is_done, manifest_path, part_path, write, write_tables

RESUME = WriteOptions(resume=True)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_workers() as client:
        yield client


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A folder where partitions note that they are computed."""
    path = tmp_path / "log"
    path.mkdir()
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def run(frame: Any, out: Path, client: Client, options: WriteOptions = RESUME) -> RunSummary:
    return write_tables({"features": frame}, out, client, options)


def parts(out: Path, name: str = "features") -> dict[str, pd.DataFrame]:
    """Return the files of a table by their path below it, as tables."""
    root = out / name
    return {str(f.relative_to(root)): pd.read_parquet(f) for f in sorted(root.rglob("*")) if f.is_file()}


def assert_complete(out: Path, count: int, but: tuple[int, ...] = ()) -> None:
    """Check that all partitions are there and hold what they should, and nothing else is there."""
    found = parts(out)
    wanted = {str(part_path("", p)): partition(p) for p in range(count) if p not in but}
    assert list(found) == list(wanted)
    for path, frame in wanted.items():
        pd.testing.assert_frame_equal(found[path], frame)


def test_every_partition_is_written_once(client: Client, out: Path, log: Path) -> None:
    summary = run(table(9, log=log), out, client, WriteOptions(partitions_in_flight=4))
    assert computed(log) == list(range(9))
    assert_complete(out, 9)
    assert (summary.partitions, summary.computed, summary.reused, summary.failed) == (9, 9, 0, {})
    assert summary.rows == {"features": 18}
    assert summary.bytes_written == sum(f.stat().st_size for f in (out / "features").rglob("*.parquet"))
    assert not (out / "set_aside").exists()
    manifest = json.loads(manifest_path(out, ["features"]).read_text())
    assert manifest["started"] <= manifest["finished"]
    assert manifest["summary"]["computed"] == 9


def test_two_tables_of_one_run_stand_side_by_side(client: Client, out: Path, log: Path) -> None:
    features = table(3, log=log)
    summary = write_tables({"features": features, "scores": features[["_id"]]}, out, client, WriteOptions())
    assert computed(log) == [0, 1, 2]  # the common part is computed once
    assert_complete(out, 3)
    assert list(pd.concat(parts(out, "scores").values())["_id"]) == list(range(6))
    assert summary.rows == {"features": 6, "scores": 6}


def test_one_table_is_read_back_from_where_it_was_written(client: Client, out: Path) -> None:
    summary = write(table(3), out)
    assert summary.rows == {"": 6}
    for back in (dd.read_parquet(out).compute(), pd.read_parquet(out)):
        pd.testing.assert_frame_equal(
            back.reset_index(drop=True), pd.concat([partition(p) for p in range(3)], ignore_index=True)
        )


def test_lists_are_read_back_by_pandas_and_dask(client: Client, out: Path) -> None:
    curves = curve_table([([1.0, 2.0], [15.0, 16.0], [0.1, 0.2]), ([], [], [])])
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(4, dtype=np.float32)), 2)
    curves["pixels"] = pd.Series(pd.arrays.ArrowExtensionArray(pixels))
    write(dd.from_pandas(curves.assign(name=pd.Series(["a", None], dtype="str")), npartitions=1, sort=False), out)
    for back in (pd.read_parquet(out), dd.read_parquet(out).compute()):
        assert [list(row) for row in back["mag"]] == [[15.0, 16.0], []]
        assert [list(row) for row in back["pixels"]] == [[0, 1], [2, 3]]
        assert back["_id"].dtype == np.int64
        assert back["name"].isna().tolist() == [False, True]


def test_files_name_the_version_that_wrote_them(client: Client, out: Path) -> None:
    run(table(1), out, client)
    metadata = pq.read_metadata(out / part_path("features", 0)).metadata
    assert json.loads(metadata[b"scope"]) == {"scope_code_version": __version__}


def test_at_most_a_thousand_files_in_a_folder() -> None:
    assert part_path("t", 999) == Path("t/0000/part-0000999.parquet")
    assert part_path("t", 1_234_567) == Path("t/1234/part-1234567.parquet")


def test_a_finished_run_is_not_computed_again(client: Client, out: Path, log: Path) -> None:
    first = run(table(5, log=log), out, client)
    computed(log)
    again = run(table(5, log=log), out, client)
    assert computed(log) == []
    assert (again.computed, again.reused, again.rows) == (0, 5, first.rows)
    assert again.finished == 5


def test_what_is_damaged_is_computed_again(client: Client, out: Path, log: Path) -> None:
    run(table(6, log=log), out, client)
    computed(log)
    (out / part_path("features", 1)).unlink()
    with (out / part_path("features", 4)).open("r+b") as file:
        file.truncate(100)
    summary = run(table(6, log=log), out, client)
    assert computed(log) == [1, 4]
    assert (summary.computed, summary.reused) == (2, 4)
    assert_complete(out, 6)


def test_a_torn_journal_costs_only_its_torn_lines(client: Client, out: Path, log: Path) -> None:
    run(table(5, log=log), out, client)
    computed(log)
    journal = out / JOURNAL
    lines = journal.read_bytes().splitlines(keepends=True)
    torn = json.loads(lines[-1])["partition"]
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:30])
    run(table(5, log=log), out, client)
    assert computed(log) == [torn]
    run(table(5, log=log), out, client)  # the line after the torn one stands alone
    assert computed(log) == []
    assert_complete(out, 5)


def test_a_file_without_a_record_is_written_again(client: Client, out: Path, log: Path) -> None:
    run(table(3, log=log), out, client)
    computed(log)
    (out / JOURNAL).unlink()
    run(table(3, log=log), out, client)
    assert computed(log) == [0, 1, 2]
    assert_complete(out, 3)


def test_a_partition_that_fails_is_set_aside_until_it_does_not(
    client: Client, out: Path, log: Path, tmp_path: Path
) -> None:
    frame = table(6, log=log, troubles=tmp_path)
    (tmp_path / "fail-3").touch()
    summary = run(frame, out, client)
    assert summary.failed == {3: "ValueError: partition 3 is bad"}
    assert_complete(out, 6, but=(3,))
    aside = pd.read_parquet(out / "set_aside")
    assert aside[["stage", "reason", "partition"]].values.tolist() == [
        ["partition", "ValueError: partition 3 is bad", 3]
    ]
    assert aside["_id"].isna().all()
    assert "partition 3 set aside: ValueError: partition 3 is bad" in str(summary)
    computed(log)
    (tmp_path / "fail-3").unlink()
    again = run(frame, out, client)
    assert computed(log) == [3]
    assert again.failed == {}
    assert_complete(out, 6)
    assert not list((out / "set_aside").rglob("*.parquet"))


def test_light_curves_set_aside_are_listed_and_counted(client: Client, out: Path) -> None:
    summary = run(table(4).map_partitions(noted, meta=partition(0).iloc[:0]), out, client)
    stage = summary.stages["odd"]
    assert (stage.rows_in, stage.rows_out, stage.seconds) == (8, 8, 2.0)
    assert stage.dropped == {"dull": 12}
    assert stage.set_aside == {"odd": 2}
    aside = pd.read_parquet(out / "set_aside")
    assert sorted(aside[["_id", "stage", "reason", "partition"]].values.tolist()) == [
        [2, "odd", "odd", 1],
        [6, "odd", "odd", 3],
    ]
    assert "dropped 12: dull" in str(summary)
    reused = run(table(4).map_partitions(noted, meta=partition(0).iloc[:0]), out, client)
    assert reused.stages == summary.stages


def noted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the partition with a history; every second partition sets its first row aside."""
    first = int(frame["_id"].iloc[0])
    entry = {"stage": "odd", "rows_in": 2, "rows_out": 2, "seconds": 0.5, "dropped": {"dull": 3}}
    return tally.put(frame.copy(), [{**entry, "set_aside": [(first, "odd")] if first % 4 else []}])


def test_other_options_are_refused_by_name(client: Client, out: Path) -> None:
    options = WriteOptions(resume=True, description={"features": {"max_freq": 3.0, "top": [1, 2]}})
    run(table(2), out, client, options)
    before = sorted(out.rglob("*"))
    changed = WriteOptions(resume=True, description={"features": {"max_freq": 4.0, "top": (1, 2)}})
    with pytest.raises(
        UsageError, match=r"holds a run of other tables \(features\.max_freq: 3\.0 → 4\.0\): overwrite it or choose"
    ):
        run(table(3), out, client, changed)
    with pytest.raises(UsageError, match="the input files or the model changed"):
        run(table(3), out, client, options)
    assert sorted(out.rglob("*")) == before


def test_an_earlier_run_is_kept_unless_told_otherwise(client: Client, out: Path, log: Path) -> None:
    run(table(2), out, client)
    with pytest.raises(UsageError, match=r"already holds a run: resume it, overwrite it, or choose another folder"):
        run(table(2), out, client, WriteOptions())
    run(table(3, log=log), out, client, WriteOptions(overwrite=True))
    assert computed(log) == [0, 1, 2]
    assert_complete(out, 3)


@pytest.mark.parametrize("name", ["notes.txt", "run.json"])
def test_a_folder_of_someone_else_is_left_alone(client: Client, out: Path, name: str) -> None:
    out.mkdir()
    (out / name).write_text("{}")
    with pytest.raises(UsageError, match="is not empty and holds no run of scope_dask: choose another folder"):
        run(table(2), out, client)
    assert [f.name for f in out.iterdir()] == [name]


def test_an_empty_folder_will_do(client: Client, out: Path) -> None:
    out.mkdir()
    run(table(2), out, client)
    assert_complete(out, 2)


def test_partitions_without_rows_are_written(client: Client, out: Path) -> None:
    frame = table(3)
    run(frame[frame["_id"] > 3], out, client)
    assert [len(frame) for frame in parts(out).values()] == [0, 0, 2]
    assert dict(parts(out)[str(part_path("", 0))].dtypes) == dict(partition(0).dtypes)


def test_without_a_cluster(out: Path) -> None:
    script = (
        f"from clusters import table; from scope_dask.writing import write; print(write(table(2), {str(out)!r}).rows)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'': 4}\n", "")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTHONWARNINGS": "error"}


KILLED = """
from pathlib import Path
from clusters import table, two_workers
from scope_dask.writing import WriteOptions, write_tables

if __name__ == "__main__":
    with two_workers() as client:
        write_tables({{"features": table({count}, log=Path({log!r}), seconds={seconds})}}, Path({out!r}), client,
                     WriteOptions(resume=True, partitions_in_flight=8))
"""


def records(out: Path) -> list[int]:
    """Return the partitions whose records stand for whole files."""
    return sorted(p for p, record in Journal(out / JOURNAL).read().items() if is_done(record, out))


def test_a_run_that_is_killed_goes_on_where_it_was(client: Client, out: Path, log: Path, tmp_path: Path) -> None:
    count, seconds = 16, 0.2
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(log=str(log), out=str(out), count=count, seconds=seconds))
    with started([sys.executable, str(script)], start_new_session=True, env=environment()) as victim:
        limit = time.monotonic() + 120
        while len(records(out)) < 4 and time.monotonic() < limit and victim.poll() is None:
            time.sleep(0.02)
        os.killpg(victim.pid, signal.SIGKILL)
    done = records(out)
    assert 4 <= len(done) < count
    computed(log)
    summary = run(table(count, log=log, seconds=seconds), out, client)
    assert computed(log) == [p for p in range(count) if p not in done]
    assert (summary.reused, summary.computed) == (len(done), count - len(done))
    assert_complete(out, count)


def test_a_partition_that_kills_its_worker_is_set_aside_alone(client: Client, out: Path, tmp_path: Path) -> None:
    (tmp_path / "die-5").touch()
    summary = run(table(10, troubles=tmp_path), out, client)
    assert list(summary.failed) == [5]
    assert summary.failed[5].startswith("KilledWorker: ")
    assert_complete(out, 10, but=(5,))
    assert list(pd.read_parquet(out / "set_aside")["partition"]) == [5]
    assert not np.isin(5, records(out))


@pytest.mark.parametrize("long", [0, 7])  # one of them is the first that is computed
def test_no_partition_waits_behind_one_that_takes_long(client: Client, out: Path, tmp_path: Path, long: int) -> None:
    late = tmp_path / f"wait-{long}"
    late.touch()
    order: list[int] = []

    def watch(record: dict[str, Any]) -> None:
        order.append(record["partition"])
        if len(order) == 7:
            late.unlink()

    run(table(8, troubles=tmp_path), out, client, WriteOptions(watch=watch))
    assert order[-1] == long


def test_what_watches_the_records_can_end_the_run(tmp_path) -> None:
    """What is done is kept, and the rest is not computed."""
    log = tmp_path / "log"
    log.mkdir()
    out = tmp_path / "out"
    seen = []

    def stop(record: dict) -> None:
        seen.append(record["partition"])
        if len(seen) == 3:
            raise RuntimeError("enough")

    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as client:
        tables = {"": table(40, log=log, seconds=0.05)}
        with pytest.raises(RuntimeError, match="enough"):
            write_tables(tables, out, client, WriteOptions(watch=stop))
        assert len(computed(log)) < 10
        summary = write_tables(tables, out, client, WriteOptions(resume=True))
    assert summary.reused >= 3
    assert summary.rows == {"": 80}
