"""The period search of a partition on a GPU: the sibling of `scope_dask.periods.search.search`."""

from __future__ import annotations

import numpy as np

from scope_dask.errors import OptionError
from scope_dask.periods import choice
from scope_dask.periods.bins import MIN_POINTS
from scope_dask.periods.boxes import eclipse_grid
from scope_dask.periods.choice import AlgorithmResult
from scope_dask.periods.false_alarm import log10_false_alarm_probability
from scope_dask.periods.gpu import launch
from scope_dask.periods.gpu.device import CupyDevice, Device
from scope_dask.periods.gpu.engine import Engine, grid_of, load
from scope_dask.periods.options import NESTED, PeriodOptions
from scope_dask.periods.peaks import Peaks
from scope_dask.ragged import LightCurves
from scope_dask.schema import ALGORITHMS


def search(
    curves: LightCurves,
    options: PeriodOptions,
    *,
    device: Device | None = None,
    budget: int = launch.DEFAULT_BUDGET,
    n_streams: int = 2,
) -> dict[str, AlgorithmResult]:
    """Search the periods of every light curve of a partition on a GPU.

    Parameters
    ----------
    curves : LightCurves
        Of CuPy arrays (then no point leaves the device) or of NumPy arrays.
    options : PeriodOptions
    device : Device, optional
        Where to search; the current CUDA device by default.
    budget : int
        Bytes of device memory for intermediate results.
    n_streams : int
        Launches in flight.

    Returns
    -------
    dict of str to AlgorithmResult
        For the algorithms ``options.written``, in that order, on the host. Light curve i depends on nothing but its own
        points.

    Raises
    ------
    RunError
        If there is no CUDA device.
    OptionError
        If more peaks are wanted, or further apart, than the kernels can handle, or period derivatives.
    """
    if options.changing:
        raise OptionError(f"pdots is {list(options.pdots)}; period derivatives are searched on the CPU only")
    device = device or CupyDevice()
    partition = load(device, curves)
    grid = grid_of(partition, options)
    grid.size[partition.points < MIN_POINTS] = 0
    boxes = eclipse_grid(grid, options.boxes.max_freq)
    engine = Engine(device, partition, grid, budget, n_streams, options.boxes, options.n_harmonics)
    box_engine = (
        Engine(device, partition, boxes, budget, n_streams, options.boxes) if "BLS" in options.written else None
    )

    def evaluate(name: str, frequency: np.ndarray, _pdot: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return choice.as_table(engine.evaluate, name, frequency, wanted)

    results: dict[str, AlgorithmResult] = {}
    for name in options.written:
        if name in NESTED:
            results[name] = choice.nested([results[p] for p in options.proposers], evaluate)
        else:
            own = box_engine if name == "BLS" and box_engine else engine
            found = own.scan(name, options.top_n_periods, options.samples_per_peak)
            constant = np.zeros(found.index.shape)
            found, pdot = choice.exact_peaks(name, found, constant, own.grid, options.samples_per_peak, evaluate)
            results[name] = choice.result(name, found, pdot, own.grid, _log10_fap(name, found, own, options))
    return results


def _log10_fap(name: str, found: Peaks, engine: Engine, options: PeriodOptions) -> np.ndarray | None:
    if not ALGORITHMS[name].false_alarm:
        return None
    grid = engine.grid
    factor, time_std = engine.lomb_scargle_facts("ELS" if name == "ELS" else "LS").T
    with np.errstate(invalid="ignore"):
        highest = grid.fmin + (grid.size - 1) * grid.df
        power = found.value[:, 0] / (1.0 if name == "MHAOV" else factor)
    harmonics = options.n_harmonics if name == "MHAOV" else 1
    return log10_false_alarm_probability(power, engine.partition.points, time_std, highest, harmonics)
