"""The dmdt histogram on a device: the sibling of `scope_dask.extraction.dmdt`."""

from __future__ import annotations

from typing import Any

import numpy as np

from scope_dask.extraction import dmdt as cpu
from scope_dask.extraction.gpu.ordering import THREADS, in_time_order
from scope_dask.periods.gpu.device import CupyDevice, Device
from scope_dask.schema import DMDT_SHAPE

PART = 1024  # earlier points of the pairs that a block counts


def dmdt(hjd: Any, mag: Any, offsets: Any, dtype: type = np.float32, *, device: Device | None = None) -> Any:
    """Return the dmdt histogram of every light curve.

    Parameters
    ----------
    hjd, mag : array, shape (points,)
        Times (days) and magnitudes, of the device or of NumPy; light curve i holds the points
        ``offsets[i]:offsets[i + 1]``. Points out of time order are put in order first (equal times keep theirs).
    offsets : array, shape (n + 1,), int64
    dtype : type
        float32, or float64 for the values before they are rounded.
    device : Device, optional
        The current CUDA device by default.

    Returns
    -------
    device array, shape (n, 676), `dtype`
        The CPU's, from the same counts.
    """
    device = device or CupyDevice()
    xp, cells = device.xp, DMDT_SHAPE[0] * DMDT_SHAPE[1]
    hjd, mag = in_time_order(offsets, hjd, mag, device=device)
    offsets = device.from_host(offsets).astype(np.int64, copy=False)
    n = len(offsets) - 1
    curve, part = _work(np.diff(device.to_host(offsets)))
    tables = cpu._DT_LIMITS, cpu._BELOW.astype(np.int32), cpu._INSIDE
    counts = xp.zeros((n, cells), np.uint64)
    given = (hjd, mag, offsets, *(device.from_host(a) for a in (curve, part, *tables)))
    device.launch("dmdt", "count_pairs", len(curve), THREADS, *given, counts)
    out = xp.empty((n, cells))
    device.launch("dmdt", "normalise", n, THREADS, hjd, mag, offsets, counts, out)
    return out.astype(dtype, copy=False)


def _work(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return light curve and part of every block, int32, for light curves of so many points."""
    parts = -(-points // PART)
    curve = np.repeat(np.arange(len(points), dtype=np.int32), parts)
    first = np.repeat(np.cumsum(parts) - parts, parts)
    return curve, (np.arange(len(curve)) - first).astype(np.int32)
