"""Time order and sorting: what the extraction kernels share."""

from __future__ import annotations

import numpy as np

from scope_dask.compiled import jit

MIN_POINTS = 4
_BLOCK = 6


def in_time_order(offsets: np.ndarray, hjd: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the points of every light curve in time order; equal times keep the order they have.

    Parameters
    ----------
    offsets : numpy.ndarray, shape (n + 1,), int64
    hjd : numpy.ndarray, shape (points,)
        Times, days; NaN goes to the end of its light curve.
    *columns : numpy.ndarray, shape (points,)
        Taken along.

    Returns
    -------
    tuple of numpy.ndarray
        `hjd` and `columns`, float64, `frozen`; not copied where they are float64 and in order already.
    """
    arrays = tuple(frozen(a) for a in (hjd, *columns))
    backwards = arrays[0][1:] < arrays[0][:-1]
    starts = offsets[1:-1]
    backwards[starts[(starts > 0) & (starts < len(hjd))] - 1] = False
    if not backwards.any():
        return arrays
    order = np.lexsort((arrays[0], np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))))
    return tuple(frozen(a[order]) for a in arrays)


def frozen(array: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Return a contiguous read-only view of `array` (a copy where layout or type differ).

    Arrow's arrays are read-only, NumPy's are not, and numba compiles a kernel anew for every mix of the two:
    so the kernels are only ever given read-only inputs.
    """
    view: np.ndarray = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view


@jit()
def finite(values: np.ndarray) -> bool:
    """Tell whether no value is NaN or infinite (x − x is 0 for a finite x, NaN for the others)."""
    total = 0.0
    for i in range(len(values)):
        total += values[i] - values[i]
    return total == 0.0


@jit()
def usable(hjd: np.ndarray, mag: np.ndarray, magerr: np.ndarray) -> bool:
    """Tell whether features can be computed: at least 4 points, all values finite, all errors positive."""
    if len(hjd) < MIN_POINTS or not (finite(hjd) and finite(mag) and finite(magerr)):
        return False
    lowest = magerr[0]
    for i in range(1, len(magerr)):
        lowest = min(lowest, magerr[i])
    return lowest > 0.0


@jit()
def sort_room(offsets: np.ndarray) -> int:
    """Return the length of the two arrays that `sort_values` needs for any light curve."""
    longest = 0
    for row in range(len(offsets) - 1):
        longest = max(longest, offsets[row + 1] - offsets[row])
    return 2 * longest + 2 * _BLOCK


@jit()
def sort_values(values: np.ndarray, spare: np.ndarray, n: int) -> np.ndarray:
    """Sort the first `n` of `values` (finite numbers); return the array that holds them, `values` or `spare`.

    A merge sort of equal runs, padded with +inf: two equal runs merge from both ends at once without a bounds
    check or a branch, which takes less than half the time of numba's ``sort`` at 300 points.
    """
    runs, width = 1, n
    while width >= 2 * _BLOCK:
        runs *= 2
        width = (n + runs - 1) // runs
    total = width * runs
    for i in range(n, total):
        values[i] = np.inf
    for start in range(0, total, width):
        _insertion_sort(values, start, start + width)
    while width < total:
        for start in range(0, total, 2 * width):
            _merge(values, spare, start, width)
        values, spare = spare, values
        width *= 2
    return values


@jit()
def _insertion_sort(values: np.ndarray, start: int, stop: int) -> None:
    for i in range(start + 1, stop):
        value = values[i]
        j = i
        while j > start and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value


@jit()
def _merge(source: np.ndarray, target: np.ndarray, start: int, width: int) -> None:
    """Merge two sorted neighbours of `width` values: the lower half forwards, the upper backwards."""
    left, right = start, start + width
    left_end, right_end = right - 1, right + width - 1
    back = right_end
    for front in range(start, start + width):
        x, y = source[left], source[right]
        take_right = y < x
        target[front] = y if take_right else x
        right += take_right
        left += 1 - take_right
        x, y = source[left_end], source[right_end]
        take_left = y < x
        target[back] = x if take_left else y
        left_end -= take_left
        right_end -= 1 - take_left
        back -= 1
