"""The reduction of a periodogram, tile by tile, to its best distinct peaks and its moments.

Larger is better (a method that is minimised is negated). A grid point is a *peak* if it exceeds every point
less than `sep` steps before it and is not exceeded by any less than `sep` steps after it. Whether a point is
a peak thus depends on its neighbourhood alone: two peaks are at least `sep` steps apart, a plateau has one
(its first point), the arg-max is always one, and every tiling finds the same peaks. Points outside the grid,
masked points and values that are not finite count as −inf; they are in neither the peaks nor the moments.

A method's kernel uses it as ::

    state = peaks.new_state(k, sep, tile_size)      # once per call
    masked = peaks.new_mask(windows)
    ...                                             # then for every light curve
    peaks.reset(state)
    peaks.mask(fmin, df, size, windows, masked)
    peaks.tile(state, x, n, masked)                 # for every tile, in order: x[:n], the next n grid points
    mean, std = peaks.finish(state, value[i], index[i])
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float32

from scope_dask.compiled import jit

BLOCK = 64  # a block of this many grid points without a value above the k-th best peak is not searched
NEXT, NUMBER, SHIFT, SUM, SQUARES = range(5)  # entries of State.moments


class Peaks(NamedTuple):
    """Peaks and moments of the periodograms of n light curves.

    Attributes
    ----------
    value : numpy.ndarray, shape (n, k), float64
        Values of the k best distinct peaks, best first (NaN where there are fewer).
    index : numpy.ndarray, shape (n, k), int64
        Their grid indices (−1 where there are fewer).
    mean, std : numpy.ndarray, shape (n,), float64
        Mean and population standard deviation over the unmasked grid (NaN where it is empty).
    """

    value: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index
    mean: np.ndarray
    std: np.ndarray


class State(NamedTuple):
    """What is kept of one light curve's periodogram between two tiles (used inside kernels)."""

    best: np.ndarray  # (k,) float64: the best peaks so far, best first, −inf where there is none
    at: np.ndarray  # (k,) int64: their grid indices
    recent: np.ndarray  # float32: 2 reach values of earlier tiles, then those of the present one
    moments: np.ndarray  # float64: next grid index, number of values, shift, Σ(x − shift), Σ(x − shift)²
    reach: int  # sep − 1: neighbours on each side that a peak must dominate


def no_peaks(n: int, k: int) -> Peaks:
    """Return the peaks of n light curves without any, to be filled in."""
    return Peaks(np.full((n, k), np.nan), np.full((n, k), -1), np.full(n, np.nan), np.full(n, np.nan))


@jit()
def new_state(k: int, sep: int, tile_size: int) -> State:
    """Return the state for the `k` best peaks, `sep` grid steps apart, and tiles of up to `tile_size`."""
    reach = max(sep, 1) - 1
    recent = np.empty(2 * reach + max(tile_size, reach), np.float32)
    state = State(np.empty(k), np.empty(k, np.int64), recent, np.empty(5), reach)
    reset(state)
    return state


@jit()
def reset(state: State) -> None:
    """Make the state ready for the next light curve."""
    state.best[:] = -np.inf
    state.at[:] = -1
    state.recent[: 2 * state.reach] = -np.inf
    state.moments[:] = 0.0
    state.moments[SHIFT] = np.nan


@jit()
def tile(state: State, x: np.ndarray, n: int, masked: np.ndarray) -> None:
    """Take the next `n` values of the periodogram, ``x[:n]`` (float32; masked ones become NaN)."""
    first = np.int64(state.moments[NEXT])
    for i in range(masked.shape[0]):
        for l in range(max(masked[i, 0] - first, 0), min(masked[i, 1] - first, n)):
            x[l] = np.nan
    if not np.isfinite(state.moments[SHIFT]):
        for l in range(n):
            if np.isfinite(x[l]):
                state.moments[SHIFT] = x[l]
                break
    number, s, q = _copy_and_sum(x, n, state.moments[SHIFT], state.recent, 2 * state.reach)
    state.moments[NUMBER] += number
    state.moments[SUM] += s
    state.moments[SQUARES] += q
    _judge(state, n)


@jit()
def finish(state: State, value: np.ndarray, index: np.ndarray) -> tuple[float, float]:
    """Close the grid, write its peaks, best first, to `value` and `index` (k,), and return (mean, std)."""
    past = 2 * state.reach
    state.recent[past : past + state.reach] = -np.inf
    _judge(state, state.reach)
    for i in range(value.size):
        value[i] = state.best[i] if state.at[i] >= 0 else np.nan
        index[i] = state.at[i]
    number = state.moments[NUMBER]
    mean = state.moments[SUM] / number
    variance = max(state.moments[SQUARES] / number - mean * mean, 0.0) if number > 0 else np.nan
    return mean + state.moments[SHIFT], np.sqrt(variance)


