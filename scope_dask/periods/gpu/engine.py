"""Scans and float64 evaluations of a partition on a device; the sibling of the CPU's ``*_peaks`` functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scope_dask.periods import lombscargle as cpu
from scope_dask.periods.bins import PHASE_BINS
from scope_dask.periods.gpu import launch
from scope_dask.periods.gpu.device import Device
from scope_dask.periods.gpu.launch import THREADS, Method
from scope_dask.periods.grid import FrequencyGrid, frequency_grid
from scope_dask.periods.options import PeriodOptions
from scope_dask.periods.peaks import Peaks, no_peaks
from scope_dask.ragged import LightCurves

SUMS = ("lombscargle", "multiharmonic")  # modules of the methods that sum weighted magnitudes over the points


@dataclass(frozen=True, slots=True)
class Partition:
    """The light curves of a partition on a device, and what the host knows of them.

    Attributes
    ----------
    hjd, mag, magerr : device arrays, shape (points,), float64
    offsets : device array, shape (n + 1,), int64
    extents : device array, shape (n, 4), float64
        Smallest and largest time, smallest and largest magnitude; NaN where a value is not finite.
    points : numpy.ndarray, shape (n,), int64
    host_extents : numpy.ndarray, shape (n, 4), float64
    errors_good : numpy.ndarray, shape (n,), bool
        Are all errors positive and finite?
    """

    hjd: Any
    mag: Any
    magerr: Any
    offsets: Any
    extents: Any
    points: np.ndarray
    host_extents: np.ndarray
    errors_good: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def usable(self, method: Method) -> np.ndarray:
        """Tell which light curves a method can handle, shape (n,), bool."""
        start, end, low, high = self.host_extents.T
        return (self.points >= method.least) & (end > start) & (high > low) & (self.errors_good | (not method.weighted))


def load(device: Device, curves: LightCurves) -> Partition:
    """Bring light curves (NumPy or device arrays, of any float type) to the device."""
    hjd, mag, magerr = (
        device.from_host(a).astype(np.float64, copy=False) for a in (curves.hjd, curves.mag, curves.magerr)
    )
    offsets = device.from_host(curves.offsets).astype(np.int64, copy=False)
    n = len(offsets) - 1
    extents, good = device.xp.empty((n, 4)), device.xp.empty(n, np.int32)
    arguments = (hjd, mag, magerr, offsets, np.int32(n), extents, good)
    device.launch("prepare", "summarise", -(-n // THREADS), THREADS, *arguments)
    points = np.diff(device.to_host(offsets))
    host_extents = device.to_host(extents)
    host_extents[points == 0] = np.nan
    return Partition(hjd, mag, magerr, offsets, extents, points, host_extents, device.to_host(good) > 0)


def grid_of(partition: Partition, options: PeriodOptions) -> FrequencyGrid:
    """Return the trial frequencies, as `frequency_grid` does from all the times: it needs only the first and last."""
    ends = np.where(partition.points[:, None] > 0, partition.host_extents[:, :2], 0.0)
    return frequency_grid(np.ascontiguousarray(ends).ravel(), 2 * np.arange(len(partition) + 1), options)


class Engine:
    """Runs the methods on a partition with its frequency grid.

    Parameters
    ----------
    device : Device
    partition : Partition
    grid : FrequencyGrid
        On the host.
    budget : int
        Bytes of device memory for the intermediate results of the launches in flight.
    n_streams : int
        Launches in flight.
    boxes : launch.BoxShapes, optional
        Boxes of BLS.
    n_harmonics : int
        Harmonics of MHAOV.

    Raises
    ------
    OptionError
        If there is no such number of harmonics.
    """

    def __init__(
        self,
        device: Device,
        partition: Partition,
        grid: FrequencyGrid,
        budget: int = launch.DEFAULT_BUDGET,
        n_streams: int = 2,
        boxes: launch.BoxShapes | None = None,
        n_harmonics: int = 3,
    ) -> None:
        self.device, self.partition, self.grid = device, partition, grid
        self.budget, self.n_streams = budget, max(n_streams, 1)
        self.boxes = boxes or launch.DefaultBoxes()
        self.methods, self.n_harmonics = launch.methods(n_harmonics), n_harmonics
        self.fmin, self.df = (device.from_host(np.nan_to_num(a, posinf=0.0)) for a in (grid.fmin, grid.df))
        self.size = device.from_host(grid.size)
        self.table = device.from_host(launch.n_log_n(int(partition.points.max(initial=0))))
        self.masked = self._masked()
        self._weighted: dict[str, tuple[Any, ...]] = {}

    def scan(self, name: str, k: int, sep: int) -> Peaks:
        """Return the `k` best peaks, at least `sep` grid steps apart, and the moments of every periodogram.

        Parameters
        ----------
        name : str
            A method of `launch.METHODS`.
        k, sep : int

        Returns
        -------
        Peaks
            On the host, single precision, larger is better (conditional entropy is negated). Nothing is found for a
            light curve that the method cannot handle.

        Raises
        ------
        OptionError
            If `k`, `sep` or a light curve is larger than the kernels can handle.
        """
        out = no_peaks(len(self.partition), k)
        method = self.methods[name]
        usable = self.partition.usable(method) & (self.grid.size > 0)
        lengths = self._tile_lengths(name)
        launch.check(k, sep, lengths[usable])
        if not usable.any():
            return out
        tiles = np.where(usable, -(-self.grid.size // lengths), 0)
        length = int(lengths[usable].max())
        arguments = self._arguments(name, usable)
        merged = tuple(self.device.from_host(a) for a in out)
        budget = self.budget // self.n_streams
        chunks = launch.plan(method, self.partition.points, tiles, launch.bytes_per_tile(length, sep), budget)
        device_lengths = self.device.from_host(lengths)
        streams = self.device.streams(self.n_streams)  # last: they wait for what was started before
        for i, chunk in enumerate(chunks):
            with streams[i % self.n_streams]:
                self._scan_chunk(method, chunk, arguments, length, device_lengths, k, sep, merged)
        self.device.synchronise()
        found = Peaks(*(self.device.to_host(a) for a in merged))
        if method.module not in SUMS:
            return found
        factor = np.where(found.index[:, 0] >= 0, self.lomb_scargle_facts(name)[:, 0], np.nan)
        return Peaks(found.value * factor[:, None], found.index, found.mean * factor, found.std * factor)

    def evaluate(self, name: str, freqs: np.ndarray, freq_offsets: np.ndarray) -> np.ndarray:
        """Return the float64 statistic of a method at ragged lists of frequencies, as the CPU's evaluators do.

        Parameters
        ----------
        name : str
        freqs : numpy.ndarray, shape (frequencies,), float64
        freq_offsets : numpy.ndarray, shape (n + 1,), int64
            Light curve i is evaluated at ``freqs[freq_offsets[i]:freq_offsets[i + 1]]``.

        Returns
        -------
        numpy.ndarray, shape (frequencies,), float64
            On the host; conditional entropy is not negated.
        """
        module = self.methods[name].module
        item = np.repeat(np.arange(len(self.partition), dtype=np.int32), np.diff(freq_offsets))
        arguments = self._exact_arguments(name)
        n_bins = int(arguments[-1]) if module == "boxes" else 0
        most = max(self.budget // (16 * n_bins + 32), 1)
        parts = [
            self._evaluate(module, arguments, n_bins, item[i : i + most], freqs[i : i + most])
            for i in range(0, len(freqs), most)
        ]
        return np.concatenate([*parts, np.empty(0)])

    def _evaluate(
        self, module: str, arguments: tuple[Any, ...], n_bins: int, item: np.ndarray, freqs: np.ndarray
    ) -> np.ndarray:
        """Evaluate light curves `item` at `freqs`; `n_bins` pairs of sums per frequency need room on the device."""
        out, n = self.device.xp.empty(len(freqs)), np.int64(len(freqs))
        room = (self.device.xp.empty(2 * n_bins * len(freqs)),) if n_bins else ()
        where = (self.device.from_host(item), self.device.from_host(np.asarray(freqs, np.float64)))
        file, per_block, threads = "exact", launch.EXACT_THREADS, launch.EXACT_THREADS
        if module == "multiharmonic":  # a block is one frequency
            file, per_block, threads = module, 1, self.methods["MHAOV"].threads
        blocks = -(-len(freqs) // per_block)
        self.device.launch(file, f"exact_{module}", blocks, threads, *arguments, *room, *where, n, out)
        return self.device.to_host(out)

    def _exact_arguments(self, name: str) -> tuple[Any, ...]:
        """Return the arguments of a method's float64 kernel before the list of frequencies."""
        p, module = self.partition, self.methods[name].module
        usable = self._flags(p.usable(self.methods[name]))
        if module in SUMS:
            t, weight, strength, _, _, facts, _ = self._prepared_sums(name)
            which = self.n_harmonics if module == "multiharmonic" else name == "LS"
            return t, weight, strength, p.offsets, facts, np.int32(which)
        if module == "entropy":
            return p.hjd, p.mag, p.offsets, p.extents, usable, np.int32(name == "ECE"), self.table
        if module == "aov":
            return p.hjd, p.mag, p.offsets, p.extents, usable
        n_bins, least = self.boxes.n_bins if name == "BLS" else PHASE_BINS, launch.NEARLY * self.boxes.min_points
        curves = (p.hjd, p.mag, p.magerr, p.offsets, p.extents, usable)
        return *curves, np.float64(least), *self._widths(name), np.int32(n_bins)

    def lomb_scargle_facts(self, name: str) -> np.ndarray:
        """Return, per light curve, the factor of the power and the standard deviation of the times, shape (n, 2)."""
        return self.device.to_host(self._prepared_sums(name)[5])

    def _scan_chunk(
        self,
        method: launch.Method,
        chunk: launch.Chunk,
        arguments: tuple[Any, ...],
        length: int,
        lengths: Any,
        k: int,
        sep: int,
        merged: tuple[Any, ...],
    ) -> None:
        """Start the scan and the merging of a chunk on the current stream."""
        xp, blocks, reach = self.device.xp, chunk.blocks, max(sep, 1) - 1
        room = launch.peaks_per_tile(length, sep)
        curves, first_tile = self.device.from_host(chunk.curves), self.device.from_host(chunk.first_tile)
        block = xp.arange(blocks)
        row = xp.searchsorted(first_tile, block, side="right") - 1
        work_tile = (block - first_tile[row]).astype(np.int32)
        work_curve = curves[row]
        keys, counts = xp.empty(blocks * room, np.uint64), xp.empty(blocks, np.int32)
        edges, moments = xp.empty(max(2 * blocks * reach, 1), np.float32), xp.empty(3 * blocks)
        output = (keys, counts, edges, moments, np.int32(room), np.int32(reach))
        grid = (self.fmin, self.df, self.size, self.masked, np.int32(len(self.grid.windows)))
        every = (work_curve, work_tile, *arguments, *grid, *output)
        shared = launch.box_bytes(self.boxes) if chunk.kernel == "box_scan" else 0
        self.device.launch(method.module, chunk.kernel, blocks, method.threads, *every, shared=shared)
        last = (curves, first_tile, lengths, self.size, *output, np.int32(k), *merged)
        self.device.launch("peaks", "merge_peaks", len(chunk.curves), 256, *last)

    def _arguments(self, name: str, usable: np.ndarray) -> tuple[Any, ...]:
        """Prepare the light curves for a method; return its kernel's arguments between work list and grid."""
        module = self.methods[name].module
        if module == "entropy":
            return self._prepared_entropy(name == "ECE", usable)
        if module == "aov":
            return self._prepared_aov(usable)
        if module == "boxes":
            return self._prepared_boxes(name, usable)
        t, weight, strength, point, half_step, _, steps = self._prepared_sums(name)
        if module == "multiharmonic":
            return self.partition.offsets, t, weight, strength, point, half_step
        taps = self.device.from_host(launch.filter_taps().ravel())
        return self.partition.offsets, t, weight, strength, point, half_step, steps, taps

    def _prepared_entropy(self, rescaled: bool, usable: np.ndarray) -> tuple[Any, ...]:
        xp, p = self.device.xp, self.partition
        offsets = launch.sorted_offsets(np.concatenate([[0], np.cumsum(p.points)]))
        room, n = int(offsets[-1]) + launch.SEGMENT_ROOM, len(p)
        place = self.device.from_host(offsets.astype(np.int64))
        t, step = xp.zeros(room), xp.zeros(room, np.uint32)
        bounds, coefficients = xp.zeros((n, 20), np.int32), xp.zeros((n, launch.SMALL_COUNTS), np.uint32)
        scales = xp.zeros(n)
        given = (p.hjd, p.mag, p.offsets, np.int32(n), p.extents, self._flags(usable), self.df, np.int32(rescaled))
        self._per_curve("prepare_entropy", *given, self.table, place, t, step, bounds, coefficients, scales)
        return place, t, step, bounds, coefficients, scales, self.table

    def _prepared_aov(self, usable: np.ndarray) -> tuple[Any, ...]:
        xp, p = self.device.xp, self.partition
        n, points = len(p), len(p.hjd)
        t, step, value = xp.zeros(points), xp.zeros(points, np.uint32), xp.zeros(points, np.uint32)
        sums = xp.zeros((n, 2))
        given = (p.hjd, p.mag, p.offsets, np.int32(n), p.extents, self._flags(usable), self.df)
        self._per_curve("prepare_aov", *given, t, step, value, sums)
        return p.offsets, t, step, value, sums

    def _prepared_boxes(self, name: str, usable: np.ndarray) -> tuple[Any, ...]:
        xp, p = self.device.xp, self.partition
        n, points = len(p), len(p.hjd)
        t, step, factors = xp.zeros(points), xp.zeros(points, np.uint32), xp.zeros(n)
        weight, strength = xp.zeros(points, np.int32), xp.zeros(points, np.int32)
        given = (p.hjd, p.mag, p.magerr, p.offsets, np.int32(n), p.extents, self._flags(usable), self.df)
        self._per_curve("prepare_boxes", *given, t, step, weight, strength, factors)
        ready = (p.offsets, t, step, weight, strength, factors)
        if name == "FPW":
            return ready
        least = launch.NEARLY * self.boxes.min_points / np.maximum(p.points, 1) * 2.0**30
        return *ready, self.device.from_host(least), *self._widths(name), np.int32(self.boxes.n_bins)

    def _widths(self, name: str) -> tuple[Any, np.int32]:
        widths = np.asarray(self.boxes.widths if name == "BLS" else [], np.int32)
        return self.device.from_host(np.append(widths, np.int32(0))), np.int32(len(widths))

    def _prepared_sums(self, name: str) -> tuple[Any, ...]:
        """Prepare the light curves for sums over their points; MHAOV makes them at every grid point."""
        if name in self._weighted:
            return self._weighted[name]
        xp, p = self.device.xp, self.partition
        n, points = len(p), len(p.hjd)
        t, weight, strength = xp.zeros(points), xp.zeros(points), xp.zeros(points)
        point, half_step = xp.zeros(4 * points, np.float32), xp.zeros(points, np.uint32)
        steps = self.device.from_host(np.ones(n, np.int32) if name == "MHAOV" else self._steps())
        facts, gain = xp.zeros((n, 2)), cpu.tables().gain
        usable = self._flags(p.usable(self.methods[name]))
        given = (p.hjd, p.mag, p.magerr, p.offsets, np.int32(n), p.extents, usable, self.df, np.int32(name != "ELS"))
        tables = (self.device.from_host(gain), np.int32(len(gain)), np.float64(cpu._REACH), steps)
        self._per_curve("prepare_lombscargle", *given, *tables, t, weight, strength, point, half_step, facts)
        self._weighted[name] = (t, weight, strength, point, half_step, facts, steps)
        return self._weighted[name]

    def _masked(self) -> Any:
        windows = self.grid.windows[np.argsort(self.grid.windows[:, 0])]
        n = len(self.partition)
        masked = self.device.xp.zeros(max(2 * n * len(windows), 1), np.int64)
        device_windows = self.device.from_host(np.append(windows.ravel(), 0.0))
        given = (self.fmin, self.df, self.size, np.int32(n), device_windows, np.int32(len(windows)))
        self._per_curve("mask_windows", *given, masked)
        return masked

    def _per_curve(self, kernel: str, *arguments: Any) -> None:
        self.device.launch("prepare", kernel, -(-len(self.partition) // THREADS), THREADS, *arguments)

    def _flags(self, usable: np.ndarray) -> Any:
        return self.device.from_host(usable.astype(np.int32))

    def _steps(self) -> np.ndarray:
        extents = self.partition.host_extents
        return launch.steps_per_sample(self.grid.df, extents[:, 1] - extents[:, 0])

    def _tile_lengths(self, name: str) -> np.ndarray:
        fixed = self.methods[name].tile
        if fixed:
            return np.full(len(self.partition), fixed, np.int32)
        return launch.INTERVALS * self._steps()
