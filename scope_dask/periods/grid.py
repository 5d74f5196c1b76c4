"""The trial frequencies of every light curve, as (fmin, df, size): never an array per star."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from scope_dask.periods.options import PeriodOptions

# Frequencies (cycles/day) at which the Earth's rotation and orbit make spurious peaks; closed intervals.
TERRESTRIAL_WINDOWS = np.array(
    [
        (0.0025, 0.003), (0.00125, 0.0015), (0.000833, 0.001), (0.000625, 0.00075), (0.0005, 0.0006), (0.005, 0.006),
        (0.03, 0.04), (3.95, 4.05), (2.95, 3.05), (1.95, 2.05), (0.95, 1.05), (0.48, 0.52), (0.32, 0.34),
    ]
)  # fmt: skip


class FrequencyGrid(NamedTuple):
    """Frequencies ``fmin[i] + j * df[i]``, ``j < size[i]`` (cycles/day) of every light curve i.

    `windows`, shape (w, 2), are the closed frequency intervals whose grid points are masked after the evaluation.
    A light curve without a baseline has size 0.
    """

    fmin: np.ndarray
    df: np.ndarray
    size: np.ndarray
    windows: np.ndarray


def frequency_grid(hjd: np.ndarray, offsets: np.ndarray, options: PeriodOptions) -> FrequencyGrid:
    """Return the trial frequencies of every light curve.

    ``fmin = 2/T``, ``df = 1/(samples_per_peak T)``, ``size = ceil((max_freq − fmin)/df)``, with T the light curve's own
    baseline or ``options.baseline_days``: never that of other light curves.
    """
    n = len(offsets) - 1
    if options.baseline_days is None:
        baseline = np.zeros(n)
        rows = np.flatnonzero(np.diff(offsets) > 0)
        if len(rows):
            starts = offsets[rows]
            baseline[rows] = np.maximum.reduceat(hjd, starts) - np.minimum.reduceat(hjd, starts)
    else:
        baseline = np.full(n, float(options.baseline_days))
    with np.errstate(divide="ignore", invalid="ignore"):
        fmin = 2.0 / baseline
        df = 1.0 / (options.samples_per_peak * baseline)
        size = np.ceil((options.max_freq - fmin) / df)
    size = np.where(np.isfinite(size), np.maximum(size, 0), 0).astype(np.int64)
    windows = TERRESTRIAL_WINDOWS if options.remove_terrestrial else np.empty((0, 2))
    return FrequencyGrid(fmin, df, size, windows)
