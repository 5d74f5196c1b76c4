"""How a partition is cut into launches: methods and their kernels, tiles, chunks within a byte budget, tables.

Everything here is plain NumPy on numbers of points and frequencies.

BLS and FPW use weights w = 1/σ² of sum 1 and y = mag − Σ w mag:

BLS
    Box least squares: over all boxes (runs of phase bins, around the end too) in which the star is fainter, and which
    hold and leave outside a least weight, the largest s²/(r (1 − r))/Σ w y² with r = Σ w and s = Σ w y in the box: the
    share of χ² that the box explains (Kovács, Zucker & Mazeh 2002).
FPW
    Weighted phase folding: Σ_b (Σ_b w y)²/Σ_b w over 20 phase bins b, relative to Σ w y²: the share of χ² that the
    weighted means of the bins explain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from scope_dask.errors import OptionError
from scope_dask.periods import lombscargle as cpu
from scope_dask.periods.options import check_harmonics

DEFAULT_BUDGET = 2 << 30
MOST_PEAKS = 1024  # a light curve
MOST_BLOCKS = 2**31 - 1  # of a launch
INTERVALS = 249  # between the samples of a tile (lombscargle.cu)
ALIGN, SEGMENT_ROOM = 2, 12  # of points sorted by magnitude bin (common.cuh)
SMALL_COUNTS = 64
BOX_TILE = 16
MOST_BOX_BINS = 300  # that fit into shared memory
NEARLY = 0.999  # of a least weight is enough: equal weights meet it whatever the rounding
THREADS = 128  # of the kernels with a thread per light curve
EXACT_THREADS = 32


class BoxShapes(Protocol):
    """Which boxes BLS tries: number of phase bins, widths in bins (ascending), least points inside and outside."""

    @property
    def n_bins(self) -> int: ...

    @property
    def widths(self) -> np.ndarray: ...

    @property
    def min_points(self) -> float: ...


@dataclass(frozen=True, slots=True)
class DefaultBoxes:
    """Boxes from 1 % to 15 % of the period."""

    n_bins: int = 200
    widths: np.ndarray = field(default_factory=lambda: np.array([2, 3, 4, 6, 9, 14, 20, 30]))
    min_points: float = 5.0


@dataclass(frozen=True, slots=True)
class Method:
    """How the scan of a method is launched.

    Attributes
    ----------
    module : str
        The ``.cu`` file.
    kernels : tuple of (int, str)
        Largest number of points, and the kernel for it, ascending.
    threads : int
        Of a block.
    tile : int
        Grid points of a block; 0 for Lomb-Scargle, whose tiles are ``INTERVALS`` times the steps of the light curve.
    least : int
        Points that a light curve needs.
    weighted : bool
        Are the errors used?
    """

    module: str
    kernels: tuple[tuple[int, str], ...]
    threads: int
    tile: int
    least: int
    weighted: bool = False


_ENTROPY = Method(
    "entropy",
    ((2**9 - 1, "entropy_scan_9"), (2**13 - 1, "entropy_scan_13"), (2**24 - 1, "entropy_scan_24")),
    512,
    512,
    4,
)
_AOV = Method("aov", ((1023, "aov_scan_short"), (2**24 - 1, "aov_scan_long")), 256, 512, 21)
METHODS = {
    "LS": Method("lombscargle", ((2**31 - 1, "lomb_scargle_scan_floating"),), 128, 0, 4, weighted=True),
    "ELS": Method("lombscargle", ((2**31 - 1, "lomb_scargle_scan_plain"),), 128, 0, 4),
    "CE": _ENTROPY,
    "ECE": _ENTROPY,
    "AOV": _AOV,
    "EAOV": _AOV,
    "FPW": Method("boxes", ((2**31 - 1, "model_scan"),), 256, 256, 21, weighted=True),
    "BLS": Method("boxes", ((2**31 - 1, "box_scan"),), 256, BOX_TILE, 4, weighted=True),
    "MHAOV": Method("multiharmonic", ((2**31 - 1, "multiharmonic_scan_3"),), 128, 256, 8, weighted=True),
}


def methods(n_harmonics: int) -> dict[str, Method]:
    """Return `METHODS` with MHAOV of this number of harmonics.

    Raises
    ------
    OptionError
        If there is no such number of harmonics.
    """
    check_harmonics(n_harmonics)
    kernels = ((2**31 - 1, f"multiharmonic_scan_{n_harmonics}"),)
    return METHODS | {"MHAOV": replace(METHODS["MHAOV"], kernels=kernels, least=2 * n_harmonics + 2)}


@dataclass(frozen=True, slots=True)
class Chunk:
    """The light curves of one launch.

    Attributes
    ----------
    kernel : str
    curves : numpy.ndarray, shape (rows,), int32
    first_tile : numpy.ndarray, shape (rows + 1,), int64
        Blocks ``first_tile[r]:first_tile[r + 1]`` are the tiles of ``curves[r]``.
    """

    kernel: str
    curves: np.ndarray
    first_tile: np.ndarray

    @property
    def blocks(self) -> int:
        """Number of blocks of the launch."""
        return int(self.first_tile[-1])


def check(k: int, sep: int, tile_length: np.ndarray) -> None:
    """Refuse what the kernels cannot do.

    Raises
    ------
    OptionError
        If more peaks are wanted than the selection holds, or peaks further apart than a tile.
    """
    if k > MOST_PEAKS:
        raise OptionError(f"top_n_periods is {k}; a search on the GPU keeps {MOST_PEAKS} at most")
    shortest = int(tile_length.min(initial=2**31 - 1))
    if sep - 1 > shortest:
        raise OptionError(
            f"peaks are to be {sep} grid steps apart; on the GPU, {shortest + 1} is the most for this method"
        )


def box_bytes(boxes: BoxShapes) -> int:
    """Return the bytes of shared memory that BLS needs for its sums.

    Raises
    ------
    OptionError
        If they are more than there are.
    """
    if boxes.n_bins > MOST_BOX_BINS:
        raise OptionError(f"n_bins is {boxes.n_bins}; box least squares on the GPU takes {MOST_BOX_BINS} at most")
    return 2 * BOX_TILE * (boxes.n_bins + 1) * 4


def peaks_per_tile(tile_length: int, sep: int) -> int:
    """Return how many peaks, `sep` steps apart, a tile can have."""
    return -(-tile_length // max(sep, 1))


def bytes_per_tile(tile_length: int, sep: int) -> int:
    """Return the bytes that a tile needs on the device until its light curve's peaks are merged.

    Its peaks (8 each), values at its edges (4 each), moments (24), number of peaks (4), its place in the work list (8),
    and what building the work list needs in passing (24).
    """
    return 8 * peaks_per_tile(tile_length, sep) + 8 * (max(sep, 1) - 1) + 24 + 4 + 8 + 24


def plan(method: Method, points: np.ndarray, tiles: np.ndarray, tile_bytes: int, budget: int) -> Iterator[Chunk]:
    """Cut the light curves that have tiles into launches of at most `budget` bytes.

    Parameters
    ----------
    method : Method
    points, tiles : numpy.ndarray, shape (n,), int64
        Numbers of points and of tiles of the light curves; no tiles: not to be scanned.
    tile_bytes : int
        As `bytes_per_tile`.
    budget : int
        Bytes. A single light curve that needs more has a launch of its own.

    Yields
    ------
    Chunk

    Raises
    ------
    OptionError
        If a light curve has more points than the method's kernels can count.
    """
    if np.any((points > method.kernels[-1][0]) & (tiles > 0)):
        raise OptionError(
            f"a light curve has {points.max():,} points; this method takes {method.kernels[-1][0]:,} at most"
        )
    most = min(max(budget // tile_bytes, 1), MOST_BLOCKS)
    low = -1
    for high, kernel in method.kernels:
        rows = np.flatnonzero((points > low) & (points <= high) & (tiles > 0))
        low = high
        end = np.cumsum(tiles[rows])
        start = 0
        while start < len(rows):
            before = end[start] - tiles[rows[start]]
            stop = max(int(np.searchsorted(end, before + most, side="right")), start + 1)
            first_tile = np.concatenate([[0], end[start:stop] - before]).astype(np.int64)
            yield Chunk(kernel, rows[start:stop].astype(np.int32), first_tile)
            start = stop


def sorted_offsets(offsets: np.ndarray) -> np.ndarray:
    """Return where each light curve's points, sorted by magnitude bin, begin (aligned, with gaps), shape (n + 1,)."""
    return (offsets + SEGMENT_ROOM * np.arange(len(offsets)) + ALIGN - 1) // ALIGN * ALIGN


