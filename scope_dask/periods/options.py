"""Options of the period search."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from scope_dask.errors import OptionError, nearest
from scope_dask.schema import ALGORITHMS, Schema, feature_schema

NESTED = ("ELS_ECE_EAOV", "LS_CE_AOV")
FOLDED = ("CE", "ECE", "AOV", "EAOV")  # folds into phase bins, which can follow a changing period
MOST_BINS = 1024
MOST_HARMONICS = 5


@dataclass(frozen=True, slots=True)
class BoxOptions:
    """Which boxes box least squares (BLS) tries, and where.

    Attributes
    ----------
    n_bins : int
        Phase bins.
    shortest, longest : float
        Durations of the boxes, as fractions of the period; rounded to whole bins, at least one.
    n_durations : int
        Durations in geometric progression from `shortest` to `longest` (equal ones are tried once).
    min_points : float
        Least weight inside a box and outside, in units of the mean weight of a point.
    max_freq : float
        Highest frequency, cycles/day. Detached binaries have periods above 0.2 d.
    """

    n_bins: int = 200
    shortest: float = 0.01
    longest: float = 0.15
    n_durations: int = 8
    min_points: float = 5.0
    max_freq: float = 5.0

    def __post_init__(self) -> None:
        if not 2 <= self.n_bins <= MOST_BINS:
            raise OptionError(f"n_bins is {self.n_bins}; it must be from 2 to {MOST_BINS}")
        if not 0 < self.shortest <= self.longest < 1:
            raise OptionError(
                f"durations from {self.shortest} to {self.longest}; they must be ascending fractions of the period"
            )
        for name in ("n_durations", "min_points", "max_freq"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be greater than 0")

    @property
    def widths(self) -> np.ndarray:
        """Durations in bins, ascending, int64."""
        widths = np.rint(np.geomspace(self.shortest, self.longest, self.n_durations) * self.n_bins)
        return np.unique(np.clip(widths, 1, self.n_bins - 1)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class PeriodOptions:
    """Options of the period search.

    Attributes
    ----------
    algorithms : tuple of str
        LS, CE, AOV, ELS, ECE, EAOV, MHAOV, BLS, FPW, or a nested search ELS_ECE_EAOV or LS_CE_AOV (which stands alone).
    max_freq : float
        Highest frequency, cycles/day.
    samples_per_peak : int
        Grid points per peak width 1/baseline.
    baseline_days : float or None
        Baseline that fixes one grid for a survey; None: each light curve its own.
    remove_terrestrial : bool
        Mask the terrestrial windows (after the evaluation: the grid stays regular).
    top_n_periods : int
        Distinct peaks kept of each method; the candidates of the nested search.
    nested_full_aov : bool
        Nested search: also evaluate EAOV on the whole grid and write its own columns.
    nested_boxes : bool
        Nested search: BLS proposes candidates too (and writes its own columns). Finds narrow eclipses, costs time.
    n_harmonics : int
        Harmonics of MHAOV, 1 to 5.
    boxes : BoxOptions
    pdots : tuple of float
        Trial period derivatives (days per day) of CE, ECE, AOV, EAOV and of the nested search with them.
    refine : bool
        Also find the frequency below the grid step, with its uncertainty.
    aliases : bool
        Also judge the periods: which are aliases of the observing times, which is likely the star's, do they agree?
    alias_candidates : int
        Peaks of each method that are judged.
    """

    algorithms: tuple[str, ...] = ("ELS_ECE_EAOV",)
    max_freq: float = 48.0
    samples_per_peak: int = 10
    baseline_days: float | None = None
    remove_terrestrial: bool = False
    top_n_periods: int = 50
    nested_full_aov: bool = False
    nested_boxes: bool = False
    n_harmonics: int = 3
    boxes: BoxOptions = field(default_factory=BoxOptions)
    pdots: tuple[float, ...] = (0.0,)
    refine: bool = True
    aliases: bool = True
    alias_candidates: int = 12

    def __post_init__(self) -> None:
        known = [*ALGORITHMS, "LS_CE_AOV"]
        for name in self.algorithms:
            if name not in known:
                raise OptionError(
                    f"there is no period algorithm {name!r}{nearest(name, known)}; there are {', '.join(known)}"
                )
        for name in ("max_freq", "samples_per_peak", "top_n_periods", "alias_candidates"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be greater than 0")
        if self.baseline_days is not None and not self.baseline_days > 0:
            raise OptionError(f"baseline_days is {self.baseline_days}; it must be greater than 0, or absent")
        check_harmonics(self.n_harmonics)
        if not self.pdots or not np.isfinite(self.pdots).all():
            raise OptionError(f"pdots is {list(self.pdots)}; it must hold one or more finite numbers, such as 0")

    @property
    def nested(self) -> str | None:
        """The nested search among the algorithms (it rules out the others), or None."""
        return next((a for a in self.algorithms if a in NESTED), None)

    @property
    def proposers(self) -> tuple[str, ...]:
        """The methods whose peaks are the candidates of the nested search; none without one."""
        parts = self.nested.split("_")[:2] if self.nested else []
        return (*parts, *["BLS"] * (self.nested_boxes and bool(parts)))

    @property
    def written(self) -> tuple[str, ...]:
        """The algorithms whose columns are written, in order; a nested search is always called ELS_ECE_EAOV."""
        if self.nested is None:
            return tuple(dict.fromkeys(self.algorithms))
        return (*self.proposers, *self.nested.split("_")[2:] * self.nested_full_aov, "ELS_ECE_EAOV")

    @property
    def schema(self) -> Schema:
        """The columns of a features table with these options (identification aside)."""
        return feature_schema(self.written, self.refine, self.aliases)

    @property
    def changing(self) -> bool:
        """Are period derivatives other than 0 tried?"""
        return self.pdots != (0.0,)


def check_harmonics(n_harmonics: int) -> None:
    """Raise an OptionError unless the number of harmonics is one that the kernels are made for."""
    if n_harmonics not in range(1, MOST_HARMONICS + 1):
        raise OptionError(f"the number of harmonics is {n_harmonics}; it must be 1 to {MOST_HARMONICS}")
