"""XGBoost classifiers, one per class: training, saving, cross-validation."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scope_dask._version import __version__
from scope_dask.errors import OptionError, UsageError, nearest
from scope_dask.inference.models import (
    Manifest,
    Preparation,
    feature_values,
    load_booster,
    manifest_path,
    predict,
)
from scope_dask.training.dataset import PARTS, TrainingSet, assemble, fit_preparation, folds, split
from scope_dask.training.evaluation import CUT, best_class, binary_metrics, confusion
from scope_dask.training.options import TrainingOptions

__all__ = [
    "TrainedModel",
    "TrainingOptions",
    "best_class",
    "binary_metrics",
    "confusion",
    "cross_validate",
    "save_models",
    "train",
    "train_all",
]


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, not yet saved.

    Attributes
    ----------
    manifest : Manifest
    content : bytes
        The trees, as XGBoost's JSON.
    config : str
        Configuration of the booster, as JSON.
    """

    manifest: Manifest
    content: bytes
    config: str

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the probability of each row of a features table, float32; NaN where it cannot be scored."""
        preparation = self.manifest.preparation
        values = feature_values(features, preparation.features)
        return predict(load_booster(self.content), preparation, values)

    def save(self, root: str | os.PathLike[str], when: datetime | None = None) -> Path:
        """Write ``{root}/{tag}/{tag}.{YYYYMMDD_HHMMSS}.json``, ``.params`` and ``.manifest.json``.

        Each file appears whole or not at all, the model file last; an earlier model is never overwritten.

        Parameters
        ----------
        root : path
        when : datetime, optional
            Time in the name, in UTC; None: now, or the next second without a model.

        Returns
        -------
        pathlib.Path
            Of the model file.
        """
        tag = self.manifest.tag
        folder = Path(root) / tag
        folder.mkdir(parents=True, exist_ok=True)
        moment = (when or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
        while (model := folder / f"{tag}.{moment:%Y%m%d_%H%M%S}.json").exists():
            moment += timedelta(seconds=1)
        manifest = replace(self.manifest, created=moment.isoformat())
        _write(model.with_suffix(".params"), self.config.encode())
        _write(manifest_path(model), manifest.to_json().encode())
        _write(model, self.content)
        return model


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def save_models(models: Mapping[str, TrainedModel], root: str | os.PathLike[str]) -> list[Path]:
    """Save every model of `train_all` under one folder; returns the paths of the model files."""
    moment = datetime.now(UTC)
    return [model.save(root, moment) for model in models.values()]


def train(
    features: pd.DataFrame, labels: Any, tag: str, options: TrainingOptions | None = None, groups: Any = None
) -> TrainedModel:
    """Train the classifier of one class.

    Parameters
    ----------
    features : pandas.DataFrame
        Features table with ``_id``.
    labels : pandas.Series or pandas.DataFrame
        Degree of membership, 0 to 1, of the rows, matched by ``_id`` (or by a common index); of a table the
        column `tag` is taken. NaN: unknown, the row is not used.
    tag : str
        Name of the class in file and column names.
    options : TrainingOptions, optional
    groups : array-like, optional
        Star of each row: no star is in two of training, validation and test. None: every row is a star of its
        own.

    Returns
    -------
    TrainedModel

    Raises
    ------
    SchemaError
        If columns are missing, an ``_id`` is there twice, or labels do not match.
    UsageError
        If there are too few members or others, or a feature without any value.
    """
    if isinstance(labels, pd.Series):
        labels = labels.rename(tag).to_frame()
    if tag not in labels.columns:
        raise UsageError(f"there are no labels of the class {tag!r}{nearest(tag, labels.columns)}")
    keep = [c for c in ("_id", tag) if c in labels.columns]
    return train_all(features, labels[keep], options, groups)[tag]


def train_all(
    features: pd.DataFrame, labels: pd.DataFrame, options: TrainingOptions | None = None, groups: Any = None
) -> dict[str, TrainedModel]:
    """Train one classifier per column of `labels`, each as `train` does.

    Returns
    -------
    dict of TrainedModel
        By tag, in the order of the columns.

    Raises
    ------
    SchemaError, UsageError
        As `train`.
    """
    options = options or TrainingOptions()
    data = assemble(features, labels, options, groups)
    return {tag: _train_one(data, check_tag(str(tag)), options) for tag in data.targets.columns}


def check_tag(tag: str) -> str:
    """Return a tag that can be a file name.

    Raises
    ------
    OptionError
        If it cannot.
    """
    if not re.fullmatch(r"[^\s./\\][^/\\\0]*", tag):
        raise OptionError(f"{tag!r} cannot name a model file: no slashes, and no dot or space at its beginning")
    return tag


def _train_one(data: TrainingSet, tag: str, options: TrainingOptions) -> TrainedModel:
    rows = data.usable(tag, options)
    fit = _fit(data, tag, rows, options)
    metrics: dict[str, Any] = {"cut": CUT}
    counts: dict[str, Any] = {"unused": len(data.targets) - len(rows)}
    y = data.targets[tag].to_numpy()
    for name in PARTS:
        own = fit.parts[name]
        stars = len(np.unique(data.groups[own].astype(str)))
        counts[name] = {"rows": len(own), "members": int(y[own].sum()), "stars": stars}
        if name != "train":
            metrics[name] = binary_metrics(y[own], predict(fit.booster, fit.preparation, data.values[own]))
    content = bytes(fit.booster.save_raw("json"))
    manifest = Manifest(
        tag=tag,
        algorithm="xgb",
        preparation=fit.preparation,
        threshold=options.threshold,
        period_suffix=options.period_suffix,
        fourier=options.fourier,
        dataset=options.dataset,
        parameters={**_parameters(options), "rounds": fit.booster.num_boosted_rounds()},
        counts=counts,
        metrics=metrics,
        versions=_versions(),
        sha256=hashlib.sha256(content).hexdigest(),
        created="",
    )
    return TrainedModel(manifest, content, fit.booster.save_config())


def _parameters(options: TrainingOptions) -> dict[str, Any]:
    elsewhere = ("features", "period_suffix", "fourier", "dataset", "threshold")
    return {name: value for name, value in asdict(options).items() if name not in elsewhere}


def _versions() -> dict[str, str]:
    import xgboost

    return {
        "scope_dask": __version__,
        "xgboost": xgboost.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


@dataclass(frozen=True)
class _Fit:
    booster: Any
    preparation: Preparation
    parts: dict[str, np.ndarray]


def _fit(data: TrainingSet, tag: str, rows: np.ndarray, options: TrainingOptions) -> _Fit:
    """Split `rows`, fit imputation and scaling on the training part, boost while validation improves."""
    y = data.targets[tag].to_numpy()
    local = split(data.groups[rows], y[rows], options, f"the class {tag!r}")
    parts = {name: rows[positions] for name, positions in local.items()}
    preparation = fit_preparation(data.values[parts["train"]], data.names, options)
    inputs = {name: preparation.apply(data.values[parts[name]]) for name in ("train", "val")}
    booster = boost(inputs["train"], y[parts["train"]], inputs["val"], y[parts["val"]], data.names, options)
    return _Fit(booster, preparation, parts)


def boost(
    x: np.ndarray,
    y: np.ndarray,
    x_val: np.ndarray,
    y_val: np.ndarray,
    names: tuple[str, ...],
    options: TrainingOptions,
) -> Any:
    """Return an XGBoost booster of the trees up to the best validation result.

    Parameters
    ----------
    x, x_val : numpy.ndarray, shape (rows, features), float32
    y, y_val : numpy.ndarray, shape (rows,)
        1 for members, 0 for others.
    names : tuple of str
        Of the features.
    options : TrainingOptions
    """
    import xgboost

    weight = float((y == 0).sum() / (y == 1).sum()) if options.weight_per_class else 1.0
    parameters = {
        "objective": "binary:logistic",
        "eval_metric": options.eval_metric,
        "tree_method": "hist",
        "scale_pos_weight": weight,
        "seed": options.random_state,
        "nthread": options.n_jobs,
        "verbosity": 0,
        **{k: getattr(options, k) for k in ("max_depth", "min_child_weight", "eta", "subsample", "colsample_bytree")},
    }
    stop = xgboost.callback.EarlyStopping(
        rounds=options.early_stopping_rounds, maximize=options.eval_metric == "auc", save_best=True
    )
    make = {"feature_names": list(names), "nthread": options.n_jobs}
    return xgboost.train(
        parameters,
        xgboost.DMatrix(x, y, **make),
        options.num_boost_round,
        evals=[(xgboost.DMatrix(x_val, y_val, **make), "val")],
        callbacks=[stop],
        verbose_eval=False,
    )


def cross_validate(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    groups: Any = None,
    options: TrainingOptions | None = None,
    n_folds: int = 5,
) -> pd.DataFrame:
    """Score every labelled row with models that have not seen its star.

    The folds are the same for all classes, so the scores of a row can be compared between classes.

    Parameters
    ----------
    features, labels, groups, options
        As in `train_all`; `test_size` is not used.
    n_folds : int

    Returns
    -------
    pandas.DataFrame
        Probabilities, float32, one column per class, with the index of `features`; NaN without a label.

    Raises
    ------
    OptionError
        If there are fewer than two folds.
    SchemaError, UsageError
        As `train`.
    """
    if n_folds < 2:
        raise OptionError(f"n_folds is {n_folds}; expected at least 2")
    options = replace(options or TrainingOptions(), test_size=0.0)
    data = assemble(features, labels, options, groups)
    fold = folds(data.groups, data.targets.to_numpy(), n_folds, options.random_state)
    labelled = data.targets.notna().any(axis=1).to_numpy()
    scores = np.full(data.targets.shape, np.nan, dtype=np.float32)
    for column, tag in enumerate(data.targets.columns):
        usable = data.usable(tag, options)
        for k in range(n_folds):
            fit = _fit(data, tag, usable[fold[usable] != k], options)
            own = np.flatnonzero((fold == k) & labelled)
            scores[own, column] = predict(fit.booster, fit.preparation, data.values[own])
    in_order = np.empty_like(scores)
    in_order[data.position] = scores
    return pd.DataFrame(in_order, index=features.index, columns=data.targets.columns)
