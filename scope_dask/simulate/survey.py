"""The survey: where the quadrants of a field lie and when the field was exposed in each filter."""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from scope_dask.errors import OptionError
from scope_dask.simulate.options import SimulationOptions

N_QUADRANTS = 64
QUADRANT_DEG = 0.86
_CCD_PITCH_DEG = 1.87
_FIRST_ROW_DEC, _ROW_PITCH = -89.05, 7.2
_LONGITUDE_DEG = -116.865  # Palomar
_SYNODIC_MONTH, _A_FULL_MOON = 29.530589, 2451564.69

# Chance that a clear night has one, and two, visits; times closer than 30 minutes are what thinning removes.
_VISITS = {1: (0.45, 0.42), 2: (0.45, 0.42), 3: (0.12, 0.05)}
_DARK_ONLY = {1: 0.75, 2: 0.25, 3: 0.1}
_SERIES_CHANCE, _SERIES_LENGTH, _SERIES_STEP = 0.004, 24, 3.5 / 1440
_QUADRANT_LOST = 0.02


class Survey(NamedTuple):
    """The exposures of a field, those of g first, then r, then i; each in time order.

    Attributes
    ----------
    first_hjd : float
        Origin of the phases.
    hjd : ndarray, shape (exposures,), float64
        Julian date, days.
    night : ndarray, shape (exposures,), int64
        Number of the night, from 0.
    quality : ndarray, shape (exposures,), float64
        Factor on the magnitude errors.
    start : ndarray, shape (4,), int64
        Exposures of filter f are ``start[f - 1]:start[f]``.
    usable : ndarray, shape (exposures, 64), bool
        Whether readout channel rc got the exposure.
    counts : ndarray, shape (3, 64), int64
        Usable exposures by filter and readout channel.
    """

    first_hjd: float
    hjd: np.ndarray
    night: np.ndarray
    quality: np.ndarray
    start: np.ndarray
    usable: np.ndarray
    counts: np.ndarray


def field_centre(field: int) -> tuple[float, float]:
    """Return (ra, dec) of a field's centre in degrees, on rows of equal declination 7.2 degrees apart.

    The grid has about as many fields as the survey's, numbered in the same order; it is not the survey's own.
    """
    shifted, index = divmod(field - 1, 1000)
    for row in range(25):
        dec = _FIRST_ROW_DEC + _ROW_PITCH * row
        size = int(np.ceil(53.2 * np.cos(np.radians(max(abs(dec) - 2.0, 0.0)))))
        if index < size:
            return (index + 0.5 + 0.5 * shifted) * 360.0 / size % 360.0, min(dec + 0.5 * _ROW_PITCH * shifted, 86.0)
        index -= size
    raise OptionError(f"field is {field}, expected 1 to 889 or 1001 to 1889")


