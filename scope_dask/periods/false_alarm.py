"""False-alarm probability of a periodogram's peak as a logarithm, which neither under- nor overflows.

Upper limit of the probability that noise alone has a peak of at least this power anywhere below a highest frequency:
for one harmonic Baluev 2008, MNRAS 385, 1279 (equation 6, "standard" normalisation of table 1), for several Baluev
2009, MNRAS 395, 1541. astropy evaluates the same formula for one harmonic to 0 for every strong signal, so that peaks
can no longer be told apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import factorial, factorial2, gammaln, poch, xlog1py, xlogy

from scope_dask.compiled import jit
from scope_dask.periods import exact_lombscargle as exact
from scope_dask.ragged import LightCurves

_TINY = -30.0  # below this logarithm, 1 - (1 - p) exp(-τ) is p + τ to rounding


def log10_false_alarm_probability(
    power: ArrayLike, n_points: ArrayLike, time_std: ArrayLike, max_freq: ArrayLike, n_harmonics: int = 1
) -> np.ndarray:
    """Return log10 of Baluev's upper limit of the false-alarm probability, 0 at most.

    The arguments broadcast.

    Parameters
    ----------
    power : array_like
        Power of the highest peak relative to its upper limit ("standard" normalisation), from 0 to 1. The
        unnormalised "ELS" power P stands for ``2 P / Σ (y − ȳ)²``.
    n_points : array_like
        Number of points of the light curve.
    time_std : array_like
        Standard deviation of the times in days, weighted as the periodogram is (weights 1/magerr² for "LS").
    max_freq : array_like
        Highest frequency searched, cycles/day.
    n_harmonics : int
        H. With P the power, K = N − 1 − 2 H and T = √(4π) `time_std`, the expected number of peaks is
        ``τ = α_H T f_max Γ((N − 1)/2)/Γ((K + 1)/2) P^(H − ½) (1 − P)^((K − 1)/2)``, and the probability of a single
        frequency that of a beta distribution; ``1 − (1 − p) e^−τ`` is returned.

    Returns
    -------
    numpy.ndarray
        −inf for power 1, NaN for NaN. Whether the mean is fitted or subtracted beforehand makes no
        difference: both take one degree of freedom.
    """
    z = np.clip(np.asarray(power, dtype=np.float64), 0.0, 1.0)
    n = np.asarray(n_points, dtype=np.float64)
    width = np.sqrt(4 * np.pi) * np.asarray(time_std) * np.asarray(max_freq)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        rest = n - 1 - 2 * n_harmonics
        log_single = _log_single(z, rest, n_harmonics)
        log_tau = np.log(_alpha(n_harmonics) * width) + gammaln((n - 1) / 2) - gammaln((rest + 1) / 2)
        log_tau = log_tau + xlog1py(0.5 * (rest - 1), -z) + xlogy(n_harmonics - 0.5, z)
        tau = np.exp(log_tau)
        plain = np.log(-np.expm1(-tau) + np.exp(log_single - tau))
        small = np.logaddexp(log_tau, log_single)
        log = np.where(small < _TINY, small, plain)
    return np.where(n < 2 * n_harmonics + 1, np.nan, np.minimum(log, 0.0) / np.log(10))


def _alpha(n_harmonics: int) -> float:
    """Return Baluev's (2009) factor α_H: how much faster than for one harmonic peaks come along; α_1 = 1."""
    h = n_harmonics
    terms = [(-1) ** (h - k) * k ** (2 * h + 1) / (factorial(h + k) * factorial(h - k)) for k in range(1, h + 1)]
    return float(2**h / factorial2(2 * h - 1) * sum(terms))


def _log_single(z: np.ndarray, rest: np.ndarray, n_harmonics: int) -> np.ndarray:
    """Return ln of the probability that noise has at least this power at one frequency: 1 − I_z(H, `rest`/2)."""
    series = sum(poch(0.5 * rest, j) / factorial(j) * z**j for j in range(n_harmonics))
    return np.asarray(xlog1py(0.5 * rest, -z) + np.log(series))


@jit()
def _power_and_time_std(
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    offsets: np.ndarray,
    floating_mean: bool,
    power: np.ndarray,
    time_std: np.ndarray,
) -> None:
    curve = exact.new_curve(exact.longest(offsets))
    for i in range(offsets.size - 1):
        a = offsets[i]
        b = offsets[i + 1]
        _, factor = exact.prepare(curve, hjd[a:b], mag[a:b], magerr[a:b], floating_mean)
        power[i] = power[i] / factor
        mean = 0.0
        for j in range(b - a):
            mean += curve.weight[j] * curve.time[j]
        variance = 0.0
        for j in range(b - a):
            variance += curve.weight[j] * (curve.time[j] - mean) ** 2
        time_std[i] = np.sqrt(variance)


def periodogram_log10_fap(
    curves: LightCurves, power: np.ndarray, max_freq: ArrayLike, weighted: bool, n_harmonics: int = 1
) -> np.ndarray:
    """Return log10 of the false-alarm probability of the highest peak of every light curve.

    Parameters
    ----------
    curves : LightCurves
        n light curves.
    power : numpy.ndarray, shape (n,), float64
        Highest power as `exact_lombscargle.lomb_scargle` ("ELS" power unnormalised) or
        `exact_multiharmonic.multiharmonic` give it.
    max_freq : array_like, shape () or (n,)
        Highest frequency searched, cycles/day.
    weighted : bool
        True: "LS" and "MHAOV", False: "ELS".
    n_harmonics : int

    Returns
    -------
    numpy.ndarray, shape (n,), float64
        NaN for a light curve without a periodogram.
    """
    relative = np.array(power, dtype=np.float64)
    time_std = np.empty(len(curves))
    _power_and_time_std(curves.hjd, curves.mag, curves.magerr, curves.offsets, weighted, relative, time_std)
    return log10_false_alarm_probability(relative, np.diff(curves.offsets), time_std, max_freq, n_harmonics)
