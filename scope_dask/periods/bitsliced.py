"""Phase histograms of many trial frequencies at once, in plain integer logic that the compiler vectorises.

One uint32 *lane* is one trial frequency, `LANES` of them a tile. Phases are fixed-point numbers in units of
2⁻³² cycle: the phase at the centre of the tile is computed in float64 (the *anchor*), the next frequency is
an addition that wraps by itself. The error is below 2⁻³³ × `LANES` / 2, 3e-8 cycle, at any frequency and
baseline.

A point in phase bin b is the one-hot word ``1 << b`` (so there are at most 32 bins). Histograms are
bit-sliced: bit b of *plane* k is bit k of the count of bin b. Words are added to the planes by carry-save
adders, five logic operations for three words, whatever the number of bins; no count can overflow, as there
are as many planes as the number of points has bits.

What keeps the loops over lanes vectorised: rows are indexed, not sliced; indices are not computed from signed
offsets; few arrays a loop; every uint32 operation is cast back, as numba widens it to 64 bits.
"""

from __future__ import annotations

import numpy as np
from numba import float32, int64, uint32

from scope_dask.compiled import jit

LANES = 512
UNROLL = 8  # points a call of `add_points` takes
CARRY_PLANE = 5  # plane that a carry of 32 points is added to; the least number of planes


@jit(inline="always")
def phase_bin(phase: uint32, n_bins: uint32) -> uint32:
    """Return the bin of a phase (27 bits of it, an exact product)."""
    return uint32(uint32(uint32(phase >> uint32(5)) * n_bins) >> uint32(27))


@jit(inline="always")
def one_hot(phase: uint32, n_bins: uint32, weight: uint32) -> uint32:
    """Return the one-hot word of the bin of a phase; 0 for a point of weight 0."""
    return uint32(weight << phase_bin(phase, n_bins))


@jit(inline="always")
def add3(a: uint32, b: uint32, c: uint32) -> tuple[uint32, uint32]:
    """Add three words bit by bit: (sum, carry)."""
    odd = uint32(a ^ b)
    return uint32(odd ^ c), uint32(uint32(a & b) | uint32(c & odd))


@jit()
def phase_steps(t: np.ndarray, n: int, df: float, steps: np.ndarray) -> None:
    """Write the phase steps from one frequency to the next, in units of 2⁻³² cycle."""
    for i in range(n):
        x = df * t[i]
        x -= np.floor(x)
        steps[i] = uint32(int64(x * 4294967296.0 + 0.5))


