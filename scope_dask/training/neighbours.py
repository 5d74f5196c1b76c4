"""Missing features from similar stars: the mean of the nearest donors in the features that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

NEIGHBOURS = 5
DONORS = 1000  # of each feature; those of one are mostly those of the others too


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Stars that lend their values, and how distances between stars are measured.

    A row's missing feature is the mean over the nearest donors that have it. Distances are Euclidean, in the features
    that the row has, each in units of its own spread (Troyanskaya et al. 2001, Bioinformatics 17, 520). Where fewer
    donors than asked for have all of them, the features that fewest have are left out of the distance, one by one.
    A row's result depends on nothing but the row and the donors.

    Attributes
    ----------
    features : tuple of str
        Both those that can be imputed and the coordinates of the distance.
    offset, scale : tuple of float
        Median, and half the width of the central 68 %, of each.
    donors : numpy.ndarray, shape (donors, features), float64
        NaN where missing.
    count : int
        How many donors are averaged.
    """

    features: tuple[str, ...]
    offset: tuple[float, ...]
    scale: tuple[float, ...]
    donors: np.ndarray = field(compare=False)
    count: int = NEIGHBOURS

    @classmethod
    def fit(
        cls, values: np.ndarray, features: tuple[str, ...], count: int = NEIGHBOURS, donors: int = DONORS
    ) -> Neighbours:
        """Choose donors and measure the spread of each feature.

        Parameters
        ----------
        values : numpy.ndarray, shape (rows, features), float64
            Of the reference, NaN where missing.
        features : tuple of str
        count : int
        donors : int
            Of each feature as many, or all that have it: drawn by a hash of their values, so that the order of the
            rows is of no account.
        """
        offset, scale = zip(*(_spread(column[~np.isnan(column)]) for column in values.T), strict=True)
        return cls(features, offset, scale, chosen_donors(values, donors), count)

    def to_mapping(self) -> dict[str, Any]:
        """Return what `from_mapping` takes, fit for JSON."""
        rows = [[None if np.isnan(value) else value for value in row] for row in self.donors.tolist()]
        return {
            "features": list(self.features),
            "offset": list(self.offset),
            "scale": list(self.scale),
            "count": self.count,
            "donors": rows,
        }

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Neighbours:
        """Build what `to_mapping` described."""
        features = tuple(content["features"])
        rows = [[np.nan if value is None else value for value in row] for row in content["donors"]]
        donors = np.array(rows, dtype=np.float64).reshape(-1, len(features))
        return cls(features, tuple(content["offset"]), tuple(content["scale"]), donors, int(content["count"]))

    def fill(self, values: np.ndarray) -> np.ndarray:
        """Return `values` (rows, features) with missing ones imputed; NaN stays where no donor has the feature."""
        out = np.array(values, dtype=np.float64)
        scaled = (out - self.offset) / self.scale
        donors = (self.donors - self.offset) / self.scale
        there = ~np.isnan(out)
        patterns, which = np.unique(there, axis=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            rows = np.flatnonzero(which.ravel() == number)
            for column in np.flatnonzero(~pattern).tolist():
                out[rows, column] = self._means(scaled[rows], donors, pattern, column)
        return out

    def _means(self, scaled: np.ndarray, donors: np.ndarray, pattern: np.ndarray, column: int) -> Any:
        """Return the mean of a feature over the nearest donors of rows that have the features `pattern`."""
        basis, usable = self._basis(donors, pattern, column)
        lent = self.donors[usable, column]
        if not len(lent):
            return np.nan
        if not len(basis):
            return lent.mean()
        tree = KDTree(donors[np.ix_(usable, basis)], leafsize=32, compact_nodes=False, balanced_tree=False)
        nearest = tree.query(scaled[:, basis], k=range(1, min(self.count, len(lent)) + 1))[1]
        return lent[nearest].mean(axis=1)

    def _basis(self, donors: np.ndarray, pattern: np.ndarray, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (coordinates of the distance, which donors have them and the feature)."""
        has = ~np.isnan(donors) & ~np.isnan(donors[:, [column]])
        basis = np.flatnonzero(pattern)
        while True:
            usable = has[:, [*basis, column]].all(axis=1)
            if not len(basis) or usable.sum() >= min(self.count, has[:, column].sum()):
                return basis, np.flatnonzero(usable)
            basis = np.delete(basis, np.argmin(has[:, basis].sum(axis=0)))


def chosen_donors(values: np.ndarray, donors: int = DONORS) -> np.ndarray:
    """Return the rows that lend their values: of each feature `donors` of those that have it, the first by their hash.

    Those chosen among the rows that were chosen of pieces of a table are those chosen of the whole.
    """
    there = ~np.isnan(values)
    order = np.argsort(pd.util.hash_pandas_object(pd.DataFrame(values), index=False).to_numpy(), kind="stable")
    ranks = np.cumsum(there[order], axis=0)
    return np.ascontiguousarray(values[order[(there[order] & (ranks <= donors)).any(axis=1)]])


def _spread(known: np.ndarray) -> tuple[float, float]:
    """Return (median, half the width of the central 68 %; where that is 0 the standard deviation, or 1)."""
    if not len(known):
        return 0.0, 1.0
    low, middle, high = np.percentile(known, [16, 50, 84])
    return float(middle), float((high - low) / 2 or known.std() or 1.0)
