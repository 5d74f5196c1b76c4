"""The points of simulated light curves: which exposures, which variation, which noise, which flags."""

from __future__ import annotations

import math

import numpy as np

from scope_dask.compiled import jit
from scope_dask.simulate.randomness import CYCLE, NIGHT, POINT, SPOILED, Key, draw, normal_pair
from scope_dask.simulate.stars import (
    CONSTANT,
    CONTACT,
    ECLIPSES,
    ERROR_FAINT,
    ERROR_FLOOR,
    FAINT_MAG,
    WALK,
    Curves,
)
from scope_dask.simulate.survey import Survey

_VISIT_KEPT = 0.9
_TURN = 2.0 * math.pi
_DEX = 0.4 * math.log(10.0)
# Catflags of spoiled points: bit 15, bit 8, both; the cumulative chances of the first two.
_BAD, _EDGE, _BOTH = 32768, 256, 33024
_CHANCE_BAD, _CHANCE_EDGE = 0.8, 0.95


@jit()
def make_points(
    key: Key,
    curves: Curves,
    survey: Survey,
    spoiled: tuple[float, float],
    offsets: np.ndarray,
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    catflags: np.ndarray,
) -> None:
    """Fill in the points of all light curves.

    Parameters
    ----------
    key : tuple of two uint64
    curves : Curves
        n light curves.
    survey : Survey
    spoiled : tuple of two float
        Chances of a flagged point and of an outlier.
    offsets : ndarray, shape (n + 1,), int64
        Light curve i is written to ``offsets[i]:offsets[i + 1]``, as many points as ``curves.n_points[i]``.
    hjd, mag, magerr, catflags : ndarray, shape (points,), float64, float32, float32, int32
    """
    exposures = np.empty(survey.hjd.size, np.int64)
    for i in range(curves.number.size):
        choose_exposures(key, curves, survey, i, exposures)
        part = slice(offsets[i], offsets[i + 1])
        _measure(key, curves, survey, spoiled, i, exposures, hjd[part], mag[part], magerr[part], catflags[part])


@jit()
def choose_exposures(key: Key, curves: Curves, survey: Survey, i: int, exposures: np.ndarray) -> None:
    """Write to `exposures` the ``curves.n_points[i]`` exposures of light curve `i`, in time order.

    Selection sampling (Knuth, TAOCP 2, 3.4.2), by nights: the visits of a night mostly stay together, as they
    do in the survey.
    """
    band, rc, number = curves.band[i] - 1, curves.rc[i], curves.number[i]
    needed, remaining = curves.n_points[i], survey.counts[band, rc]
    first, count, night = survey.start[band], 0, -1
    chosen, keep = False, 1.0
    for j in range(first, survey.start[band + 1]):
        if needed == 0:
            break
        if not survey.usable[j, rc]:
            continue
        if survey.night[j] != night:
            night = survey.night[j]
            fraction = needed / remaining
            keep = max(_VISIT_KEPT, fraction)
            chosen = draw(key, number, NIGHT, night)[0] < fraction / keep
        if needed >= remaining or (chosen and draw(key, number, POINT, j - first)[0] < keep):
            exposures[count] = j
            count += 1
            needed -= 1
        remaining -= 1


@jit()
def _measure(
    key: Key,
    curves: Curves,
    survey: Survey,
    spoiled: tuple[float, float],
    i: int,
    exposures: np.ndarray,
    hjd: np.ndarray,
    mag: np.ndarray,
    magerr: np.ndarray,
    catflags: np.ndarray,
) -> None:
    """Write the points of light curve `i`."""
    first, walk, last = survey.start[curves.band[i] - 1], 0.0, -np.inf
    for k in range(hjd.size):
        j = exposures[k]
        t = survey.hjd[j]
        _, u, v, w = draw(key, curves.number[i], POINT, j - first)
        noise, step = normal_pair(u, v)
        if curves.shape[i] == WALK:
            walk = next_step(walk, (t - last) / curves.parameters[i, 0], step)
            last = t
            true = curves.mean_mag[i] + curves.amplitude[i] / math.sqrt(8.0) * walk
        else:
            true = curves.mean_mag[i] + variation(key, curves, i, t - survey.first_hjd)
        error = survey.quality[j] * math.hypot(ERROR_FLOOR, ERROR_FAINT * math.exp(_DEX * (true - FAINT_MAG)))
        shift, flags = 0.0, 0
        if w < spoiled[0] + spoiled[1]:
            shift, flags = _spoil(key, curves.number[i], j - first, w < spoiled[0], error)
        hjd[k] = t
        mag[k] = true + error * noise + shift
        magerr[k] = error
        catflags[k] = flags


