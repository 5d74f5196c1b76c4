"""Trigonometric sums at sixteen runs of regular frequencies at a time: a single-precision type-1 NUFFT.

``Σ_i z_i exp(2πi (f_l + m δ) t_i)`` for lanes l < 16 and m < M is computed as usual: the strengths are
spread with a narrow kernel to 2 M rows of a grid, the grid is Fourier transformed and the kernel divided
out. The sixteen lanes have the same points, hence the same rows and kernel values; they differ in the
strengths only, which carry the phase at the lane's own first frequency. Everything but the strengths is
thus done on rows of sixteen lanes (see `scope_dask.periods.lanes`). Those phases come from float64, and a
run is short, so that single precision suffices over any baseline and any number of frequencies (one long
single-precision transform would not: its error grows with its length).

A row is 32 float32: sixteen real parts, sixteen imaginary parts. Formulas: Barnett, Magland & af Klinteberg
2019, SIAM J. Sci. Comput. 41, C479 (the kernel); Cooley & Tukey 1965 with radix 4, decimation in frequency.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import float32

from scope_dask.compiled import jit
from scope_dask.periods.lanes import load, splat, store

TAPS = 7  # rows that a point is spread to; the error, 3e-6 √Σ|z|² at most, is that of float32
ROW = 32  # float32 per row
_BETA = 2.30 * TAPS  # the kernel's shape for a grid two times finer than needed


class Plan(NamedTuple):
    """Tables of a transform of `size` rows (a power of 4) and ``size / 2`` frequencies per lane.

    Attributes
    ----------
    cos, sin : numpy.ndarray, shape (size,), float32
        exp(2πi j / size).
    order : numpy.ndarray, shape (size / 4,), int64
        Lowest frequency of each butterfly of the last stage.
    correction : numpy.ndarray, shape (size / 2,), float32
        Inverse of the kernel's Fourier transform at frequency m - size / 4.
    """

    cos: np.ndarray
    sin: np.ndarray
    order: np.ndarray
    correction: np.ndarray


class Points(NamedTuple):
    """Where and with what weights the points of a light curve are spread (room for the longest one).

    Attributes
    ----------
    row : numpy.ndarray, shape (points,), int64
        First row.
    weight : numpy.ndarray, shape (points, TAPS), float32
        Kernel values.
    """

    row: np.ndarray
    weight: np.ndarray


def kernel_transform(x: np.ndarray, width: float, beta: float) -> np.ndarray:
    """Fourier transform of the kernel ``exp(β (√(1 - (2 z/width)²) - 1))``, |z| ≤ width/2, at `x`."""
    z, g = np.polynomial.legendre.leggauss(100)
    g = g * np.exp(beta * (np.sqrt(1 - z * z) - 1)) * width / 2
    return np.cos(np.pi * width * np.multiply.outer(x, z)) @ g


@functools.cache
def plan(size: int) -> Plan:
    """Return the tables for `size` rows."""
    angle = 2 * np.pi * np.arange(size) / size
    blocks = np.arange(size // 4)
    order = np.zeros_like(blocks)
    place = size // 16
    while place:
        order += blocks % 4 * place
        blocks //= 4
        place //= 4
    correction = 1 / kernel_transform((np.arange(size // 2) - size // 4) / size, TAPS, _BETA)
    cos, sin = np.cos(angle), np.sin(angle)
    return Plan(cos.astype(np.float32), sin.astype(np.float32), order, correction.astype(np.float32))


@jit(fastmath={"contract"})
def locate(points: Points, time: np.ndarray, spacing: float, size: int) -> None:
    """Set rows and weights for `time` (days) and frequencies `spacing` (1/day) apart."""
    for i in range(time.size):
        x = time[i] * spacing
        y = (x - np.floor(x)) * size
        first = np.ceil(y - 0.5 * TAPS)
        points.row[i] = np.int64(first) + TAPS // 2
        for k in range(TAPS):
            z = (first + k - y) * (2.0 / TAPS)
            points.weight[i, k] = np.exp(_BETA * (np.sqrt(max(1.0 - z * z, 0.0)) - 1.0))


@jit(fastmath={"contract"})
def transform(
    plan: Plan,
    points: Points,
    strength: np.ndarray,
    phasor: np.ndarray,
    n: int,
    grid: np.ndarray,
    out: np.ndarray,
    first: int,
) -> None:
    """Write the sums at the M frequencies to rows `first`, `first` + 1, … of `out`.

    Parameters
    ----------
    plan, points
        Of `plan` and `locate`.
    strength : numpy.ndarray, shape (2, n), float32
        Real and imaginary parts of the strengths, with the phase at the middle frequency M/2 of lane 0.
    phasor : numpy.ndarray, shape (n * 32,), float32
        Rows that turn the phase of lane 0 into that of the other lanes.
    n : int
        Number of points.
    grid : numpy.ndarray, shape ((size + TAPS) * 32,), float32
        Room.
    out : numpy.ndarray, flat, float32
        Rows of the result.
    """
    size = plan.cos.size
    for i in range(grid.size):
        grid[i] = float32(0)
    _spread(points, strength, phasor, n, grid)
    _wrap(grid, size)
    _stage(grid, TAPS // 2, TAPS // 2 + size, size, plan)
    quarter = size // 4
    for start in range(TAPS // 2, TAPS // 2 + size, quarter):  # each quarter stays in the nearest cache
        length = quarter
        while length > 4:
            _stage(grid, start, start + quarter, length, plan)
            length //= 4
    _last_stage(grid, plan, out, first)


@jit(fastmath={"contract"})
def _spread(points: Points, strength: np.ndarray, phasor: np.ndarray, n: int, grid: np.ndarray) -> None:
    for i in range(n):
        x = splat(strength[0, i])
        y = splat(strength[1, i])
        c = load(phasor, i * ROW)
        s = load(phasor, i * ROW + 16)
        re = x * c - y * s
        im = x * s + y * c
        at = points.row[i] * ROW
        for k in range(TAPS):
            weight = splat(points.weight[i, k])
            store(grid, at, load(grid, at) + weight * re)
            store(grid, at + 16, load(grid, at + 16) + weight * im)
            at += ROW


@jit()
def _wrap(grid: np.ndarray, size: int) -> None:
    """Add what was spread before row TAPS // 2 or beyond the `size` rows from there to the other end."""
    before = TAPS // 2 * ROW
    for l in range(before):
        grid[size * ROW + l] += grid[l]
    for l in range(before, TAPS * ROW):
        grid[l] += grid[size * ROW + l]


