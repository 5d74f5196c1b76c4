"""XGBoost classifiers: fitting one to a sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from scope_dask.inference.xgb import booster_score
from scope_dask.training.evaluation import best_class, binary_metrics, confusion
from scope_dask.training.fitting import (
    Fitted,
    Sample,
    TrainedModel,
    cross_validate,
    save_models,
    train,
    train_all,
)
from scope_dask.training.options import TrainingOptions

__all__ = [
    "TrainedModel",
    "TrainingOptions",
    "best_class",
    "binary_metrics",
    "boost",
    "confusion",
    "cross_validate",
    "fit",
    "save_models",
    "train",
    "train_all",
]


def fit(sample: Sample, options: TrainingOptions) -> Fitted:
    """Boost trees while validation improves."""
    import xgboost

    booster = boost(
        sample.x("train"), sample.targets("train"), sample.x("val"), sample.targets("val"), sample.names, options
    )
    return Fitted(
        preparation=sample.preparation,
        score=booster_score(booster),
        files={".json": bytes(booster.save_raw("json")), ".params": booster.save_config().encode()},
        copies=(),
        parameters={"rounds": booster.num_boosted_rounds()},
        metrics={},
        versions={"xgboost": xgboost.__version__},
    )


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