@jit()
def _spoil(key: Key, number: np.uint64, exposure: int, flagged: bool, error: float) -> tuple[float, int]:
    """Return (shift in mag, catflags) of a flagged point or an outlier."""
    u, v, w, _ = draw(key, number, SPOILED, exposure)
    sign = 1.0 if u < 0.5 else -1.0
    if not flagged:
        return sign * (4.0 + 4.0 * v) * error, 0
    flags = _BAD if w < _CHANCE_BAD else (_EDGE if w < _CHANCE_EDGE else _BOTH)
    return sign * (0.3 + 1.2 * v), flags


@jit()
def next_step(walk: float, elapsed: float, step: float) -> float:
    """Return the next value of a damped random walk of unit variance, `elapsed` relaxation times later.

    The exact transition of the Ornstein-Uhlenbeck process (Kelly et al. 2009, ApJ 698, 895); `step` is a
    standard normal number.
    """
    decay = math.exp(-elapsed)
    return walk * decay + math.sqrt(1.0 - decay * decay) * step


@jit()
def variation(key: Key, curves: Curves, i: int, elapsed: float) -> float:
    """Return the variation of light curve `i` in mag, `elapsed` days after the first night; its mean is 0."""
    shape, parameters = curves.shape[i], curves.parameters[i]
    if shape == CONSTANT:
        return 0.0
    phase = elapsed / curves.period[i] + curves.phase[i]
    if shape == ECLIPSES:
        return curves.amplitude[i] * eclipses(phase, parameters[0], parameters[1], parameters[2], parameters[3])
    if shape == CONTACT:
        return curves.amplitude[i] * contact(phase, parameters[0], parameters[1])
    factor = 1.0
    if parameters[1] > 0.0:
        a, b = _wander(key, curves.star[i], phase)
        factor = max(1.0 + parameters[1] * a, 0.2)
        phase += 0.2 * parameters[1] * b
    return factor * curves.amplitude[i] * sawtooth(phase, parameters[0])


@jit()
def _wander(key: Key, star: np.uint64, phase: float) -> tuple[float, float]:
    """Return two numbers that move smoothly from one standard normal draw to the next, a cycle later."""
    cycle = math.floor(phase)
    x = phase - cycle
    x = x * x * (3.0 - 2.0 * x)
    u, v, _, _ = draw(key, star, CYCLE, int(cycle))
    a, b = normal_pair(u, v)
    u, v, _, _ = draw(key, star, CYCLE, int(cycle) + 1)
    c, d = normal_pair(u, v)
    return a + (c - a) * x, b + (d - b) * x


@jit()
def sawtooth(phase: float, steepness: float) -> float:
    """Return a fast rise and slow decline in mag, peak to peak 1, mean 0; `steepness` r = 0 is a sinusoid.

    −Σ rᵏ sin(2πkφ)/k, summed in closed form: −arctan(r sin 2πφ / (1 − r cos 2πφ)), whose range is ±arcsin r.
    The rise takes arccos(r)/π of the period.
    """
    x = _TURN * (phase - math.floor(phase))
    if steepness == 0.0:
        return -0.5 * math.sin(x)
    return -math.atan2(steepness * math.sin(x), 1.0 - steepness * math.cos(x)) / (2.0 * math.asin(steepness))


@jit()
def eclipses(phase: float, width: float, ratio: float, flat: float, shift: float) -> float:
    """Return eclipses `width` wide in phase, of depth 1 at phase 0 and `ratio` at 0.5 + `shift`; mean 0."""
    mean = 0.5 * width * (1.0 + flat) * (1.0 + ratio)
    return _eclipse(phase, width, flat) + ratio * _eclipse(phase - 0.5 - shift, width, flat) - mean


@jit()
def _eclipse(phase: float, width: float, flat: float) -> float:
    """Return an eclipse of depth 1 about phase 0: full depth for `flat` of its width, then cosine flanks."""
    x = 2.0 * abs(phase - math.floor(phase + 0.5)) / width
    if x >= 1.0:
        return 0.0
    return 1.0 if x <= flat else 0.5 * (1.0 + math.cos(math.pi * (x - flat) / (1.0 - flat)))


@jit()
def contact(phase: float, sharpness: float, inequality: float) -> float:
    """Return the two minima of a contact binary, peak to peak 1, mean 0; the second is 1 − `inequality` deep.

    (1 − s) cos² x + s (1 − |sin x|) with x = 2πφ, weighted from one minimum to the other.
    """
    x = _TURN * (phase - math.floor(phase))
    sine, cosine = math.sin(x), math.cos(x)
    depth = (1.0 - sharpness) * cosine * cosine + sharpness * (1.0 - abs(sine))
    mean = (0.5 * (1.0 - sharpness) + sharpness * (1.0 - 2.0 / math.pi)) * (1.0 - 0.5 * inequality)
    return depth * (1.0 - 0.5 * inequality * (1.0 - cosine)) - mean
