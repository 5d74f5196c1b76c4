"""Writing our own archive and reading it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from irsa_files import irsa_table

from scope_dask import ragged
from scope_dask.errors import SchemaError, SourceError
from scope_dask.schema import CATFLAGS, LIGHTCURVES, RAW_LIGHTCURVES
from scope_dask.sources import TimePrecisionWarning, read_archive, write_archive, writer

Write = Callable[..., Path]


def rows_of(frame: dd.DataFrame) -> pd.DataFrame:
    return frame.compute().reset_index(drop=True)


@pytest.mark.parametrize("mags", [pa.float32(), pa.float64()])
@pytest.mark.parametrize("partition_bytes", ["1 MiB", 20_000, 8_000])
def test_round_trip(irsa_file: Write, tmp_path: Path, mags: Any, partition_bytes: Any) -> None:
    frame = read_archive(irsa_file(np.arange(90) % 31, mags=mags), partition_bytes=partition_bytes)
    write_archive(frame, tmp_path / "own")
    pd.testing.assert_frame_equal(rows_of(read_archive(tmp_path / "own")), rows_of(frame))
    files = list((tmp_path / "own").rglob("*"))
    assert [p.suffix for p in files if p.is_file()] == [".parquet"] * frame.npartitions
    note = json.loads(pq.read_metadata(next(p for p in files if p.is_file())).metadata[b"scope"])
    assert note["layout"] == "scope_dask archive"
    assert note["version"] == 1


def test_pandas_tables_and_tables_without_flags(irsa_file: Write, tmp_path: Path) -> None:
    whole = rows_of(read_archive(irsa_file([3, 0, 5])))
    write_archive(whole, tmp_path / "raw")
    pd.testing.assert_frame_equal(rows_of(read_archive(tmp_path / "raw")), whole)
    write_archive(whole[LIGHTCURVES.names], tmp_path / "plain")
    back = read_archive(tmp_path / "plain")
    assert list(back.columns) == RAW_LIGHTCURVES.names
    for flags in (back[CATFLAGS.name].compute(), rows_of(back)[CATFLAGS.name]):
        values, offsets = ragged.split(flags)
        assert offsets.tolist() == [0, 3, 3, 8]
        assert not values.any()
    pd.testing.assert_frame_equal(rows_of(back)[LIGHTCURVES.names], whole[LIGHTCURVES.names])


def test_empty_partitions_and_columns_in_any_order(irsa_file: Write, tmp_path: Path) -> None:
    frame = read_archive(irsa_file([3, 4, 5]), partition_bytes=1)
    some = frame[frame["_id"] == 10**15 + 1][RAW_LIGHTCURVES.names[::-1]]
    write_archive(some, tmp_path / "own")
    back = rows_of(read_archive(tmp_path / "own"))
    assert back["_id"].tolist() == [10**15 + 1]
    assert back["mag"].dtype == frame["mag"].dtype
    write_archive(frame[frame["_id"] == 0], tmp_path / "none")
    assert len(read_archive(tmp_path / "none").compute()) == 0


def test_folders_hold_no_more_than_a_thousand_files(
    irsa_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_FOLDER_FILES", 7)
    monkeypatch.setattr(writer, "_WINDOW", 10)
    frame = read_archive(irsa_file(np.full(24, 3)), partition_bytes=1)
    write_archive(frame, tmp_path / "own")
    counts = [len(list(p.iterdir())) for p in sorted((tmp_path / "own").iterdir())]
    assert counts == [7, 7, 7, 3]
    pd.testing.assert_frame_equal(rows_of(read_archive(tmp_path / "own")), rows_of(frame))


def test_row_groups_are_small(irsa_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_ROW_GROUP_BYTES", 10_000)
    write_archive(read_archive(irsa_file(np.full(100, 50))), tmp_path / "own")
    (path,) = (tmp_path / "own").rglob("*.parquet")
    assert pq.read_metadata(path).num_row_groups in range(100 * 50 * 20 // 10_000, 13)


def test_overwriting(irsa_file: Write, tmp_path: Path) -> None:
    target = tmp_path / "own"
    first = read_archive(irsa_file(np.full(20, 3)), partition_bytes=1)
    write_archive(first, target)
    (target / "truth.csv").write_text("kept")
    with pytest.raises(
        SourceError, match=r"own is not empty \(2 entries, .*\): choose another folder or set overwrite"
    ):
        write_archive(first, target)
    archive = read_archive(target)
    write_archive(archive[archive["_id"] > 10**15 + 4], target, overwrite=True)
    assert rows_of(read_archive(target))["_id"].tolist() == list(range(10**15 + 5, 10**15 + 20))
    assert (target / "truth.csv").read_text() == "kept"
    with pytest.raises(SourceError, match=r"truth.csv is a file, expected a folder"):
        write_archive(first, target / "truth.csv")


def test_a_failed_write_leaves_what_was_there(irsa_file: Write, tmp_path: Path) -> None:
    target = tmp_path / "own"
    frame = read_archive(irsa_file(np.full(5, 3)), partition_bytes=1)
    write_archive(frame, target)

    def fail(part: pd.DataFrame) -> pd.DataFrame:
        if 10**15 + 3 in set(part["_id"]):
            raise RuntimeError("no")
        return part

    with pytest.raises(RuntimeError, match="no"):
        write_archive(frame.map_partitions(fail, meta=frame._meta), target, overwrite=True)
    assert len(rows_of(read_archive(target))) == 5
    assert [p.name for p in target.iterdir()] == ["00000"]


def test_bad_tables(irsa_file: Write, tmp_path: Path) -> None:
    frame = read_archive(irsa_file([1]))
    with pytest.raises(SchemaError, match=r"write_archive needs the column dec"):
        write_archive(frame.drop(columns="dec"), tmp_path / "own")
    with pytest.raises(SchemaError, match=r"keeps no column period: drop all but _id, ra"):
        write_archive(frame.assign(period=1.0), tmp_path / "own")
    assert not (tmp_path / "own").exists()


def test_foreign_and_later_files_of_our_layout(tmp_path: Path) -> None:
    names = dict(
        zip(
            ["objectid", "objra", "objdec", "fieldid", "filterid"],
            ["_id", "ra", "dec", "field", "filter"],
            strict=True,
        )
    )
    table = irsa_table([4]).drop_columns(["rcid", "nepochs", "clrcoeff"]).rename_columns({**names, "hmjd": "hjd"})
    table = table.append_column("ccd", pa.array([1])).append_column("quad", pa.array([2]))
    hjd = pa.array([[2458000.5] * 4], type=pa.list_(pa.float32()))
    coarse = table.set_column(table.schema.get_field_index("hjd"), "hjd", hjd)
    pq.write_table(coarse, tmp_path / "coarse.parquet")
    with pytest.warns(TimePrecisionWarning, match=r"their step is 0.25 d = 360 minutes"):
        assert ragged.split(read_archive(tmp_path / "coarse.parquet")["hjd"].compute())[0][0] == 2458000.5
    note = json.dumps({"layout": "scope_dask archive", "version": 2}).encode()
    pq.write_table(table.replace_schema_metadata({b"scope": note}), tmp_path / "later.parquet")
    with pytest.raises(
        SourceError, match=r"later.parquet is version 2 of the archive layout, .* reads up to 1: install"
    ):
        read_archive(tmp_path / "later.parquet")
