"""The stage that drops sources in the light of bright stars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.polynomial.polynomial import polyval

from scope_dask import tally
from scope_dask.crossmatch.catalogs import Catalog
from scope_dask.crossmatch.matching import AddingStage, Neighbours, check_radius, neighbours, without_position
from scope_dask.crossmatch.schema import POSITIONS
from scope_dask.crossmatch.sphere import separation_arcsec
from scope_dask.errors import OptionError
from scope_dask.schema import Schema

_GAIA = ("_id", "phot_g_mean_mag", "bp_rp")
# G - B_T and G - V_T in powers of BP - RP.
_G_MINUS_BT = (-0.004288, -0.8547, 0.1244, -0.9085, 0.4843, -0.06814)
_G_MINUS_VT = (-0.01077, -0.0682, -0.2387, 0.02342)
FAINT_LIMIT = 13.0


@dataclass(frozen=True, slots=True)
class BrightStarOptions:
    """Options of the exclusion around bright stars.

    Attributes
    ----------
    radius_arcsec : float
        Stars farther from a source are not looked at.
    magnitude_limit : float
        Stars are those brighter than this in Gaia's G.
    counterpart_arcsec : float
        The nearest star is taken for the source itself if it is closer than this.
    """

    radius_arcsec: float = 300.0
    magnitude_limit: float = 13.0
    counterpart_arcsec: float = 2.0

    def __post_init__(self) -> None:
        check_radius("radius_arcsec", self.radius_arcsec)
        check_radius("counterpart_arcsec", self.counterpart_arcsec)
        if not np.isfinite(self.magnitude_limit):
            raise OptionError(f"magnitude_limit is {self.magnitude_limit}; it must be a finite magnitude")


@dataclass(frozen=True, slots=True)
class _Task:
    options: BrightStarOptions
    gaia: Catalog


def tycho_magnitudes(g: np.ndarray, bp_rp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (B_T, V_T) of Gaia magnitudes G and colours BP - RP; NaN for G of 13 and fainter.

    The polynomials are those of the Gaia EDR3 documentation, section 5.5.1 (Riello et al. 2021).
    """
    g = np.where(g < FAINT_LIMIT, g, np.nan)
    return g - polyval(bp_rp, _G_MINUS_BT), g - polyval(bp_rp, _G_MINUS_VT)


def exclusion_radius(b: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return the radius in arcsec around a star of Tycho magnitudes B_T, V_T in which light curves are not trusted.

    The quadratic in B and B - V of SCoPe 0.9.5 (Coughlin et al. 2021); 0 for B_T of 13 and fainter or missing.
    """
    c = b - v
    radius = 354.817 - 53.27823 * b + 66.01137 * c + 2.1031286 * b**2 + 7.6737066 * c**2 - 6.164676 * b * c
    return np.where(b < FAINT_LIMIT, radius, 0.0)


def drop_partition(partition: pd.DataFrame, task: _Task) -> pd.DataFrame:
    """Drop the sources within the exclusion radius of a star that is not their own counterpart.

    A source whose nearest star is closer than `counterpart_arcsec` is that star: distances are then from the star's
    position, and the star itself does not count. A source without a position is kept.
    """
    options = task.options
    below = {"phot_g_mean_mag": options.magnitude_limit}
    found = neighbours(task.gaia, partition, options.radius_arcsec, _GAIA, below)
    numbers = {n: found.table[n].to_numpy(dtype=np.float64, na_value=np.nan) for n in _GAIA[1:]}
    radius = exclusion_radius(*tycho_magnitudes(numbers["phot_g_mean_mag"], numbers["bp_rp"]))
    separation = _from_counterparts(found, len(partition), options.counterpart_arcsec)
    spoiled = np.zeros(len(partition), bool)
    spoiled[found.i[separation < radius[found.j]]] = True
    out = partition[~spoiled].reset_index(drop=True)
    return tally.note(
        out, dropped={"close to a bright star": int(spoiled.sum())}, set_aside=without_position(partition)
    )


def _from_counterparts(found: Neighbours, size: int, limit: float) -> np.ndarray:
    """Return the separations (arcsec) from each source's counterpart, or from the source; infinite for itself."""
    own = found.nearest(limit)
    counterpart = np.full(size, -1)
    counterpart[found.i[own]] = found.j[own]
    moved = np.flatnonzero(counterpart[found.i] >= 0)
    origin = counterpart[found.i[moved]]
    separation = found.separation.copy()
    separation[moved] = separation_arcsec(found.vectors, origin, found.vectors, found.j[moved])
    separation[own] = np.inf
    return separation


def _requires(task: _Task) -> Schema:
    return POSITIONS


def _provides(task: _Task) -> Schema:
    return Schema([])


BRIGHT_STARS_STAGE = AddingStage("bright_stars", drop_partition, _requires, _provides)


def drop_close_bright_stars(table: Any, gaia: Catalog, options: BrightStarOptions | None = None, **changes: Any) -> Any:
    """Drop sources close to bright stars: lazily for a Dask table, at once for a pandas partition.

    Parameters
    ----------
    table : dask.dataframe.DataFrame or pandas.DataFrame
        Any table with ``_id``, ``ra`` and ``dec``.
    gaia : Catalog
        With ``_id``, ``phot_g_mean_mag`` and ``bp_rp``.
    options : BrightStarOptions, optional
    **changes
        Fields of `BrightStarOptions`, in place of `options`.

    Returns
    -------
    dask.dataframe.DataFrame or pandas.DataFrame
        The rows that are left, with all columns.

    Raises
    ------
    SchemaError
        If the table has no positions.
    SourceError
        If the catalogue lacks a column.
    """
    options = options or BrightStarOptions(**changes)
    gaia.require(_GAIA)
    return BRIGHT_STARS_STAGE(table, _Task(options, gaia))
