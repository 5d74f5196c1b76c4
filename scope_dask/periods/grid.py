"""The trial frequencies of every light curve, as (fmin, df, size): never an array per star."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from scope_dask.errors import OptionError, nearest
from scope_dask.schema import ALGORITHMS

# Frequencies (cycles/day) at which the Earth's rotation and orbit make spurious peaks; closed intervals, ORIGINAL §3.
TERRESTRIAL_WINDOWS = np.array(
    [
        (0.0025, 0.003), (0.00125, 0.0015), (0.000833, 0.001), (0.000625, 0.00075), (0.0005, 0.0006), (0.005, 0.006),
        (0.03, 0.04), (3.95, 4.05), (2.95, 3.05), (1.95, 2.05), (0.95, 1.05), (0.48, 0.52), (0.32, 0.34),
    ]
)  # fmt: skip

NESTED = ("ELS_ECE_EAOV", "LS_CE_AOV")


@dataclass(frozen=True, slots=True)
class PeriodOptions:
    """Options of the period search.

    Attributes
    ----------
    algorithms : tuple of str
        LS, CE, AOV, ELS, ECE, EAOV, or a nested search ELS_ECE_EAOV or LS_CE_AOV (which stands alone).
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
    """

    algorithms: tuple[str, ...] = ("ELS_ECE_EAOV",)
    max_freq: float = 48.0
    samples_per_peak: int = 10
    baseline_days: float | None = None
    remove_terrestrial: bool = False
    top_n_periods: int = 50
    nested_full_aov: bool = False

    def __post_init__(self) -> None:
        known = [*ALGORITHMS, "LS_CE_AOV"]
        for name in self.algorithms:
            if name not in known:
                raise OptionError(
                    f"there is no period algorithm {name!r}{nearest(name, known)}; there are {', '.join(known)}"
                )
        for name in ("max_freq", "samples_per_peak", "top_n_periods"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be greater than 0")
        if self.baseline_days is not None and not self.baseline_days > 0:
            raise OptionError(f"baseline_days is {self.baseline_days}; it must be greater than 0, or absent")

    @property
    def nested(self) -> str | None:
        """The nested search among the algorithms (it rules out the others), or None."""
        return next((a for a in self.algorithms if a in NESTED), None)

    @property
    def written(self) -> tuple[str, ...]:
        """The algorithms whose columns are written, in order (COMMANDS, "Which columns the nested search writes")."""
        if self.nested is None:
            return tuple(dict.fromkeys(self.algorithms))
        parts = tuple(self.nested.split("_"))
        return (*(parts if self.nested_full_aov else parts[:2]), "ELS_ECE_EAOV")


class FrequencyGrid(NamedTuple):
    """Frequencies ``fmin[i] + j * df[i]``, ``j < size[i]`` (cycles/day) of every light curve i.

    `windows`, shape (w, 2), are the closed frequency intervals whose grid points are masked after the evaluation.
    A light curve without a baseline has size 0.
    """

    fmin: np.ndarray
    df: np.ndarray
    size: np.ndarray
    windows: np.ndarray


def frequency_grid(hjd: np.ndarray, offsets: np.ndarray, options: PeriodOptions) -> FrequencyGrid:
    """Return the trial frequencies of every light curve.

    ``fmin = 2/T``, ``df = 1/(samples_per_peak T)``, ``size = ceil((max_freq − fmin)/df)``, with T the light curve's own
    baseline or ``options.baseline_days``: never that of other light curves.
    """
    n = len(offsets) - 1
    if options.baseline_days is None:
        baseline = np.zeros(n)
        rows = np.flatnonzero(np.diff(offsets) > 0)
        if len(rows):
            starts = offsets[rows]
            baseline[rows] = np.maximum.reduceat(hjd, starts) - np.minimum.reduceat(hjd, starts)
    else:
        baseline = np.full(n, float(options.baseline_days))
    with np.errstate(divide="ignore", invalid="ignore"):
        fmin = 2.0 / baseline
        df = 1.0 / (options.samples_per_peak * baseline)
        size = np.ceil((options.max_freq - fmin) / df)
    size = np.where(np.isfinite(size), np.maximum(size, 0), 0).astype(np.int64)
    windows = TERRESTRIAL_WINDOWS if options.remove_terrestrial else np.empty((0, 2))
    return FrequencyGrid(fmin, df, size, windows)
