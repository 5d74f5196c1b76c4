"""Model artefacts: what a model is fed, its manifest, finding and loading it (once per worker process)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scope_dask.errors import ModelError
from scope_dask.schema import FOURIER

MANIFEST_FORMAT = 1
ALGORITHMS = ("xgb",)
_FILE = re.compile(r"(?P<tag>.+)\.(?P<stamp>\d{8}_\d{6})\.json")
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_LOADING = threading.Lock()


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
    """

    features: tuple[str, ...]
    imputation: tuple[float | None, ...]
    scaling: str = "none"
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def incomplete(self, values: np.ndarray) -> np.ndarray:
        """Tell which rows of `values` (rows, features) lack a feature that is not imputed, as booleans."""
        needed = [i for i, value in enumerate(self.imputation) if value is None]
        return np.isnan(values[:, needed]).any(axis=1)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Impute and scale `values` (rows, features), float64 with NaN where missing; returns float32.

        Values beyond the range of float32 become its largest ones, as XGBoost computes in float32.
        """
        out = values.copy()
        rows, columns = np.nonzero(np.isnan(out))
        out[rows, columns] = np.array([np.nan if v is None else v for v in self.imputation])[columns]
        if self.scale:
            out = (out - np.array(self.offset)) / np.array(self.scale)
        return np.clip(out, -_FLOAT32_MAX, _FLOAT32_MAX, out=out).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a trained model; stored as ``<tag>.<time>.manifest.json`` beside it.

    Attributes
    ----------
    tag, algorithm : str
        Class that the model recognises, and ``xgb``.
    preparation : Preparation
    threshold : float
        A training label above it was a member of the class.
    period_suffix : str or None
        Period algorithm that the periodic features belong to.
    fourier : str
        Contents of the Fourier columns: ``raw`` or ``documented``.
    dataset : str
        Name of the training set.
    parameters, counts, metrics, versions : dict
        Of the training: its options, rows by split and class, results on held-out stars, packages.
    sha256 : str
        Of the model file.
    created : str
        UTC, ISO 8601.
    """

    tag: str
    algorithm: str
    preparation: Preparation
    threshold: float
    period_suffix: str | None
    fourier: str
    dataset: str
    parameters: dict[str, Any]
    counts: dict[str, Any]
    metrics: dict[str, Any]
    versions: dict[str, str]
    sha256: str
    created: str

    def to_json(self) -> str:
        """Return the manifest as JSON; imputation and scaling values stand by the name of their feature."""
        content = asdict(self)
        prepared = self.preparation
        del content["preparation"]
        content |= {
            "format": MANIFEST_FORMAT,
            "features": list(prepared.features),
            "imputation": dict(zip(prepared.features, prepared.imputation, strict=True)),
            "scaling": {
                "method": prepared.scaling,
                "offset": dict(zip(prepared.features, prepared.offset, strict=False)),
                "scale": dict(zip(prepared.features, prepared.scale, strict=False)),
            },
        }
        return json.dumps(content, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, where: str) -> Manifest:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            If the text is not such a manifest, or of a newer format.
        """
        try:
            content = json.loads(text)
            version = content.pop("format")
            if version > MANIFEST_FORMAT:
                raise ModelError(f"{where} has format {version}, this version reads up to {MANIFEST_FORMAT}: update it")
            names = tuple(content.pop("features"))
            imputation, scaling = content.pop("imputation"), content.pop("scaling")
            content["preparation"] = Preparation(
                features=names,
                imputation=tuple(imputation[n] for n in names),
                scaling=scaling["method"],
                offset=tuple(scaling["offset"][n] for n in names if scaling["offset"]),
                scale=tuple(scaling["scale"][n] for n in names if scaling["scale"]),
            )
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"{where} is not a manifest of a model ({type(error).__name__}: {error}): train it again"
            ) from error


@dataclass(frozen=True, slots=True)
class Model:
    """A model on disk: where it is and how to feed it. The trees themselves are read where they are used."""

    path: str
    sha256: str
    tag: str
    algorithm: str
    preparation: Preparation
    fourier: str

    @property
    def column(self) -> str:
        """Name of the model's column in a scores table."""
        return f"{self.tag}_{self.algorithm}"

    @property
    def fourier_features(self) -> list[str]:
        """The features of the model whose contents differ between raw and documented Fourier columns."""
        kinds = tuple(f"f1_{name}" for name in FOURIER if name.startswith(("amp", "phi", "rel")))
        return [f for f in self.preparation.features if f in kinds or f.startswith(tuple(f"{k}_" for k in kinds))]


@dataclass(frozen=True, slots=True)
class Models:
    """The models that a scores table is made with; small, picklable, with a deterministic Dask token."""

    models: tuple[Model, ...]

    def __len__(self) -> int:
        return len(self.models)

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    @property
    def tags(self) -> list[str]:
        return [m.tag for m in self.models]

    @property
    def columns(self) -> list[str]:
        """Columns of the scores table."""
        return [m.column for m in self.models]

    @property
    def features(self) -> list[str]:
        """Features that any of the models needs, in order of first use."""
        return list(dict.fromkeys(name for m in self.models for name in m.preparation.features))


