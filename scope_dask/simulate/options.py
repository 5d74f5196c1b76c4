"""What to simulate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scope_dask.errors import OptionError, nearest

DEFAULT_FRACTIONS = {
    "RR Lyrae ab": 0.10,
    "RR Lyrae c": 0.08,
    "EA": 0.12,
    "EW": 0.14,
    "sinusoidal": 0.14,
    "LPV": 0.10,
    "irregular": 0.12,
    "non-variable": 0.20,
}

# Eight digits of an identifier number the stars of a quadrant.
_MOST_LIGHT_CURVES = 10**10
_MOST_STARS_IN_A_ROW = 10**7


@dataclass(frozen=True, slots=True)
class SimulationOptions:
    """Options of a simulated field.

    A light curve depends on `seed`, `field`, its own number and the options of cadence, classes and noise;
    never on `n_light_curves` or `light_curves_per_partition`. Fifteen successive light curves are those of
    seven stars: g and r of each, and i of the first.

    Attributes
    ----------
    n_light_curves : int
        At most 10**10.
    light_curves_per_partition : int
    field : int
        Field number, 1 to 889 (main grid) or 1001 to 1889 (grid shifted by half a field): about the survey's.
    seed : int
        0 to 2**32 - 1.
    n_points : tuple of three int
        10th, 50th and 90th percentile of the number of points; bounded by the exposures (of i: few).
    baseline_days : float
        Time from the first night to the last.
    first_hjd : float
        Start of the first night's day, Julian date at 0 h UT (default: 17 March 2018, the survey's start).
    magnitudes : tuple of two float
        Range of the mean magnitudes.
    magnitude_slope : float
        Star counts grow as 10**(slope m); more than 0 is more faint stars.
    class_fractions : mapping of str to float
        Fraction of the stars in each class; classes that are not named get none. Kept as a tuple of pairs.
    flagged_fraction : float
        Fraction of points with nonzero catflags; they are off by 0.3 to 1.5 mag.
    outlier_fraction : float
        Fraction of points that are off by 4 to 8 errors without a flag.
    stars_per_quadrant : int
        Stars of one quadrant follow each other in the table, then as many of the next; after 64 quadrants the
        first comes again.

    Raises
    ------
    OptionError
        If a value is outside its range.
    """

    n_light_curves: int = 2000
    light_curves_per_partition: int = 500
    field: int = 296
    seed: int = 1
    n_points: tuple[int, int, int] = (80, 300, 700)
    baseline_days: float = 1826.25
    first_hjd: float = 2458194.5
    magnitudes: tuple[float, float] = (14.0, 20.5)
    magnitude_slope: float = 0.1
    class_fractions: Mapping[str, float] | tuple[tuple[str, float], ...] = tuple(DEFAULT_FRACTIONS.items())
    flagged_fraction: float = 0.03
    outlier_fraction: float = 0.001
    stars_per_quadrant: int = 100

    def __post_init__(self) -> None:
        for name in ("n_points", "magnitudes"):
            _set(self, name, _as_tuple(name, getattr(self, name)))
        self._check_counts()
        _number("baseline_days", self.baseline_days, 1, 36525)
        _number("first_hjd", self.first_hjd, 2400000.5, 2500000.5)
        _number("magnitude_slope", self.magnitude_slope, -1, 1)
        _number("flagged_fraction", self.flagged_fraction, 0, 1)
        _number("outlier_fraction", self.outlier_fraction, 0, 1)
        if self.flagged_fraction + self.outlier_fraction > 1:
            raise OptionError(
                f"flagged_fraction + outlier_fraction is {self.flagged_fraction + self.outlier_fraction:g}, "
                "expected at most 1: lower one of them"
            )
        self._check_ranges()
        _set(self, "class_fractions", _fractions(self.class_fractions))

    def _check_counts(self) -> None:
        _integer("n_light_curves", self.n_light_curves, 1, _MOST_LIGHT_CURVES)
        _integer("light_curves_per_partition", self.light_curves_per_partition, 1, 10**7)
        _integer("stars_per_quadrant", self.stars_per_quadrant, 1, _MOST_STARS_IN_A_ROW)
        _integer("seed", self.seed, 0, 2**32 - 1)
        _integer("field", self.field, 1, 1889)
        if 889 < self.field < 1001:
            raise OptionError(f"field is {self.field}, expected 1 to 889 or 1001 to 1889: choose one of these")

    def _check_ranges(self) -> None:
        if len(self.n_points) != 3:
            raise OptionError(f"n_points has {len(self.n_points)} values, expected 3: the 10th, 50th, 90th percentile")
        for value in self.n_points:
            _integer("n_points", value, 1, 10**6)
        if list(self.n_points) != sorted(self.n_points):
            raise OptionError(f"n_points is {self.n_points}, expected percentiles in ascending order")
        if len(self.magnitudes) != 2:
            raise OptionError(
                f"magnitudes has {len(self.magnitudes)} values, expected 2: the brightest and the faintest"
            )
        for limit in self.magnitudes:
            _number("magnitudes", limit, 0, 30)
        if self.magnitudes[0] > self.magnitudes[1]:
            raise OptionError(f"magnitudes is {self.magnitudes}, expected the brightest first: swap them")

    @property
    def npartitions(self) -> int:
        """Number of partitions."""
        return -(-self.n_light_curves // self.light_curves_per_partition)


def _set(options: SimulationOptions, name: str, value: Any) -> None:
    object.__setattr__(options, name, value)


def _as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise OptionError(f"{name} is {value!r}, expected a list of numbers")
    return tuple(value)


def _integer(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise OptionError(f"{name} is {value!r}, expected an integer from {low} to {high}")


def _number(name: str, value: Any, low: float, high: float) -> None:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not real or not low <= value <= high:
        raise OptionError(f"{name} is {value!r}, expected a number from {low} to {high}")


def _fractions(given: Any) -> tuple[tuple[str, float], ...]:
    try:
        fractions = dict(given)
    except (TypeError, ValueError):
        raise OptionError(f"class_fractions is {given!r}, expected a mapping of class to fraction") from None
    for name, value in fractions.items():
        if name not in DEFAULT_FRACTIONS:
            known = ", ".join(DEFAULT_FRACTIONS)
            raise OptionError(
                f"class_fractions has no class {name!r}{nearest(name, DEFAULT_FRACTIONS)}; there are {known}"
            )
        _number(f"class_fractions of {name}", value, 0, 1)
    total = math.fsum(fractions.values())
    if abs(total - 1) > 1e-6:
        raise OptionError(f"class_fractions add up to {total:g}, expected 1: add the rest to 'non-variable'")
    return tuple((name, float(fractions.get(name, 0))) for name in DEFAULT_FRACTIONS)
