"""What is known of a trained model: its manifest, a JSON file beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.errors import ModelError
from scope_dask.inference.calibration import Calibration
from scope_dask.inference.preparation import Preparation

if TYPE_CHECKING:
    from scope_dask.training.neighbours import Neighbours

MANIFEST_FORMAT = 3
ALGORITHMS = ("xgb", "dnn")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a trained model; stored as ``<tag>.<time>.manifest.json`` beside it.

    Attributes
    ----------
    tag, algorithm : str
        Class that the model recognises, and ``xgb`` or ``dnn``.
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
    copies : dict
        SHA-256 of files that hold the same model in another format, by suffix.
    calibration : Calibration or None
        What makes probabilities of the scores; None: they are as the model gives them.
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
    copies: dict[str, str] = field(default_factory=dict)
    calibration: Calibration | None = None

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
                "float_bits": prepared.float_bits,
            },
            "dmdt": prepared.dmdt,
            "neighbours": prepared.neighbours and prepared.neighbours.to_mapping(),
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
                dmdt=content.pop("dmdt", None),  # of the formats from 2 on, like float_bits and copies
                float_bits=scaling.get("float_bits", 32),
                neighbours=_neighbours(content.pop("neighbours", None)),
            )
            if (stated := content.pop("calibration", None)) is not None:  # from format 3 on
                content["calibration"] = Calibration.from_mapping(stated)
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(
                f"{where} is not a manifest of a model ({type(error).__name__}: {error}): train it again"
            ) from error


def _neighbours(content: dict[str, Any] | None) -> Neighbours | None:
    if content is None:
        return None
    from scope_dask.training.neighbours import Neighbours

    return Neighbours.from_mapping(content)


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
