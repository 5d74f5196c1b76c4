"""Light curves from cuDF partitions and features into them; without cuDF, its list columns over Arrow's memory."""

from __future__ import annotations

import sys
import types

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from scope_dask.extraction.gpu import frame
from scope_dask.periods.gpu.device import device_here
from scope_dask.ragged import LightCurves


class ArrowSeries:
    """What is used of cudf.Series, over an Arrow array; like cuDF's, its offsets are not sliced with it."""

    __module__ = "cudf.core.series"

    def __init__(self, array):
        self.array = array

    @classmethod
    def from_pylibcudf(cls, column):
        return cls(column)

    def to_pylibcudf(self):
        everything = np.frombuffer(self.array.buffers()[1] or b"", np.int32)[: self.array.offset + len(self.array) + 1]
        view = types.SimpleNamespace(offsets=lambda: pa.array(everything))
        column = types.SimpleNamespace(
            offset=lambda: self.array.offset, size=lambda: len(self.array), list_view=lambda: view
        )
        return column, {}

    @property
    def list(self):
        return types.SimpleNamespace(leaves=ArrowSeries(self.array.flatten()))

    def to_cupy(self, na_value=None):
        array = self.array.fill_null(na_value) if self.array.null_count else self.array
        return array.to_numpy()


@pytest.fixture
def series(monkeypatch):
    monkeypatch.setitem(sys.modules, "cudf", types.SimpleNamespace(Series=ArrowSeries))
    return ArrowSeries


def lists(rows):
    return pa.array(rows, pa.list_(pa.float64()))


@pytest.mark.parametrize("start", [0, 1, 3])
def test_list_column_as_values_and_offsets(series, start):
    rows = [[1.0, 2.0], [], [3.0, None, 5.0], None, [6.0]]
    values, offsets = frame.split(series(lists(rows)[start:]))
    expected = [row or [] for row in rows[start:]]
    assert offsets.dtype == np.int64
    np.testing.assert_array_equal(offsets, np.cumsum([0, *map(len, expected)]))
    np.testing.assert_array_equal(values, np.array([x for row in expected for x in row], float))


def test_values_are_not_copied(series):
    array = lists([[1.0, 2.0], [3.0]])
    values, _ = frame.split(series(array))
    assert values.ctypes.data == array.values.buffers()[1].address


@pytest.mark.parametrize("array", [lists([]), lists([[1.0]])[1:]])
def test_empty_list_column(series, array):
    values, offsets = frame.split(series(array))
    assert len(values) == 0
    np.testing.assert_array_equal(offsets, [0])


def test_light_curves(series):
    rows = {"hjd": [[1.0, 2.0], [3.0]], "mag": [[17.0, 18.0], [19.0]], "magerr": [[0.1, 0.2], [0.3]]}
    found = frame.light_curves({name: series(lists(column)) for name, column in rows.items()})
    expected = LightCurves.from_lists(list(zip(*rows.values(), strict=True)))
    for a, b in zip(found.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_lists_of_different_lengths(series):
    partition = {"hjd": lists([[1.0], [2.0]]), "mag": lists([[1.0], [2.0]]), "magerr": lists([[1.0, 2.0], []])}
    with pytest.raises(ValueError, match="row 0 has 1 hjd but 2 magerr values"):
        frame.light_curves({name: series(column) for name, column in partition.items()})


def test_the_type_of_the_partition_decides(series):
    assert frame.is_cudf(series(lists([])))
    assert not frame.is_cudf(pd.DataFrame())
    assert frame.device_for(pd.DataFrame()) is device_here()


@pytest.fixture(scope="module")
def cudf():
    if device_here() is None:
        pytest.skip("there is no CUDA device here: nothing of cuDF can run")
    return pytest.importorskip("cudf", reason="cuDF is not installed")


def pandas_partition():
    def column(rows):
        return pd.Series(lists(rows), dtype=pd.ArrowDtype(pa.list_(pa.float64())))

    hjd = [[1.0, 2.0], [], [3.0, 4.0, 5.0]]
    mag, magerr = [[17.0, 18.0], [], [19.0, 18.5, 17.5]], [[0.1, 0.2], [], [0.3, 0.1, 0.2]]
    return pd.DataFrame({"_id": [7, 8, 9], "hjd": column(hjd), "mag": column(mag), "magerr": column(magerr)})


@pytest.mark.gpu
def test_light_curves_of_a_cudf_partition(cudf):
    table = pandas_partition()
    partition = cudf.DataFrame.from_arrow(pa.Table.from_pandas(table))
    for part in (slice(0, 3), slice(1, 3), slice(2, 3), slice(0, 0)):
        found, expected = frame.light_curves(partition.iloc[part]), LightCurves.from_frame(table.iloc[part])
        for a, b in zip(found.arrays, expected.arrays, strict=True):
            np.testing.assert_array_equal(device_here().to_host(a), b)


@pytest.mark.gpu
def test_features_of_a_cudf_partition(cudf):
    partition = cudf.DataFrame.from_arrow(pa.Table.from_pandas(pandas_partition()))
    table = pd.DataFrame({"n": [2.0, 0.0, 3.0], "median": [17.5, np.nan, 18.5]})
    histograms = np.arange(3 * 676, dtype=np.float32).reshape(3, 676)
    out = frame.feature_frame(partition, table, device_here().from_host(histograms))
    assert list(out.columns) == ["_id", "n", "median", "dmdt"]
    assert out["dmdt"].dtype == cudf.ListDtype("float32")
    assert not out["median"].isnull().any()  # NaN is a value
    found = out.to_arrow().to_pydict()
    np.testing.assert_array_equal(found["dmdt"], histograms)
    np.testing.assert_array_equal(found["median"], table["median"])
    assert frame.feature_frame(partition[:0], table[:0], device_here().from_host(histograms[:0])).shape == (0, 4)
