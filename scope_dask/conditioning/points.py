"""Which points of a light curve are kept: unflagged, finite, in time order, no closer than the cadence."""

from __future__ import annotations

import numpy as np

from scope_dask.compiled import jit


@jit()
def select_points(
    hjd: np.ndarray, usable: np.ndarray, offsets: np.ndarray, cadence: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (positions of the points kept, their offsets) of every light curve.

    Usable points are put in time order (equal times keep their order); the first is kept, then each that comes at least
    `cadence` days after the last one kept (SCoPe 0.9.5).

    Parameters
    ----------
    hjd : ndarray, shape (points,), float64
        Times in days.
    usable : ndarray, shape (points,), bool
        Points that may be kept.
    offsets : ndarray, shape (n + 1,), int64
    cadence : float
        Smallest time step in days, inclusive.
    """
    kept = np.empty(hjd.size, np.int64)
    new = np.zeros(offsets.size, np.int64)
    count = 0
    for i in range(offsets.size - 1):
        start = count
        ordered = True
        for j in range(offsets[i], offsets[i + 1]):
            if usable[j]:
                if count > start and hjd[j] < hjd[kept[count - 1]]:
                    ordered = False
                kept[count] = j
                count += 1
        if not ordered:
            part = kept[start:count].copy()
            kept[start:count] = part[np.argsort(hjd[part], kind="mergesort")]
        end = count
        count = min(start + 1, end)
        for j in range(start + 1, end):
            if hjd[kept[j]] - hjd[kept[count - 1]] >= cadence:
                kept[count] = kept[j]
                count += 1
        new[i + 1] = count
    return kept[:count], new
