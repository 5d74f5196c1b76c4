"""What the stages share: neighbours of a partition's sources, the nearest of them, and stages that add columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd

from scope_dask.crossmatch.catalogs import Catalog
from scope_dask.crossmatch.sphere import separation_arcsec, unit_vectors
from scope_dask.errors import OptionError
from scope_dask.stage import Stage, run_kernel

NO_POSITION = "the position is not finite: it matches nothing"


class AddingStage(Stage):
    """A stage that keeps every column of its input and adds its own after them."""

    def _dtypes(self, frame: pd.DataFrame, options: Any) -> dict[str, Any]:
        return {**dict(frame.dtypes), **self.provides(options).dtypes(like=frame)}

    def __call__(self, frame: Any, options: Any) -> Any:
        """Apply the stage to a lazy table (nothing is computed) or to one partition; for errors see `Stage`."""
        if isinstance(frame, pd.DataFrame):
            return run_kernel(frame, self, options)
        meta = self.meta(frame._meta, options)
        return dd.map_partitions(run_kernel, frame, self, options, meta=meta, token=self.name, enforce_metadata=False)


@dataclass(frozen=True)
class Neighbours:
    """Pairs of a partition's sources and the catalogue rows near them.

    Attributes
    ----------
    i, j : numpy.ndarray, shape (m,), int64
        Row of the partition and row of the table of each pair.
    separation : numpy.ndarray, shape (m,)
        Angle between them, arcsec.
    table : pandas.DataFrame
        The catalogue's columns.
    vectors : numpy.ndarray, shape (rows of the table, 3)
        Its positions as unit vectors.
    """

    i: np.ndarray
    j: np.ndarray
    separation: np.ndarray
    table: pd.DataFrame
    vectors: np.ndarray

    def nearest(self, limit: float = np.inf) -> np.ndarray:
        """Return which pair is the nearest of each source that has one closer than `limit` arcsec.

        Of equal separations the lowest ``_id`` is taken.
        """
        close = np.flatnonzero(self.separation < limit)
        sources, keys = self.i[close], [self.separation[close], self.i[close]]
        if "_id" in self.table:
            keys.insert(0, pd.factorize(self.table["_id"].iloc[self.j[close]], sort=True)[0])
        order = np.lexsort(keys)
        first = np.diff(sources[order], prepend=-1) > 0
        return close[order[first]]


def neighbours(
    catalog: Catalog,
    partition: pd.DataFrame,
    radius_arcsec: float,
    columns: Sequence[str],
    below: Mapping[str, float] | None = None,
) -> Neighbours:
    """Return what lies within the radius of a partition's sources; near one without a position there is nothing."""
    ra, dec = (partition[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("ra", "dec"))
    finite = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    i, j, table = catalog.near(ra[finite], dec[finite], radius_arcsec, columns, below)
    vectors = unit_vectors(table["ra"], table["dec"])
    separation = separation_arcsec(unit_vectors(ra[finite], dec[finite]), i, vectors, j)
    return Neighbours(finite[i], j, separation, table, vectors)


def without_position(partition: pd.DataFrame) -> list[tuple[int, str]]:
    """Return (_id, reason) of the sources whose position is not finite."""
    bad = ~np.isfinite(partition[["ra", "dec"]].to_numpy(dtype=np.float64, na_value=np.nan)).all(axis=1)
    return [(int(i), NO_POSITION) for i in partition["_id"].to_numpy()[bad]]


def check_radius(name: str, value: float) -> None:
    """Check an option that is an angle in arcsec.

    Raises
    ------
    OptionError
        If it is not positive and finite.
    """
    if not (np.isfinite(value) and value > 0):
        raise OptionError(f"{name} is {value}; it must be a positive number of arcsec")
