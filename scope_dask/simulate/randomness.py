"""Random numbers by counter: draw i of a light curve is a function of (key, stream, light curve, i) alone.

The generator is Philox4x32-10 of Salmon et al. 2011 (SC11, "Parallel random numbers: as easy as 1, 2, 3"). No
two draws share a counter, however many light curves there are, and their order does not matter.
"""

from __future__ import annotations

import math

import numpy as np

from scope_dask.compiled import jit

# What a draw is for: the third word of the counter.
STAR, CURVE, NIGHT, POINT, SPOILED, CYCLE = (np.uint64(i) for i in range(6))

_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_WEYL_0 = np.uint64(0x9E3779B9)
_WEYL_1 = np.uint64(0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_STEP = 2.0**-32

Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]
Key = tuple[np.uint64, np.uint64]


@jit()
def philox(counter: Words, key: Key) -> Words:
    """Return four random 32-bit words for a counter of four and a key of two (each word held as uint64)."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0 = _MULTIPLIER_0 * c0
        p1 = _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (p1 >> _WORD) ^ c1 ^ k0, p1 & _LOW, (p0 >> _WORD) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _WEYL_0) & _LOW
        k1 = (k1 + _WEYL_1) & _LOW
    return c0, c1, c2, c3


@jit()
def draw(key: Key, number: np.uint64, stream: np.uint64, i: int) -> tuple[float, float, float, float]:
    """Return draw `i` of object `number` in `stream`: four uniform numbers inside (0, 1)."""
    a, b, c, d = philox((number & _LOW, number >> _WORD, stream, np.uint64(i)), key)
    return (
        (float(a) + 0.5) * _STEP,
        (float(b) + 0.5) * _STEP,
        (float(c) + 0.5) * _STEP,
        (float(d) + 0.5) * _STEP,
    )


@jit()
def normal_pair(u: float, v: float) -> tuple[float, float]:
    """Return two independent standard normal numbers of two uniform ones (Box & Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(u))
    return radius * math.cos(2.0 * math.pi * v), radius * math.sin(2.0 * math.pi * v)


@jit()
def draws(key: Key, numbers: np.ndarray, stream: np.uint64, blocks: int) -> np.ndarray:
    """Return the first ``4 * blocks`` uniform numbers of every object.

    Parameters
    ----------
    key : tuple of two uint64 below 2**32
    numbers : ndarray, shape (n,), uint64
    stream : uint64
    blocks : int

    Returns
    -------
    ndarray, shape (n, 4 * blocks), float64
    """
    out = np.empty((numbers.size, 4 * blocks))
    for k in range(numbers.size):
        for i in range(blocks):
            out[k, 4 * i], out[k, 4 * i + 1], out[k, 4 * i + 2], out[k, 4 * i + 3] = draw(key, numbers[k], stream, i)
    return out
