"""Other codes' periodograms of one light curve on a regular grid, as far as they are installed.

Each is ``peer(hjd, mag, magerr, fmin, df, size) -> values of the statistic, or None where the code keeps them``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numba
import numpy as np

PHASE_BINS, MAG_BINS, HARMONICS = 20, 10, 3


@dataclass(frozen=True)
class Peer:
    """A code: its package, the method, and the part of the grid that is enough to time it (its time is linear)."""

    name: str
    method: str
    package: str
    run: Callable[..., Any]
    fraction: float = 1.0
    same_statistic: bool = True


def nifty_ls(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
    import nifty_ls

    return nifty_ls.lombscargle(t, m, dy=e, fmin=fmin, fmax=fmin + df * (size - 1), Nf=size, nthreads=1).power


def nifty_ls_chi2(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
    import nifty_ls

    fmax = fmin + df * (size - 1)
    return nifty_ls.lombscargle(t, m, dy=e, fmin=fmin, fmax=fmax, Nf=size, nthreads=1, nterms=HARMONICS).power


def astropy_boxes(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
    """Four durations of eight, phases in steps of a tenth of the duration."""
    from astropy.timeseries import BoxLeastSquares

    period = 1.0 / (fmin + df * np.arange(max(int(20 * fmin / df), 1), size))
    durations = np.array([0.01, 0.02, 0.05, 0.1]) * period.min()
    BoxLeastSquares(t, -m, e).power(period, durations, objective="snr", oversample=10)


def astropy_fast(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
    from astropy.timeseries import LombScargle

    return LombScargle(t, m, e).power(fmin + df * np.arange(size), method="fast", assume_regular_frequency=True)


def light_curve(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
    """Unweighted; its fast grid begins at 0 and has 2**k + 1 points: as many as the survey's at the least."""
    from light_curve import Periodogram

    points = 2 ** math.ceil(math.log2(size + fmin / df))
    Periodogram(freqs=np.linspace(0, 2 * np.pi * df * points, points + 1), fast=True)(t, m, e, sorted=True)


def cuperiod(method: str, **settings: Any) -> Callable[..., Any]:
    def run(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
        import cuperiod
        from cuperiod.core.grid import GridSpec

        grid = GridSpec("frequency", fmin + df * np.arange(size), uniform=True)
        return cuperiod.periodogram((t, m, e), method, backend="cpu", grid=grid, settings=settings or None).power

    return run


def p4j(method: str, **options: Any) -> Callable[..., Any]:
    def run(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
        import P4J

        search = P4J.periodogram(method=method)
        search.set_data(t, m, e, **options)
        search.frequency_grid_evaluation(fmin=fmin, fmax=fmin + df * (size - 0.5), fresolution=df)

    return run


@numba.njit(error_model="numpy")
def _plain_entropy(t: np.ndarray, row: np.ndarray, fmin: float, df: float, out: np.ndarray) -> None:
    table = np.zeros(t.size + 1)
    for k in range(1, t.size + 1):
        table[k] = k * np.log(k)
    cells = np.empty((PHASE_BINS, MAG_BINS), np.int64)
    for j in range(out.size):
        cells[:] = 0
        f = fmin + j * df
        for i in range(t.size):
            x = t[i] * f
            cells[min(int((x - np.floor(x)) * PHASE_BINS), PHASE_BINS - 1), row[i]] += 1
        total = 0.0
        for p in range(PHASE_BINS):
            column = 0
            for c in range(MAG_BINS):
                column += cells[p, c]
                total -= table[cells[p, c]]
            total += table[column]
        out[j] = total / t.size


def plain_entropy(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
    """Conditional entropy, one frequency and one point after the other, in compiled float64."""
    row = np.minimum(((m - m.min()) / np.ptp(m) * MAG_BINS).astype(np.int64), MAG_BINS - 1)
    out = np.empty(size)
    _plain_entropy(t - t[0], row, fmin, df, out)
    return out


@numba.njit(error_model="numpy")
def _plain_aov(t: np.ndarray, y: np.ndarray, fmin: float, df: float, out: np.ndarray) -> None:
    count, sums = np.empty(PHASE_BINS), np.empty(PHASE_BINS)
    squares = np.sum(y * y)
    for j in range(out.size):
        count[:] = 0.0
        sums[:] = 0.0
        f = fmin + j * df
        for i in range(t.size):
            x = t[i] * f
            b = min(int((x - np.floor(x)) * PHASE_BINS), PHASE_BINS - 1)
            count[b] += 1.0
            sums[b] += y[i]
        between = 0.0
        for b in range(PHASE_BINS):
            if count[b] > 0:
                between += sums[b] * sums[b] / count[b]
        out[j] = between / (PHASE_BINS - 1) / ((squares - between) / (t.size - PHASE_BINS))


def plain_aov(t: np.ndarray, m: np.ndarray, e: np.ndarray, fmin: float, df: float, size: int) -> Any:
    """Phase-binned analysis of variance, one frequency and one point after the other, in compiled float64."""
    out = np.empty(size)
    _plain_aov(t - t[0], m - m.mean(), fmin, df, out)
    return out


CE_BINS = {"n_phase_bins": PHASE_BINS, "n_mag_bins": MAG_BINS}
PEERS = (
    Peer("nifty-ls", "LS", "nifty_ls", nifty_ls),
    Peer("astropy fast", "LS", "astropy", astropy_fast),
    Peer("cuPeriod GLS", "LS", "cuperiod", cuperiod("GLS")),
    Peer("light-curve fast", "LS", "light_curve", light_curve, same_statistic=False),
    Peer("plain numba", "CE", "numba", plain_entropy, 0.1),
    Peer("cuPeriod CE", "CE", "cuperiod", cuperiod("CE", **CE_BINS), 0.02, same_statistic=False),
    Peer("plain numba", "AOV", "numba", plain_aov, 0.1),
    Peer("P4J AOV", "AOV", "P4J", p4j("AOV", Nbins=PHASE_BINS, use_errorbars=0), 0.02, same_statistic=False),
    Peer("nifty-ls chi2", "MHAOV", "nifty_ls", nifty_ls_chi2),
    Peer("cuPeriod MHAOV", "MHAOV", "cuperiod", cuperiod("MHAOV"), 0.02, same_statistic=False),
    Peer("astropy BLS", "BLS", "astropy", astropy_boxes, 0.02, same_statistic=False),
)


def installed(method: str) -> list[Peer]:
    """Return the codes that are there for a method."""
    return [peer for peer in PEERS if peer.method == method and find_spec(peer.package) is not None]
