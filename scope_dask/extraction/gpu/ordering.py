"""Time order on a device: the sibling of `scope_dask.extraction.ordering`."""

from __future__ import annotations

from typing import Any

import numpy as np

from scope_dask.periods.gpu.device import CupyDevice, Device

THREADS = 128  # of every kernel of the features; a block is a light curve


def in_time_order(offsets: Any, hjd: Any, *columns: Any, device: Device | None = None) -> tuple[Any, ...]:
    """Return the points of every light curve in time order; equal times keep the order they have.

    Parameters
    ----------
    offsets : array, shape (n + 1,), int64
        Of the device or of NumPy, like the other arrays.
    hjd : array, shape (points,)
        Times, days; NaN goes to the end of its light curve.
    *columns : array, shape (points,)
        Taken along.
    device : Device, optional
        The current CUDA device by default.

    Returns
    -------
    tuple of device arrays
        `hjd` and `columns`, float64; not copied where they are float64, on the device and in order already.
    """
    device = device or CupyDevice()
    xp = device.xp
    arrays = tuple(device.from_host(a).astype(np.float64, copy=False) for a in (hjd, *columns))
    offsets = device.from_host(offsets).astype(np.int64, copy=False)
    blocks, unordered = len(offsets) - 1, xp.zeros(1, np.int32)
    device.launch("ordering", "find_unordered", blocks, THREADS, arrays[0], offsets, unordered)
    if not device.to_host(unordered)[0]:
        return arrays
    order = xp.empty(len(arrays[0]), np.int64)
    device.launch("ordering", "time_order", blocks, THREADS, arrays[0], offsets, xp.empty_like(arrays[0]), order)
    return tuple(a[order] for a in arrays)