def load_models(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Models:
    """Find models and read their manifests; of each class the newest one.

    Parameters
    ----------
    path : path or sequence of paths
        A model file ``<tag>.<YYYYMMDD_HHMMSS>.json``, the folder of a class that holds such files, or a
        folder of those folders.

    Returns
    -------
    Models
        Sorted by tag where a folder was given.

    Raises
    ------
    ModelError
        If there is no model, a manifest is missing or broken, or a model file is not the one of its manifest.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    found = [_read(file) for p in paths for file in _model_files(Path(p))]
    _refuse_duplicates(found)
    if not found:
        raise ModelError("no path of a model was given: name a model file or a folder of models")
    # Models of one training share their features: one tuple in memory and in a pickle, not one each.
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    for k, model in enumerate(found):
        names = shared.setdefault(model.preparation.features, model.preparation.features)
        found[k] = replace(model, preparation=replace(model.preparation, features=names))
    return Models(tuple(found))


def _refuse_duplicates(models: list[Model]) -> None:
    seen: dict[str, str] = {}
    for model in models:
        if model.column in seen:
            raise ModelError(
                f"two models give the column {model.column}: {seen[model.column]} and {model.path}; "
                "name only one of them"
            )
        seen[model.column] = model.path


def _model_files(path: Path) -> list[Path]:
    """Return `path` if it is a file, else the newest model of each class in the folder and its subfolders."""
    if path.is_file():
        return [path]
    if not path.exists():
        raise ModelError(f"{path} does not exist; expected a model file or a folder of models")
    newest: dict[tuple[str, Path], tuple[str, Path]] = {}
    for file in [*path.glob("*.json"), *path.glob("*/*.json")]:
        match = _FILE.fullmatch(file.name)
        if match:
            key = (match["tag"], file.parent)
            newest[key] = max(newest.get(key, ("", file)), (match["stamp"], file))
    if not newest:
        raise ModelError(
            f"{path} holds no models; expected files <tag>/<tag>.<YYYYMMDD_HHMMSS>.json in it: "
            "train some, or name the folder that holds the folders of the classes"
        )
    return [newest[key][1] for key in sorted(newest)]


def _read(file: Path) -> Model:
    manifest = read_manifest(file)
    read_checked(str(file), manifest.sha256)
    absolute = str(file.resolve())
    return Model(absolute, manifest.sha256, manifest.tag, manifest.algorithm, manifest.preparation, manifest.fourier)


def manifest_path(model: Path) -> Path:
    """Return the path of the manifest of a model file."""
    return model.with_suffix(".manifest.json")


def read_manifest(model: Path) -> Manifest:
    """Read the manifest of a model file.

    Raises
    ------
    ModelError
        If there is none, or it cannot be used.
    """
    path = manifest_path(model)
    if not path.is_file():
        raise ModelError(
            f"{model} has no manifest, so the features it was trained with are not known; "
            f"expected {path.name} beside it: copy it there or train the model again"
        )
    manifest = Manifest.from_json(path.read_text(encoding="utf-8"), str(path))
    if manifest.algorithm not in ALGORITHMS:
        raise ModelError(f"{path} is of a model of kind {manifest.algorithm!r}; expected {' or '.join(ALGORITHMS)}")
    return manifest


def read_checked(path: str, sha256: str) -> bytes:
    """Read a model file and check that it is the one of the manifest.

    Raises
    ------
    ModelError
        If the file cannot be read or its checksum is another.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ModelError(
            f"the model {path} cannot be read ({error.strerror}): it must be there on every worker"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"the model {path} is not the one of its manifest "
            f"(SHA-256 {found[:12]}…, expected {sha256[:12]}…): it is damaged or was replaced; "
            "copy it again or train it again"
        )
    return content


def load_booster(content: bytes) -> Any:
    """Return the XGBoost model of these bytes, ready to predict with one thread.

    Raises
    ------
    ModelError
        If they are no XGBoost model.
    """
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(content))
    except xgboost.core.XGBoostError as error:
        raise ModelError(f"this is not an XGBoost model: {str(error).splitlines()[-1]}") from error
    booster.set_param({"nthread": 1})
    # A booster configures itself at its first prediction: done here, before several threads share it.
    booster.inplace_predict(np.zeros((1, booster.num_features()), dtype=np.float32))
    return booster


@lru_cache(maxsize=256)
def _cached_booster(path: str, sha256: str) -> Any:
    return load_booster(read_checked(path, sha256))


def booster_of(model: Model) -> Any:
    """Return the XGBoost model, read once per process; several threads may predict with it at once."""
    with _LOADING:
        return _cached_booster(model.path, model.sha256)


def feature_values(frame: pd.DataFrame, names: Iterable[str]) -> np.ndarray:
    """Return the features `names` as float64 of shape (rows, features), NaN where missing or infinite."""
    names = list(names)
    values = np.empty((len(frame), len(names)), order="F")
    for k, name in enumerate(names):
        values[:, k] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    values[~np.isfinite(values)] = np.nan
    return values


def predict(booster: Any, preparation: Preparation, values: np.ndarray) -> np.ndarray:
    """Return the probabilities of rows of features.

    Parameters
    ----------
    booster : xgboost.Booster
    preparation : Preparation
    values : numpy.ndarray, shape (rows, features), float64
        As `feature_values` gives them, in the order of ``preparation.features``.

    Returns
    -------
    numpy.ndarray, shape (rows,), float32
        NaN where all features are missing, or one that is not imputed.
    """
    scores = np.full(len(values), np.nan, dtype=np.float32)
    usable = ~(np.isnan(values).all(axis=1) | preparation.incomplete(values))
    if usable.any():  # of no rows XGBoost 3.4 makes an array of shape (0, 0)
        scores[usable] = booster.inplace_predict(preparation.apply(values[usable]))
    return scores
