"""The models of a demonstration: trained once, found again by the next run."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from dask.base import tokenize

from scope_dask.demo.labels import Labels
from scope_dask.errors import ModelError
from scope_dask.inference.models import Models, load_models, read_manifest
from scope_dask.training.fitting import cross_validate, save_models, train_all
from scope_dask.training.options import TrainingOptions

logger = logging.getLogger(__name__)

N_FOLDS = 5


@dataclass(frozen=True)
class TrainingSet:
    """Labelled features.

    Attributes
    ----------
    name : str
        What the models are trained on, in words.
    features : pandas.DataFrame
    labels : Labels
    period_suffix, fourier : str
        Period algorithm whose columns are used, and the contents of the Fourier columns.
    """

    name: str
    features: pd.DataFrame
    labels: Labels
    period_suffix: str
    fourier: str

    @property
    def options(self) -> TrainingOptions:
        token = tokenize(self.features, self.labels.table, self.labels.stars)[:12]
        return TrainingOptions(
            period_suffix=self.period_suffix,
            fourier=self.fourier,  # type: ignore[arg-type]
            dataset=f"{self.name} [{token}]",
        )


def trained_models(data: TrainingSet, folder: Path) -> Models:
    """Return the models of `data` in `folder`: those of an earlier run, else they are trained and saved there."""
    found = _earlier(data, folder)
    if found is not None:
        logger.info("models: %d found in %s", len(data.labels.classes), folder)
        return found
    if folder.exists():
        shutil.rmtree(folder)
    models = train_all(data.features, data.labels.table, data.options, data.labels.stars)
    save_models(models, folder)
    logger.info("models: %d trained on the %s", len(models), data.name)
    return load_models(folder)


def _earlier(data: TrainingSet, folder: Path) -> Models | None:
    """Return the models in `folder` if they are all there and of this very training set."""
    try:
        models = load_models(folder)
        sets = {read_manifest(Path(model.path)).dataset for model in models}
    except ModelError:
        return None
    same = sets == {data.options.dataset}
    return models if same and {model.tag for model in models} == set(data.labels.classes) else None


def cross_validated(data: TrainingSet) -> pd.DataFrame:
    """Return the scores of the labelled light curves by models that have not seen their stars.

    Returns
    -------
    pandas.DataFrame
        ``_id`` and one column per tag.
    """
    scores = cross_validate(data.features, data.labels.table, data.labels.stars, data.options, N_FOLDS)
    scores.insert(0, "_id", data.features["_id"])
    return scores.dropna(ignore_index=True)
