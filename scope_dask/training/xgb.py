"""XGBoost classifiers: fitting one to a sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scope_dask.errors import ModelError
from scope_dask.inference.manifest import manifest_path, read_manifest
from scope_dask.inference.preparation import Preparation
from scope_dask.inference.xgb import booster_score, load_booster
from scope_dask.training.options import TrainingOptions
from scope_dask.training.sample import Fitted, Sample
from scope_dask.training.search import SEARCHED, booster_parameters, staged_search


def fit(sample: Sample, options: TrainingOptions) -> Fitted:
    """Boost trees while validation improves; before that, choose the parameters where a search is asked for.

    Raises
    ------
    UsageError
        If there are too few members for the search.
    ModelError
        If the model to continue with cannot be read, or was made for other features.
    """
    found: dict[str, Any] = {}
    start = None
    if options.pre_trained_model is not None:
        start, preparation = pre_trained(sample, options.pre_trained_model)
        sample = replace(sample, preparation=preparation)
    elif options.search is not None:
        options, trials = staged_search(sample, options, options.search)
        found = {**{name: getattr(options, name) for name in SEARCHED}, "trials": trials}
    data = (sample.x("train"), sample.targets("train"), sample.x("val"), sample.targets("val"))
    booster = boost(*data, sample.names, options, start)
    return fitted_trees(bytes(booster.save_raw("json")), booster.save_config().encode(), sample.preparation, **found)


def fitted_trees(content: bytes, config: bytes, preparation: Preparation, **parameters: Any) -> Fitted:
    """Return what is known of trained trees.

    Parameters
    ----------
    content, config : bytes
        The files ``.json`` and ``.params``.
    preparation : Preparation
    **parameters
        For the manifest.
    """
    import xgboost

    booster = load_booster(content)
    return Fitted(
        preparation=preparation,
        score=booster_score(booster),
        files={".json": content, ".params": config},
        copies=(),
        parameters={"rounds": booster.num_boosted_rounds(), **parameters},
        metrics={},
        versions={"xgboost": xgboost.__version__},
    )


def pre_trained(sample: Sample, where: str) -> tuple[Any, Preparation]:
    """Return the booster to continue with and how it is fed.

    Raises
    ------
    ModelError
        If it cannot be read, or was made for other features.
    """
    path = Path(where)
    if not path.is_file():
        raise ModelError(f"{path} does not exist; expected the .json file of a model to continue with")
    booster = load_booster(path.read_bytes())
    if (count := booster.num_features()) != len(sample.names):
        raise ModelError(f"the model {path} takes {count} features, and would be given {len(sample.names)}")
    if not manifest_path(path).is_file():
        return booster, sample.preparation
    preparation = read_manifest(path).preparation
    if preparation.features != sample.names:
        raise ModelError(
            f"the model {path} was trained on other features, or in another order: name those of its manifest, "
            "or train anew"
        )
    return booster, preparation


def boost(
    x: np.ndarray,
    y: np.ndarray,
    x_val: np.ndarray,
    y_val: np.ndarray,
    names: tuple[str, ...],
    options: TrainingOptions,
    start: Any = None,
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
    start : xgboost.Booster, optional
        To go on from.
    """
    import xgboost

    stop = xgboost.callback.EarlyStopping(
        rounds=options.early_stopping_rounds, maximize=options.eval_metric == "auc", save_best=True
    )
    make = {"feature_names": list(names), "nthread": options.n_jobs}
    return xgboost.train(
        booster_parameters(y, options),
        xgboost.DMatrix(x, y, **make),
        options.num_boost_round,
        evals=[(xgboost.DMatrix(x_val, y_val, **make), "val")],
        callbacks=[stop],
        verbose_eval=False,
        xgb_model=start,
    )
