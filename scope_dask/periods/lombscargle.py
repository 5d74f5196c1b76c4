"""Lomb-Scargle periodograms on long regular grids, reduced to peaks while they are computed.

All that is needed are sums ``S(f) = Σ a_i exp(2πi f t_i)``: of the data at f, of the weights at f and 2 f.
As |t| is at most half a baseline, S is band-limited, and a grid with ten points per peak holds ten times
too many of them. The sums are therefore made only every R grid steps (by `scope_dask.periods.nufft`, in
single precision with phases from float64) and interpolated with a filter of eight taps, whose damping is
undone in the strengths beforehand: the same scheme as in a non-uniform FFT, with frequency and time
exchanged.

The sixteen lanes of a row (`scope_dask.periods.lanes`) are sixteen consecutive runs of the grid, so that
transforms, filters and powers are all done for sixteen runs at once. Where sinusoid and mean nearly
coincide, single precision is not enough: those frequencies are evaluated in float64.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import float32

from scope_dask.compiled import jit
from scope_dask.periods import exact_lombscargle as exact
from scope_dask.periods import nufft, peaks
from scope_dask.periods.grid import FrequencyGrid
from scope_dask.periods.lanes import WIDTH, load, splat, store, transpose, where_less
from scope_dask.periods.nufft import ROW

TAPS = 8  # of the interpolation, at samples −3 … +4
BEFORE = TAPS // 2 - 1
FINENESS = 1.4  # samples per Nyquist interval 1/baseline, at least
_BETA = 0.97 * np.pi * TAPS * (1 - 0.5 / FINENESS)  # the kernel's shape
_REACH = 0.5 / FINENESS  # largest |time| in units of 1/sample distance
MOST_STEPS = 16  # grid steps per sample, at most
TRANSFORM = 1024  # rows of a transform
SUMS = 6  # real and imaginary parts of the sums of data, weights and weights at 2 f
BLOCK = 16  # samples that are interpolated between two transpositions
NEARLY_SINGULAR = 0.1  # a smaller variance (of at most 0.5) needs float64


class Tables(NamedTuple):
    """What depends on nothing.

    Attributes
    ----------
    plan : nufft.Plan
    gain : numpy.ndarray, float64
        Polynomial in (|time| / _REACH)² that undoes the damping of the interpolation, highest power first.
    """

    plan: nufft.Plan
    gain: np.ndarray


class Room(NamedTuple):
    """Working arrays of one call (their sizes depend on the longest light curve, not on the grid)."""

    curve: exact.Curve
    points: nufft.Points
    gain: np.ndarray  # (points,)
    strength: np.ndarray  # (2, points) float32
    turn: np.ndarray  # rows (points * 32,): phases of the lanes relative to lane 0
    turn2: np.ndarray  # the same at twice the frequency
    grid: np.ndarray  # rows of the transform
    data: np.ndarray  # rows of the sums of the data
    window: np.ndarray  # rows of the sums of the weights at f
    window2: np.ndarray  # rows of the sums of the weights at 2 f
    sums: np.ndarray  # (MOST_STEPS * SUMS * 16,): interpolated sums
    block: np.ndarray  # (BLOCK * MOST_STEPS * 16,): powers of BLOCK samples
    power: np.ndarray  # powers of a group of 16 runs


@functools.cache
def tables() -> Tables:
    """Return the tables of the scan."""
    x = np.polynomial.chebyshev.chebpts1(40) / 2 + 0.5
    damping = nufft.kernel_transform(np.sqrt(x) * _REACH, TAPS, _BETA)
    gain = np.polynomial.Polynomial.fit(x, 1 / damping, 11, domain=[0, 1], window=[0, 1])
    return Tables(nufft.plan(TRANSFORM), np.ascontiguousarray(gain.coef[::-1]))


@jit()
def _new_room(n: int) -> Room:
    rows = TRANSFORM // 2
    return Room(
        exact.new_curve(n),
        nufft.Points(np.empty(n, np.int64), np.empty((n, nufft.TAPS), np.float32)),
        np.empty(n),
        np.empty((2, n), np.float32),
        np.empty(n * ROW, np.float32),
        np.empty(n * ROW, np.float32),
        np.empty((TRANSFORM + nufft.TAPS) * ROW, np.float32),
        np.empty(rows * ROW, np.float32),
        np.empty(rows * ROW, np.float32),
        np.empty(2 * rows * ROW, np.float32),
        np.empty(MOST_STEPS * SUMS * WIDTH, np.float32),
        np.empty(BLOCK * MOST_STEPS * WIDTH, np.float32),
        np.empty(rows * WIDTH * MOST_STEPS, np.float32),
    )


@jit()
def filters(steps: int, harmonics: int) -> np.ndarray:
    """Return the taps at k r/steps (less its integer part) for k = 1 … `harmonics`, shape (harmonics, steps, TAPS)."""
    taps = np.zeros((harmonics, steps, TAPS), np.float32)
    for k in range(harmonics):
        for r in range(steps):
            if steps == 1:  # the samples are the grid
                taps[k, r, BEFORE] = float32(1)
                continue
            x = (k + 1) * r / steps
            x -= np.floor(x)
            for j in range(TAPS):
                z = (x - (j - BEFORE)) * (2.0 / TAPS)
                taps[k, r, j] = np.exp(_BETA * (np.sqrt(max(1.0 - z * z, 0.0)) - 1.0))
    return taps


@jit()
def steps_per_sample(df: float, baseline: float) -> int:
    """Return how many grid steps lie between two samples of the sums of a light curve."""
    return min(max(int(1.0 / (FINENESS * df * baseline)), 1), MOST_STEPS)


@jit(fastmath={"contract"})
def gains(time: np.ndarray, n: int, spacing: float, steps: int, gain: np.ndarray, out: np.ndarray) -> None:
    """Write the factors of the strengths that undo the damping of the interpolation."""
    for i in range(n):
        x = (time[i] * spacing / _REACH) ** 2
        g = 0.0
        for j in range(gain.size):
            g = g * x + gain[j]
        out[i] = g if steps > 1 else 1.0


@jit(fastmath={"contract"})
def strengths(
    time: np.ndarray, amplitude: np.ndarray, gain: np.ndarray, n: int, frequency: float, out: np.ndarray
) -> None:
    """Write real and imaginary parts of ``amplitude gain exp(2πi frequency time)``, shape (2, n)."""
    for i in range(n):
        c, s = exact.cos_sin(time[i] * frequency)
        a = amplitude[i] * gain[i]
        out[0, i] = a * c
        out[1, i] = a * s


@jit(fastmath={"contract"})
def _turns(room: Room, n: int, spacing: float, run: int) -> None:
    """Set the turns from lane to lane, which do not change from group to group."""
    time = room.curve.time
    for l in range(WIDTH):
        lag = l * run * spacing
        for i in range(n):
            c, s = exact.cos_sin(time[i] * lag)
            room.turn[i * ROW + l] = c
            room.turn[i * ROW + l + WIDTH] = s
            room.turn2[i * ROW + l] = c * c - s * s
            room.turn2[i * ROW + l + WIDTH] = 2.0 * c * s


@jit()
def _samples(
    room: Room, plan: nufft.Plan, n: int, fmin: float, spacing: float, first: int, floating_mean: bool
) -> None:
    """Set the sums at sample `first` − BEFORE (of lane 0) and the following, and at twice the frequencies."""
    rows = TRANSFORM // 2
    points, grid, time, gain = room.points, room.grid, room.curve.time, room.gain
    middle = fmin + (first - BEFORE + rows // 2) * spacing
    strengths(time, room.curve.strength, gain, n, middle, room.strength)
    nufft.transform(plan, points, room.strength, room.turn, n, grid, room.data, 0)
    if floating_mean:
        strengths(time, room.curve.weight, gain, n, middle, room.strength)
        nufft.transform(plan, points, room.strength, room.turn, n, grid, room.window, 0)
    for half in range(2):
        middle = 2.0 * fmin + (2 * first - BEFORE + rows // 2 + half * rows) * spacing
        strengths(time, room.curve.weight, gain, n, middle, room.strength)
        nufft.transform(plan, points, room.strength, room.turn2, n, grid, room.window2, half * rows)


@jit(fastmath={"contract"})
def _interpolate(rows: np.ndarray, start: int, taps: np.ndarray, r0: int, r1: int, out: np.ndarray, at: int) -> None:
    """Write the sums r0 … r1 − 1 steps after a sample, from the rows around it, which begin at `start`."""
    x0 = load(rows, start)
    x1 = load(rows, start + ROW)
    x2 = load(rows, start + 2 * ROW)
    x3 = load(rows, start + 3 * ROW)
    x4 = load(rows, start + 4 * ROW)
    x5 = load(rows, start + 5 * ROW)
    x6 = load(rows, start + 6 * ROW)
    x7 = load(rows, start + 7 * ROW)
    for r in range(r0, r1):
        y = splat(taps[r, 0]) * x0 + splat(taps[r, 1]) * x1
        z = splat(taps[r, 2]) * x2 + splat(taps[r, 3]) * x3
        y = y + splat(taps[r, 4]) * x4 + splat(taps[r, 5]) * x5
        z = z + splat(taps[r, 6]) * x6 + splat(taps[r, 7]) * x7
        store(out, at + r * SUMS * WIDTH, y + z)


@jit(fastmath={"contract"})
def _all_sums(room: Room, taps: np.ndarray, q: int, steps: int, floating_mean: bool) -> None:
    """Interpolate the six sums at the grid points from sample q to the next one, in every lane."""
    half = (steps + 1) // 2  # from here on, the double frequency lies one sample further
    for part in range(2):
        i = q * ROW + part * WIDTH
        at = part * WIDTH
        _interpolate(room.data, i, taps[0], 0, steps, room.sums, at)
        if floating_mean:
            _interpolate(room.window, i, taps[0], 0, steps, room.sums, at + 2 * WIDTH)
        i += q * ROW
        _interpolate(room.window2, i, taps[1], 0, half, room.sums, at + 4 * WIDTH)
        _interpolate(room.window2, i + ROW, taps[1], half, steps, room.sums, at + 4 * WIDTH)


@jit(fastmath={"contract"})
def _powers(sums: np.ndarray, count: int, floating_mean: bool, out: np.ndarray, at: int) -> None:
    """Write `count` rows of powers from `at` on; NaN where single precision is not enough."""
    half = splat(float32(0.5))
    limit = splat(float32(NEARLY_SINGULAR))
    unknown = splat(float32(np.nan))
    for row in range(count):
        i = row * SUMS * WIDTH
        yc = load(sums, i)
        ys = load(sums, i + WIDTH)
        c2 = half * load(sums, i + 4 * WIDTH)
        cs = half * load(sums, i + 5 * WIDTH)
        cc = half + c2
        ss = half - c2
        if floating_mean:
            c = load(sums, i + 2 * WIDTH)
            s = load(sums, i + 3 * WIDTH)
            cc = cc - c * c
            ss = ss - s * s
            cs = cs - c * s
        determinant = cc * ss - cs * cs
        cross = cs * yc * ys
        p = (ss * yc * yc + cc * ys * ys - (cross + cross)) / determinant
        store(out, at + row * WIDTH, where_less(determinant, limit * (cc + ss), unknown, p))


@jit()
def _group(room: Room, taps: np.ndarray, run: int, steps: int, floating_mean: bool) -> None:
    """Set ``room.power``: sixteen runs of ``run * steps`` powers, one after the other."""
    for start in range(0, run, BLOCK):
        for q in range(BLOCK):
            _all_sums(room, taps, start + q, steps, floating_mean)
            _powers(room.sums, steps, floating_mean, room.block, q * steps * WIDTH)
        for row in range(0, BLOCK * steps, WIDTH):
            transpose(room.block, row * WIDTH, room.power, start * steps + row, run * steps)


@jit()
def _resolve(room: Room, n: int, count: int, first: int, fmin: float, df: float, floating_mean: bool) -> None:
    """Evaluate in float64 what is NaN among the `count` powers of the grid from index `first` on."""
    for start in range(0, count, 128):
        stop = min(start + 128, count)
        unknown = 0
        for i in range(start, stop):
            unknown += np.isnan(room.power[i])
        if unknown:
            for i in range(start, stop):
                if np.isnan(room.power[i]):
                    room.power[i] = exact.power(room.curve, n, fmin + (first + i) * df, floating_mean)


@jit()
def _scan(
    room: Room,
    tables: Tables,
    n: int,
    baseline: float,
    fmin: float,
    df: float,
    size: int,
    floating_mean: bool,
    state: peaks.State,
    masked: np.ndarray,
) -> None:
    """Pass the powers of one light curve, in order, to `peaks.tile`."""
    steps = steps_per_sample(df, baseline)
    spacing = steps * df
    samples = (size + steps - 1) // steps
    longest = (TRANSFORM // 2 - BLOCK) * WIDTH
    groups = (samples + longest - 1) // longest
    run = (samples + groups * WIDTH - 1) // (groups * WIDTH)
    run = (run + BLOCK - 1) // BLOCK * BLOCK
    taps = filters(steps, 2)
    nufft.locate(room.points, room.curve.time[:n], spacing, TRANSFORM)
    gains(room.curve.time, n, spacing, steps, tables.gain, room.gain)
    _turns(room, n, spacing, run)
    for first in range(0, samples, run * WIDTH):
        _samples(room, tables.plan, n, fmin, spacing, first, floating_mean)
        _group(room, taps, run, steps, floating_mean)
        count = min(run * WIDTH * steps, size - first * steps)
        _resolve(room, n, count, first * steps, fmin, df, floating_mean)
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
    floating_mean: bool,
    out: peaks.Peaks,
    factors: np.ndarray,
) -> None:
    room = _new_room(exact.longest(offsets))
    state = peaks.new_state(out.value.shape[1], sep, room.power.size)
    masked = peaks.new_mask(grid.windows)
    for i in range(offsets.size - 1):
        a = offsets[i]
        b = offsets[i + 1]
        baseline, factor = exact.prepare(room.curve, hjd[a:b], mag[a:b], magerr[a:b], floating_mean)
        fmin = grid.fmin[i]
        df = grid.df[i]
        size = grid.size[i]
        if not factor > 0.0 or size < 1:
            continue
        peaks.reset(state)
        peaks.mask(fmin, df, size, grid.windows, masked)
        _scan(room, tables, b - a, baseline, fmin, df, size, floating_mean, state, masked)
        out.mean[i], out.std[i] = peaks.finish(state, out.value[i], out.index[i])
        factors[i] = factor


def lomb_scargle_peaks(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    grid: FrequencyGrid,
    k: int,
    sep: int,
    floating_mean: bool,
) -> peaks.Peaks:
    """Return the best peaks and the moments of the Lomb-Scargle periodogram of every light curve on its grid.

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
    floating_mean : bool
        True: "LS", False: "ELS"; see `scope_dask.periods.exact_lombscargle.lomb_scargle`.

    Returns
    -------
    peaks.Peaks
        Of powers in single precision: of the largest possible one, the error is a few 1e-6 for 100 points and
        more, and grows as 1/√points for fewer. A light curve without a periodogram has no peaks (index −1, NaN).
    """
    out = peaks.no_peaks(len(offsets) - 1, k)
    factors = np.full(len(offsets) - 1, np.nan)
    _all_peaks(hjd, mag, magerr, offsets, grid, tables(), sep, floating_mean, out, factors)
    return peaks.Peaks(out.value * factors[:, None], out.index, out.mean * factors, out.std * factors)