def quadrant_offset(rc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (east, north) of the quadrants' centres from the field's in degrees.

    CCDs count westward from the south-east corner, row by row; quadrants NE, NW, SW, SE within their CCD.
    """
    ccd, quad = rc // 4, rc % 4
    east = (1.5 - ccd % 4) * _CCD_PITCH_DEG + np.where((quad == 0) | (quad == 3), 0.5, -0.5) * QUADRANT_DEG
    north = (ccd // 4 - 1.5) * _CCD_PITCH_DEG + np.where(quad < 2, 0.5, -0.5) * QUADRANT_DEG
    return east, north


def sky(field: int, rc: np.ndarray, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (ra, dec) in degrees of places (u, v) in the unit square of quadrants `rc`.

    The focal plane is a gnomonic projection (Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3).
    """
    ra, dec = np.radians(field_centre(field))
    east, north = quadrant_offset(rc)
    x = np.radians(east + (u - 0.5) * QUADRANT_DEG)
    y = np.radians(north + (v - 0.5) * QUADRANT_DEG)
    across = np.cos(dec) - y * np.sin(dec)
    lon = ra + np.arctan2(x, across)
    lat = np.arctan2(np.sin(dec) + y * np.cos(dec), np.hypot(x, across))
    return np.degrees(lon) % 360.0, np.degrees(lat)


def survey(options: SimulationOptions) -> Survey:
    """Return the exposures of a field (a few milliseconds; the last few are kept).

    Raises
    ------
    OptionError
        If the field is never visible between ``first_hjd`` and ``first_hjd + baseline_days``.
    """
    return _survey(options.seed, options.field, options.first_hjd, options.baseline_days)


@functools.lru_cache(maxsize=8)
def _survey(seed: int, field: int, first_hjd: float, baseline_days: float) -> Survey:
    nights = first_hjd + np.arange(int(baseline_days))
    windows = _windows(nights, field_centre(field)[0])
    clear = _clear(nights, _generator(seed, field, 0)) & (windows[1] - windows[0] > 0.5 / 24)
    parts = [_exposures(nights, windows, clear, f, _generator(seed, field, f)) for f in (1, 2, 3)]
    hjd, night, quality, usable = (np.concatenate([p[k] for p in parts]) for k in range(4))
    if not len(hjd):
        raise OptionError(
            f"field {field} has no exposure in the {baseline_days:g} days from HJD {first_hjd:.1f}: "
            "it is not visible then; expected a longer baseline_days or another first_hjd"
        )
    start = np.concatenate([[0], np.cumsum([len(p[0]) for p in parts])]).astype(np.int64)
    counts = np.stack([usable[a:b].sum(axis=0) for a, b in itertools.pairwise(start)])
    return Survey(float(first_hjd), hjd, night, quality, start, usable, counts.astype(np.int64))


def _generator(seed: int, field: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, 4 * field + stream], np.uint64)))


def _windows(nights: np.ndarray, ra: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (begin, end) of each night's window in days: dark, and the field within 4 h of the meridian."""
    midnight = nights - _LONGITUDE_DEG / 360.0
    sun = 280.46 + 0.9856474 * (midnight - 2451545.0)  # mean longitude, Astronomical Almanac
    transit = (ra - sun) % 360.0 / 15.0 - 12.0  # hours from midnight
    dark = 4.6 + 0.85 * np.cos(np.radians(sun - 270.0))
    begin, end = np.maximum(-dark, transit - 4.0), np.minimum(dark, transit + 4.0)
    return midnight + begin / 24.0, midnight + end / 24.0


def _clear(nights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Tell which nights are clear: single nights are lost, and spells of five."""
    draws = generator.random((len(nights), 2))
    spell = draws[np.arange(len(nights)) // 5 * 5, 1]
    return (draws[:, 0] < 0.85) & (spell < 0.85)


def _exposures(
    nights: np.ndarray,
    windows: tuple[np.ndarray, np.ndarray],
    clear: np.ndarray,
    band: int,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (hjd, night, quality, usable) of the exposures in one filter."""
    u = generator.random((len(nights), 6))
    begin, end = windows
    moon = np.cos(2 * np.pi * (nights - _A_FULL_MOON) / _SYNODIC_MONTH)
    clear = clear & ~((moon > 0.75) & (u[:, 0] < _DARK_ONLY[band]))
    one, two = _VISITS[band]
    visits = np.where(u[:, 1] < two, 2, np.where(u[:, 1] < one + two, 1, 0))
    series = (u[:, 2] < _SERIES_CHANCE) & (band != 3)
    gap = np.where(u[:, 3] < 0.3, 5 + 23 * u[:, 4], 31 + 150 * u[:, 4]) / 1440.0
    step = np.where(series, _SERIES_STEP, gap)
    room = end - begin - np.where(series | (visits == 2), step, 0.0)
    first = begin + u[:, 5] * np.where(room > 0.0, room, end - begin)
    k = np.arange(_SERIES_LENGTH)
    times = first[:, None] + step[:, None] * k
    taken = clear[:, None] & (k < np.where(series, _SERIES_LENGTH, visits)[:, None]) & (times <= end[:, None])
    night, slot = np.nonzero(taken)
    v = generator.random((len(night), 1 + N_QUADRANTS))
    quality = 0.85 + 0.35 * v[:, 0] ** 2
    return times[night, slot], night.astype(np.int64), quality, v[:, 1:] >= _QUADRANT_LOST