@jit(fastmath={"reassoc", "contract"})  # else the sums are not vectorised; NaN and inf keep their meaning
def _copy_and_sum(x: np.ndarray, n: int, shift: float, recent: np.ndarray, past: int) -> tuple[np.int32, float, float]:
    """Copy x to recent[past:], −inf where not finite; return number, sum, sum of squares of the rest.

    The loop of the sums writes nothing: else where the two arrays lie in memory would decide whether it is vectorised,
    and with that the order of summation.
    """
    for l in range(n):
        recent[past + l] = x[l] if np.abs(x[l]) < float32(np.inf) else float32(-np.inf)
    number = np.int32(0)
    s = 0.0
    q = 0.0
    for l in range(n):
        finite = np.abs(x[l]) < float32(np.inf)
        y = np.float64(x[l]) - shift if finite else 0.0
        number += np.int32(finite)
        s += y
        q += y * y
    return number, s, q


@jit()
def _judge(state: State, n: int) -> None:
    """Find the peaks among the `n` points whose right neighbours are now known, and move on by `n` points."""
    reach = state.reach
    if _exceeds(state.recent[reach : reach + n], state.best[-1]):
        first = np.int64(state.moments[NEXT]) - 2 * reach
        for start in range(reach, reach + n, BLOCK):
            _search(state, start, min(start + BLOCK, reach + n), first)
    for l in range(2 * reach):
        state.recent[l] = state.recent[l + n]
    state.moments[NEXT] += n


@jit()
def _search(state: State, start: int, end: int, first: int) -> None:
    """Insert the peaks among recent[start:end]; recent[0] has the grid index `first`."""
    recent = state.recent
    if _exceeds(recent[start:end], state.best[-1]):
        for p in range(start, end):
            if recent[p] > state.best[-1] and _dominates(recent, p, state.reach):
                _insert(state, recent[p], first + p)


@jit()
def _exceeds(x: np.ndarray, threshold: float) -> bool:
    """Tell whether any value is above a threshold (a count, without a way out, is vectorised)."""
    count = np.int32(0)
    for l in range(x.size):
        count += np.int32(x[l] > float32(threshold))
    return bool(count > 0)


@jit()
def _dominates(recent: np.ndarray, p: int, reach: int) -> bool:
    x = recent[p]
    for d in range(1, reach + 1):  # noqa: SIM110  (numba compiles no generator expression)
        if recent[p - d] >= x or recent[p + d] > x:
            return False
    return True


@jit()
def _insert(state: State, x: float, j: int) -> None:
    """Insert a peak into the sorted list, behind peaks of the same value (they have lower frequencies)."""
    i = state.best.size - 1
    while i > 0 and state.best[i - 1] < x:
        state.best[i] = state.best[i - 1]
        state.at[i] = state.at[i - 1]
        i -= 1
    state.best[i] = x
    state.at[i] = j


@jit()
def new_mask(windows: np.ndarray) -> np.ndarray:
    """Return room for the masked intervals of one light curve, shape (number of windows, 2)."""
    return np.zeros((windows.shape[0], 2), np.int64)


@jit()
def mask(fmin: float, df: float, size: int, windows: np.ndarray, masked: np.ndarray) -> None:
    """Write the half-open intervals of grid indices that closed frequency windows cover, sorted and disjoint.

    A grid point is covered if its frequency ``fmin + j * df``, as computed in float64, is neither below nor
    above a window. Rows of `masked` that are not needed are empty intervals (0, 0).
    """
    for w in range(windows.shape[0]):
        a = _first_index(fmin, df, size, windows[w, 0], False)
        b = _first_index(fmin, df, size, windows[w, 1], True)
        i = w
        while i > 0 and masked[i - 1, 0] > a:
            masked[i, 0] = masked[i - 1, 0]
            masked[i, 1] = masked[i - 1, 1]
            i -= 1
        masked[i, 0] = a
        masked[i, 1] = max(a, b)
    last = 0
    for w in range(1, windows.shape[0]):
        a, b = masked[w, 0], masked[w, 1]
        masked[w, :] = 0
        if a > masked[last, 1]:
            last += 1
            masked[last, 0] = a
        masked[last, 1] = max(masked[last, 1], b)


@jit()
def _first_index(fmin: float, df: float, size: int, frequency: float, above: bool) -> int:
    """Return the index of the first grid frequency >= (`above`: >) `frequency`; `size` if there is none."""
    low = 0
    high = size
    while low < high:
        middle = (low + high) // 2
        f = fmin + middle * df
        if f > frequency or (f == frequency and not above):
            high = middle
        else:
            low = middle + 1
    return low
