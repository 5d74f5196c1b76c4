"""Options of the feature generation: which light curves, and what is computed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from scope_dask.conditioning.lightcurves import LightCurveOptions
from scope_dask.crossmatch import BrightStarOptions
from scope_dask.crossmatch.external import CrossmatchOptions
from scope_dask.errors import OptionError
from scope_dask.extraction.features import FeatureOptions
from scope_dask.periods.options import PeriodOptions

END_OF_DR16 = 2459951.5
ONES = "Ones"


@dataclass(frozen=True, slots=True)
class Quadrant:
    """A quadrant of a CCD in a ZTF field."""

    field: int
    ccd: int
    quad: int

    def __str__(self) -> str:
        return f"field {self.field}, CCD {self.ccd}, quadrant {self.quad}"


@dataclass(frozen=True)
class SpecificIds:
    """Light curves named one by one.

    Attributes
    ----------
    ids : numpy.ndarray of int64
        Sorted, each once.
    names : mapping of int to str
        Names of some of them, for the column ``fritz_name``; empty: no such column.
    """

    ids: np.ndarray
    names: Mapping[int, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{len(self.ids)} specific ids"


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """What is computed, and of which points.

    Attributes
    ----------
    lightcurves : LightCurveOptions
    features : FeatureOptions
    find_periods : bool
        False: every period is 1 d, in the columns ``period_Ones``, ``f1_amp_Ones``, ….
    cesium : tuple of str
        Features of the package cesium to add.
    bright_stars : BrightStarOptions or None
        None: sources near bright stars are kept.
    crossmatch : CrossmatchOptions
        Its radius is that of the alerts as well.
    max_timestamp_hjd : float
        Points after this heliocentric Julian date (d) are left out; by default the end of data release 16.
    first : int, optional
        Only as many sources, the first by id.
    period_batch_size : int
        Light curves of a kernel call at most; no value depends on it.
    """

    lightcurves: LightCurveOptions = field(default_factory=LightCurveOptions)
    features: FeatureOptions = field(default_factory=FeatureOptions)
    find_periods: bool = True
    cesium: tuple[str, ...] = ()
    bright_stars: BrightStarOptions | None = field(default_factory=BrightStarOptions)
    crossmatch: CrossmatchOptions = field(default_factory=CrossmatchOptions)
    max_timestamp_hjd: float = END_OF_DR16
    first: int | None = None
    period_batch_size: int = 1000

    def __post_init__(self) -> None:
        for name in ("first", "period_batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}; it must be 1 or more")
        if not self.max_timestamp_hjd > 0:
            raise OptionError(f"max_timestamp_hjd is {self.max_timestamp_hjd}; it must be a Julian date above 0")

    @property
    def periods(self) -> PeriodOptions:
        return self.features.periods

    @property
    def written(self) -> tuple[str, ...]:
        """The period algorithms whose columns are written."""
        return self.periods.written if self.find_periods else (ONES,)
