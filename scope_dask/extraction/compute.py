"""Everything of a partition's features that kernels compute, on the CPU; `extraction.gpu.features` is its sibling."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scope_dask.extraction.dmdt import dmdt
from scope_dask.extraction.fourier import fourier
from scope_dask.extraction.statistics import statistics
from scope_dask.periods.choice import AlgorithmResult
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.search import search
from scope_dask.ragged import LightCurves


class Computed(NamedTuple):
    """What the features of n light curves are made of.

    Attributes
    ----------
    statistics : numpy.ndarray, shape (n, 22), float64
        In the order of `schema.STATISTICS`.
    periods : dict of str to AlgorithmResult
        By algorithm.
    fourier : dict of str to numpy.ndarray, shape (n, 14), float64
        By algorithm: the decomposition at its period, raw contents, in the order of `schema.FOURIER`.
    dmdt : array, shape (n, 676), float32
        The only wide one: where it was computed on a device, it stays there.
    """

    statistics: np.ndarray
    periods: dict[str, AlgorithmResult]
    fourier: dict[str, np.ndarray]
    dmdt: Any


def compute(curves: LightCurves, options: PeriodOptions) -> Computed:
    """Compute statistics, periods, Fourier decompositions and dmdt of a partition on the CPU.

    Parameters
    ----------
    curves : LightCurves
    options : PeriodOptions

    Returns
    -------
    Computed
        Light curve i depends on nothing but its own points.
    """
    periods = search(curves, options)
    series = {name: fourier(*curves.arrays, found.period) for name, found in periods.items()}
    histograms = dmdt(curves.hjd, curves.mag, curves.offsets)
    return Computed(statistics(*curves.arrays), periods, series, histograms)
