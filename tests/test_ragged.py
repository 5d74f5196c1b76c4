"""The (values, offsets) view of list columns, for every way that a list column comes."""

from __future__ import annotations

import itertools
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from curve_tables import lists
from hypothesis import given, settings

from scope_dask import ragged
from scope_dask.ragged import LightCurves

ROWS = [[1.0, 2.0], [], [3.0], [4.0, 5.0, 6.0]]
VALUES, OFFSETS = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0, 2, 2, 3, 6]


def column(array: Any) -> pd.Series:
    return pd.Series(pd.arrays.ArrowExtensionArray(array))


def assert_split(series: pd.Series, values: list[float], offsets: list[int]) -> None:
    got, got_offsets = ragged.split(series)
    np.testing.assert_array_equal(got, values)
    np.testing.assert_array_equal(got_offsets, offsets)
    assert got_offsets.dtype == np.int64


@pytest.mark.parametrize("kind", [pa.list_, pa.large_list])
@pytest.mark.parametrize("dtype", [pa.float64(), pa.float32(), pa.int16()])
def test_list_types(kind: Any, dtype: Any) -> None:
    series = column(pa.array(ROWS, type=kind(pa.float64())).cast(kind(dtype)))
    assert_split(series, VALUES, OFFSETS)
    assert ragged.split(series)[0].dtype == dtype.to_pandas_dtype()


def test_chunks() -> None:
    chunks = [pa.array(ROWS[:2], type=pa.list_(pa.float64())), pa.array(ROWS[2:], type=pa.list_(pa.float64()))]
    assert_split(column(pa.chunked_array(chunks)), VALUES, OFFSETS)
    assert_split(column(pa.chunked_array([], type=pa.list_(pa.float64()))), [], [0])


def test_slices_see_their_own_points() -> None:
    series = lists(ROWS, pa.float64())
    assert_split(series.iloc[2:], [3.0, 4.0, 5.0, 6.0], [0, 1, 4])
    assert_split(series.iloc[1:2], [], [0, 0])
    assert_split(series.iloc[:0], [], [0])
    assert_split(series.iloc[[3, 0]], [4.0, 5.0, 6.0, 1.0, 2.0], [0, 3, 5])


def test_null_rows_are_empty() -> None:
    assert_split(lists([None, [1.0], None, [2.0, 3.0], None], pa.float64()), [1.0, 2.0, 3.0], [0, 0, 1, 1, 3, 3])


def test_null_rows_over_points_of_the_values() -> None:
    # A null row may still cover points of the buffer: they are not its points.
    array = pa.ListArray.from_arrays(
        pa.array([0, 2, 4, 5], pa.int32()), pa.array([1.0, 2.0, 3.0, 4.0, 5.0]), mask=pa.array([False, True, False])
    )
    assert_split(column(array), [1.0, 2.0, 5.0], [0, 2, 2, 3])


def test_null_points_are_nan() -> None:
    values, _ = ragged.split(column(pa.array([[1.0, None]], type=pa.list_(pa.float64()))))
    np.testing.assert_array_equal(values, [1.0, np.nan])


def test_plain_python_lists() -> None:
    assert_split(pd.Series([[1.0], [2.0, 3.0]], dtype=object), [1.0, 2.0, 3.0], [0, 1, 3])
    assert_split(pd.Series([], dtype=object), [], [0])


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.floats(allow_nan=False), max_size=5), max_size=8), st.data())
def test_join_is_the_inverse_of_split(rows: list[list[float]], data: st.DataObject) -> None:
    series = lists(rows, pa.float64())
    start = data.draw(st.integers(0, len(rows)))
    values, offsets = ragged.split(series.iloc[start:])
    back = ragged.join(values, offsets)
    assert [list(row) for row in back] == rows[start:]
    assert back.dtype == series.dtype


def test_join_takes_an_index_and_keeps_the_float_type() -> None:
    out = ragged.join(np.float32([1, 2, 3]), np.array([0, 1, 3]), pd.Index([7, 8]))
    assert list(out.index) == [7, 8]
    assert out.dtype == pd.ArrowDtype(pa.list_(pa.float32()))


def test_join_refuses_more_points_than_a_list_column_holds() -> None:
    with pytest.raises(OverflowError, match=r"holds 3,000,000,000 points, more than the 2,147,483,647"):
        ragged.join(np.empty(0), np.array([0, 3_000_000_000]))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.integers(0, 99), max_size=4), min_size=1, max_size=6), st.data())
def test_gather(rows: list[list[int]], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8))
    values = np.array([v for row in rows for v in row], dtype=int)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    points, new = ragged.gather(offsets, np.array(wanted, dtype=np.int64))
    assert [list(values[points[a:b]]) for a, b in itertools.pairwise(new)] == [rows[i] for i in wanted]


def test_light_curves_of_a_frame() -> None:
    frame = pd.DataFrame({name: lists(ROWS, pa.float32()) for name in ("hjd", "mag", "magerr")})
    curves = LightCurves.from_frame(frame)
    assert len(curves) == 4
    assert all(a.dtype == np.float64 and a.flags.c_contiguous for a in (curves.hjd, curves.mag, curves.magerr))
    np.testing.assert_array_equal(curves[3], [[4.0, 5.0, 6.0]] * 3)


def test_lists_of_different_lengths_are_named() -> None:
    frame = pd.DataFrame({"hjd": lists(ROWS, pa.float64()), "mag": lists(ROWS, pa.float64())})
    frame["magerr"] = lists([[1.0, 2.0], [], [3.0, 9.0], [4.0, 5.0]], pa.float64())
    with pytest.raises(ValueError, match="row 2 has 1 hjd but 2 magerr values"):
        LightCurves.from_frame(frame)


def test_light_curves_of_lists() -> None:
    curves = LightCurves.from_lists([([1, 2], [3, 4], [5, 6]), ([], [], [])])
    np.testing.assert_array_equal(curves.offsets, [0, 2, 2])
    assert len(LightCurves.from_lists([])) == 0
