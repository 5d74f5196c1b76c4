"""Training of one model per class, whatever its kind: splits, models, saving, cross-validation."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scope_dask._version import __version__
from scope_dask.errors import OptionError, UsageError, nearest
from scope_dask.formats.atomic import replacing
from scope_dask.inference.manifest import Manifest, manifest_path
from scope_dask.inference.preparation import Score, inputs_of, predict
from scope_dask.training.calibration import calibrated
from scope_dask.training.dataset import TrainingSet, assemble, fit_preparation, folds, split
from scope_dask.training.evaluation import CUT, binary_metrics
from scope_dask.training.options import DNNOptions, ModelOptions, TrainingOptions
from scope_dask.training.sample import Fitted, Sample


@dataclass(frozen=True)
class TrainedModel:
    """A trained model, not yet saved.

    Attributes
    ----------
    manifest : Manifest
    files : dict of bytes
        Contents of the model's files by suffix, the one that scoring reads first.
    score : Score
    sample : Sample or None
        What it was fitted to, for reports.
    """

    manifest: Manifest
    files: dict[str, bytes]
    score: Score = field(compare=False, repr=False)
    sample: Sample | None = field(default=None, compare=False, repr=False)

    @property
    def content(self) -> bytes:
        """Content of the file that scoring reads."""
        return next(iter(self.files.values()))

    def predict(self, features: pd.DataFrame) -> np.ndarray:
        """Return the probability of each row of a features table, float32; NaN where it cannot be scored."""
        preparation = self.manifest.preparation
        return predict(self.score, preparation, inputs_of(features, preparation.features, bool(preparation.dmdt)))

    def save(self, root: str | os.PathLike[str], when: datetime | None = None) -> Path:
        """Write ``{root}/{tag}/{tag}.{YYYYMMDD_HHMMSS}`` with the suffixes of the model and ``.manifest.json``.

        XGBoost: ``.json`` and ``.params``; neural network: ``.keras`` and ``.h5``. Each file appears whole or not
        at all, the model file last; an earlier model is never overwritten: `root` and `when` are as in `free_stem`.

        Returns
        -------
        pathlib.Path
            Of the model file.
        """
        return self.save_as(*free_stem(root, self.manifest.tag, when))

    def save_as(self, stem: Path, moment: datetime) -> Path:
        """Write the files of `save` with this stem and time, over what may be there; return that of the model."""
        first, *others = (stem.with_name(f"{stem.name}{suffix}") for suffix in self.files)
        for path in others:
            _write(path, self.files[path.suffix])
        _write(manifest_path(first), replace(self.manifest, created=moment.isoformat()).to_json().encode())
        _write(first, self.content)
        return first


def free_stem(root: str | os.PathLike[str], tag: str, when: datetime | None = None) -> tuple[Path, datetime]:
    """Return ``{root}/{tag}/{tag}.{YYYYMMDD_HHMMSS}`` of which there is nothing yet, and that time.

    Parameters
    ----------
    root : path
    tag : str
    when : datetime, optional
        None: now. The first second from then on that is free.
    """
    folder = Path(root) / tag
    moment = (when or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)
    while any(folder.glob(f"{_escaped(tag)}.{moment:%Y%m%d_%H%M%S}*")):
        moment += timedelta(seconds=1)
    return folder / f"{tag}.{moment:%Y%m%d_%H%M%S}", moment


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, and on disk."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def save_models(models: Mapping[str, TrainedModel], root: str | os.PathLike[str]) -> list[Path]:
    """Save every model of `train_all` under one folder; returns the paths of the model files."""
    moment = datetime.now(UTC)
    return [model.save(root, moment) for model in models.values()]


def train(
    features: pd.DataFrame, labels: Any, tag: str, options: ModelOptions | None = None, groups: Any = None
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
    options : TrainingOptions or DNNOptions, optional
        Of XGBoost, which is the default, or of a neural network.
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
    features: pd.DataFrame, labels: pd.DataFrame, options: ModelOptions | None = None, groups: Any = None
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


def _fit(sample: Sample, options: ModelOptions) -> Fitted:
    """Fit a model of the kind of the options, calibrated if they say so."""
    fit: Callable[[Sample, Any], Fitted]
    if isinstance(options, DNNOptions):
        from scope_dask.training.dnn import fit
    else:
        from scope_dask.training.xgb import fit
    return calibrated(fit(sample, options), sample, options.calibration)


def _train_one(data: TrainingSet, tag: str, options: ModelOptions) -> TrainedModel:
    rows = data.usable(tag, options)
    sample = _sample(data, tag, rows, options)
    fitted = _fit(sample, options)
    metrics = {
        name: binary_metrics(sample.targets(name), predict(fitted.score, fitted.preparation, data.inputs.take(own)))
        for name, own in sample.parts.items()
        if name != "train"
    }
    counts = {"unused": len(data.targets) - len(rows), **counted(sample.parts, sample.y, data.groups)}
    return described(tag, options, fitted, sample, counts, metrics)


def counted(parts: Mapping[str, np.ndarray], y: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Return rows, members and stars of each part."""
    return {
        name: {"rows": len(own), "members": int(y[own].sum()), "stars": len(np.unique(groups[own]))}
        for name, own in parts.items()
    }


