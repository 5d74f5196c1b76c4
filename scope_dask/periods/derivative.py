"""Period search by folding with a changing period: the scans of `folding` and `aov` for a list of period derivatives.

With the period P + Ṗ (t − t0), t0 the first point, the phase is ``f τ − ½ Ṗ f² τ²`` to first order in Ṗ, with
τ = t − t0 and f = 1/P: the fold at f of the times ``τ − ½ Ṗ f τ²`` (see `straightened`). Within a tile of frequencies
around fc it is linear in f, of slope ``τ − Ṗ fc τ²``, but for ``½ Ṗ τ² (f − fc)²``: below 1e-7 cycle for Ṗ = 1e-10,
five years and ten grid points per peak. So only the phases and the steps that a tile starts with depend on Ṗ; the tile
itself is the same, and the time is that of the scan times the number of derivatives.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import int64, uint32

from scope_dask.compiled import jit
from scope_dask.periods import aov, folding, peaks
from scope_dask.periods.bins import longest_curve, usable
from scope_dask.periods.bitsliced import LANES
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.peaks import Peaks


class DerivativePeaks(NamedTuple):
    """Peaks and moments over frequencies and period derivatives of n light curves.

    Attributes
    ----------
    value, index : numpy.ndarray, shape (n, k)
        As of `peaks.Peaks`: the best peaks, distinct in frequency.
    pdot : numpy.ndarray, shape (n, k), float64
        Their period derivatives (days per day), NaN where there is no peak.
    mean, std : numpy.ndarray, shape (n,), float64
        Over all unmasked frequencies and all derivatives.
    """

    value: np.ndarray
    index: np.ndarray  # type: ignore[assignment]  # hides tuple.index
    pdot: np.ndarray
    mean: np.ndarray
    std: np.ndarray


def conditional_entropy_derivative_peaks(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    pdots: np.ndarray,
    k: int,
    sep: int,
    rescaled: bool,
) -> DerivativePeaks:
    """Return the deepest minima of the conditional entropy over frequencies and period derivatives.

    Parameters
    ----------
    hjd, mag, offsets, grid, k, sep, rescaled
        As in `folding.conditional_entropy_peaks`, which this is for ``pdots = [0]``.
    pdots : numpy.ndarray, shape (derivatives,), float64
        Trial derivatives; of equal values the first is taken.

    Returns
    -------
    DerivativePeaks
        Of −H: best first.
    """
    pdots = np.ascontiguousarray(pdots, np.float64)
    layers = peaks.no_peaks((len(offsets) - 1) * len(pdots), k)
    _scan_entropy(hjd, mag, offsets, grid, pdots, sep, rescaled, layers)
    return _merged(layers, pdots, sep)


def aov_derivative_peaks(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    pdots: np.ndarray,
    k: int,
    sep: int,
) -> DerivativePeaks:
    """Return the highest peaks of the analysis of variance over frequencies and period derivatives.

    Parameters
    ----------
    hjd, mag, offsets, grid, k, sep
        As in `aov.aov_peaks`, which this is for ``pdots = [0]``.
    pdots : numpy.ndarray, shape (derivatives,), float64
        Trial derivatives; of equal values the first is taken.

    Returns
    -------
    DerivativePeaks
    """
    pdots = np.ascontiguousarray(pdots, np.float64)
    layers = peaks.no_peaks((len(offsets) - 1) * len(pdots), k)
    _scan_aov(hjd, mag, offsets, grid, pdots, sep, layers)
    return _merged(layers, pdots, sep)


def straightened(hjd: np.ndarray, offsets: np.ndarray, frequency: np.ndarray, pdot: np.ndarray) -> np.ndarray:
    """Return the times whose fold at a constant frequency is that of the changing period.

    Parameters
    ----------
    hjd : numpy.ndarray, shape (points,), float64
        Times in days.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    frequency, pdot : numpy.ndarray, shape (n,), float64
        Frequency at the first point, cycles/day, and period derivative of every light curve.

    Returns
    -------
    numpy.ndarray, shape (points,), float64
        ``hjd − ½ Ṗ f τ²``, of use for this very frequency only.
    """
    length = np.diff(offsets)
    start = np.zeros(len(length))
    filled = length > 0
    if filled.any():
        start[filled] = np.minimum.reduceat(hjd, offsets[:-1][filled])
    tau = hjd - np.repeat(start, length)
    return np.asarray(hjd - np.repeat(0.5 * np.asarray(pdot) * frequency, length) * tau**2)


@jit()
def _anchor(t: np.ndarray, n: int, f: float, df: float, pdot: float, steps: np.ndarray, phases: np.ndarray) -> None:
    """Write steps and phases of a tile with the centre `f`, as `bitsliced.phase_steps` and `bitsliced.anchor`."""
    for i in range(n):
        late = pdot * f * t[i] * t[i]
        x = df * (t[i] - late)
        x -= np.floor(x)
        steps[i] = uint32(int64(x * 4294967296.0 + 0.5))
        x = f * t[i] - 0.5 * f * late
        x -= np.floor(x)
        phases[i] = uint32(int64(x * 4294967296.0) - int64(steps[i]) * (LANES // 2))


@jit()
def _scan_entropy(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    pdots: np.ndarray,
    sep: int,
    rescaled: bool,
    out: Peaks,
) -> None:
    """Scan light curve i with derivative d into row ``i * pdots.size + d``; see `folding`."""
    room = folding.new_room(longest_curve(offsets))
    state, masked = peaks.new_state(out.value.shape[1], sep, LANES), peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if grid.size[i] == 0 or not usable(hjd[a:b], mag[a:b]):
            continue
        n = folding.prepare(room, hjd[a:b], mag[a:b], rescaled)
        peaks.mask(grid.fmin[i], grid.df[i], grid.size[i], grid.windows, masked)
        for d in range(pdots.size):
            peaks.reset(state)
            for first in range(0, grid.size[i], LANES):
                f = grid.fmin[i] + grid.df[i] * (first + LANES // 2)
                _anchor(room.t, n, f, grid.df[i], pdots[d], room.steps, room.phases)
                folding.entropy_tile(room)
                peaks.tile(state, room.x, min(LANES, grid.size[i] - first), masked)
            row = i * pdots.size + d
            out.mean[row], out.std[row] = peaks.finish(state, out.value[row], out.index[row])


@jit()
def _scan_aov(
    hjd: np.ndarray,
    mag: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    pdots: np.ndarray,
    sep: int,
    out: Peaks,
) -> None:
    """Scan light curve i with derivative d into row ``i * pdots.size + d``; see `aov`."""
    room = aov.new_room(longest_curve(offsets))
    state, masked = peaks.new_state(out.value.shape[1], sep, LANES), peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a, b = offsets[i], offsets[i + 1]
        if grid.size[i] == 0 or not aov.can_be_handled(hjd[a:b], mag[a:b]):
            continue
        aov.prepare(room, hjd[a:b], mag[a:b])
        peaks.mask(grid.fmin[i], grid.df[i], grid.size[i], grid.windows, masked)
        for d in range(pdots.size):
            peaks.reset(state)
            for first in range(0, grid.size[i], LANES):
                f = grid.fmin[i] + grid.df[i] * (first + LANES // 2)
                _anchor(room.t, b - a, f, grid.df[i], pdots[d], room.steps, room.phases)
                aov.variance_tile(room)
                peaks.tile(state, room.x, min(LANES, grid.size[i] - first), masked)
            row = i * pdots.size + d
            out.mean[row], out.std[row] = peaks.finish(state, out.value[row], out.index[row])


def _merged(layers: Peaks, pdots: np.ndarray, sep: int) -> DerivativePeaks:
    """Return the best peaks of all derivatives of each light curve, and the moments of all values."""
    n, k = len(layers.value) // max(len(pdots), 1), layers.value.shape[1]
    none = peaks.no_peaks(n, k)
    out = DerivativePeaks(none.value, none.index, np.full((n, k), np.nan), none.mean, none.std)
    if len(pdots) == 0:
        return out
    _merge(layers.value, layers.index, pdots, sep, out.value, out.index, out.pdot)
    mean, std = layers.mean.reshape(n, -1), layers.std.reshape(n, -1)
    spread = np.sqrt((std**2).mean(1) + mean.var(1))
    return out._replace(mean=mean.mean(1), std=spread)


@jit()
def _merge(
    values: np.ndarray,
    indices: np.ndarray,
    pdots: np.ndarray,
    sep: int,
    value: np.ndarray,
    index: np.ndarray,
    pdot: np.ndarray,
) -> None:
    """Keep peaks, best first, that are `sep` grid steps from every better one, whatever their derivatives."""
    n, k = value.shape
    for i in range(n):
        rows = slice(i * pdots.size, (i + 1) * pdots.size)
        of_layers = values[rows].ravel()
        at = indices[rows].ravel()
        kept = 0
        for c in np.argsort(-of_layers, kind="mergesort"):  # NaN last, equal values in their order
            if kept == k or at[c] < 0:
                break
            if kept == 0 or np.abs(index[i, :kept] - at[c]).min() >= sep:
                value[i, kept] = of_layers[c]
                index[i, kept] = at[c]
                pdot[i, kept] = pdots[c // k]
                kept += 1
