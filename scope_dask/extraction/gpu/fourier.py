"""Fourier decomposition on a device: the sibling of `scope_dask.extraction.fourier`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from scope_dask.extraction.gpu.ordering import THREADS, in_time_order
from scope_dask.periods.gpu.device import CupyDevice, Device
from scope_dask.schema import FOURIER

DEFAULT_BUDGET = 2 << 30
BYTES_PER_POINT = 14 * 8  # twelve directions and two residuals


def fourier(
    hjd: Any,
    mag: Any,
    magerr: Any,
    offsets: Any,
    period: Any,
    *,
    device: Device | None = None,
    budget: int = DEFAULT_BUDGET,
) -> Any:
    """Return the Fourier decomposition of every light curve at its period (or at each of its periods).

    Parameters
    ----------
    hjd, mag, magerr : array, shape (points,)
        Times (days), magnitudes, errors, of the device or of NumPy; light curve i holds the points
        ``offsets[i]:offsets[i + 1]``. Points out of time order are put in order first (equal times keep theirs).
    offsets : array, shape (n + 1,), int64
    period : array, shape (n,) or (n, p)
        Periods in days. With p periods what does not depend on the period is done once.
    device : Device, optional
        The current CUDA device by default.
    budget : int
        Bytes of device memory for the columns of the fits; a light curve that needs more has a launch of its own.

    Returns
    -------
    device array, shape (n, 14) or (n, p, 14), float64
        Raw contents, as the CPU's sibling: the same order, and coefficients that differ by rounding times the condition
        of the fit.

    Raises
    ------
    ValueError
        If there are more or fewer periods than light curves.
    """
    device = device or CupyDevice()
    if len(period) != len(offsets) - 1:
        raise ValueError(
            f"there are {len(period)} periods for {len(offsets) - 1} light curves; give one (or one row) each"
        )
    hjd, mag, magerr = in_time_order(offsets, hjd, mag, magerr, device=device)
    offsets = device.from_host(offsets).astype(np.int64, copy=False)
    periods = device.from_host(period).astype(np.float64, copy=False)
    shape = periods.shape
    n_periods = shape[1] if len(shape) > 1 else 1
    out = device.xp.empty((*shape, len(FOURIER)))
    host_offsets = device.to_host(offsets)
    for start, stop in chunks(host_offsets, budget // BYTES_PER_POINT):
        room = device.xp.empty((host_offsets[stop] - host_offsets[start]) * BYTES_PER_POINT // 8)
        given = (hjd, mag, magerr, offsets, np.int64(start), periods, np.int32(n_periods))
        device.launch("fourier", "fourier", stop - start, THREADS, *given, room, out)
    return out


def chunks(offsets: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Cut consecutive light curves into ranges (start, stop) of up to `most` points, or of one light curve."""
    start, n = 0, len(offsets) - 1
    while start < n:
        stop = max(int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1, start + 1)
        yield start, stop
        start = stop
