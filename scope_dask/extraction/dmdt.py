"""The dmdt histogram of a light curve (Mahabal et al. 2017): all pairs by time and magnitude difference."""

from __future__ import annotations

import numpy as np

from scope_dask.compiled import jit
from scope_dask.extraction.ordering import MIN_POINTS, finite, frozen, in_time_order
from scope_dask.schema import DMDT_SHAPE

# Bin edges: days and magnitudes, as SCoPe 0.9.5 has them.
DT_EDGES = np.array(
    [0, 0.02759, 0.04, 0.08, 0.12, 0.3, 0.75, 1, 1.5, 2.5, 3.5, 4.5, 5.5, 7, 10, 20, 30, 45, 60, 90, 120,
     180, 240, 360, 500, 650, 2000]
)  # fmt: skip
DM_EDGES = np.array(
    [-8, -4.5, -3, -2.5, -2, -1.5, -1.25, -0.75, -0.5, -0.3, -0.2, -0.1, -0.05, 0, 0.05, 0.1, 0.2, 0.3, 0.5,
     0.75, 1.25, 1.5, 2, 2.5, 3, 4.5, 8]
)  # fmt: skip

# The dm bin is found in a table of cells of 1/32 mag, each with one edge at most; half a cell of shift keeps
# all edges away from the borders of the cells, where rounding could pick the neighbour.
_CELLS_PER_MAG = 32.0
_SHIFT = 8.0 * _CELLS_PER_MAG + 0.5
_LAST_CELL = 513.0
# Counters: bins of dm with one on either side for what is out of range, for each bin of dt and one beyond.
_BINS = DMDT_SHAPE[0] + 2
_SET = _BINS * (DMDT_SHAPE[1] + 1)


def _closed(edges: np.ndarray) -> np.ndarray:
    """Return half-open edges that put a value on the last edge into the last bin."""
    return np.append(edges[:-1], np.nextafter(edges[-1], np.inf))


def _cells() -> tuple[np.ndarray, np.ndarray]:
    """Return, per cell, the number of edges below it and the edge inside (inf where there is none)."""
    where = np.floor(DM_EDGES * _CELLS_PER_MAG + _SHIFT).astype(np.int64)
    inside = np.full(int(_LAST_CELL) + 1, np.inf)
    inside[where] = _closed(DM_EDGES)
    return np.searchsorted(where, np.arange(int(_LAST_CELL) + 1)).astype(np.int64), inside


_BELOW, _INSIDE = _cells()
_DT_LIMITS = _closed(DT_EDGES)[1:]


def dmdt(hjd: np.ndarray, mag: np.ndarray, offsets: np.ndarray, dtype: type = np.float32) -> np.ndarray:
    """Return the dmdt histogram of every light curve.

    Parameters
    ----------
    hjd, mag : numpy.ndarray, shape (points,)
        Times (days) and magnitudes; light curve i holds the points ``offsets[i]:offsets[i + 1]``.
        Points out of time order are put in order first (equal times keep theirs).
    offsets : numpy.ndarray, shape (n + 1,), int64
    dtype : type
        float32, or float64 for the values before they are rounded.

    Returns
    -------
    numpy.ndarray, shape (n, 676), `dtype`
        Counts of the pairs i < j by ``t_j − t_i`` and ``m_j − m_i``, 26 rows of dm by 26 columns of dt,
        divided by their Frobenius norm. Bins are half-open, the last one closed; pairs out of range are not
        counted; all zero where no pair is in range. NaN for a light curve of fewer than 4 points or with a
        value that is not finite.
    """
    out: np.ndarray = np.full((len(offsets) - 1, *DMDT_SHAPE), np.nan, dtype=dtype)
    tables = frozen(_DT_LIMITS), frozen(_BELOW, np.int64), frozen(_INSIDE)
    _dmdt(*in_time_order(offsets, hjd, mag), frozen(offsets, np.int64), *tables, out)
    return out.reshape(len(out), DMDT_SHAPE[0] * DMDT_SHAPE[1])


@jit()
def _dmdt(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    dt_limits: np.ndarray,
    below: np.ndarray,
    inside: np.ndarray,
    out: np.ndarray,
) -> None:
    longest = 0
    for row in range(len(out)):
        longest = max(longest, offsets[row + 1] - offsets[row])
    column = np.empty(longest, np.int64)
    counts = np.empty(2 * _SET, np.int64)
    for row in range(len(out)):
        t, m = hjd[offsets[row] : offsets[row + 1]], mag[offsets[row] : offsets[row + 1]]
        if len(t) < MIN_POINTS or not (finite(t) and finite(m)):
            continue
        counts[:] = 0
        _count_pairs(t, m, dt_limits, below, inside, column, counts)
        _normalise(counts, out[row])


@jit()
def _count_pairs(
    t: np.ndarray,
    m: np.ndarray,
    dt_limits: np.ndarray,
    below: np.ndarray,
    inside: np.ndarray,
    column: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Add all pairs to `counts`.

    ``column[j]`` is where the counters of the current dt bin of (i, j) begin. When i moves on, dt of every j
    shrinks: the first j beyond each limit moves on too, and the points it passes step down by one bin.
    Indices are unsigned because numba would otherwise test each for a negative one.
    """
    n, bins = len(t), len(dt_limits)
    for j in range(n):
        # Neighbours count in two sets: they often fall into one bin, and would wait for each other's store.
        column[j] = bins * _BINS + (j & 1) * _SET
    beyond = np.zeros(bins, np.int64)
    active = bins
    for i in range(n - 1):
        t_i, m_i = t[i], m[i]
        for x in range(active):
            j, limit = beyond[x], dt_limits[x]
            while j < n and t[np.uint64(j)] - t_i < limit:
                column[np.uint64(j)] -= _BINS
                j += 1
            beyond[x] = j
        while active > 0 and beyond[active - 1] == n:
            active -= 1
        for j in range(i + 1, beyond[bins - 1]):
            dm = m[np.uint64(j)] - m_i
            cell = np.uint64(np.int64(min(max(dm * _CELLS_PER_MAG + _SHIFT, 0.0), _LAST_CELL)))
            counts[np.uint64(column[np.uint64(j)] + below[cell] + (dm >= inside[cell]))] += 1


@jit()
def _normalise(counts: np.ndarray, out: np.ndarray) -> None:
    """Fill one histogram (rows dm, columns dt) from the two sets of counters."""
    squares = 0.0
    for x in range(out.shape[1]):
        for y in range(out.shape[0]):
            k = x * _BINS + y + 1
            counts[k] += counts[k + _SET]
            squares += float(counts[k]) ** 2
    norm = np.sqrt(squares) if squares > 0.0 else 1.0
    for x in range(out.shape[1]):
        for y in range(out.shape[0]):
            out[y, x] = counts[x * _BINS + y + 1] / norm