def described(
    tag: str, options: ModelOptions, fitted: Fitted, sample: Sample, counts: dict[str, Any], metrics: dict[str, Any]
) -> TrainedModel:
    """Return a fitted model with its manifest.

    Parameters
    ----------
    tag : str
    options : ModelOptions
    fitted : Fitted
    sample : Sample
        For reports.
    counts : dict
        ``unused`` rows, and those of the parts as `counted` gives them.
    metrics : dict
        By part, on its held-out rows.
    """
    sums = {suffix: hashlib.sha256(content).hexdigest() for suffix, content in fitted.files.items()}
    manifest = Manifest(
        tag=tag,
        algorithm="dnn" if isinstance(options, DNNOptions) else "xgb",
        preparation=fitted.preparation,
        threshold=options.threshold,
        period_suffix=options.period_suffix,
        fourier=options.fourier,
        dataset=options.dataset,
        parameters={**_parameters(options), **fitted.parameters},
        counts=counts,
        metrics={"cut": CUT, **fitted.metrics, **metrics},
        versions=_versions() | fitted.versions,
        sha256=next(iter(sums.values())),
        created="",
        copies={suffix: sums[suffix] for suffix in fitted.copies},
        calibration=fitted.calibration,
    )
    return TrainedModel(manifest, fitted.files, fitted.score, sample)


def _parameters(options: ModelOptions) -> dict[str, Any]:
    elsewhere = ("features", "period_suffix", "fourier", "dataset", "threshold", "feature_stats")
    return {name: value for name, value in asdict(options).items() if name not in elsewhere}


def _versions() -> dict[str, str]:
    return {"scope_dask": __version__, "numpy": np.__version__, "python": platform.python_version()}


def _sample(data: TrainingSet, tag: str, rows: np.ndarray, options: ModelOptions) -> Sample:
    """Split `rows`, thin the training part, and fit imputation and scaling on it."""
    y = data.targets[tag].to_numpy()
    local = split(data.groups[rows], y[rows], options, f"the class {tag!r}")
    parts = {name: rows[positions] for name, positions in local.items()}
    parts["train"] = thinned(parts["train"], y[parts["train"]], options)
    preparation = fit_preparation(data.inputs.values[parts["train"]], data.names, options)
    return Sample(data.names, data.inputs, y, parts, preparation, data.groups)


def thinned(rows: np.ndarray, y: np.ndarray, options: ModelOptions) -> np.ndarray:
    """Return the rows that stay when the larger of members and others is thinned to `balance` times the smaller.

    Parameters
    ----------
    rows : numpy.ndarray of int64
    y : numpy.ndarray, shape (rows,)
        1 for members, 0 for others, of these rows.
    options : ModelOptions

    Returns
    -------
    numpy.ndarray of int64
        In the order in which they came.
    """
    if options.balance is None:
        return rows
    kinds = sorted((np.flatnonzero(y > 0), np.flatnonzero(y <= 0)), key=len)
    most = min(len(kinds[1]), math.floor(options.balance * len(kinds[0]) + 1e-9))
    kept = np.random.default_rng(options.random_state).choice(kinds[1], most, replace=False)
    return rows[np.sort(np.concatenate([kinds[0], kept]))]


def cross_validate(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    groups: Any = None,
    options: ModelOptions | None = None,
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
    fold = folds(data.groups, data.targets.to_numpy(), n_folds)
    labelled = data.targets.notna().any(axis=1).to_numpy()
    scores = np.full(data.targets.shape, np.nan, dtype=np.float32)
    for column, tag in enumerate(data.targets.columns):
        usable = data.usable(tag, options)
        for k in range(n_folds):
            fitted = _fit(_sample(data, tag, usable[fold[usable] != k], options), options)
            own = np.flatnonzero((fold == k) & labelled)
            scores[own, column] = predict(fitted.score, fitted.preparation, data.inputs.take(own))
    in_order = np.empty_like(scores)
    in_order[data.position] = scores
    return pd.DataFrame(in_order, index=features.index, columns=data.targets.columns)
