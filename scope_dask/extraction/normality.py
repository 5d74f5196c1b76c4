"""Two tests of normality, the statistics only: Anderson-Darling A² and Shapiro-Wilk W of sorted values."""

from __future__ import annotations

import math

import numpy as np

from scope_dask.compiled import jit

# Wichura (1988), AS 241, PPND16: numerators and denominators, highest power first.
_CENTRE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    (5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
     5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0),
)  # fmt: skip
_TAIL = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0),
)  # fmt: skip

# Royston (1995), AS R94: what is added to the outermost and the next coefficient, in powers of 1/√N, highest
# first.
_OUTERMOST = (-2.706056, 4.434685, -2.071190, -0.147981, 0.221157, 0.0)
_NEXT = (-3.582633, 5.682633, -1.752461, -0.293762, 0.042981, 0.0)

# Beyond this argument three terms of the asymptotic series give ln erfc to 1e-12 (erfc underflows at 26).
_ERFC_FAR = 20.0


@jit()
def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    value = 0.0
    for c in coefficients:
        value = value * x + c
    return value


@jit()
def lower_quantile(p: float) -> float:
    """Return the quantile z < 0 of the standard normal distribution at 1e-11 < p <= 1/2 (AS 241, 1e-16)."""
    q = 0.5 - p
    if q <= 0.425:
        r = 0.180625 - q * q
        return -q * _polynomial(_CENTRE[0], r) / _polynomial(_CENTRE[1], r)
    r = math.sqrt(-math.log(p)) - 1.6
    return -_polynomial(_TAIL[0], r) / _polynomial(_TAIL[1], r)


@jit()
def anderson_darling(ordered: np.ndarray) -> float:
    """Return A² of `ordered` (sorted values) against a normal distribution of estimated mean and deviation.

    ``A² = −N − Σ (2i − 1)/N (ln Φ(z_i) + ln(1 − Φ(z_{N+1−i})))``, z standardised with N − 1 (Stephens 1974;
    the statistic of `scipy.stats.anderson`). NaN where all values are equal.
    """
    n = len(ordered)
    origin = ordered[n // 2]
    mean = 0.0
    for i in range(n):
        mean += ordered[i] - origin
    mean /= n
    variance = 0.0
    for i in range(n):
        variance += (ordered[i] - origin - mean) ** 2
    scale = math.sqrt(variance / (n - 1))
    total = 0.0
    for i in range(n):
        z = (ordered[i] - origin - mean) / scale
        outer, inner = _log_tails(abs(z) * math.sqrt(0.5))
        below, above = (outer, inner) if z < 0.0 else (inner, outer)
        total += (2 * i + 1) * below + (2 * (n - i) - 1) * above
    return -n - total / n


@jit()
def _log_tails(x: float) -> tuple[float, float]:
    """Return (ln Q, ln(1 − Q)) of the normal tail ``Q = erfc(x)/2``, x >= 0."""
    if x < _ERFC_FAR:
        tail = 0.5 * math.erfc(x)
        return math.log(tail), math.log1p(-tail)
    u = 0.5 / (x * x)
    return -x * x - math.log(2.0 * x * math.sqrt(math.pi)) + math.log1p(-u * (1.0 - 3.0 * u * (1.0 - 5.0 * u))), 0.0


@jit()
def shapiro_wilk(ordered: np.ndarray, weights: np.ndarray) -> float:
    """Return W of `ordered` (sorted, at least 4 values) by Royston's approximation (1995, AS R94).

    1 where all values are equal. `weights`, at least N/2 long, is scratch. The formula holds for any N (what
    ends at 5000 is its p-value).
    """
    n = len(ordered)
    origin, width = ordered[n // 2], ordered[n - 1] - ordered[0]
    if not width > 0.0:
        return 1.0
    _shapiro_weights(n, weights)
    mean = 0.0
    for i in range(n):
        mean += (ordered[i] - origin) / width
    mean /= n
    squares = product = norm = 0.0
    for i in range(n):
        squares += ((ordered[i] - origin) / width - mean) ** 2
    for i in range(n // 2):
        product += weights[i] * ((ordered[n - 1 - i] - ordered[i]) / width)
        norm += 2.0 * weights[i] * weights[i]
    # 1 − W as a product of differences keeps the digits that matter where W is close to 1.
    root = math.sqrt(norm * squares)
    return 1.0 - (root - product) * (root + product) / (norm * squares)


@jit()
def _shapiro_weights(n: int, weights: np.ndarray) -> None:
    """Fill `weights` with the coefficients of the upper half, outermost first (n >= 4)."""
    half = n // 2
    squares = 0.0
    for i in range(half):
        weights[i] = -lower_quantile((i + 0.625) / (n + 0.25))
        squares += 2.0 * weights[i] * weights[i]
    root, length = 1.0 / math.sqrt(n), math.sqrt(squares)
    first = _polynomial(_OUTERMOST, root) + weights[0] / length
    left, taken = squares - 2.0 * weights[0] ** 2, 1.0 - 2.0 * first * first
    fixed = 1
    second = 0.0
    if n > 5:
        fixed = 2
        second = _polynomial(_NEXT, root) + weights[1] / length
        left -= 2.0 * weights[1] ** 2
        taken -= 2.0 * second * second
    scale = math.sqrt(left / taken)
    for i in range(fixed, half):
        weights[i] /= scale
    weights[0] = first
    if fixed == 2:
        weights[1] = second
