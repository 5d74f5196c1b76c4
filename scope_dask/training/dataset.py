"""Labelled feature tables: reading, targets, and splits by star, whatever the order of the rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pandas.arrays import ArrowStringArray

from scope_dask.errors import SchemaError, UsageError, nearest
from scope_dask.inference.preparation import Inputs, Preparation, inputs_of
from scope_dask.schema import DMDT, FOURIER, SOURCES, STATISTICS, Column, Schema
from scope_dask.training.imputation import stand_in
from scope_dask.training.neighbours import Neighbours
from scope_dask.training.options import ModelOptions

PARTS = ("train", "val", "test")
_TEXT = pd.StringDtype("pyarrow", na_value=np.nan)  # a quarter of the memory of Python's strings
_HASHED = 100_000  # names that are Python's strings at a time


def feature_names(columns: Iterable[str], suffix: str | None) -> tuple[str, ...]:
    """Return the features that models use unless told otherwise, in the order of the schema.

    The statistics without the number of points, and period, significance and Fourier columns of one period
    algorithm. Where and when a light curve was taken, and how often, tells nothing about the star.

    Parameters
    ----------
    columns : iterable of str
        Of the features table.
    suffix : str or None
        Period algorithm; None (or "None") for columns without a suffix.

    Raises
    ------
    SchemaError
        If one of them is not in the table.
    """
    end = f"_{suffix}" if suffix and suffix != "None" else ""
    periodic = ["period", "significance", *(f"f1_{name}" for name in FOURIER)]
    wanted = (*(c.name for c in STATISTICS if c.name != "n"), *(f"{name}{end}" for name in periodic))
    have = [str(c) for c in columns]
    missing = [name for name in wanted if name not in have]
    if missing:
        there = ", ".join(c.removeprefix("period_") for c in have if c.startswith("period_")) or "none"
        raise SchemaError(
            f"the features table lacks {', '.join(missing[:5])}{'…' * (len(missing) > 5)}"
            f"{nearest(missing[0], have)}; "
            f"expected the statistics and the columns of period_suffix {suffix!r} (the table has: {there}): "
            "choose another period_suffix or name the features"
        )
    return wanted


def unique_ids(frame: pd.DataFrame, where: str) -> np.ndarray:
    """Return the column ``_id`` as int64.

    Raises
    ------
    SchemaError
        If there is none, or an identifier stands in more than one row.
    """
    Schema([SOURCES["_id"]]).require(frame, where)
    ids = frame["_id"].to_numpy(dtype=np.int64)
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise SchemaError(f"{where} has {values[counts > 1][0]} in {counts.max()} rows; expected every _id once")
    return ids


def targets(labels: Any, threshold: float) -> Any:
    """Return 1.0 where a label is above the threshold, 0.0 where it is not, NaN where there is none.

    Parameters
    ----------
    labels : pandas.Series or pandas.DataFrame
        Between 0 and 1; NaN: nothing is known, the row is not used for that class.

    Raises
    ------
    SchemaError
        If a label is not a number between 0 and 1.
    """
    try:
        numbers = labels.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"labels must be numbers between 0 and 1, one column a class: {error}") from error
    if bool(np.any((numbers < 0) | (numbers > 1))):
        raise SchemaError("labels must be between 0 and 1, one column a class; some are not")
    return (numbers > threshold).astype(np.float64).where(numbers.notna())


def aligned(labels: Any, features: pd.DataFrame) -> pd.DataFrame:
    """Return the labels (one column a class) of the rows of `features`, in their order; NaN where none is.

    Rows are matched by ``_id`` (a column or the index of that name) or, where the two tables have the same
    index, by position.

    Raises
    ------
    SchemaError
        If neither is possible, or no row has a label.
    """
    table = labels.to_frame() if isinstance(labels, pd.Series) else labels
    if "_id" in table.columns:
        unique_ids(table, "the table of labels")
        table = table.set_index("_id")
    if table.index.name == "_id":
        found = table.reindex(features["_id"].to_numpy())
    elif table.index.equals(features.index):
        found = table
    else:
        raise SchemaError(
            f"labels of {len(table)} rows cannot be matched with {len(features)} rows of features: "
            "give them a column or an index _id"
        )
    if len(features) and bool(found.isna().all(axis=None)):
        raise SchemaError("no row of the features table has a label; expected labels of the same _id")
    return found.reset_index(drop=True)


def star_names(ids: np.ndarray, groups: Any = None) -> ArrowStringArray:
    """Return the star of each row as text; a row without a star is a star of its own.

    Parameters
    ----------
    ids : numpy.ndarray of int64
        ``_id`` of the rows.
    groups : array-like, optional
        Star of each row, in the order of `ids`; a Series with the index ``_id`` is matched by it. None: every
        row is a star of its own.

    Raises
    ------
    UsageError
        If there is not one value a row.
    """
    own = "_id " + pd.Series(ids).astype(_TEXT)
    if groups is None:
        return own.array
    if isinstance(groups, pd.Series) and groups.index.name == "_id":
        groups = groups.reindex(ids)
    given = pd.Series(np.asarray(groups, dtype=object))
    if len(given) != len(ids):
        raise UsageError(f"groups has {len(given)} values for {len(ids)} rows; expected the star of each row")
    return given.astype(_TEXT).fillna(own).array


def group_keys(ids: np.ndarray, groups: Any, random_state: int) -> np.ndarray:
    """Return a number for each star, the same in all its rows, by which stars stand in an order that is drawn.

    It depends on the name of the star (see `star_names`) and on `random_state`, not on the other rows: a hash of 64
    bits, so that two of a million stars share one with a probability of 3e-8 (and would stay together).

    Returns
    -------
    numpy.ndarray, shape (rows,), uint64
    """
    names = star_names(ids, groups)
    key = f"{random_state % 10**16:016d}"
    pieces = (np.asarray(names[k : k + _HASHED], dtype=object) for k in range(0, len(names), _HASHED))
    hashes = [pd.util.hash_array(piece, hash_key=key, categorize=False) for piece in pieces]
    return np.concatenate([np.empty(0, np.uint64), *hashes])


def split(groups: np.ndarray, y: np.ndarray, options: ModelOptions, what: str = "the class") -> dict[str, np.ndarray]:
    """Split rows into training, validation and test: stratified, and no star in two of them.

    A star is a member of the class if one of its rows is. Stars are assigned in the order of their numbers, whatever
    the order of the rows.

    Parameters
    ----------
    groups : numpy.ndarray, shape (rows,)
        Star of each row, as of `group_keys`.
    y : numpy.ndarray, shape (rows,)
        1 for members, 0 for others.
    options : ModelOptions
    what : str
        Name of the class, for the error.

    Returns
    -------
    dict of numpy.ndarray of int64
        Positions of the rows by part: train, val, test.

    Raises
    ------
    UsageError
        If there are fewer members, or others, than parts.
    """
    stars, codes = np.unique(groups, return_inverse=True)
    member = np.zeros(len(stars), dtype=bool)
    member[codes[y > 0]] = True
    part = np.zeros(len(stars), dtype=np.int8)
    least = 3 if options.test_size > 0 else 2
    for kind, name in ((True, "members"), (False, "others")):
        own = np.flatnonzero(member == kind)
        if len(own) < least:
            raise UsageError(
                f"{what} has {len(own)} {name} (stars); at least {least} are needed to train, validate "
                "and test: add labelled stars or leave the class out"
            )
        # 0.1 × 30 is a little more than 3: without the subtraction it would be rounded up to 4.
        n_test = min(math.ceil(options.test_size * len(own) - 1e-9), len(own) - 2)
        n_val = min(max(math.ceil(options.val_size * (len(own) - n_test) - 1e-9), 1), len(own) - n_test - 1)
        part[own[:n_test]] = 2
        part[own[n_test : n_test + n_val]] = 1
    return {name: np.flatnonzero(part[codes] == k) for k, name in enumerate(PARTS)}


def folds(groups: np.ndarray, labels: np.ndarray, n_folds: int) -> np.ndarray:
    """Return the fold of each row: stars stay together, each set of labels is spread evenly over the folds.

    Parameters
    ----------
    groups : numpy.ndarray, shape (rows,)
        Star of each row, as of `group_keys`.
    labels : numpy.ndarray, shape (rows, classes)
        1 for members, 0 or NaN for others.
    n_folds : int

    Returns
    -------
    numpy.ndarray, shape (rows,), int64
    """
    stars, codes = np.unique(groups, return_inverse=True)
    member = np.zeros((len(stars), labels.shape[1]), dtype=bool)
    np.logical_or.at(member, codes, labels > 0)
    stratum = np.unique(member, axis=0, return_inverse=True)[1].ravel()
    fold = np.empty(len(stars), dtype=np.int64)
    fold[np.argsort(stratum, kind="stable")] = np.arange(len(stars)) % n_folds
    return fold[codes]


def fit_preparation(values: np.ndarray, names: tuple[str, ...], options: ModelOptions) -> Preparation:
    """Fit imputation and scaling values on training rows.

    Parameters
    ----------
    values : numpy.ndarray, shape (rows, features), float64
        NaN where missing.
    names : tuple of str
    options : ModelOptions

    Raises
    ------
    UsageError
        If a feature that is to be imputed has no value in any row, or `feature_stats` lacks what scaling needs.
    """
    imputation: list[float | None] = []
    offset: list[float] = []
    scale: list[float] = []
    strategies = [options.imputation_of.get(name, options.imputation) for name in names]
    for k, (name, strategy) in enumerate(zip(names, strategies, strict=True)):
        known = values[~np.isnan(values[:, k]), k]
        if not len(known) and strategy != "zero":
            raise UsageError(f"the feature {name} has no value in any training row: leave it out of the features")
        imputation.append(stand_in(known, "median" if strategy == "regress" else strategy))
        if options.scaling != "none":
            low, width = _stated(name, options) or _scaled(known, options.scaling)
            offset.append(low)
            scale.append(width or 1.0)
    regressed = [k for k, strategy in enumerate(strategies) if strategy == "regress"]
    lent = tuple(names[k] for k in regressed)
    return Preparation(
        names,
        tuple(imputation),
        options.scaling,
        tuple(offset),
        tuple(scale),
        options.dmdt_imputation,
        options.float_bits,
        Neighbours.fit(values[:, regressed], lent) if lent else None,
    )


def _stated(name: str, options: ModelOptions) -> tuple[float, float] | None:
    """Return offset and scale of a feature by the statistics of the options; None: they do not have it."""
    stats = options.feature_stats.get(name) or options.feature_stats.get(name.removesuffix(f"_{options.period_suffix}"))
    if not stats:
        return None
    keys = ("min", "max") if options.scaling == "min_max" else ("median", "std")
    values = [stats.get(key, math.nan) for key in keys]
    if not np.isfinite(values).all():
        raise UsageError(
            f"feature_stats of {name} has no number {' or '.join(keys)}; scaling {options.scaling!r} needs both"
        )
    return values[0], values[1] - values[0] if options.scaling == "min_max" else values[1]


def _scaled(known: np.ndarray, scaling: str) -> tuple[float, float]:
    if not len(known):
        return 0.0, 0.0
    if scaling == "min_max":
        return float(known.min()), float(np.ptp(known))
    return float(np.median(known)), float(np.std(known))


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Features and targets in the order of ``_id``.

    Attributes
    ----------
    position : numpy.ndarray
        Row of the features table that each row was.
    names : tuple of str
        Of the features.
    inputs : Inputs
        The features and, where the model sees them, the dmdt histograms.
    groups : numpy.ndarray of uint64
        Star of each row, as of `group_keys`.
    targets : pandas.DataFrame
        One column a class: 1, 0 or NaN.
    """

    position: np.ndarray
    names: tuple[str, ...]
    inputs: Inputs
    groups: np.ndarray
    targets: pd.DataFrame

    def usable(self, tag: str, options: ModelOptions) -> np.ndarray:
        """Return the rows with a label of the class, a feature, and everything that is not imputed."""
        strategies = [options.imputation_of.get(n, options.imputation) for n in self.names]
        like = Preparation(
            self.names, tuple(None if s == "none" else 0.0 for s in strategies), dmdt=options.dmdt_imputation
        )
        unusable = like.blank(self.inputs) | like.incomplete(self.inputs)
        return np.flatnonzero(self.targets[tag].notna().to_numpy() & ~unusable)


def assemble(features: pd.DataFrame, labels: Any, options: ModelOptions, groups: Any = None) -> TrainingSet:
    """Match features, labels and stars, and sort by ``_id``: nothing depends on the order they came in.

    Raises
    ------
    SchemaError
        If columns are missing, an ``_id`` is there twice, or labels do not match.
    """
    ids = unique_ids(features, "the training table")
    names: tuple[str, ...] = ()
    if options.sees_features:
        names = tuple(options.features or feature_names(features.columns, options.period_suffix))
    sees_dmdt = options.dmdt_imputation is not None
    needed = [*(Column(n, "float64") for n in names), *[DMDT] * sees_dmdt]
    Schema(needed).require(features, "training")
    found = targets(aligned(labels, features), options.threshold)
    keys = group_keys(ids, groups, options.random_state)
    order = np.argsort(ids)
    inputs = inputs_of(features, names, sees_dmdt)
    if (order[1:] < order[:-1]).any():  # else histograms stay where they are, perhaps in a file
        inputs = inputs.take(order)
    return TrainingSet(order, names, inputs, keys[order], found.iloc[order].reset_index(drop=True))
