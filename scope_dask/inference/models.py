"""Model artefacts: finding models and loading them, once per worker process."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from scope_dask.errors import ModelError
from scope_dask.inference.calibration import Calibration
from scope_dask.inference.dnn import network_score, read_network
from scope_dask.inference.manifest import Manifest, manifest_path, read_manifest
from scope_dask.inference.preparation import Preparation, Score, feature_values, predict
from scope_dask.inference.xgb import booster_score, load_booster
from scope_dask.schema import FOURIER

__all__ = [
    "Manifest",
    "Model",
    "Models",
    "Preparation",
    "feature_values",
    "load_models",
    "manifest_path",
    "model_files",
    "predict",
    "read_checked",
    "read_manifest",
    "score_of",
]

# Of two files with one model the first kind is taken.
_KINDS = {"json": "xgb", "keras": "dnn", "h5": "dnn"}
_FILE = re.compile(r"(?P<tag>.+)\.(?P<stamp>\d{8}_\d{6})\.(?P<kind>json|keras|h5)")
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Model:
    """A model on disk: where it is and how to feed it. Trees and weights are read where they are used."""

    path: str
    sha256: str
    tag: str
    algorithm: str
    preparation: Preparation
    fourier: str
    calibration: Calibration | None = None

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

    @property
    def dmdt(self) -> bool:
        """Whether any of the models sees the dmdt histogram."""
        return any(m.preparation.dmdt for m in self.models)


def load_models(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    preparation: Preparation | Mapping[str, Preparation] | None = None,
) -> Models:
    """Find models and read their manifests; of each class and algorithm the newest one.

    Parameters
    ----------
    path : path or sequence of paths
        A model file ``<tag>.<YYYYMMDD_HHMMSS>.json`` (XGBoost), ``.keras`` or ``.h5`` (neural network), the folder
        of a class that holds such files, or a folder of those folders.
    preparation : Preparation or mapping of tag to Preparation, optional
        How models without a manifest, such as those of SCoPe 0.9.5, are fed. Their Fourier features are raw ones;
        whether they see dmdt (missing ones as zeros) is known from the file.

    Returns
    -------
    Models
        Sorted by tag where a folder was given.

    Raises
    ------
    ModelError
        If there is no model, a manifest is missing or broken, a model file is not the one of its manifest, or a
        network is of another kind or takes other inputs than its manifest says.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    found = [_read(file, preparation) for p in paths for file in model_files(Path(p))]
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


def model_files(path: Path) -> list[Path]:
    """Return `path` if it is a file, else the newest models of each class in the folder and its subfolders.

    Raises
    ------
    ModelError
        If there are none.
    """
    if path.is_file():
        return [path]
    if not path.exists():
        raise ModelError(f"{path} does not exist; expected a model file or a folder of models")
    newest: dict[tuple[str, str, Path], tuple[str, int, Path]] = {}
    for file in [*path.glob("*.*"), *path.glob("*/*.*")]:
        match = _FILE.fullmatch(file.name)
        if match:
            key = (match["tag"], _KINDS[match["kind"]], file.parent)
            candidate = (match["stamp"], -list(_KINDS).index(match["kind"]), file)
            newest[key] = max(newest.get(key, candidate), candidate)
    if not newest:
        raise ModelError(
            f"{path} holds no models; expected files <tag>/<tag>.<YYYYMMDD_HHMMSS>.json (.keras, .h5) in it: "
            "train some, or name the folder that holds the folders of the classes"
        )
    return [newest[key][2] for key in sorted(newest)]


def _read(file: Path, preparation: Preparation | Mapping[str, Preparation] | None) -> Model:
    absolute = str(file.resolve())
    if preparation is not None and not manifest_path(file).is_file():
        return _without_manifest(file, absolute, preparation)
    manifest = read_manifest(file)
    sha256 = manifest.copies.get(file.suffix, manifest.sha256)
    content = read_checked(str(file), sha256)
    if manifest.algorithm == "dnn":
        _check_inputs(content, manifest.preparation, str(file))
    known = manifest.preparation, manifest.fourier, manifest.calibration
    return Model(absolute, sha256, manifest.tag, manifest.algorithm, *known)


def _without_manifest(file: Path, absolute: str, preparation: Preparation | Mapping[str, Preparation]) -> Model:
    match = _FILE.fullmatch(file.name)
    tag = match["tag"] if match else file.name.split(".")[0]
    algorithm = _KINDS.get(file.suffix.lstrip("."))
    if algorithm is None:
        raise ModelError(f"{file} is no model by its name; expected a file .json, .keras or .h5")
    if isinstance(preparation, Mapping):
        if tag not in preparation:
            raise ModelError(f"{file} has no manifest and the features of {tag!r} were not given: give them")
        preparation = preparation[tag]
    content = file.read_bytes()
    if algorithm == "dnn":
        sees = bool(read_network(content, str(file)).convolutions)
        preparation = replace(preparation, dmdt=(preparation.dmdt or "zero") if sees else None)
        _check_inputs(content, preparation, str(file))
    return Model(absolute, hashlib.sha256(content).hexdigest(), tag, algorithm, preparation, "raw")


def _check_inputs(content: bytes, preparation: Preparation, where: str) -> None:
    """Check that a network takes what the preparation makes."""
    network = read_network(content, where)
    takes = f"{network.n_features} features{' and dmdt' * bool(network.convolutions)}"
    given = f"{len(preparation.features)} features{' and dmdt' * bool(preparation.dmdt)}"
    if takes != given:
        raise ModelError(f"the network {where} takes {takes}, and would be given {given}: name the ones it needs")


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


@lru_cache(maxsize=256)
def _cached_score(path: str, sha256: str, algorithm: str) -> Score:
    content = read_checked(path, sha256)
    if algorithm == "xgb":
        return booster_score(load_booster(content))
    return network_score(read_network(content, path))


def score_of(model: Model) -> Score:
    """Return the function that scores with a model, read once per process; several threads may call it at once."""
    with _LOADING:
        score = _cached_score(model.path, model.sha256, model.algorithm)
    return score if model.calibration is None else model.calibration.wrap(score)
