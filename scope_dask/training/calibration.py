"""Fitting the curve that makes probabilities of scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np

from scope_dask.errors import UsageError
from scope_dask.inference.calibration import Calibration, log_odds
from scope_dask.inference.preparation import predict
from scope_dask.training.options import CalibrationMethod
from scope_dask.training.sample import Fitted, Sample


def calibrated(fitted: Fitted, sample: Sample, method: CalibrationMethod) -> Fitted:
    """Return a model whose scores are calibrated by the validation rows of the sample; ``none``: the model as it is.

    Raises
    ------
    UsageError
        If no validation row has a score.
    """
    if method == "none":
        return fitted
    found = predict(fitted.score, fitted.preparation, sample.inputs.take(sample.parts["val"]))
    calibration = fit_calibration(sample.targets("val"), found, method)
    return replace(fitted, score=calibration.wrap(fitted.score), calibration=calibration)


def fit_calibration(y: np.ndarray, score: np.ndarray, method: Literal["sigmoid", "isotonic"]) -> Calibration:
    """Fit a calibration to stars that the model was not trained on.

    A sigmoid has two numbers, and targets a little off 0 and 1, so that few stars do, and stars that are told apart
    without an error do not make it a step (Platt 1999, Advances in Large Margin Classifiers, 61). Isotonic regression
    follows any curve that does not fall (Zadrozny and Elkan 2002, KDD, 694) and wants a thousand stars.

    Parameters
    ----------
    y : numpy.ndarray, shape (rows,)
        1 for members, 0 for others.
    score : numpy.ndarray, shape (rows,)
        NaN: the row is not used.
    method : {"sigmoid", "isotonic"}

    Raises
    ------
    UsageError
        If no row has a score.
    """
    known = ~np.isnan(score)
    y, score = np.asarray(y)[known] > 0, np.asarray(score, dtype=np.float64)[known]
    if not len(y):
        raise UsageError("none of the stars for the calibration has a score: train on a table with their features")
    return _isotonic(y, score) if method == "isotonic" else _sigmoid(y, score)


def _isotonic(y: np.ndarray, score: np.ndarray) -> Calibration:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(score, y)
    return Calibration("isotonic", tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def _sigmoid(y: np.ndarray, score: np.ndarray) -> Calibration:
    """Fit by logistic regression on the log-odds; every row counts as a member in part, and in part as another."""
    from scipy.special import logit
    from sklearn.linear_model import LogisticRegression

    members, others = int(y.sum()), int((~y).sum())
    target = np.where(y, (members + 1) / (members + 2), 1 / (others + 2))
    given = np.tile(log_odds(score), 2)[:, None]
    both = np.repeat([1, 0], len(y))
    fitted = LogisticRegression(C=np.inf, max_iter=1000, tol=1e-8)
    fitted.fit(given, both, sample_weight=np.concatenate([target, 1 - target]))
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0 or np.ptp(score) == 0:  # scores that say nothing: the fraction of members, whatever the score
        slope, intercept = 0.0, float(logit(target.mean()))
    return Calibration("sigmoid", (slope,), (intercept,))
