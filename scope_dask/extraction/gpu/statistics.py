"""The 22 statistics of a light curve on a device: the sibling of `scope_dask.extraction.statistics`."""

from __future__ import annotations

from typing import Any

import numpy as np

from scope_dask.extraction.gpu.ordering import THREADS, in_time_order
from scope_dask.periods.gpu.device import CupyDevice, Device
from scope_dask.schema import STATISTICS


def statistics(hjd: Any, mag: Any, magerr: Any, offsets: Any, *, device: Device | None = None) -> Any:
    """Return the statistics of every light curve.

    Parameters
    ----------
    hjd, mag, magerr : array, shape (points,)
        Times (days), magnitudes, errors, of the device or of NumPy; light curve i holds the points
        ``offsets[i]:offsets[i + 1]``. Points out of time order are put in order first (equal times keep theirs).
    offsets : array, shape (n + 1,), int64
    device : Device, optional
        The current CUDA device by default.

    Returns
    -------
    device array, shape (n, 22), float64
        In the order of `schema.STATISTICS`. What is not a sum over the points is the CPU's to the last bit (``n``,
        ``median``, ``median_abs_dev``, the percentile ranges); sums differ by the rounding of their order, 1e-13 of the
        sum of the absolute terms. NaN as on the CPU.
    """
    device = device or CupyDevice()
    hjd, mag, magerr = in_time_order(offsets, hjd, mag, magerr, device=device)
    offsets = device.from_host(offsets).astype(np.int64, copy=False)
    out = device.xp.empty((len(offsets) - 1, len(STATISTICS)))
    sorted_room = device.xp.empty(len(mag))
    device.launch("statistics", "statistics", len(out), THREADS, hjd, mag, magerr, offsets, sorted_room, out)
    return out
