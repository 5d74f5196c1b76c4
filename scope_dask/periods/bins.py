"""What the folding methods share: which light curves they can handle, and the bins of phase and magnitude."""

from __future__ import annotations

import numpy as np

from scope_dask.compiled import jit

PHASE_BINS = 20
MAGNITUDE_BINS = 10
MIN_POINTS = 4


@jit()
def longest_curve(offsets: np.ndarray) -> int:
    """Return the largest number of points of a light curve."""
    longest = 0
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return longest


@jit()
def usable(hjd: np.ndarray, mag: np.ndarray) -> bool:
    """Tell whether a light curve has four points, all finite, and a spread in time and in magnitude."""
    if hjd.size < MIN_POINTS:
        return False
    for i in range(hjd.size):
        if not (np.isfinite(hjd[i]) and np.isfinite(mag[i])):
            return False
    return bool(hjd.max() > hjd.min() and mag.max() > mag.min())


@jit()
def magnitude_bins(mag: np.ndarray, rescaled: bool, bins: np.ndarray) -> None:
    """Write the magnitude bin of every point.

    Magnitudes are scaled to [0, 1]; with `rescaled` on to [5e-4, 0.9995]. The faintest point is in the last
    bin.
    """
    low = mag.min()
    span = mag.max() - low
    for i in range(mag.size):
        y = (mag[i] - low) / span
        if rescaled:
            y = y * 0.999 + 5e-4
        bins[i] = min(int(y * MAGNITUDE_BINS), MAGNITUDE_BINS - 1)
