"""Reading archives: layouts, dtypes, slices, projection, laziness, selection."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from irsa_files import RELEASES, blank_data, irsa_table

from scope_dask import ragged, tally
from scope_dask.errors import SourceError
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources import TimePrecisionWarning, read_archive, slices_of

Write = Callable[..., Path]


def rows_of(frame: dd.DataFrame) -> pd.DataFrame:
    return frame.compute().reset_index(drop=True)


def expected(table: pa.Table, mags: Any = np.float32) -> pd.DataFrame:
    """Convert row by row, in plain Python."""
    rows = table.to_pylist()
    lists = {
        "hjd": ([[float(t) + 2400000.5 for t in r["hmjd"]] for r in rows], pa.float64()),
        "mag": ([r["mag"] for r in rows], pa.from_numpy_dtype(np.dtype(mags))),
        "magerr": ([r["magerr"] for r in rows], pa.from_numpy_dtype(np.dtype(mags))),
        "catflags": ([r["catflags"] for r in rows], pa.int32()),
    }
    scalars = {
        "_id": [r["objectid"] for r in rows],
        "ra": [r["objra"] for r in rows],
        "dec": [r["objdec"] for r in rows],
        "field": [r["fieldid"] for r in rows],
        "ccd": [r["rcid"] // 4 + 1 for r in rows],
        "quad": [r["rcid"] % 4 + 1 for r in rows],
        "filter": [r["filterid"] for r in rows],
    }
    frame = pd.DataFrame({k: np.array(v, dtype=RAW_LIGHTCURVES[k].dtype) for k, v in scalars.items()})
    for name, (values, dtype) in lists.items():
        frame[name] = pd.arrays.ArrowExtensionArray(pa.array(values, type=pa.list_(dtype)))
    return frame


@pytest.mark.parametrize("release", RELEASES)
def test_every_release_reads_the_same(irsa_file: Write, release: str) -> None:
    sizes = [3, 0, 40, 1, 7] * 20
    path = irsa_file(sizes, row_group_size=30, **RELEASES[release])
    frame = read_archive(path)
    result = rows_of(frame)
    mags = np.float64 if release == "wide" else np.float32
    pd.testing.assert_frame_equal(result, expected(irsa_table(sizes, **RELEASES[release]), mags))
    assert dict(result.dtypes) == dict(frame.dtypes)
    assert result.loc[0, ["field", "ccd", "quad", "filter"]].tolist() == [300, 2, 2, 2]


def test_float32_times_are_widened_before_the_zero_point_and_warned_of_once(irsa_file: Write) -> None:
    for k in range(3):
        irsa_file([5] * 4, f"d/{k}.parquet", times=pa.float32(), first_id=k * 100)
    path = irsa_file([5] * 4, "d/exact.parquet").parent
    with pytest.warns(TimePrecisionWarning, match=r"^3 of 4 files .*step is 0.003906 d = 5.62 minutes") as caught:
        frame = read_archive(path)
    assert len(caught) == 1
    hjd, _ = ragged.split(rows_of(frame)["hjd"])
    stored = irsa_table([5] * 4)["hmjd"].combine_chunks().flatten().to_numpy()
    assert np.array_equal(hjd.reshape(4, 20), np.tile(stored + 2400000.5, (4, 1)))


def test_float_types_of_files_are_joined_to_the_wider(irsa_file: Write) -> None:
    irsa_file([2, 3], "d/a.parquet", mags=pa.float32())
    path = irsa_file([2, 3], "d/b.parquet", mags=pa.float64()).parent
    frame = read_archive(path)
    assert frame["mag"].dtype.pyarrow_dtype.value_type == pa.float64()
    values, _ = ragged.split(rows_of(frame)["mag"])
    assert np.array_equal(values[:5], values[5:])


@pytest.mark.parametrize("groups", [1000, 17])
def test_partitions_do_not_change_the_rows(irsa_file: Write, groups: int) -> None:
    sizes = np.random.default_rng(1).integers(0, 60, 110)
    path = irsa_file(sizes, row_group_size=groups)
    whole = rows_of(read_archive(path))
    counts = set()
    for bound in ("1 MiB", 40_000, 20_000, 11_000, 500, 1):
        frame = read_archive(path, partition_bytes=bound)
        counts.add(frame.npartitions)
        pd.testing.assert_frame_equal(rows_of(frame), whole)
    assert {1, 110} <= counts
    assert len(counts) >= 5


def test_slices_keep_the_bound(irsa_file: Write) -> None:
    path = irsa_file(np.full(1000, 50), row_group_size=400)
    frame = read_archive(path, partition_bytes=100_000)
    slices = slices_of(frame)
    assert slices is not None
    assert slices.rows.sum() == 1000
    assert slices.nbytes.max() <= 100_000
    for i in range(len(slices)):
        part = frame.partitions[i].compute()
        lists = sum(ragged.split(part[c])[0].nbytes for c in ("hjd", "mag", "magerr", "catflags"))
        assert lists <= slices.nbytes[i] <= 100_000


def test_the_longest_light_curves_in_a_row_stay_within_four_times_the_bound(irsa_file: Write) -> None:
    sizes = np.ones(2000, dtype=int)
    sizes[:100] = 1000
    frame = read_archive(irsa_file(sizes), partition_bytes=50_000)
    largest = max(ragged.split(frame.partitions[i]["hjd"].compute())[0].nbytes for i in range(3))
    assert largest * 20 / 8 <= 200_000


def test_small_row_groups_of_a_file_make_one_partition(irsa_file: Write) -> None:
    irsa_file([5] * 100, "d/a.parquet", row_group_size=10)
    path = irsa_file([5] * 100, "d/b.parquet", row_group_size=10).parent
    assert read_archive(path).npartitions == 2


def test_real_quadrant(shared_data: Path) -> None:
    path = shared_data / "native" / "ztf_000250_zg_c01_q1_dr5_subset.parquet"
    with pytest.warns(TimePrecisionWarning, match=r"5.62 minutes"):
        frame = read_archive(path)
    table = pq.read_table(path)
    result = rows_of(frame)
    pd.testing.assert_frame_equal(result, expected(table))
    points = np.diff(ragged.split(result["hjd"])[1])
    assert len(result) == 3271
    assert (points >= 50).sum() == 529  # 509 without flagged and crowded points
    assert np.array_equal(points, table["nepochs"])
    assert set(result["field"]) == {250}
    with pytest.warns(TimePrecisionWarning, match=r"5.62 minutes"):
        sliced = read_archive(path, partition_bytes=20_000)
    assert sliced.npartitions > 50
    pd.testing.assert_frame_equal(rows_of(sliced), result)


def test_real_folder_leaves_out_what_is_no_archive(shared_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="scope_dask"):
        frame = read_archive(shared_data / "irsa")
    assert "truth.parquet is left out" in caplog.text
    result = rows_of(frame[["_id", "field", "hjd"]])
    truth = pd.read_parquet(shared_data / "irsa" / "truth.parquet")
    assert set(result["_id"]) == set(truth["_id"])
    assert result["field"].value_counts().to_dict() == {801: 1836, 802: 1252}
    assert set(rows_of(read_archive(shared_data / "irsa", field=802))["_id"]) == set(truth.loc[1836:, "_id"])


def test_set_up_reads_no_data_row(irsa_file: Write) -> None:
    path = irsa_file([30] * 500, row_group_size=100)
    blank_data(path)
    frame = read_archive(path, field=300, cone=(10, 10, 1e5), ids=np.arange(10**15, 10**15 + 500))
    assert frame.npartitions == 1
    assert list(frame.columns) == RAW_LIGHTCURVES.names
    with pytest.raises(SourceError, match=rf"{path.name}, row group 0: a page cannot be read \(.*\): fetch"):
        frame.compute()


def test_only_the_columns_asked_for_are_read(irsa_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = read_archive(irsa_file([5] * 10), quad=2)
    seen: list[str] = []
    plain = pq.ParquetFile.iter_batches

    def spy(self: Any, *args: Any, columns: list[str], **options: Any) -> Any:
        seen.extend(columns)
        return plain(self, *args, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    result = frame[["mag", "_id"]].compute()
    assert list(result.columns) == ["mag", "_id"]
    assert set(seen) == {"rcid", "objectid", "mag"}
    seen.clear()
    assert frame["ra"].compute().shape == (10,)
    assert set(seen) == {"rcid", "objra"}


def test_nothing_but_the_selection_is_read_of_a_slice_without_a_match(
    irsa_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = irsa_file([5] * 10, write_statistics=False)
    frame = read_archive(path, field=7)
    monkeypatch.setattr("scope_dask.sources.reader.ragged.split", None)
    seen: list[str] = []
    plain = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda self, *a, **k: seen.extend(k["columns"]) or plain(self, *a, **k),
    )
    assert len(frame.compute()) == 0
    assert seen == ["fieldid"]


def test_row_groups_are_left_out_by_their_statistics(irsa_file: Write) -> None:
    for rc in range(8):
        irsa_file([5] * 10, f"d/{rc}.parquet", rc=rc, first_id=1000 * rc, field=200 + rc // 4)
    path = irsa_file([5] * 10, "d/7.parquet", rc=7, first_id=7000, field=201).parent
    assert read_archive(path).npartitions == 8
    assert read_archive(path, field=200).npartitions == 4
    assert read_archive(path, ccd=2, quad=[1, 3]).npartitions == 2
    assert set(rows_of(read_archive(path, ccd=2, quad=[1, 3]))["quad"]) == {1, 3}
    frame = read_archive(path, ids=[2003, 5001, 5009, 99999])
    assert frame.npartitions == 2
    assert rows_of(frame)["_id"].tolist() == [2003, 5001, 5009]
    assert len(pickle.dumps(slices_of(read_archive(path, ids=np.arange(10**5)))[0])) < 9000


def test_a_selection_without_a_match_is_one_empty_partition(irsa_file: Write) -> None:
    frame = read_archive(irsa_file([5] * 10), field=999)
    result = frame.compute()
    assert frame.npartitions == 1
    assert len(result) == 0
    assert dict(result.dtypes) == dict(frame.dtypes)


@pytest.mark.parametrize("statistics", [True, False])
def test_selections_agree_with_filtering_afterwards(irsa_file: Write, statistics: bool) -> None:
    path = irsa_file(np.arange(300) % 9, row_group_size=40, write_statistics=statistics)
    whole = rows_of(read_archive(path))
    wanted = whole["_id"].to_numpy()[[3, 77, 201, 299]]
    near = read_archive(path, ids=pd.Series(wanted), cone=(whole["ra"][77], whole["dec"][77], 10), partition_bytes=900)
    pd.testing.assert_frame_equal(rows_of(near), whole.iloc[[77]].reset_index(drop=True))
    some = read_archive(path, ids=wanted[::-1], partition_bytes=900)
    pd.testing.assert_frame_equal(rows_of(some), whole.iloc[[3, 77, 201, 299]].reset_index(drop=True))


def test_history_of_a_partition(irsa_file: Write) -> None:
    part = read_archive(irsa_file([5] * 10), ids=[10**15 + 4]).partitions[0].compute()
    (entry,) = tally.history(part)
    assert entry.pop("seconds") > 0
    assert entry == {
        "stage": "sources",
        "rows_in": 10,
        "rows_out": 1,
        "dropped": {"outside the selection": 9},
        "set_aside": [],
    }


def test_paths(irsa_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = irsa_file([1, 2], "d/sub/a.parquet")
    b = irsa_file([3], "d/b[1].parquet", first_id=5)
    irsa_file([3], "d/.hidden/c.parquet")
    both, one = {10**15, 10**15 + 1, 5}, {5}
    monkeypatch.chdir(tmp_path)
    for path, ids in (
        (tmp_path / "d", both),
        ("d", both),
        (str(b), one),
        ("d/b*.parquet", one),
        (f"file://{tmp_path}/d", both),
        ([a, str(b), tmp_path / "d"], both),
    ):
        assert set(rows_of(read_archive(path))["_id"]) == ids
        assert len(rows_of(read_archive(path))) == len(ids)
    assert rows_of(read_archive([b, a]))["_id"].tolist() == [5, 10**15, 10**15 + 1]


def test_a_changed_file_changes_the_keys_and_is_noticed(irsa_file: Write) -> None:
    path = irsa_file([1, 2, 3])
    before = read_archive(path)
    assert before.expr._name == read_archive(path).expr._name
    assert before.expr._name != read_archive(path, field=300).expr._name
    os.utime(path, ns=(1, 1))
    assert read_archive(path).expr._name != before.expr._name
    with pytest.raises(SourceError, match=r"has changed since the table was set up"):
        before.compute()
    path.unlink()
    with pytest.raises(SourceError, match=r"is gone since the table was set up"):
        before.compute()


def test_memory_filesystem(irsa_file: Write) -> None:
    path = irsa_file([4, 5, 6], row_group_size=2)
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/archive/x.parquet", path.read_bytes())
    try:
        for address in ("memory://archive", "memory://archive/x.parquet", "memory://archive/*.parquet"):
            pd.testing.assert_frame_equal(rows_of(read_archive(address)), rows_of(read_archive(path)))
    finally:
        memory.rm("/archive", recursive=True)


class _Ranges(BaseHTTPRequestHandler):
    """Serves the bytes of one file, by ranges, and counts them."""

    data = b""
    sent = 0

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        if not self.path.endswith("x.parquet"):
            self.send_error(404)
            return
        body, wanted = self.data, self.headers.get("Range")
        self.send_response(206 if wanted else 200)
        if wanted:
            low, high = wanted.removeprefix("bytes=").split("-")
            body = body[int(low) : int(high) + 1]
            self.send_header("Content-Range", f"bytes {low}-{high}/{len(self.data)}")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if with_body:
            type(self).sent += len(body)
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def test_http(irsa_file: Write) -> None:
    pytest.importorskip("aiohttp", reason="fsspec needs aiohttp for http addresses")
    path = irsa_file([200] * 1000, row_group_size=100)
    _Ranges.data = path.read_bytes()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Ranges)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/x.parquet"
        frame = read_archive(address, partition_bytes=500_000)
        assert _Ranges.sent <= 70_000  # the footer, of a file of megabytes
        assert len(_Ranges.data) > 10 * 70_000
        pd.testing.assert_frame_equal(rows_of(frame), rows_of(read_archive(path)))
        with pytest.raises(SourceError, match=r"nothing matches 'http://.*/y.parquet'"):
            read_archive(address.replace("x.parquet", "y.parquet"))
    finally:
        server.shutdown()
        server.server_close()


def test_a_hundred_thousand_partitions(irsa_file: Write) -> None:
    frame = read_archive(irsa_file(np.full(100_000, 2)), partition_bytes=1)
    slices = slices_of(frame)
    assert frame.npartitions == len(slices) == 100_000
    assert len(pickle.dumps(slices)) < 6e6
    assert len(pickle.dumps(slices[777])) < 300
    assert frame.partitions[99_999].compute()["_id"].tolist() == [10**15 + 99_999]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux to tell the peak of memory")
def test_memory_of_a_slice_inside_a_large_row_group(tmp_path: Path) -> None:
    rows, points = 10_000, 1000
    offsets = pa.array(np.arange(rows + 1, dtype=np.int32) * points)
    values = {
        "hmjd": np.arange(rows * points, dtype=np.float64),
        "mag": np.arange(rows * points, dtype=np.float32),
        "magerr": np.arange(rows * points, dtype=np.float32),
        "catflags": np.arange(rows * points, dtype=np.int32),
    }
    scalars = {"objectid": pa.int64(), "filterid": pa.int8(), "fieldid": pa.int16(), "rcid": pa.int8()}
    columns = {name: pa.array(np.zeros(rows, dtype=np.int8), type=dtype) for name, dtype in scalars.items()}
    columns |= {name: pa.array(np.zeros(rows, dtype=np.float32)) for name in ("objra", "objdec")}
    columns |= {name: pa.ListArray.from_arrays(offsets, pa.array(v)) for name, v in values.items()}
    plain = {"compression": None, "use_dictionary": False, "write_statistics": False}
    pq.write_table(pa.table(columns), tmp_path / "large.parquet", row_group_size=rows, **plain)
    program = """
        import re, sys
        from pathlib import Path
        from scope_dask.sources import read_archive
        frame = read_archive(sys.argv[1], partition_bytes=sys.argv[2])
        # (ru_maxrss would begin with what the parent process had.)
        peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10
        before = peak()
        rows = len(frame.partitions[frame.npartitions // 2].compute(scheduler="synchronous"))
        print(frame.npartitions, rows, peak() - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "large.parquet")]
    count, rows, grown = map(int, subprocess.check_output([*command, "10 MiB"], text=True).split())
    assert pq.read_metadata(tmp_path / "large.parquet").row_group(0).total_byte_size > 190e6
    assert 450 < rows < 550
    assert count == 20
    assert grown < 100  # MiB: the slice, its pieces, page buffers, first use of dask; the row group has 190
