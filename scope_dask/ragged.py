"""Light curves as (values, offsets): the view of list columns that every kernel works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike


@dataclass(frozen=True, slots=True)
class LightCurves:
    """The light curves of a partition, end to end.

    Attributes
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Heliocentric Julian dates in days, magnitudes, magnitude errors.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    """

    hjd: np.ndarray
    mag: np.ndarray
    magerr: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(hjd, mag, magerr, offsets), as kernels take them."""
        return self.hjd, self.mag, self.magerr, self.offsets

    def __getitem__(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (hjd, mag, magerr) of light curve `i`."""
        part = slice(self.offsets[i], self.offsets[i + 1])
        return self.hjd[part], self.mag[part], self.magerr[part]

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> LightCurves:
        """Take the list columns ``hjd``, ``mag`` and ``magerr`` of a partition.

        Raises
        ------
        ValueError
            If the three lists of a row differ in length.
        """
        hjd, offsets = split(frame["hjd"])
        columns = [hjd]
        for name in ("mag", "magerr"):
            values, other = split(frame[name])
            if not np.array_equal(offsets, other):
                row = int(np.flatnonzero(np.diff(offsets) != np.diff(other))[0])
                raise ValueError(f"row {row} has {np.diff(offsets)[row]} hjd but {np.diff(other)[row]} {name} values")
            columns.append(values)
        # Copies: Arrow's arrays are read-only, which would have every kernel compiled a second time.
        hjd, mag, magerr = (np.array(column, dtype=np.float64) for column in columns)
        return cls(hjd, mag, magerr, offsets)

    @classmethod
    def from_lists(cls, curves: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]]) -> LightCurves:
        """Take a sequence of (hjd, mag, magerr)."""
        flat = [[np.asarray(curve[k], dtype=np.float64) for curve in curves] for k in range(3)]
        sizes = [len(times) for times in flat[0]]
        hjd, mag, magerr = (np.concatenate(arrays or [np.empty(0)]) for arrays in flat)
        return cls(hjd, mag, magerr, np.cumsum([0, *sizes], dtype=np.int64))


def gather(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (positions of the points of `rows`, their new offsets)."""
    sizes = np.diff(offsets)[rows]
    new = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    points = np.arange(new[-1]) + np.repeat(offsets[:-1][rows] - new[:-1], sizes)
    return points, new


def split(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return (values, offsets) of a list column; a null row is an empty list."""
    array = pa.array(column.array)
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if not (pa.types.is_list(array.type) or pa.types.is_large_list(array.type)):
        array = array.cast(pa.list_(pa.float64()))
    if array.null_count:
        array = array.fill_null(pa.scalar([], type=array.type))
    offsets = array.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    if not len(offsets):
        return array.values.to_numpy(zero_copy_only=False), np.zeros(1, np.int64)
    values = array.values.slice(offsets[0], offsets[-1] - offsets[0])
    return values.to_numpy(zero_copy_only=False), offsets - offsets[0]


def join(values: np.ndarray, offsets: np.ndarray, index: pd.Index | None = None) -> pd.Series:
    """Return a list column (Arrow) from (values, offsets); the inverse of `split`.

    Raises
    ------
    OverflowError
        If there are more than 2**31 - 1 points (Arrow's and cuDF's list offsets are int32).
    """
    if offsets[-1] > np.iinfo(np.int32).max:
        raise OverflowError(f"a partition holds {offsets[-1]:,} points, more than the 2,147,483,647 of a list column")
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))
    return pd.Series(pd.arrays.ArrowExtensionArray(lists), index=index)
