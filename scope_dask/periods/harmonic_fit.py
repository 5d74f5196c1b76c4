"""Fits of up to four harmonics to a light curve at a frequency, in float64, by normal equations."""

from __future__ import annotations

import numpy as np

from scope_dask.compiled import jit
from scope_dask.periods.exact_lombscargle import cos_sin
from scope_dask.periods.packed import moments

HARMONICS = 4
NO_VARIANCE = 1e-6  # of a harmonic that the lower ones leave; less is left out


@jit()
def prepare(hjd: np.ndarray, mag: np.ndarray, error: np.ndarray, work: np.ndarray) -> tuple[float, float, float]:
    """Write times from the middle, weights of sum 1, normalised weighted magnitudes to rows 0, 1, 2 of `work`."""
    total, mean, variance = moments(mag, error)
    middle = 0.5 * (hjd.min() + hjd.max())
    for i in range(hjd.size):
        work[0, i] = hjd[i] - middle
        work[1, i] = (1.0 / error[i]) ** 2 / total
        work[2, i] = work[1, i] * (mag[i] - mean) / np.sqrt(variance)
    return total, mean, variance


@jit()
def harmonic_shares(work: np.ndarray, n: int, f: float, shares: np.ndarray) -> None:
    """Write to ``shares[h]`` the share of χ² explained by h = 1 … 4 harmonics of f and a floating mean.

    `work` holds (`prepare`) times, weights and strengths in rows 0–2; rows 3–6 are scratch. Normal equations come
    from the sums of cos and sin of kθ, k ≤ 8; directions without variance (`NO_VARIANCE`) are left out.
    """
    C, S = np.empty(2 * HARMONICS + 1), np.empty(2 * HARMONICS + 1)
    A, r = np.empty((2 * HARMONICS, 2 * HARMONICS)), np.empty(2 * HARMONICS)
    C[0] = 1.0
    S[0] = 0.0
    _turn(work, n, f)
    for k in range(1, 2 * HARMONICS + 1):
        if k > 1:
            _next_harmonic(work, n)
        C[k], S[k], yc, ys = _sums(work, n)
        if k <= HARMONICS:
            r[2 * k - 2], r[2 * k - 1] = yc, ys
    for a in range(1, HARMONICS + 1):
        for b in range(1, a + 1):
            d, e = a - b, a + b
            A[2 * a - 2, 2 * b - 2] = 0.5 * (C[d] + C[e]) - C[a] * C[b]
            A[2 * a - 1, 2 * b - 1] = 0.5 * (C[d] - C[e]) - S[a] * S[b]
            A[2 * a - 2, 2 * b - 1] = 0.5 * (S[e] - S[d]) - C[a] * S[b]
            A[2 * a - 1, 2 * b - 2] = 0.5 * (S[e] + S[d]) - S[a] * C[b]
    _explained(A, r, shares)


@jit()
def _explained(A: np.ndarray, r: np.ndarray, shares: np.ndarray) -> None:
    """Solve A x = r by Cholesky's decomposition; write rᵀ x of the leading 2, 4, … rows to shares[1], shares[2], …"""
    share = 0.0
    for i in range(r.size):
        for j in range(i):
            for k in range(j):
                A[i, j] -= A[i, k] * A[j, k]
            A[i, j] *= A[j, j]  # the diagonal holds the inverse of the factor's
        for k in range(i):
            A[i, i] -= A[i, k] ** 2
            r[i] -= A[i, k] * r[k]
        if A[i, i] > NO_VARIANCE:
            A[i, i] = 1.0 / np.sqrt(A[i, i])
            r[i] *= A[i, i]
            share += r[i] ** 2
        else:
            A[i, : i + 1] = 0.0
            r[i] = 0.0
        shares[(i + 2) // 2] = share


@jit(fastmath={"reassoc", "contract", "nsz"})
def _turn(work: np.ndarray, n: int, f: float) -> None:
    for i in range(n):
        a, b = cos_sin(work[0, i] * f)
        work[3, i], work[4, i], work[5, i], work[6, i] = a, b, a, b


@jit(fastmath={"reassoc", "contract", "nsz"})
def _next_harmonic(work: np.ndarray, n: int) -> None:
    for i in range(n):
        c = work[5, i] * work[3, i] - work[6, i] * work[4, i]
        work[6, i] = work[5, i] * work[4, i] + work[6, i] * work[3, i]
        work[5, i] = c


@jit(fastmath={"reassoc", "contract", "nsz"})
def _sums(work: np.ndarray, n: int) -> tuple[float, float, float, float]:
    c = s = yc = ys = 0.0
    for i in range(n):
        c += work[1, i] * work[5, i]
        s += work[1, i] * work[6, i]
        yc += work[2, i] * work[5, i]
        ys += work[2, i] * work[6, i]
    return c, s, yc, ys
