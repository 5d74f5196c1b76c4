"""The parameters of XGBoost by cross-validation: a search over a grid in stages, then around the best."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scope_dask.errors import UsageError
from scope_dask.training.dataset import folds
from scope_dask.training.log import LOGGER
from scope_dask.training.options import GridSearch, TrainingOptions

if TYPE_CHECKING:
    from scope_dask.training.sample import Sample

SEARCHED = ("max_depth", "min_child_weight", "subsample", "colsample_bytree", "eta")
_PAIRS = (SEARCHED[:2], SEARCHED[2:4])


def booster_parameters(y: np.ndarray, options: TrainingOptions) -> dict[str, Any]:
    """Return what XGBoost is given to train on targets `y` (1 for members, 0 for others)."""
    weight = float((y == 0).sum() / (y == 1).sum()) if options.weight_per_class else 1.0
    return {
        "objective": "binary:logistic",
        "eval_metric": options.eval_metric,
        "tree_method": "hist",
        "device": "cpu" if options.gpu is None else f"cuda:{options.gpu}",
        "scale_pos_weight": weight,
        "seed": options.random_state,
        "nthread": options.n_jobs,
        "verbosity": 0,
        **{name: getattr(options, name) for name in SEARCHED},
    }


def staged_search(
    sample: Sample, options: TrainingOptions, search: GridSearch
) -> tuple[TrainingOptions, list[dict[str, float]]]:
    """Choose parameters by the cross-validated metric over the training stars.

    First depth and weight of a leaf together, beginning with the first value of each parameter, then the fractions of
    rows and features together, then the rate; at last the steps around the best (1 of the former pair, 0.1 of the
    latter), those on both sides and the best itself. Of equal results the earlier one is kept.

    Returns
    -------
    options : TrainingOptions
        With the best parameters.
    trials : list of dict
        Parameters, ``rounds`` and ``result`` of every setting that was tried, in order.

    Raises
    ------
    UsageError
        If fewer than two training stars are members, or others.
    """
    trial = _Trials(sample, search)
    best = replace(options, **{name: getattr(search, name)[0] for name in SEARCHED})
    for names in (*_PAIRS, ("eta",)):
        best = trial.best(best, names, itertools.product(*(getattr(search, name) for name in names)))
    for names, step in zip(_PAIRS, (1, 0.1), strict=True):
        around = [_around(getattr(best, name), step) for name in names]
        best = trial.best(best, names, itertools.product(*around))
    return best, list(trial.done.values())


def _around(value: float, step: float) -> list[float]:
    """Return the value, and those one step below and above it, as far as they are allowed."""
    most = 1.0 if step < 1 else np.inf
    near = [value, *(round(value + sign * step, 6) for sign in (-1, 1))]
    return [v for v in near if step <= v <= most]


class _Trials:
    """Settings that were tried, each once, on the same folds."""

    def __init__(self, sample: Sample, search: GridSearch) -> None:
        import xgboost

        rows, y = sample.parts["train"], sample.targets("train")
        groups = sample.groups[rows]
        fewest = min(len(np.unique(groups[y == kind])) for kind in (0, 1))
        self.n_folds = min(search.n_folds, fewest)
        if self.n_folds < 2:
            raise UsageError(
                f"the grid search needs 2 members and 2 others (stars) among the training stars, there are {fewest} of "
                "one of them: leave the search out (--skip-cv)"
            )
        self.groups, self.y, self.metric = groups, y, search.metric
        self.matrix = xgboost.DMatrix(sample.x("train"), y, feature_names=list(sample.names))
        self.done: dict[tuple[float, ...], dict[str, float]] = {}

    def best(
        self, options: TrainingOptions, names: tuple[str, ...], settings: Iterable[tuple[float, ...]]
    ) -> TrainingOptions:
        """Return the options with the best of the settings of these parameters."""
        sign = 1 if self.metric == "auc" else -1
        changes: list[dict[str, Any]] = [dict(zip(names, setting, strict=True)) for setting in settings]
        tried = [replace(options, **change) for change in changes]
        return max(tried, key=lambda one: sign * self._result(one))

    def _result(self, options: TrainingOptions) -> float:
        import xgboost

        setting = tuple(float(getattr(options, name)) for name in SEARCHED)
        if setting not in self.done:
            fold = folds(self.groups, self.y[:, None], self.n_folds)
            pairs = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(self.n_folds)]
            found = xgboost.cv(
                booster_parameters(self.y, options),
                self.matrix,
                options.num_boost_round,
                folds=pairs,
                metrics=[self.metric],
                early_stopping_rounds=options.early_stopping_rounds,
                seed=options.random_state,
                as_pandas=False,
            )[f"test-{self.metric}-mean"]
            own = dict(zip(SEARCHED, setting, strict=True))
            self.done[setting] = {**own, "rounds": len(found), "result": float(found[-1])}
            LOGGER.info("setting %d: %s, %s %.4f", len(self.done), own, self.metric, found[-1])
        return self.done[setting]["result"]