@jit()
def anchor(t: np.ndarray, n: int, f: float, steps: np.ndarray, phases: np.ndarray) -> None:
    """Write the phases at the first frequency of a tile, from float64 phases at its centre frequency `f`."""
    for i in range(n):
        x = f * t[i]
        x -= np.floor(x)
        phases[i] = uint32(int64(x * 4294967296.0) - int64(steps[i]) * (LANES // 2))


@jit()
def planes_for(n: int) -> int:
    """Return the number of planes that hold counts up to `n`."""
    k = CARRY_PLANE
    while (1 << k) <= n:
        k += 1
    return k


@jit()
def clear(rows: np.ndarray, k: int) -> None:
    """Set row `k` to zero."""
    for l in range(LANES):
        rows[k, l] = uint32(0)


@jit()
def add_points(
    P: np.ndarray,
    D: np.ndarray,
    W: np.ndarray,
    i: int,
    n_bins: uint32,
    planes: np.ndarray,
    carry: np.ndarray,
    j: int,
) -> None:
    """Add points i … i + 7 (phases P, steps D, weights W) to planes 0–2, the carry (of weight 8) to row j."""
    p0, p1, p2, p3, p4, p5, p6, p7 = (
        P[i],
        P[i + 1],
        P[i + 2],
        P[i + 3],
        P[i + 4],
        P[i + 5],
        P[i + 6],
        P[i + 7],
    )
    d0, d1, d2, d3, d4, d5, d6, d7 = (
        D[i],
        D[i + 1],
        D[i + 2],
        D[i + 3],
        D[i + 4],
        D[i + 5],
        D[i + 6],
        D[i + 7],
    )
    w0, w1, w2, w3, w4, w5, w6, w7 = (
        W[i],
        W[i + 1],
        W[i + 2],
        W[i + 3],
        W[i + 4],
        W[i + 5],
        W[i + 6],
        W[i + 7],
    )
    for l in range(LANES):
        a, t0 = add3(planes[0, l], one_hot(p0, n_bins, w0), one_hot(p1, n_bins, w1))
        a, t1 = add3(a, one_hot(p2, n_bins, w2), one_hot(p3, n_bins, w3))
        b, f0 = add3(planes[1, l], t0, t1)
        a, t0 = add3(a, one_hot(p4, n_bins, w4), one_hot(p5, n_bins, w5))
        a, t1 = add3(a, one_hot(p6, n_bins, w6), one_hot(p7, n_bins, w7))
        b, f1 = add3(b, t0, t1)
        c, carry[j, l] = add3(planes[2, l], f0, f1)
        planes[0, l], planes[1, l], planes[2, l] = a, b, c
        p0, p1, p2, p3 = uint32(p0 + d0), uint32(p1 + d1), uint32(p2 + d2), uint32(p3 + d3)
        p4, p5, p6, p7 = uint32(p4 + d4), uint32(p5 + d5), uint32(p6 + d6), uint32(p7 + d7)


@jit()
def add_carries(planes: np.ndarray, n_planes: int, carry: np.ndarray) -> None:
    """Add the four carries of 32 points to planes 3, 4 and as many above as there are."""
    for l in range(LANES):
        a, t0 = add3(planes[3, l], carry[0, l], carry[1, l])
        a, t1 = add3(a, carry[2, l], carry[3, l])
        planes[3, l] = a
        planes[4, l], carry[0, l] = add3(planes[4, l], t0, t1)
    _ripple(planes, CARRY_PLANE, n_planes, carry)


@jit()
def _ripple(planes: np.ndarray, start: int, end: int, carry: np.ndarray) -> None:
    """Add the carry in row 0, of weight 2**start, to planes start … end − 1."""
    for k in range(start, end):
        for l in range(LANES):
            a = planes[k, l]
            c = carry[0, l]
            planes[k, l] = uint32(a ^ c)
            carry[0, l] = uint32(a & c)


@jit()
def move(planes: np.ndarray, n_planes: int, total: np.ndarray, n_total: int, carry: np.ndarray) -> None:
    """Add the histogram in `planes` to that in `total` and clear it."""
    clear(carry, 0)
    for k in range(n_planes):
        for l in range(LANES):
            total[k, l], carry[0, l] = add3(total[k, l], planes[k, l], carry[0, l])
            planes[k, l] = uint32(0)
    _ripple(total, n_planes, n_total, carry)


@jit(inline="always")
def _ones(x: uint32) -> float32:
    """Return the number of bits set (the compiler knows the pattern: vpopcntd, cnt)."""
    x = uint32(x - uint32(uint32(x >> uint32(1)) & uint32(0x55555555)))
    x = uint32(uint32(x & uint32(0x33333333)) + uint32(uint32(x >> uint32(2)) & uint32(0x33333333)))
    x = uint32(uint32(x + uint32(x >> uint32(4))) & uint32(0x0F0F0F0F))
    return float32(uint32(uint32(x * uint32(0x01010101)) >> uint32(24)))


@jit(fastmath={"contract"})
def add_function(
    planes: np.ndarray, n_planes: int, table: np.ndarray, sign: float32, out: np.ndarray, rows: np.ndarray
) -> None:
    """Add ``sign`` × Σ over the bins of ``table[count]`` to out[lane].

    `table` is 0 at 0 and 1. Bins are taken in groups of equal ``count >> 3``; a group without a bin in any
    lane is skipped. `rows` is scratch of two rows.
    """
    top = 3
    for l in range(LANES):
        rows[0, l] = uint32(0xFFFFFFFF)
    for k in range(3, n_planes):
        seen = uint32(0)
        for l in range(LANES):
            seen |= planes[k, l]
            rows[0, l] = uint32(rows[0, l] & ~planes[k, l])
        if seen:
            top = k + 1
    _add_small_counts(planes, rows, table, sign, out)
    for h in range(1, 1 << (top - 3)):
        if _select(planes, top, h, rows):
            _add_group(planes, rows, table, 8 * h, sign, out)


@jit()
def _select(planes: np.ndarray, top: int, h: int, rows: np.ndarray) -> bool:
    """Write to row 1 the bins with ``count >> 3 == h``; tell whether there are any."""
    for l in range(LANES):
        rows[1, l] = uint32(~rows[0, l])
    for k in range(3, top):
        flip = uint32(0) if (h >> (k - 3)) & 1 else uint32(0xFFFFFFFF)
        for l in range(LANES):
            rows[1, l] = uint32(rows[1, l] & uint32(planes[k, l] ^ flip))
    seen = uint32(0)
    for l in range(LANES):
        seen |= rows[1, l]
    return bool(seen != uint32(0))


@jit(fastmath={"contract"})
def _add_small_counts(planes: np.ndarray, rows: np.ndarray, table: np.ndarray, sign: float32, out: np.ndarray) -> None:
    """Add the bins of row 0, all with counts below 8."""
    f2, f3, f4 = sign * table[2], sign * table[3], sign * table[4]
    f5, f6, f7 = sign * table[5], sign * table[6], sign * table[7]
    for l in range(LANES):
        bins = rows[0, l]
        b = planes[1, l]
        c = planes[2, l]
        even = uint32(bins & ~planes[0, l])
        odd = uint32(bins & planes[0, l])
        c6, c4, c2 = uint32(c & b), uint32(c & ~b), uint32(b & ~c)
        s = f2 * _ones(uint32(c2 & even)) + f3 * _ones(uint32(c2 & odd))
        s += f4 * _ones(uint32(c4 & even)) + f5 * _ones(uint32(c4 & odd))
        out[l] += s + f6 * _ones(uint32(c6 & even)) + f7 * _ones(uint32(c6 & odd))


@jit(fastmath={"contract"})
def _add_group(
    planes: np.ndarray, rows: np.ndarray, table: np.ndarray, first: int, sign: float32, out: np.ndarray
) -> None:
    """Add the bins of row 1, all with counts first … first + 7."""
    f0, f1, f2, f3 = (
        sign * table[first],
        sign * table[first + 1],
        sign * table[first + 2],
        sign * table[first + 3],
    )
    f4, f5, f6, f7 = (
        sign * table[first + 4],
        sign * table[first + 5],
        sign * table[first + 6],
        sign * table[first + 7],
    )
    for l in range(LANES):
        b = planes[1, l]
        c = planes[2, l]
        even = uint32(rows[1, l] & ~planes[0, l])
        odd = uint32(rows[1, l] & planes[0, l])
        c6, c4, c2, c0 = uint32(c & b), uint32(c & ~b), uint32(b & ~c), uint32(~uint32(b | c))
        s = f0 * _ones(uint32(c0 & even)) + f1 * _ones(uint32(c0 & odd))
        s += f2 * _ones(uint32(c2 & even)) + f3 * _ones(uint32(c2 & odd))
        s += f4 * _ones(uint32(c4 & even)) + f5 * _ones(uint32(c4 & odd))
        out[l] += s + f6 * _ones(uint32(c6 & even)) + f7 * _ones(uint32(c6 & odd))
