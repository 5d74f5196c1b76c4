"""What a model is fed: the inputs of a partition, and how a model imputes and scales them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scope_dask.schema import DMDT, DMDT_SHAPE

if TYPE_CHECKING:
    from scope_dask.training.neighbours import Neighbours

_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What models see of some rows.

    Attributes
    ----------
    values : numpy.ndarray, shape (rows, features), float64
        NaN where missing or infinite.
    dmdt : numpy.ndarray, shape (rows, 676), float32, or None
        Histograms; what stands in a row that has none does not matter. None: no model sees them.
    has_dmdt : numpy.ndarray, shape (rows,), bool, or None
        Which rows have a histogram.
    """

    values: np.ndarray
    dmdt: np.ndarray | None = None
    has_dmdt: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Inputs:
        """Return the inputs of `rows`."""
        if self.dmdt is None or self.has_dmdt is None:
            return Inputs(self.values[rows])
        return Inputs(self.values[rows], self.dmdt[rows], self.has_dmdt[rows])

    def features(self, positions: Iterable[int]) -> Inputs:
        """Return the inputs with the features at `positions` only; the histograms are shared."""
        return Inputs(self.values[:, list(positions)], self.dmdt, self.has_dmdt)


# score(x, histograms, rows): probabilities of prepared features x, shape (n, features), float32; row i has the
# histogram ``histograms[rows[i]]``, and zeros where ``rows[i]`` is −1. A model that sees none ignores the latter two.
Score = Callable[[np.ndarray, np.ndarray | None, np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a model's input is made from the features of a table; fitted once, in training.

    Attributes
    ----------
    features : tuple of str
        Names, in the order the model was trained with.
    imputation : tuple of float or None
        Value of each feature where it is missing (NaN or infinite); None: a row without it has no score.
    scaling : str
        ``none``, ``min_max`` or ``median_std``.
    offset, scale : tuple of float
        The model sees ``(x − offset) / scale``; empty where nothing is scaled.
    dmdt : str or None
        Where the dmdt histogram is missing: ``zero``, zeros in its place, or ``none``, no score. None: the model
        does not see it.
    float_bits : int
        64, 32 or 16: what the model sees is rounded to floats of so many bits, and computed with in 32.
    neighbours : Neighbours or None
        Similar stars that lend their values to some of the features, before `imputation`.
    """

    features: tuple[str, ...]
    imputation: tuple[float | None, ...]
    scaling: str = "none"
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    dmdt: str | None = None
    float_bits: int = 32
    neighbours: Neighbours | None = None

    def blank(self, inputs: Inputs) -> np.ndarray:
        """Tell which rows have no feature (of a model of histograms alone: no histogram), as booleans."""
        if self.features or inputs.has_dmdt is None:
            return np.isnan(inputs.values).all(axis=1)
        return ~inputs.has_dmdt

    def incomplete(self, inputs: Inputs) -> np.ndarray:
        """Tell which rows lack something that is not imputed, as booleans."""
        needed = [i for i, value in enumerate(self.imputation) if value is None]
        lacking: np.ndarray = np.isnan(inputs.values[:, needed]).any(axis=1)
        if self.dmdt == "none" and inputs.has_dmdt is not None:
            lacking |= ~inputs.has_dmdt
        return lacking

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Impute and scale `values` (rows, features), float64 with NaN where missing; returns float32.

        Values beyond the range of the floats become the largest ones: models compute in float32.
        """
        out = values.copy()
        if self.neighbours is not None:
            lent = [self.features.index(name) for name in self.neighbours.features]
            out[:, lent] = self.neighbours.fill(out[:, lent])
        rows, columns = np.nonzero(np.isnan(out))
        out[rows, columns] = np.array([np.nan if v is None else v for v in self.imputation])[columns]
        if self.scale:
            out = (out - np.array(self.offset)) / np.array(self.scale)
        largest = float(np.finfo(np.float16).max) if self.float_bits == 16 else _FLOAT32_MAX
        np.clip(out, -largest, largest, out=out)
        if self.float_bits == 16:
            out = out.astype(np.float16)
        return out.astype(np.float32)


def feature_values(frame: pd.DataFrame, names: Iterable[str]) -> np.ndarray:
    """Return the features `names` as float64 of shape (rows, features), NaN where missing or infinite."""
    names = list(names)
    values = np.empty((len(frame), len(names)), order="F")
    for k, name in enumerate(names):
        values[:, k] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    values[~np.isfinite(values)] = np.nan
    return values


def dmdt_values(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the histograms of a column and which rows have one.

    Parameters
    ----------
    column : pandas.Series
        Lists of 676 numbers, or of 26 lists of 26. Missing, or with a number that is not finite: no histogram.

    Returns
    -------
    dmdt : numpy.ndarray, shape (rows, 676), float32
        Without a copy where the column is of fixed lists.
    has_dmdt : numpy.ndarray, shape (rows,), bool

    Raises
    ------
    SchemaError
        If a row has another number of values.
    """
    import pyarrow as pa

    from scope_dask.formats.nested import dmdt_array

    array = dmdt_array(pa.array(column.array))
    size = DMDT_SHAPE[0] * DMDT_SHAPE[1]
    flat = array.values.slice(array.offset * size, len(array) * size).to_numpy(zero_copy_only=False)
    dmdt = flat.reshape(len(array), size)
    there = array.is_valid().to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):  # a missing row may hold anything
        there &= np.isfinite(dmdt.sum(axis=1))
    return dmdt, there


def inputs_of(frame: pd.DataFrame, names: Iterable[str], dmdt: bool = False) -> Inputs:
    """Return the features `names` of a partition and, where asked for, its histograms."""
    values = feature_values(frame, names)
    return Inputs(values, *dmdt_values(frame[DMDT.name])) if dmdt else Inputs(values)


def predict(score: Score, preparation: Preparation, inputs: Inputs) -> np.ndarray:
    """Return the probabilities of rows.

    Parameters
    ----------
    score : callable
        Of a model: see `Score`.
    preparation : Preparation
    inputs : Inputs
        Features in the order of ``preparation.features``; histograms if ``preparation.dmdt``.

    Returns
    -------
    numpy.ndarray, shape (rows,), float32
        NaN where all features are missing, or something that is not imputed.
    """
    scores = np.full(len(inputs.values), np.nan, dtype=np.float32)
    rows = np.flatnonzero(~(preparation.blank(inputs) | preparation.incomplete(inputs)))
    if len(rows):  # of no rows XGBoost 3.4 makes an array of shape (0, 0)
        where = rows if inputs.has_dmdt is None else np.where(inputs.has_dmdt[rows], rows, -1)
        scores[rows] = score(preparation.apply(inputs.values[rows]), inputs.dmdt, where)
    return scores
