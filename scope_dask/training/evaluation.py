"""How good scores are: metrics of one class, the best class, the confusion of several."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scope_dask.errors import UsageError

CUT = 0.5


def binary_metrics(y: np.ndarray, score: np.ndarray, cut: float = CUT) -> dict[str, Any]:
    """Return accuracy, precision, recall, f1 and roc_auc (None where undefined) and the counts behind them.

    Parameters
    ----------
    y : numpy.ndarray, shape (rows,)
        1 for members, 0 for others.
    score : numpy.ndarray, shape (rows,)
    cut : float
        A score of at least this is a prediction of membership.
    """
    from scipy.stats import rankdata

    member, chosen = np.asarray(y) > 0, np.asarray(score) >= cut
    tp, fp = int((member & chosen).sum()), int((~member & chosen).sum())
    fn, tn = int((member & ~chosen).sum()), int((~member & ~chosen).sum())
    pairs = (tp + fn) * (tn + fp)
    # Mann-Whitney: fraction of (member, other) pairs in the right order, ties counting half.
    above = rankdata(score)[member].sum() - (tp + fn) * (tp + fn + 1) / 2
    return {
        "accuracy": _ratio(tp + tn, len(member)),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "roc_auc": _ratio(above, pairs),
        "true_positives": tp,
        "false_positives": fp,
        "true_negatives": tn,
        "false_negatives": fn,
    }


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def best_class(scores: pd.DataFrame) -> pd.Series:
    """Return the name of the column with the highest score of each row; missing where a row has no score."""
    known = scores.notna().any(axis=1).to_numpy()
    best = scores.fillna(-np.inf).to_numpy().argmax(axis=1)
    names = scores.columns.to_numpy(dtype=object)[best]
    return pd.Series(names, index=scores.index, dtype="str").where(known)


def confusion(labels_true: Any, labels_pred: Any) -> pd.DataFrame:
    """Return the number of rows by true class (rows) and predicted class (columns), in alphabetical order.

    Rows in which either is missing are not counted.

    Raises
    ------
    UsageError
        If there is not one prediction a label.
    """
    true, predicted = (pd.Series(np.asarray(x, dtype=object)) for x in (labels_true, labels_pred))
    if len(true) != len(predicted):
        raise UsageError(f"there are {len(true)} labels and {len(predicted)} predictions; expected one of each a row")
    names = sorted({str(v) for v in (*true.dropna(), *predicted.dropna())})
    table = pd.crosstab(true, predicted).reindex(index=names, columns=names, fill_value=0)
    return table.rename_axis(index="true", columns="predicted")
