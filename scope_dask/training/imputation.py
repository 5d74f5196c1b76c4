"""Missing features: strategies that are fitted once, on reference rows, and applied to any rows after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from scope_dask.errors import OptionError, nearest
from scope_dask.inference.preparation import feature_values
from scope_dask.schema import Column, Schema
from scope_dask.training.neighbours import DONORS, NEIGHBOURS, Neighbours
from scope_dask.training.options import Imputation as Strategy

STRATEGIES: tuple[str, ...] = get_args(Strategy)


@dataclass(frozen=True, slots=True)
class Imputation:
    """Fitted imputation; it is applied row by row, so that no result depends on the other rows.

    Attributes
    ----------
    strategies : mapping
        Of each feature ``zero``, ``mean``, ``median``, ``regress`` or ``none``.
    values : mapping
        Of each feature with one of the first three, what stands in for it; None: the reference had no value.
    neighbours : Neighbours or None
        For the features with ``regress``.
    """

    strategies: Mapping[str, str]
    values: Mapping[str, float | None]
    neighbours: Neighbours | None = None

    @property
    def unfitted(self) -> tuple[str, ...]:
        """Features that no reference row had: they stay missing."""
        constant = [name for name, value in self.values.items() if value is None]
        if self.neighbours is None:
            return tuple(constant)
        lent = (~np.isnan(self.neighbours.donors)).any(axis=0)
        return (*constant, *(name for name, has in zip(self.neighbours.features, lent, strict=True) if not has))

    def incomplete(self, frame: pd.DataFrame) -> np.ndarray:
        """Tell which rows lack a feature with the strategy ``none``, as booleans."""
        needed = [name for name, strategy in self.strategies.items() if strategy == "none"]
        self._require(frame, needed)
        return np.isnan(feature_values(frame, needed)).any(axis=1)

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the table with missing features (NaN, infinite or NA) imputed; rows and types stay.

        A feature of integers becomes float64 if what stands in is no integer.

        Raises
        ------
        SchemaError
            If the table lacks a feature.
        """
        self._require(frame, [name for name, strategy in self.strategies.items() if strategy != "none"])
        found: dict[str, np.ndarray | float] = {k: v for k, v in self.values.items() if v is not None}
        if self.neighbours is not None:
            names = self.neighbours.features
            found |= dict(zip(names, self.neighbours.fill(feature_values(frame, names)).T, strict=True))
        return frame.assign(**{name: _filled(frame[name], value) for name, value in found.items()})

    def complete(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return `apply` without the rows that are `incomplete`, numbered from 0."""
        return self.apply(frame[~self.incomplete(frame)]).reset_index(drop=True)

    def _require(self, frame: pd.DataFrame, names: list[str]) -> None:
        Schema(Column(name, "float64") for name in names).require(frame, "imputation")

    def to_mapping(self) -> dict[str, Any]:
        """Return what `from_mapping` takes, fit for JSON."""
        return {
            "strategies": dict(self.strategies),
            "values": dict(self.values),
            "neighbours": None if self.neighbours is None else self.neighbours.to_mapping(),
        }

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Imputation:
        """Build what `to_mapping` described."""
        near = content["neighbours"]
        neighbours = None if near is None else Neighbours.from_mapping(near)
        return cls(dict(content["strategies"]), dict(content["values"]), neighbours)


def fit_imputation(
    reference: pd.DataFrame, strategies: Mapping[str, str], neighbours: int = NEIGHBOURS, donors: int = DONORS
) -> Imputation:
    """Fit imputation on reference rows, whatever their order.

    Parameters
    ----------
    reference : pandas.DataFrame
        With the features whose strategy is ``mean``, ``median`` or ``regress``.
    strategies : mapping
        Feature to strategy, in any case. ``regress``: the mean over the most similar stars in the other features
        with this strategy (`Neighbours`); ``none``: nothing stands in.
    neighbours, donors : int
        For ``regress``: how many stars are averaged, and how many of each feature are kept to choose from.

    Raises
    ------
    OptionError
        If a strategy is unknown.
    SchemaError
        If the reference lacks a feature.
    """
    strategies = {name: _known(name, strategy) for name, strategy in strategies.items()}
    of = {kind: tuple(n for n, strategy in strategies.items() if strategy == kind) for kind in STRATEGIES}
    needed = [*of["mean"], *of["median"], *of["regress"]]
    Schema(Column(name, "float64") for name in needed).require(reference, "imputation: the reference")
    values: dict[str, float | None] = {}
    for name, strategy in strategies.items():
        if strategy in ("zero", "mean", "median"):
            column = feature_values(reference, [name])[:, 0] if strategy != "zero" else np.empty(0)
            values[name] = stand_in(column[~np.isnan(column)], strategy)
    near = None
    if of["regress"]:
        near = Neighbours.fit(feature_values(reference, of["regress"]), of["regress"], neighbours, donors)
    return Imputation(strategies, values, near)


def _known(name: str, strategy: str) -> str:
    if (lower := str(strategy).lower()) not in STRATEGIES:
        raise OptionError(
            f"the imputation of {name} is {strategy!r}{nearest(lower, STRATEGIES)}; expected {', '.join(STRATEGIES)}"
        )
    return lower


def stand_in(known: np.ndarray, strategy: str) -> float | None:
    """Return what stands in for a missing feature whose values in the reference are `known`; None: nothing does."""
    if strategy == "zero":
        return 0.0
    if strategy not in ("mean", "median") or not len(known):
        return None
    return float(np.median(known) if strategy == "median" else np.mean(np.sort(known)))


def _filled(column: pd.Series, value: np.ndarray | float) -> pd.Series:
    """Return a column with `value` where it is missing; its type does not depend on what is missing in it."""
    numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
    missing = ~np.isfinite(numbers)
    if pd.api.types.is_integer_dtype(column.dtype) and isinstance(value, float) and value.is_integer():
        return column.mask(missing, int(value)) if missing.any() else column
    kind = column.dtype if column.dtype == np.float32 else np.float64
    return pd.Series(np.where(missing, value, numbers).astype(kind), index=column.index)
