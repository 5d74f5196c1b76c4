"""The stage that turns sources into light curves fit for feature extraction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scope_dask import ragged, tally
from scope_dask.conditioning.points import select_points
from scope_dask.errors import OptionError
from scope_dask.schema import CATFLAGS, CURVES, RAW_LIGHTCURVES, Schema, carried
from scope_dask.stage import Stage

MINUTES_PER_DAY = 1440.0


@dataclass(frozen=True, slots=True)
class LightCurveOptions:
    """Options of the conditioning (defaults: SCoPe 0.9.5).

    Attributes
    ----------
    min_n_lc_points : int
        Light curves with fewer points after the selection are dropped.
    min_cadence_minutes : float
        Of points closer in time than this only the first is kept.
    """

    min_n_lc_points: int = 50
    min_cadence_minutes: float = 30.0

    def __post_init__(self) -> None:
        for name in ("min_n_lc_points", "min_cadence_minutes"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be 0 or more")


def condition(partition: pd.DataFrame, options: LightCurveOptions) -> pd.DataFrame:
    """Keep unflagged, finite points in time order, thinned to the cadence, of light curves with enough of them.

    A row whose lists differ in length is dropped and set aside. Points with a time, magnitude or error that is not
    finite, or an error that is not positive, are treated as flagged: nothing can be computed from them.
    """
    lists = {name: ragged.split(partition[name]) for name in (*CURVES.names, CATFLAGS.name)}
    broken = _unequal(lists)
    if broken:
        kept = np.setdiff1d(np.arange(len(partition)), list(broken))
        lists = {name: _take(*column, kept) for name, column in lists.items()}
    else:
        kept = np.arange(len(partition))
    offsets = lists["hjd"][1]
    hjd, mag, magerr, flags = (values for values, _ in lists.values())
    hjd = np.ascontiguousarray(hjd, dtype=np.float64)
    usable = (flags == 0) & np.isfinite(hjd) & np.isfinite(mag) & np.isfinite(magerr) & (magerr > 0)
    points, selected = select_points(hjd, usable, offsets, options.min_cadence_minutes / MINUTES_PER_DAY)
    enough = np.flatnonzero(np.diff(selected) >= options.min_n_lc_points)
    inner, final = ragged.gather(selected, enough)
    points = points[inner]
    out = partition[carried(partition)].iloc[kept[enough]].reset_index(drop=True)
    for name, values in (("hjd", hjd), ("mag", mag), ("magerr", magerr)):
        out[name] = ragged.join(values[points], final)
    ids = partition["_id"].to_numpy()
    return tally.note(
        out,
        dropped={
            f"fewer than {options.min_n_lc_points} points": len(kept) - len(enough),
            "lists of different lengths": len(broken),
        },
        set_aside=[(ids[row], reason) for row, reason in broken.items()],
    )


def _unequal(lists: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[int, str]:
    """Return {row: reason} of the rows whose lists differ in length."""
    sizes = np.array([np.diff(offsets) for _, offsets in lists.values()])
    rows = np.flatnonzero((sizes != sizes[0]).any(axis=0))
    return {
        int(row): "lists of different lengths: "
        + ", ".join(f"{n} {name}" for n, name in zip(sizes[:, row], lists, strict=True))
        for row in rows
    }


def _take(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, new = ragged.gather(offsets, rows)
    return values[points], new


def _requires(options: LightCurveOptions) -> Schema:
    return RAW_LIGHTCURVES


def _provides(options: LightCurveOptions) -> Schema:
    return CURVES


LIGHTCURVES_STAGE = Stage("lightcurves", condition, _requires, _provides)


def lightcurves(sources: Any, options: LightCurveOptions | None = None, **changes: Any) -> Any:
    """Condition light curves: lazily for a Dask table, at once for a pandas partition.

    Parameters
    ----------
    sources : dask.dataframe.DataFrame or pandas.DataFrame
        Table with the columns of `schema.RAW_LIGHTCURVES`.
    options : LightCurveOptions, optional
    **changes
        Fields of `LightCurveOptions`, in place of `options`.

    Returns
    -------
    dask.dataframe.DataFrame or pandas.DataFrame
        Table with the columns of `schema.LIGHTCURVES`.

    Raises
    ------
    SchemaError
        If columns are missing or have another type.
    """
    return LIGHTCURVES_STAGE(sources, options or LightCurveOptions(**changes))
