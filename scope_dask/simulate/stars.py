"""The stars: their classes, and what each light curve is drawn with, known without making the curve."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from scope_dask.simulate.options import DEFAULT_FRACTIONS, SimulationOptions
from scope_dask.simulate.randomness import CURVE, STAR, Key, draws
from scope_dask.simulate.survey import N_QUADRANTS, sky, survey

CONSTANT, SAWTOOTH, ECLIPSES, CONTACT, WALK = range(5)

# Fifteen successive light curves: (star among seven, filter) of each.
_BLOCK = np.array([(0, 1), (0, 2), (0, 3), *((s, f) for s in range(1, 7) for f in (1, 2))])
_BLOCK_STARS = 7

# Magnitude errors: a floor, and a sky-limited part that is 0.2 mag at magnitude 20.5.
ERROR_FLOOR, ERROR_FAINT, FAINT_MAG = 0.012, 0.2, 20.5
_AMPLITUDE_OVER_ERROR = 4.0
_Z90 = 1.2815515655446004  # 90th percentile of the standard normal distribution

Range = tuple[float, float]


class StarClass(NamedTuple):
    """How the stars of a class are drawn: periods and amplitudes log-uniform, the rest uniform.

    Attributes
    ----------
    shape : int
        Its parameters: SAWTOOTH steepness, cycle scatter; ECLIPSES width in phase, depth ratio, fraction of
        the width at full depth, shift of the secondary; CONTACT sharpness, inequality; WALK relaxation time
        in days.
    period : tuple of float
        Days; NaN where aperiodic.
    amplitude : tuple of float
        Peak to peak in g, mag.
    by_filter : tuple of float
        Amplitude in g, r, i relative to g.
    colour : tuple of float
        g − r; r − i is 0.3 times as much.
    parameters : tuple of ranges
    """

    shape: int
    period: Range
    amplitude: Range
    by_filter: tuple[float, float, float]
    colour: Range
    parameters: tuple[Range, ...]


_NO_PERIOD = (np.nan, np.nan)
_SAME = (1.0, 1.0, 1.0)

CLASSES: dict[str, StarClass] = {
    "RR Lyrae ab": StarClass(SAWTOOTH, (0.4, 0.9), (0.5, 1.3), (1.0, 0.72, 0.57), (0.1, 0.4), ((0.75, 0.92),)),
    "RR Lyrae c": StarClass(SAWTOOTH, (0.2, 0.45), (0.3, 0.6), (1.0, 0.7, 0.55), (0.0, 0.3), ((0.1, 0.3),)),
    "EA": StarClass(
        ECLIPSES,
        (0.5, 20.0),
        (0.2, 1.5),
        _SAME,
        (0.2, 1.2),
        ((0.03, 0.12), (0.1, 0.95), (0.0, 0.4), (-0.02, 0.02)),
    ),
    "EW": StarClass(CONTACT, (0.25, 0.6), (0.15, 0.8), (1.0, 0.97, 0.95), (0.3, 1.1), ((0.2, 0.7), (0.0, 0.25))),
    "sinusoidal": StarClass(SAWTOOTH, (0.1, 50.0), (0.08, 0.6), (1.0, 0.9, 0.8), (0.2, 1.3), ((0.0, 0.0),)),
    "LPV": StarClass(SAWTOOTH, (80.0, 500.0), (0.6, 5.0), (1.0, 0.85, 0.7), (1.0, 1.6), ((0.1, 0.4), (0.05, 0.2))),
    "irregular": StarClass(WALK, _NO_PERIOD, (0.15, 1.2), (1.0, 0.9, 0.8), (0.3, 1.3), ((10.0, 150.0),)),
    "non-variable": StarClass(CONSTANT, _NO_PERIOD, (np.nan, np.nan), _SAME, (0.2, 1.3), ()),
}
CLASS_LABELS = tuple(DEFAULT_FRACTIONS)


class Curves(NamedTuple):
    """What n light curves are drawn with; every attribute has shape (n,), `parameters` (n, 4).

    Attributes
    ----------
    number, star : ndarray, uint64
        Number of the light curve and of its star.
    counter : ndarray, int64
        Number of the star in its quadrant, from 1.
    band, rc : ndarray, int64
        Filter (1 to 3) and readout channel (0 to 63).
    n_points, kind, shape : ndarray, int64
        Number of points, index of the class in `CLASS_LABELS`, shape of the variation.
    ra, dec : ndarray, float64
        Degrees.
    period, amplitude, mean_mag, phase : ndarray, float64
        Days; peak to peak of the mean cycle, mag; magnitude; phase at the first night.
    parameters : ndarray, float64
        As `StarClass` describes them.
    """

    number: np.ndarray
    star: np.ndarray
    counter: np.ndarray
    band: np.ndarray
    rc: np.ndarray
    n_points: np.ndarray
    kind: np.ndarray
    shape: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    period: np.ndarray
    amplitude: np.ndarray
    mean_mag: np.ndarray
    phase: np.ndarray
    parameters: np.ndarray


def key(options: SimulationOptions) -> Key:
    """Return the key of all random draws of a field."""
    return np.uint64(options.seed), np.uint64(options.field)


def curves(options: SimulationOptions, numbers: np.ndarray) -> Curves:
    """Return what the light curves `numbers` (int64) are drawn with."""
    block, within = np.divmod(numbers, len(_BLOCK))
    star, band = block * _BLOCK_STARS + _BLOCK[within, 0], _BLOCK[within, 1]
    run, place = np.divmod(star, options.stars_per_quadrant)
    rc, counter = run % N_QUADRANTS, run // N_QUADRANTS * options.stars_per_quadrant + place + 1
    u = draws(key(options), star.astype(np.uint64), STAR, 3)
    kind = _kind(options, u[:, 0])
    amplitude_g = _between(_column("amplitude", kind), u[:, 2], log=True)
    amplitude = np.nan_to_num(amplitude_g * np.array([CLASSES[c].by_filter for c in CLASS_LABELS])[kind, band - 1])
    ra, dec = sky(options.field, rc, u[:, 10], u[:, 11])
    return Curves(
        number=numbers.astype(np.uint64),
        star=star.astype(np.uint64),
        counter=counter,
        band=band,
        rc=rc,
        n_points=_n_points(options, numbers, band, rc),
        kind=kind,
        shape=np.array([CLASSES[c].shape for c in CLASS_LABELS])[kind],
        ra=ra,
        dec=dec,
        period=_between(_column("period", kind), u[:, 1], log=True),
        amplitude=amplitude,
        mean_mag=_mean_mag(options, kind, band, amplitude_g, u[:, 3:5]),
        phase=np.ascontiguousarray(u[:, 5]),
        parameters=_parameters(kind, u[:, 6:10]),
    )


def _column(name: str, kind: np.ndarray) -> np.ndarray:
    return np.array([getattr(CLASSES[c], name) for c in CLASS_LABELS])[kind]


def _between(limits: np.ndarray, u: np.ndarray, log: bool = False) -> np.ndarray:
    low, high = limits[..., 0], limits[..., 1]
    return low * (high / low) ** u if log else low + (high - low) * u


def _kind(options: SimulationOptions, u: np.ndarray) -> np.ndarray:
    edges = np.cumsum(list(dict(options.class_fractions).values()))
    return np.searchsorted(edges[:-1] / edges[-1], u, side="right")


def _parameters(kind: np.ndarray, u: np.ndarray) -> np.ndarray:
    table = np.zeros((len(CLASS_LABELS), 4, 2))
    for i, label in enumerate(CLASS_LABELS):
        for k, limits in enumerate(CLASSES[label].parameters):
            table[i, k] = limits
    return _between(table[kind], u)


def _mean_mag(
    options: SimulationOptions, kind: np.ndarray, band: np.ndarray, amplitude_g: np.ndarray, u: np.ndarray
) -> np.ndarray:
    """Return mean magnitudes: a star varies by at least 4 typical errors, or its class could not be told."""
    bright, faint = options.magnitudes
    colour = _between(_column("colour", kind), u[:, 1])
    seen = np.sqrt((amplitude_g / _AMPLITUDE_OVER_ERROR) ** 2 - ERROR_FLOOR**2)
    faintest_g = np.fmin(
        faint - np.nan_to_num(amplitude_g) / 2,
        np.nan_to_num(FAINT_MAG + 2.5 * np.log10(seen / ERROR_FAINT), nan=faint),
    )
    low = bright + 0.3 * colour
    span = np.maximum(faintest_g - colour - low, 0.0)
    slope = options.magnitude_slope * np.log(10.0)
    red = low + (np.log1p(u[:, 0] * np.expm1(slope * span)) / slope if slope else u[:, 0] * span)
    return np.clip(red + colour * np.array([1.0, 0.0, -0.3])[band - 1], bright, faint)


def _n_points(options: SimulationOptions, numbers: np.ndarray, band: np.ndarray, rc: np.ndarray) -> np.ndarray:
    """Return numbers of points: log-normal with two widths, at most the usable exposures."""
    u = draws(key(options), numbers.astype(np.uint64), CURVE, 1)
    z = np.sqrt(-2.0 * np.log(u[:, 0])) * np.cos(2.0 * np.pi * u[:, 1])
    low, middle, high = options.n_points
    width = np.where(z < 0.0, math.log(middle / low), math.log(high / middle)) / _Z90
    wanted = np.maximum(np.rint(middle * np.exp(width * z)), 1).astype(np.int64)
    return np.minimum(wanted, survey(options).counts[band - 1, rc])