@jit(fastmath={"contract"})
def _stage(grid: np.ndarray, start: int, stop: int, length: int, plan: Plan) -> None:
    """Replace blocks of `length` rows by four quarters, each to be transformed on its own."""
    quarter = length // 4
    step = plan.cos.size // length
    q = quarter * ROW
    for j in range(quarter):
        c1 = splat(plan.cos[j * step])
        s1 = splat(plan.sin[j * step])
        c2 = splat(plan.cos[2 * j * step])
        s2 = splat(plan.sin[2 * j * step])
        c3 = splat(plan.cos[3 * j * step])
        s3 = splat(plan.sin[3 * j * step])
        for block in range(start + j, stop, length):
            i = block * ROW
            ar = load(grid, i)
            ai = load(grid, i + 16)
            br = load(grid, i + q)
            bi = load(grid, i + q + 16)
            cr = load(grid, i + 2 * q)
            ci = load(grid, i + 2 * q + 16)
            dr = load(grid, i + 3 * q)
            di = load(grid, i + 3 * q + 16)
            er = ar + cr
            ei = ai + ci
            fr = ar - cr
            fi = ai - ci
            gr = br + dr
            gi = bi + di
            hr = br - dr
            hi = bi - di
            store(grid, i, er + gr)
            store(grid, i + 16, ei + gi)
            xr = fr - hi
            xi = fi + hr
            store(grid, i + q, xr * c1 - xi * s1)
            store(grid, i + q + 16, xr * s1 + xi * c1)
            xr = er - gr
            xi = ei - gi
            store(grid, i + 2 * q, xr * c2 - xi * s2)
            store(grid, i + 2 * q + 16, xr * s2 + xi * c2)
            xr = fr + hi
            xi = fi - hr
            store(grid, i + 3 * q, xr * c3 - xi * s3)
            store(grid, i + 3 * q + 16, xr * s3 + xi * c3)


@jit(fastmath={"contract"})
def _last_stage(grid: np.ndarray, plan: Plan, out: np.ndarray, first: int) -> None:
    """Transform blocks of four rows; of their frequencies k + p size/4 only p = 0 and 3 ≡ -1 are wanted."""
    quarter = plan.order.size
    for block in range(quarter):
        i = (TAPS // 2 + 4 * block) * ROW
        k = plan.order[block]
        ar = load(grid, i)
        ai = load(grid, i + 16)
        br = load(grid, i + 32)
        bi = load(grid, i + 48)
        cr = load(grid, i + 64)
        ci = load(grid, i + 80)
        dr = load(grid, i + 96)
        di = load(grid, i + 112)
        o = (first + k + quarter) * ROW
        correction = splat(plan.correction[k + quarter])
        store(out, o, (ar + cr + (br + dr)) * correction)
        store(out, o + 16, (ai + ci + (bi + di)) * correction)
        o = (first + k) * ROW
        correction = splat(plan.correction[k])
        store(out, o, (ar - cr + (bi - di)) * correction)
        store(out, o + 16, (ai - ci - (br - dr)) * correction)
