"""XGBoost models: from the bytes of a file to a function that scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from scope_dask.errors import ModelError
from scope_dask.inference.preparation import Score


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


def booster_score(booster: Any) -> Score:
    """Return the function that scores with a booster; several threads may call it at once.

    Trees that our kernel knows are evaluated by it, to the last digit but one of what XGBoost gives.
    """
    from scope_dask.inference.trees import read_trees, trees_score

    if (trees := read_trees(bytes(booster.save_raw("json")))) is not None:
        return trees_score(trees)

    def score(x: np.ndarray, histograms: np.ndarray | None, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = booster.inplace_predict(x)
        return found

    return score
