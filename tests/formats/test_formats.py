"""Tables in CSV, HDF5 and Parquet: round trips in all directions, metadata, exact integers, the original's files."""

from __future__ import annotations

import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scope_dask.errors import OptionError, SchemaError, SourceError
from scope_dask.formats import join_files, part_files, parts_folder, read_ids, read_table, write_ids, write_table
from scope_dask.schema import DMDT

SUFFIXES = (".csv", ".h5", ".parquet")
LARGE = 2**53 + 1  # the first integer that a float does not hold
REAL = ["alerce_features_100", "alerce_features_sample", "css_fats_features", "linear_features"]
METADATA = {"scope_code_version": "1.0", "catalog": "ZTF_source_features_DR16", "total": 3, "nested": {"a": [1, 2]}}
TEXT = pd.StringDtype(na_value=np.nan)


def table(rows: int = 5, seed: int = 1) -> pd.DataFrame:
    """Return a table with every type of column that a features table has, and awkward values."""
    rng = np.random.default_rng(seed)
    dmdt = rng.uniform(0, 1, (rows, 676)).astype(np.float32) * (rng.uniform(size=(rows, 676)) < 0.2)
    dmdt[0] = np.nan
    histograms = pa.FixedSizeListArray.from_arrays(
        pa.array(dmdt.ravel()), type=DMDT.pandas_dtype.pyarrow_dtype, mask=pa.array(np.arange(rows) == 2)
    )
    places = [{"radec_geojson": {"type": "Point", "coordinates": [x, -x / 3]}} for x in rng.uniform(0, 1, rows)]
    values = rng.normal(0, 10.0 ** rng.integers(-30, 30, rows))
    values[1] = np.nan
    missing = np.arange(rows) == 1
    return pd.DataFrame(
        {
            "_id": LARGE + 2 * np.arange(rows),
            "ra": rng.uniform(0, 360, rows),
            "whole": np.arange(rows, dtype=float),
            "f1_BIC": values,
            "infinite": np.where(np.arange(rows) == 0, -np.inf, 1.0),
            "nothing": np.full(rows, np.nan),
            "vnv_xgb": rng.uniform(0, 1, rows).astype(np.float32),
            "AllWISE___id": pd.arrays.IntegerArray(LARGE + 4 * np.arange(rows), missing),
            "PS1_DR1___id": pd.arrays.IntegerArray(-np.arange(rows), np.zeros(rows, bool)),
            "obj_id": pd.Series(["007", "a,b \"c\" #1\nd", None, "", "NA"][:rows] + ["é"] * (rows - 5), dtype=TEXT),
            "dateobs": pd.Series(["2023-05-21"] * rows, dtype=TEXT),
            "periodic": np.arange(rows) % 2 == 0,
            "hjd": pd.Series(pd.arrays.ArrowExtensionArray(pa.array([[float(i)] * i for i in range(rows)]))),
            "coordinates": pd.Series(pd.arrays.ArrowExtensionArray(pa.array(places))),
            "dmdt": pd.Series(pd.arrays.ArrowExtensionArray(histograms)),
        }
    )  # fmt: skip


