"""Models of which only the weights are kept."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import replace

from scope_dask.errors import UsageError
from scope_dask.inference.dnn import WEIGHTS
from scope_dask.training.fitting import TrainedModel


def weights_only(trained: TrainedModel) -> TrainedModel:
    """Return a network whose only file is that of its weights; training can go on from it, it is not scored with.

    Raises
    ------
    UsageError
        If it is no network.
    """
    if ".keras" not in trained.files:
        raise UsageError("only networks have weights to be kept alone; expected a model of the algorithm dnn")
    with zipfile.ZipFile(io.BytesIO(trained.files[".keras"])) as archive:
        content = archive.read("model.weights.h5")
    manifest = replace(trained.manifest, sha256=hashlib.sha256(content).hexdigest(), copies={})
    return replace(trained, manifest=manifest, files={WEIGHTS: content})
