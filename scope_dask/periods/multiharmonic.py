"""Periodograms of a mean and H harmonics on long regular grids, reduced to peaks while they are computed.

As in `scope_dask.periods.lombscargle`, the sums ``S(f) = Σ a_i exp(2πi f t_i)`` are made every few grid steps in
single precision and interpolated; here the sums of the data are needed at k f for k ≤ H, those of the weights for
k ≤ 2 H. Products of sines and cosines are sums of such sums, so that these give the normal equations of the 2 H
columns about their means. They are solved by elimination, sixteen frequencies in the lanes: with L D Lᵀ = A and
L z = b, the reduction of χ² is ``bᵀ A⁻¹ b = Σ z_k² / D_k``. Where a pivot D_k is small the columns nearly coincide,
and single precision is not enough: those frequencies are evaluated in float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float32

from scope_dask.compiled import jit
from scope_dask.periods import exact_multiharmonic as exact
from scope_dask.periods import lombscargle, nufft, peaks
from scope_dask.periods.exact_lombscargle import cos_sin, longest
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.lanes import WIDTH, load, splat, store, transpose, where_less
from scope_dask.periods.lombscargle import BEFORE, BLOCK, MOST_STEPS, TRANSFORM, Tables
from scope_dask.periods.nufft import ROW
from scope_dask.periods.options import check_harmonics

ROWS = TRANSFORM // 2  # samples of a transform
PART = 4  # samples that are interpolated at a time: their sums stay in the nearest cache
SMALLEST_PIVOT = 0.1  # a smaller one (of at most 1) needs float64


class Room(NamedTuple):
    """Working arrays of one call (their sizes depend on the longest light curve, not on the grid)."""

    exact: exact.Room
    points: nufft.Points
    gain: np.ndarray  # (points,)
    strength: np.ndarray  # (2, points) float32
    turns: np.ndarray  # (2 H, points * 32): phases of the lanes relative to lane 0, at k f
    grid: np.ndarray  # rows of the transform
    data: np.ndarray  # rows of the sums of the data: k ROWS of them at k f, from row k (k − 1)/2 ROWS on
    window: np.ndarray  # the same of the weights
    sums: np.ndarray  # (PART * MOST_STEPS * 6 H * 16,): interpolated sums at f … H f and at f … 2 H f
    matrix: np.ndarray  # rows of 16 lanes: see _solve
    block: np.ndarray  # (BLOCK * MOST_STEPS * 16,): powers of BLOCK samples
    power: np.ndarray  # powers of a group of 16 runs


def _new_room(n: int, n_harmonics: int) -> Room:
    columns = 2 * n_harmonics
    return Room(
        exact.new_room(n, n_harmonics),
        nufft.Points(np.empty(n, np.int64), np.empty((n, nufft.TAPS), np.float32)),
        np.empty(n),
        np.empty((2, n), np.float32),
        np.empty((columns, n * ROW), np.float32),
        np.empty((TRANSFORM + nufft.TAPS) * ROW, np.float32),
        np.empty(_first_row(n_harmonics + 1) * ROW, np.float32),
        np.empty(_first_row(columns + 1) * ROW, np.float32),
        np.empty(PART * MOST_STEPS * 3 * columns * WIDTH, np.float32),
        np.empty(2 * (columns + 1) ** 2 * WIDTH, np.float32),
        np.empty(BLOCK * MOST_STEPS * WIDTH, np.float32),
        np.empty(ROWS * WIDTH * MOST_STEPS, np.float32),
    )


@jit()
def _first_row(k: int) -> int:
    """Return where the samples at k f begin in `Room.data` and `Room.window`."""
    return k * (k - 1) // 2 * ROWS


@jit(fastmath={"contract"})
def _turns(room: Room, n: int, spacing: float, run: int, n_harmonics: int) -> None:
    """Set the turns from lane to lane, which do not change from group to group."""
    for k in range(2 * n_harmonics):
        for l in range(WIDTH):
            lag = (k + 1) * l * run * spacing
            for i in range(n):
                c, s = cos_sin(room.exact.curve.time[i] * lag)
                room.turns[k, i * ROW + l] = c
                room.turns[k, i * ROW + l + WIDTH] = s


@jit()
def _samples(room: Room, plan: nufft.Plan, n: int, fmin: float, spacing: float, first: int, n_harmonics: int) -> None:
    """Set the sums at k times the frequency of sample `first` (of lane 0), BEFORE samples earlier, and on."""
    curve, strength, grid = room.exact.curve, room.strength, room.grid
    for k in range(1, 2 * n_harmonics + 1):
        turn = room.turns[k - 1]
        for part in range(k):
            middle = k * fmin + (k * first - BEFORE + ROWS // 2 + part * ROWS) * spacing
            row = _first_row(k) + part * ROWS
            lombscargle.strengths(curve.time, curve.weight, room.gain, n, middle, strength)
            nufft.transform(plan, room.points, strength, turn, n, grid, room.window, row)
            if k <= n_harmonics:
                lombscargle.strengths(curve.time, curve.strength, room.gain, n, middle, strength)
                nufft.transform(plan, room.points, strength, turn, n, grid, room.data, row)


@jit(fastmath={"contract"})
def _interpolate(
    rows: np.ndarray, start: int, taps: np.ndarray, k: int, steps: int, out: np.ndarray, at: int, stride: int
) -> None:
    """Write the sums at k f for the grid points of PART samples; the rows around the first one begin at `start`."""
    for r in range(steps):
        a0 = splat(taps[k - 1, r, 0])
        a1 = splat(taps[k - 1, r, 1])
        a2 = splat(taps[k - 1, r, 2])
        a3 = splat(taps[k - 1, r, 3])
        a4 = splat(taps[k - 1, r, 4])
        a5 = splat(taps[k - 1, r, 5])
        a6 = splat(taps[k - 1, r, 6])
        a7 = splat(taps[k - 1, r, 7])
        i = start + k * r // steps * ROW
        o = at + r * stride
        for _ in range(PART):
            y = a0 * load(rows, i) + a1 * load(rows, i + ROW)
            z = a2 * load(rows, i + 2 * ROW) + a3 * load(rows, i + 3 * ROW)
            y = y + a4 * load(rows, i + 4 * ROW) + a5 * load(rows, i + 5 * ROW)
            z = z + a6 * load(rows, i + 6 * ROW) + a7 * load(rows, i + 7 * ROW)
            store(out, o, y + z)
            i += k * ROW
            o += steps * stride


@jit()
def _all_sums(room: Room, taps: np.ndarray, q: int, steps: int, n_harmonics: int) -> None:
    """Interpolate all sums at the grid points of the samples q … q + PART − 1, in every lane."""
    stride = 6 * n_harmonics * WIDTH
    for k in range(1, 2 * n_harmonics + 1):
        start = (_first_row(k) + k * q) * ROW
        for part in range(2):
            i = start + part * WIDTH
            at = (2 * (k - 1) + part) * WIDTH
            if k <= n_harmonics:
                _interpolate(room.data, i, taps, k, steps, room.sums, at, stride)
            _interpolate(room.window, i, taps, k, steps, room.sums, at + 2 * n_harmonics * WIDTH, stride)


@jit(fastmath={"contract"})
def _normal_equations(sums: np.ndarray, i: int, n_harmonics: int, matrix: np.ndarray) -> None:
    """Write the covariances of cos φ, sin φ, cos 2φ, … (lower triangle) and, as the last row, those with the data."""
    half = splat(float32(0.5))
    row = (2 * n_harmonics + 1) * WIDTH
    window = i + 2 * (n_harmonics - 1) * WIDTH  # of k = 0
    for j in range(1, n_harmonics + 1):
        cj = load(sums, window + 2 * j * WIDTH)
        sj = load(sums, window + (2 * j + 1) * WIDTH)
        for k in range(1, j + 1):
            at = (2 * j - 2) * row + (2 * k - 2) * WIDTH
            ck = load(sums, window + 2 * k * WIDTH)
            sk = load(sums, window + (2 * k + 1) * WIDTH)
            c = half * load(sums, window + 2 * (j + k) * WIDTH)
            s = half * load(sums, window + (2 * (j + k) + 1) * WIDTH)
            d = half
            e = half - half
            if k < j:
                d = half * load(sums, window + 2 * (j - k) * WIDTH)
                e = half * load(sums, window + (2 * (j - k) + 1) * WIDTH)
            store(matrix, at, d + c - cj * ck)
            store(matrix, at + WIDTH, s - e - cj * sk)
            store(matrix, at + row, s + e - sj * ck)
            store(matrix, at + row + WIDTH, d - c - sj * sk)
    for k in range(2 * n_harmonics):
        store(matrix, 2 * n_harmonics * row + k * WIDTH, load(sums, i + k * WIDTH))


@jit(fastmath={"contract"})
def _solve(matrix: np.ndarray, n: int, out: np.ndarray, at: int) -> None:
    """Eliminate the n × n `matrix`, of which the data are row n, and write the power; NaN where a pivot is small.

    A second matrix behind the first takes its rows over the pivots.
    """
    row = (n + 1) * WIDTH
    scaled = (n + 1) * row
    one = splat(float32(1))
    power = one - one
    low = one
    for i in range(n + 1):
        for j in range(min(i + 1, n)):
            x = load(matrix, i * row + j * WIDTH)
            for k in range(j):
                x = x - load(matrix, i * row + k * WIDTH) * load(matrix, scaled + j * row + k * WIDTH)
            store(matrix, i * row + j * WIDTH, x)
            if i == j:
                low = where_less(x, low, x, low)
                store(matrix, scaled + n * row + j * WIDTH, one / x)
            else:
                y = x * load(matrix, scaled + n * row + j * WIDTH)
                store(matrix, scaled + i * row + j * WIDTH, y)
                if i == n:
                    power = power + x * y
    store(out, at, where_less(low, splat(float32(SMALLEST_PIVOT)), splat(float32(np.nan)), power))


@jit()
def _group(room: Room, taps: np.ndarray, run: int, steps: int, n_harmonics: int) -> None:
    """Set ``room.power``: sixteen runs of ``run * steps`` powers, one after the other."""
    stride = 6 * n_harmonics * WIDTH
    for start in range(0, run, BLOCK):
        for q in range(0, BLOCK, PART):
            _all_sums(room, taps, start + q, steps, n_harmonics)
            for r in range(PART * steps):
                _normal_equations(room.sums, r * stride, n_harmonics, room.matrix)
                _solve(room.matrix, 2 * n_harmonics, room.block, (q * steps + r) * WIDTH)
        for r in range(0, BLOCK * steps, WIDTH):
            transpose(room.block, r * WIDTH, room.power, start * steps + r, run * steps)


@jit()
def _resolve(room: Room, n: int, count: int, first: int, fmin: float, df: float, n_harmonics: int) -> None:
    """Evaluate in float64 what is NaN among the `count` powers of the grid from index `first` on."""
    for start in range(0, count, 128):
        stop = min(start + 128, count)
        unknown = 0
        for i in range(start, stop):
            unknown += np.isnan(room.power[i])
        if unknown:
            for i in range(start, stop):
                if np.isnan(room.power[i]):
                    room.power[i] = exact.power(room.exact, n, fmin + (first + i) * df, n_harmonics, True)


@jit()
def _scan(
    room: Room,
    tables: Tables,
    n: int,
    baseline: float,
    fmin: float,
    df: float,
    size: int,
    n_harmonics: int,
    state: peaks.State,
    masked: np.ndarray,
) -> None:
    """Pass the powers of one light curve, in order, to `peaks.tile`."""
    steps = lombscargle.steps_per_sample(df, baseline)
    spacing = steps * df
    samples = (size + steps - 1) // steps
    longest_group = (ROWS - BLOCK) * WIDTH
    groups = (samples + longest_group - 1) // longest_group
    run = (samples + groups * WIDTH - 1) // (groups * WIDTH)
    run = (run + BLOCK - 1) // BLOCK * BLOCK
    taps = lombscargle.filters(steps, 2 * n_harmonics)
    time = room.exact.curve.time
    nufft.locate(room.points, time[:n], spacing, TRANSFORM)
    lombscargle.gains(time, n, spacing, steps, tables.gain, room.gain)
    _turns(room, n, spacing, run, n_harmonics)
    for first in range(0, samples, run * WIDTH):
        _samples(room, tables.plan, n, fmin, spacing, first, n_harmonics)
        _group(room, taps, run, steps, n_harmonics)
        count = min(run * WIDTH * steps, size - first * steps)
        _resolve(room, n, count, first * steps, fmin, df, n_harmonics)
        peaks.tile(state, room.power, count, masked)


@jit()
def _all_peaks(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    tables: Tables,
    sep: int,
    n_harmonics: int,
    room: Room,
    out: peaks.Peaks,
) -> None:
    state = peaks.new_state(out.value.shape[1], sep, room.power.size)
    masked = peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a = offsets[i]
        b = offsets[i + 1]
        baseline, factor = exact.prepare(room.exact, hjd[a:b], mag[a:b], magerr[a:b], n_harmonics, True)
        fmin = grid.fmin[i]
        df = grid.df[i]
        size = grid.size[i]
        if not factor > 0.0 or size < 1:
            continue
        peaks.reset(state)
        peaks.mask(fmin, df, size, grid.windows, masked)
        _scan(room, tables, b - a, baseline, fmin, df, size, n_harmonics, state, masked)
        out.mean[i], out.std[i] = peaks.finish(state, out.value[i], out.index[i])


def multiharmonic_peaks(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    k: int,
    sep: int,
    n_harmonics: int,
) -> peaks.Peaks:
    """Return the best peaks and the moments of the multi-harmonic periodogram of every light curve on its grid.

    Parameters
    ----------
    hjd, mag, magerr : numpy.ndarray, shape (points,), float64
        Times in days, magnitudes and their errors of all light curves, end to end.
    offsets : numpy.ndarray, shape (n + 1,), int64
        Light curve i holds the points ``offsets[i]:offsets[i + 1]``.
    grid : FrequencyGrid
        Frequencies of every light curve in cycles/day.
    k : int
        Peaks kept of each light curve.
    sep : int
        Distance of distinct peaks in grid steps.
    n_harmonics : int
        H, from 1 to 5.

    Returns
    -------
    peaks.Peaks
        Of the powers of `scope_dask.periods.exact_multiharmonic.multiharmonic`, in single precision. The peaks in the
        same order have the values ``analysis_of_variance(value, …)``; moments are those of the power. A light curve
        without a periodogram has no peaks (index −1, NaN).

    Raises
    ------
    OptionError
        If there is no such number of harmonics.
    """
    check_harmonics(n_harmonics)
    out = peaks.no_peaks(len(offsets) - 1, k)
    room = _new_room(longest(offsets), n_harmonics)
    _all_peaks(hjd, mag, magerr, offsets, grid, lombscargle.tables(), sep, int(n_harmonics), room, out)
    return out
