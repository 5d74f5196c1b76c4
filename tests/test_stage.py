"""What a stage checks, carries, counts and pushes down; what the tally keeps."""

from __future__ import annotations

from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from curve_tables import curve_table, lists

from scope_dask import tally
from scope_dask.errors import SchemaError
from scope_dask.schema import CURVES, IDENTIFICATION, SOURCES, Column, Schema
from scope_dask.stage import Stage, run_kernel

COUNT = Schema([Column("count", "int64", "", "points")])
CURVE = ([1.0, 2.0], [15.0, 16.0], [0.1, 0.1])


def count(partition: pd.DataFrame, options: Any) -> pd.DataFrame:
    out = partition[["_id"]].assign(count=partition["mag"].list.len().astype("int64"))
    return tally.note(out, dropped={"dull": 2, "never": 0}, set_aside=[(np.int64(7), "odd")])


def misnamed(partition: pd.DataFrame, options: Any) -> pd.DataFrame:
    return partition[["_id"]].assign(total=1)


def mistyped(partition: pd.DataFrame, options: Any) -> pd.DataFrame:
    return partition[["_id"]].assign(count=1.0)


def stage(kernel: Any = count) -> Stage:
    return Stage(
        "counting",
        kernel,
        requires=lambda options: Schema([SOURCES["_id"], CURVES["mag"]]),
        provides=lambda options: COUNT,
    )


def table(n: int = 3) -> pd.DataFrame:
    return curve_table([CURVE] * n)[["_id", "mag"]]


def test_a_partition_at_once() -> None:
    out = stage()(table(), None)
    assert list(out.columns) == ["_id", "count"]
    (entry,) = tally.history(out)
    assert entry.pop("seconds") > 0
    assert entry == {
        "stage": "counting",
        "rows_in": 3,
        "rows_out": 3,
        "dropped": {"dull": 2},
        "set_aside": [(7, "odd")],
    }


def test_a_lazy_table_computes_nothing() -> None:
    def explode(number: int) -> pd.DataFrame:
        raise AssertionError("computed")

    frame = dd.from_map(explode, range(3), meta=table().iloc[:0])
    lazy = stage()(frame, None)
    assert list(lazy.columns) == ["_id", "count"]
    assert lazy.npartitions == 3
    assert lazy._name.startswith("counting-")


def test_lazy_and_eager_agree() -> None:
    lazy = stage()(dd.from_pandas(table(), npartitions=3, sort=False), None)
    with dask.config.set(scheduler="synchronous"):
        pd.testing.assert_frame_equal(lazy.compute(), stage()(table(), None), check_flags=False)


def test_missing_columns_are_named_before_anything_runs() -> None:
    frame = dd.from_pandas(table().rename(columns={"mag": "magn"}), npartitions=1, sort=False)
    with pytest.raises(
        SchemaError,
        match=r"^stage 'counting' needs the column mag \(did you mean 'magn'\?\); "
        r"the table has _id, magn: rename or add what is missing$",
    ):
        stage()(frame, None)
    with pytest.raises(SchemaError, match=r"needs the columns _id, mag.*the table has no columns"):
        stage()(pd.DataFrame(), None)


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pd.Series([1.0, 2.0, 3.0]), "mag is float64"),
        (lists([[1], [2], [3]], pa.int64()), r"mag is list<.*int64>"),
        (lists([["a"], ["b"], ["c"]], pa.string()), r"mag is list<.*string>"),
    ],
)
def test_wrong_types_are_named(column: pd.Series, found: str) -> None:
    with pytest.raises(
        SchemaError, match=rf"stage 'counting' cannot use these column types: {found}.*expected list<float>"
    ):
        stage()(table().assign(mag=column), None)


@pytest.mark.parametrize("dtype", [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float16())])
def test_any_list_of_floats_serves(dtype: Any) -> None:
    mag = pa.array([[1.0, 2.0]] * 3, type=pa.list_(pa.float32())).cast(dtype)
    out = stage()(table().assign(mag=pd.Series(pd.arrays.ArrowExtensionArray(mag))), None)
    assert list(out["count"]) == [2, 2, 2]


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (misnamed, r"stage 'counting' made the columns \['_id', 'total'\], declared are \['_id', 'count'\]"),
        (mistyped, r"stage 'counting' made other column types than it declares: count is float64, declared int64"),
    ],
)
def test_what_comes_out_is_checked(kernel: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        stage(kernel)(table(), None)


def test_only_the_columns_needed_are_read(tmp_path: Any) -> None:
    raw = curve_table([(*CURVE, [0, 0])] * 3).assign(obj_id=pd.Series(["x"] * 3, dtype="str"), other=1.0)
    pq.write_table(pa.Table.from_pandas(raw, preserve_index=False), tmp_path / "part.parquet")
    frame = dd.read_parquet(tmp_path, dtype_backend="pyarrow")
    simplified = stage()(frame, None).expr.simplify()
    (reader,) = simplified.find_operations(type(frame.expr.simplify()))
    assert sorted(reader.columns) == sorted([*IDENTIFICATION.names, "mag"])


def test_identification_is_carried_in_the_order_of_the_schema() -> None:
    frame = curve_table([CURVE])[["mag", "dec", "filter", "_id"]].assign(more=1)
    assert list(stage().meta(frame, None).columns) == ["_id", "dec", "filter", "count"]


def test_histories_follow_one_another_and_travel_through_arrow() -> None:
    first = run_kernel(table(), stage(), None)
    second = run_kernel(first.assign(mag=table()["mag"]), stage(), None)
    assert [entry["stage"] for entry in tally.history(second)] == ["counting"] * 2
    assert len(tally.history(first)) == 1


def test_the_kernel_sees_no_history() -> None:
    def look(partition: pd.DataFrame, options: Any) -> pd.DataFrame:
        assert partition.attrs == {}
        return count(partition, options)

    noted = tally.put(table(), [{"stage": "before"}])
    out = run_kernel(noted, stage(look), None)
    assert [entry["stage"] for entry in tally.history(out)] == ["before", "counting"]
    assert tally.history(noted) == [{"stage": "before"}]


def test_a_kernel_that_notes_nothing() -> None:
    def silent(partition: pd.DataFrame, options: Any) -> pd.DataFrame:
        out = count(partition, options)
        out.attrs = {}
        return out

    (entry,) = tally.history(run_kernel(table(), stage(silent), None))
    assert (entry["dropped"], entry["set_aside"]) == ({}, [])


def test_a_table_without_history() -> None:
    assert tally.history(pd.DataFrame()) == []
    assert tally.take(pd.DataFrame()) is None
