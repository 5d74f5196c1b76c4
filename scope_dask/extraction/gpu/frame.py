"""cuDF partitions in and out: list columns as device arrays without a copy, feature rows as a cuDF frame.

cuDF is imported inside the functions alone: a client or worker without it can import this module.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from scope_dask.periods.gpu.device import CupyDevice, Device, device_here
from scope_dask.ragged import LightCurves
from scope_dask.schema import carried
from scope_dask.stage import is_cudf


def device_for(partition: object, wanted: Literal["auto", "cpu", "gpu"] = "auto") -> Device | None:
    """Return where the kernels of a partition run: a cuDF partition on its GPU, a pandas one on a GPU if there is any.

    Parameters
    ----------
    partition : pandas.DataFrame or cudf.DataFrame
    wanted : {"auto", "cpu", "gpu"}
        As in `FeatureOptions.device`.

    Returns
    -------
    Device or None
        None: compute on the CPU.

    Raises
    ------
    RunError
        If a GPU is wanted, or the partition is cuDF's, and there is no CUDA device.
    """
    if wanted == "gpu" or is_cudf(partition):
        return CupyDevice()
    return device_here() if wanted == "auto" else None


def light_curves(partition: Any) -> LightCurves:
    """Take the list columns ``hjd``, ``mag`` and ``magerr`` of a cuDF partition.

    Parameters
    ----------
    partition : cudf.DataFrame

    Returns
    -------
    LightCurves
        Of CuPy arrays; the values are the partition's own memory, in their own float type.

    Raises
    ------
    ValueError
        If the three lists of a row differ in length.
    """
    hjd, offsets = split(partition["hjd"])
    columns = {}
    for name in ("mag", "magerr"):
        columns[name], other = split(partition[name])
        if bool((offsets != other).any()):
            expected, found = offsets[1:] - offsets[:-1], other[1:] - other[:-1]
            row = int((expected != found).argmax())
            raise ValueError(f"row {row} has {int(expected[row])} hjd but {int(found[row])} {name} values")
    return LightCurves(hjd, columns["mag"], columns["magerr"], offsets)


def split(column: Any) -> tuple[Any, Any]:
    """Return (values, offsets) of a list column; a null row is an empty list, a null value NaN.

    Parameters
    ----------
    column : cudf.Series
        Of lists.

    Returns
    -------
    values : cupy.ndarray, shape (points,)
        Of the lists of this column alone, also where it is a slice of a longer one.
    offsets : cupy.ndarray, shape (n + 1,), int64
    """
    import cudf

    lists, _ = column.to_pylibcudf()
    values = column.list.leaves.to_cupy(na_value=np.nan)
    offsets = cudf.Series.from_pylibcudf(lists.list_view().offsets()).to_cupy()
    if not len(offsets):  # an empty column need not have any
        return values, np.zeros_like(offsets, dtype=np.int64, shape=1)
    own = offsets[lists.offset() : lists.offset() + lists.size() + 1].astype(np.int64)
    return values, own - own[0]


def list_column(values: Any, index: Any = None) -> Any:
    """Return the rows of an array as a cuDF list column, without a copy.

    Parameters
    ----------
    values : cupy.ndarray, shape (n, width)
        Contiguous, row by row.
    index : cudf.Index, optional

    Returns
    -------
    cudf.Series
        Of lists of `width` values.

    Raises
    ------
    OverflowError
        If there are more than 2**31 - 1 values (cuDF's list offsets are int32).
    """
    import cudf
    import pylibcudf

    n, width = values.shape
    if n * width > np.iinfo(np.int32).max:
        raise OverflowError(f"{n * width:,} values are more than the 2,147,483,647 of a list column")
    series = cudf.Series.from_pylibcudf(pylibcudf.Column.from_cuda_array_interface(values))
    if index is not None:
        series.index = index
    return series


def feature_frame(partition: Any, table: pd.DataFrame, dmdt: Any) -> Any:
    """Return the features of a cuDF partition as a cuDF frame.

    Parameters
    ----------
    partition : cudf.DataFrame
        Its identification columns and its index are taken over.
    table : pandas.DataFrame
        All other columns but dmdt, one row a light curve, in the order of `partition`.
    dmdt : cupy.ndarray, shape (n, 676), float32

    Returns
    -------
    cudf.DataFrame
        Identification, columns of `table`, ``dmdt`` (``list<float32>``: cuDF has no lists of fixed length).
    """
    import cudf

    out = partition[carried(partition)].copy(deep=False)
    columns = cudf.from_pandas(table, nan_as_null=False)
    columns.index = out.index
    for name in table.columns:
        out[name] = columns[name]
    out["dmdt"] = list_column(dmdt, out.index)
    return out
