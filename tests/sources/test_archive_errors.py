"""Reading archives: what is wrong is said, or costs no more than it must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from irsa_files import irsa_table

from scope_dask import ragged, tally
from scope_dask.errors import OptionError, SourceError
from scope_dask.sources import read_archive

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition_bytes": "many"}, "partition_bytes is 'many', expected a number of bytes"),
        ({"partition_bytes": 0}, "expected at least one byte"),
        ({"ccd": 17}, "ccd is 17, expected 1 to 16"),
        ({"quad": [1, 5]}, "quad is 5, expected 1 to 4"),
        ({"field": "296"}, "field is '296', expected an integer"),
        ({"ids": [1.5]}, "ids are float64, expected int64"),
        ({"cone": (1, 2)}, r"cone is \(1, 2\), expected \(ra in deg"),
        ({"cone": (1, 95, 2)}, "expected a declination of -90 to 90"),
    ],
)
def test_bad_options(irsa_file: Write, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read_archive(irsa_file([1]), **options)


def test_bad_paths(irsa_file: Write, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "cut.parquet").write_bytes(irsa_file([50] * 50).read_bytes()[:-20])
    (tmp_path / "none.parquet").write_bytes(b"")
    for path, message in (
        (tmp_path / "absent", "nothing matches '.*absent'"),
        (f"{tmp_path}/*.fits", r"nothing matches '.*\*.fits': check the pattern"),
        (tmp_path / "empty", "holds no Parquet file"),
        (
            tmp_path / "cut.parquet",
            r"cut.parquet \([\d,]+ bytes\) is not a readable Parquet file \(.+\): fetch it again",
        ),
        (tmp_path / "none.parquet", r"none.parquet \(0 bytes\) is not a readable Parquet file"),
        (tmp_path, "cut.parquet .* is not a readable Parquet file"),
        ([], "no path was given"),
        (7, "a path is 7"),
        ("nosuch://x/y", "not an address that can be read"),
    ):
        with pytest.raises(SourceError, match=message):
            read_archive(path)


def test_bad_columns(tmp_path: Path) -> None:
    table = irsa_table([2, 2])
    cases = {
        "flags": (
            table.drop_columns(["catflags"]),
            "flags.parquet lacks the column catflags of IRSA's bulk light curves",
        ),
        "text": (
            table.set_column(0, "objectid", pa.array(["a", "b"])),
            "has objectid as string, expected an integer",
        ),
        "flat": (
            table.set_column(7, "hmjd", pa.array([1.0, 2.0])),
            "has hmjd as double, expected a list of floating",
        ),
        "other": (pa.table({"x": [1]}), "other.parquet holds no light curves: its columns are x, expected"),
    }
    for name, (wrong, message) in cases.items():
        pq.write_table(wrong, tmp_path / f"{name}.parquet")
        with pytest.raises(SourceError, match=message):
            read_archive(tmp_path / f"{name}.parquet")


def test_a_missing_protocol_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **options: Any) -> Any:
        raise ImportError("HTTPFileSystem requires aiohttp")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(SourceError, match=r"requires aiohttp\): pip install 'fsspec\[http\]'"):
        read_archive("https://example.org/x.parquet")


def test_a_corrupt_page_costs_one_partition(irsa_file: Write) -> None:
    path = irsa_file([30] * 300, row_group_size=100, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    column = pq.read_metadata(path).row_group(1).column(8)
    data[column.data_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(data)
    frame = read_archive(path, partition_bytes=70_000)
    assert frame.npartitions == 3
    assert [len(frame.partitions[i].compute()) for i in (0, 2)] == [100, 100]
    with pytest.raises(SourceError, match=r"row group 1: a page cannot be read"):
        frame.partitions[1].compute()


def test_lists_of_unequal_lengths_are_emptied_and_listed(tmp_path: Path) -> None:
    table = irsa_table([4, 4, 4])
    mag = pa.array([[1.0] * 4, [1.0] * 3, None], type=pa.list_(pa.float32()))
    path = tmp_path / "x.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("mag"), "mag", mag), path)
    part = read_archive(path).partitions[0].compute()
    assert np.diff(ragged.split(part["hjd"])[1]).tolist() == [4, 0, 0]
    listed = tally.history(part)[0]["set_aside"]
    assert [i for i, _ in listed] == [10**15 + 1, 10**15 + 2]
    assert "differ in length" in listed[0][1]


def test_missing_values(tmp_path: Path) -> None:
    table = irsa_table([2, 2])
    mag = pa.array([[1.0, None], None], type=pa.list_(pa.float32()))
    pq.write_table(table.set_column(table.schema.get_field_index("mag"), "mag", mag), tmp_path / "mag.parquet")
    values, offsets = ragged.split(read_archive(tmp_path / "mag.parquet")["mag"].compute())
    assert offsets.tolist() == [0, 2, 2]
    np.testing.assert_array_equal(values, [1.0, np.nan])
    ids = pa.array([None, 5], type=pa.int64())
    pq.write_table(table.set_column(0, "objectid", ids), tmp_path / "ids.parquet")
    with pytest.raises(SourceError, match=r"ids.parquet, row group 0: objectid is missing in 1 rows"):
        read_archive(tmp_path / "ids.parquet").compute()
    flags = pa.array([[0, None], [0, 0]], type=pa.list_(pa.uint16()))
    where = table.schema.get_field_index("catflags")
    pq.write_table(table.set_column(where, "catflags", flags), tmp_path / "flags.parquet")
    with pytest.raises(SourceError, match=r"row group 0: catflags is missing for 1 points"):
        read_archive(tmp_path / "flags.parquet").compute()