@pytest.mark.parametrize("way", list(itertools.product(SUFFIXES, repeat=2)), ids="->".join)
def test_round_trip_in_every_direction(tmp_path: Path, way: tuple[str, str]) -> None:
    expected = frame = table()
    frame.attrs["scope"] = METADATA
    for number, suffix in enumerate(way):
        write_table(frame, tmp_path / f"{number}{suffix}")
        frame = read_table(tmp_path / f"{number}{suffix}")
        assert frame.attrs == {"scope": METADATA}
    pd.testing.assert_frame_equal(frame, expected, check_exact=True)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_table_without_rows_keeps_its_types(tmp_path: Path, suffix: str) -> None:
    empty = table().iloc[:0].reset_index(drop=True)
    write_table(empty, tmp_path / f"empty{suffix}", METADATA)
    frame = read_table(tmp_path / f"empty{suffix}")
    assert frame.attrs["scope"] == METADATA
    assert frame.columns.tolist() == empty.columns.tolist()
    assert len(frame) == 0
    assert frame["dmdt"].dtype == DMDT.pandas_dtype
    assert frame["_id"].dtype == np.int64


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_are_read_alone_and_in_order(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"table{suffix}"
    write_table(table(), path)
    names = ["dmdt", "AllWISE___id", "ra"]
    pd.testing.assert_frame_equal(read_table(path, names), table()[names])
    with pytest.raises(SchemaError, match=r"has no column 'obj-id' \(did you mean 'obj_id'\?\)"):
        read_table(path, ["ra", "obj-id"])


def test_pandas_reads_what_is_written(tmp_path: Path) -> None:
    frame = table()
    for suffix in SUFFIXES:
        write_table(frame, tmp_path / f"t{suffix}", METADATA)
    scalars = ["_id", "ra", "f1_BIC", "periodic"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet")[scalars], frame[scalars])
    assert json.loads(pq.read_schema(tmp_path / "t.parquet").metadata[b"scope"]) == METADATA
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0].startswith('# scope: {"scope_code_version": "1.0"')
    plain = pd.read_csv(tmp_path / "t.csv", comment="#", usecols=[*scalars, "dmdt"], nrows=1)
    pd.testing.assert_frame_equal(plain[scalars], frame[scalars].iloc[:1])
    assert np.shape(json.loads(plain["dmdt"][0])) == (26, 26)
    with pd.HDFStore(tmp_path / "t.h5", mode="r") as store:
        assert store.get_storer("df").attrs.metadata == METADATA
        pd.testing.assert_frame_equal(store["df"][scalars], frame[scalars])
        assert {"/dmdt", "/coordinates", "/hjd"} < set(store.keys())
        assert np.shape(store["dmdt"][1]) == (26, 26)
        assert store["coordinates"][0]["radec_geojson"]["type"] == "Point"


def original(rows: int = 4) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table as SCoPe 0.9.5 has it, with an index of its own, dmdt as lists of lists; and dmdt as an array."""
    rng = np.random.default_rng(3)
    dmdt = rng.uniform(size=(rows, 26, 26))
    frame = pd.DataFrame({"ztf_id": LARGE + np.arange(rows), "median": rng.normal(size=rows)}, index=[5, 2, 9, 7])
    frame["obj_id"] = pd.Series(["a", "b", None, "dd"], index=frame.index, dtype=object)
    frame["coordinates"] = [{"radec_geojson": {"coordinates": [1.0, 2.0]}}] * rows
    frame["dmdt"] = dmdt.tolist()
    return frame, dmdt.astype(np.float32)


def write_as_original(frame: pd.DataFrame, path: Path) -> None:
    """Write a table the way SCoPe 0.9.5 does, in the format of the ending."""
    if path.suffix == ".csv":
        frame.assign(dmdt=frame["dmdt"].map(json.dumps)).drop(columns="coordinates").to_csv(path, index=False)
    elif path.suffix == ".parquet":
        arrow = pa.Table.from_pandas(frame)
        pq.write_table(arrow.replace_schema_metadata({b"scope": json.dumps(METADATA), **arrow.schema.metadata}), path)
    else:
        with warnings.catch_warnings(), pd.HDFStore(path, mode="w") as store:
            warnings.simplefilter("ignore", pd.errors.PerformanceWarning)
            store.put("df", frame.drop(columns=["coordinates", "dmdt"]), format="table", track_times=True)
            store.put("coordinates", frame["coordinates"], track_times=True)
            store.put("dmdt", frame["dmdt"], track_times=True)
            store.get_storer("df").attrs.metadata = METADATA


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_the_original(tmp_path: Path, suffix: str) -> None:
    frame, dmdt = original()
    write_as_original(frame, tmp_path / f"old{suffix}")
    found = read_table(tmp_path / f"old{suffix}")
    assert found["ztf_id"].tolist() == frame["ztf_id"].tolist()
    assert found["ztf_id"].dtype == np.int64
    assert found["median"].tolist() == frame["median"].tolist()
    assert found["obj_id"].isna().tolist() == [False, False, True, False]
    assert found.index.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(np.stack(found["dmdt"]), dmdt.reshape(4, 676))
    assert found.attrs["scope"] == ({} if suffix == ".csv" else METADATA)
    if suffix != ".csv":
        assert found["coordinates"][3]["radec_geojson"]["coordinates"] == [1.0, 2.0]


def test_hdf5_with_one_frame_under_another_key(tmp_path: Path) -> None:
    frame = pd.DataFrame({"_id": [LARGE], "x": [1.5]})
    with pd.HDFStore(tmp_path / "t.h5", mode="w") as store:
        store.put("features", frame, track_times=True)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.h5"), frame)


def test_csv_with_the_index_that_pandas_writes(tmp_path: Path) -> None:
    pd.DataFrame({"_id": [LARGE, 1], "id": [LARGE, None]}, dtype="Int64").to_csv(tmp_path / "t.csv")
    found = read_table(tmp_path / "t.csv")
    assert found.columns.tolist() == ["_id", "id"]
    assert found["_id"].tolist() == [LARGE, 1]
    assert found["id"][0] == LARGE
    assert found["id"].isna().tolist() == [False, True]


def test_csv_of_others_is_inferred_over_all_rows(tmp_path: Path) -> None:
    rows = [f"{i},{i},2023-01-01,x" for i in range(2000)] + ["2000,0.5,,y"]
    (tmp_path / "t.csv").write_text("# made by hand\n\n_id,value,date,name\n".replace("\n\n", "\n") + "\n".join(rows))
    found = read_table(tmp_path / "t.csv")
    assert found["_id"].dtype == np.int64
    assert found["value"].iloc[-1] == 0.5
    assert found["date"][0] == "2023-01-01"
    assert found["name"].iloc[-1] == "y"


@pytest.mark.parametrize(
    "name", ["alerce_features_100", "alerce_features_sample", "css_fats_features", "linear_features"]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_real_feature_tables(shared_data: Path, tmp_path: Path, name: str, suffix: str) -> None:
    path = shared_data / "features" / f"{name}.parquet"
    frame = read_table(path)
    write_table(frame, tmp_path / f"t{suffix}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t{suffix}"), frame, check_exact=True)
    expected = pd.read_parquet(path)
    numbers = expected.select_dtypes("number").columns
    pd.testing.assert_frame_equal(frame[numbers].astype(float), expected[numbers].astype(float), check_exact=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_reference_features_of_the_original(shared_data: Path, tmp_path: Path, suffix: str) -> None:
    frame = read_table(shared_data / "parity" / "reference_features.parquet")
    assert frame["dmdt"].dtype == DMDT.pandas_dtype
    write_table(frame, tmp_path / f"t{suffix}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t{suffix}"), frame, check_exact=True)


def test_hdf5_without_a_frame_says_what_it_holds(shared_data: Path) -> None:
    with pytest.raises(SourceError, match="no frame of pandas under the key 'df'; it holds filters, names, stats"):
        read_table(shared_data / "native" / "scope_source_features_331_2_3_7.h5")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        read_table(tmp_path / "none.parquet")
    with pytest.raises(OptionError, match=r"of no known format: expected a name that ends in .csv, .h5, .parquet"):
        write_table(table(), tmp_path / "t.xlsx")
    for suffix, message in ((".parquet", "as Parquet"), (".h5", "as an HDF5 file"), (".csv", "has no header")):
        (tmp_path / f"bad{suffix}").write_bytes(b"")
        with pytest.raises(SourceError, match=message):
            read_table(tmp_path / f"bad{suffix}")
    (tmp_path / "t.csv").write_text('_id,dmdt\n1,"[[1, 2], [3, 4]]"\n')
    with pytest.raises(SchemaError, match="26 × 26"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("# scope: {broken\n_id\n1\n")
    with pytest.raises(SourceError, match="no JSON"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("_id,n\n1,2\n3\n")
    with pytest.raises(SourceError, match="cannot be read as CSV"):
        read_table(tmp_path / "t.csv")


def test_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(table(), path)
    bad = pd.DataFrame({"x": pd.Series([[1], {"a": 2}], dtype=object)})
    with pytest.raises(SchemaError, match="the column x has values of no common type"):
        write_table(bad, path)
    bad = table()
    bad["dmdt"] = pd.Series([[1.0] * 675] * len(bad), dtype=object)
    with pytest.raises(SchemaError, match="26 × 26"):
        write_table(bad, path)
    pd.testing.assert_frame_equal(read_table(path), table())
    assert len(list(tmp_path.iterdir())) == 1


def parts_of(frame: pd.DataFrame, folder: Path, sizes: Any) -> list[Path]:
    """Write a table as parts of so many rows."""
    ends = np.cumsum(sizes)
    for number, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        piece = frame.iloc[end - size : end].reset_index(drop=True)
        write_table(piece, folder / f"{number // 2:04d}" / f"part-{number:07d}.parquet", METADATA)
    return part_files(folder)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_parts_are_joined_to_one_file(tmp_path: Path, suffix: str) -> None:
    frame = table(30)
    path = tmp_path / f"one{suffix}"
    folder = parts_folder(path)
    assert folder == tmp_path / ".parts" / path.name
    parts = parts_of(frame, folder, [7, 0, 1, 12, 10])
    (folder / "_set_aside.parquet").write_bytes(b"")
    assert part_files(folder) == parts
    assert join_files(parts, path) == 30
    found = read_table(path)
    pd.testing.assert_frame_equal(found, frame, check_exact=True)
    assert found.attrs["scope"] == METADATA
    join_files(parts[:1], path, {"other": 1})
    assert len(read_table(path)) == 7
    assert read_table(path).attrs["scope"] == {"other": 1}


def test_parts_may_lack_columns_but_not_differ_in_types(tmp_path: Path) -> None:
    ids = pd.DataFrame({"_id": [1, 2], "n": pd.array([LARGE, None], dtype="Int64")})
    write_table(ids, tmp_path / "1.parquet")
    write_table(pd.DataFrame({"_id": [3], "x": [0.5], "n": pd.array([1], dtype="Int64")}), tmp_path / "2.parquet")
    write_table(pd.DataFrame({"_id": [4.5]}), tmp_path / "3.parquet")
    parts = [tmp_path / f"{i}.parquet" for i in (1, 2, 3)]
    join_files(parts[:2], tmp_path / "one.parquet")
    found = read_table(tmp_path / "one.parquet")
    assert found["n"].tolist() == [LARGE, pd.NA, 1]
    assert found["x"].isna().tolist() == [True, True, False]
    pd.testing.assert_series_equal(pd.read_parquet(tmp_path / "one.parquet")["n"], found["n"])
    with pytest.raises(SchemaError, match="the partitions have different types"):
        join_files(parts, tmp_path / "one.parquet")
    assert len(read_table(tmp_path / "one.parquet")) == 3
    with pytest.raises(SourceError, match="no partitions"):
        join_files([], tmp_path / "one.parquet")


def test_ids_are_exact(tmp_path: Path) -> None:
    ids = LARGE + np.arange(5)
    path = tmp_path / "ids" / "field_296" / "field_296.h5"
    write_ids(ids, path, "dataset_field_296")
    np.testing.assert_array_equal(read_ids(path), ids)
    with h5py.File(path) as file:
        assert list(file) == ["dataset_field_296"]
        assert file["dataset_field_296"].dtype == np.int64
    for values, good in (([1.0, 2.0], True), ([float(LARGE)], False), ([b"1"], False)):
        with h5py.File(path, "w") as file:
            file["ids"] = values
        if good:
            assert read_ids(path).tolist() == values
        else:
            with pytest.raises(SourceError, match="expected int64 ids"):
                read_ids(path)
    with pytest.raises(SourceError, match="get-quad-ids"):
        read_ids(tmp_path / "none.h5")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_columns_of_catalogues_with_one_underscore_are_understood(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"_id": [1, 2], "AllWISE_w1mpro": [14.5, np.nan], "PS1_DR1__id": [2**60 + 1, 3]})
    write_table(frame, tmp_path / f"x{suffix}")
    table = read_table(tmp_path / f"x{suffix}")
    assert list(table) == ["_id", "AllWISE__w1mpro", "PS1_DR1___id"]
    assert table["PS1_DR1___id"].tolist() == [2**60 + 1, 3]
    some = read_table(tmp_path / f"x{suffix}", ["PS1_DR1___id", "AllWISE__w1mpro"])
    pd.testing.assert_frame_equal(some, table[list(some)])
