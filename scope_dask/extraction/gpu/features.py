"""Everything of a partition's features that a device computes."""

from __future__ import annotations

import numpy as np

from scope_dask.extraction.compute import Computed
from scope_dask.extraction.gpu.dmdt import dmdt
from scope_dask.extraction.gpu.fourier import fourier
from scope_dask.extraction.gpu.ordering import in_time_order
from scope_dask.extraction.gpu.statistics import statistics
from scope_dask.periods.gpu.device import CupyDevice, Device
from scope_dask.periods.gpu.search import search
from scope_dask.periods.options import PeriodOptions
from scope_dask.ragged import LightCurves


def compute_on_device(curves: LightCurves, options: PeriodOptions, *, device: Device | None = None) -> Computed:
    """Compute statistics, periods, Fourier decompositions and dmdt of a partition on a GPU.

    Parameters
    ----------
    curves : LightCurves
        Of device arrays (`frame.light_curves`; then no point leaves the device) or of NumPy arrays.
    options : PeriodOptions
    device : Device, optional
        The current CUDA device by default.

    Returns
    -------
    Computed
        On the host but for `Computed.dmdt`. Light curve i depends on nothing but its own points.

    Raises
    ------
    RunError
        If there is no CUDA device.
    OptionError
        If the options ask for what the search on a GPU cannot do.
    """
    device = device or CupyDevice()
    hjd, mag, magerr = (device.from_host(a).astype(np.float64, copy=False) for a in curves.arrays[:3])
    offsets = device.from_host(curves.offsets).astype(np.int64, copy=False)
    results = search(LightCurves(hjd, mag, magerr, offsets), options, device=device)
    periods = np.stack([result.period for result in results.values()], axis=1)
    hjd, mag, magerr = in_time_order(offsets, hjd, mag, magerr, device=device)
    table = statistics(hjd, mag, magerr, offsets, device=device)
    series = device.to_host(fourier(hjd, mag, magerr, offsets, periods, device=device))
    histograms = dmdt(hjd, mag, offsets, device=device)
    by_algorithm = {name: series[:, j] for j, name in enumerate(results)}
    return Computed(device.to_host(table), results, by_algorithm, histograms)


def host_curves(curves: LightCurves, device: Device) -> LightCurves:
    """Return light curves on a device as the CPU's kernels take them: NumPy arrays of float64 and int64."""
    hjd, mag, magerr = (device.to_host(a).astype(np.float64, copy=False) for a in curves.arrays[:3])
    return LightCurves(hjd, mag, magerr, device.to_host(curves.offsets).astype(np.int64, copy=False))