def n_log_n(longest: int) -> np.ndarray:
    """Return n ln n for the counts 0 … `longest` (at least all that are tabulated as coefficients)."""
    n = np.arange(max(longest, SMALL_COUNTS - 1) + 1, dtype=np.float64)
    return n * np.log(np.maximum(n, 1.0))


def filter_taps() -> np.ndarray:
    """Return the interpolation filters of Lomb-Scargle, shape (MOST_STEPS + 1, 2, MOST_STEPS, TAPS), float32.

    ``[s, k, r]`` are the taps at (k + 1) r/s sample distances, less its integer part; as in the scan on the CPU.
    """
    before = cpu.TAPS // 2 - 1
    taps = np.zeros((cpu.MOST_STEPS + 1, 2, cpu.MOST_STEPS, cpu.TAPS))
    taps[1, :, 0, before] = 1.0  # the samples are the grid
    for steps in range(2, cpu.MOST_STEPS + 1):
        x = np.multiply.outer([1, 2], np.arange(steps)) / steps
        z = ((x - np.floor(x))[..., None] - (np.arange(cpu.TAPS) - before)) * (2.0 / cpu.TAPS)
        taps[steps, :, :steps] = np.exp(cpu._BETA * (np.sqrt(np.maximum(1.0 - z * z, 0.0)) - 1.0))
    return taps.astype(np.float32)


def steps_per_sample(df: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return the grid steps between two samples of the sums of Lomb-Scargle, int32; 1 where there is no baseline."""
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.trunc(1.0 / (cpu.FINENESS * df * baseline))
    return np.clip(np.nan_to_num(steps, nan=1.0, posinf=1.0), 1, cpu.MOST_STEPS).astype(np.int32)
