"""Options of the training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from scope_dask.errors import OptionError, nearest

Imputation = Literal["median", "mean", "zero", "none"]
Scaling = Literal["none", "min_max", "median_std"]


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options of the training of XGBoost classifiers.

    Attributes
    ----------
    features : tuple of str or None
        What the models see; None: `feature_names` of the table.
    period_suffix : str or None
        Period algorithm whose columns are used; None: the columns have no suffix.
    fourier : {"raw", "documented"}
        Contents of the table's Fourier columns; recorded with the model.
    dataset : str
        Name of the training set; recorded with the model.
    threshold : float
        A label above it (not equal) is a member of the class.
    test_size, val_size : float
        Fraction of the stars for the test, and of the rest for validation.
    random_state : int
        Of the split and of XGBoost.
    imputation : {"median", "mean", "zero", "none"}
        Value in place of a missing feature, from the training rows; none: a row without it is not used, and
        not scored.
    imputation_of : dict
        Strategy of single features, by name.
    scaling : {"none", "min_max", "median_std"}
        (x − min)/(max − min) or (x − median)/std over the training rows; trees do not need it.
    max_depth, min_child_weight, eta, subsample, colsample_bytree
        As XGBoost names them.
    num_boost_round : int
        Most trees.
    early_stopping_rounds : int
        Trees without a better validation result that end the training; the best model is kept.
    eval_metric : {"auc", "logloss"}
        Validation result. The area under the ROC curve is the original's; with few members it is soon at its
        best, and training stops before the scores reach the ends of their range.
    weight_per_class : bool
        Weight members and others so that both count the same in total.
    n_jobs : int
        Threads of XGBoost.
    """

    features: tuple[str, ...] | None = None
    period_suffix: str | None = "ELS_ECE_EAOV"
    fourier: Literal["raw", "documented"] = "raw"
    dataset: str = ""
    threshold: float = 0.7
    test_size: float = 0.1
    val_size: float = 0.1
    random_state: int = 42
    imputation: Imputation = "median"
    imputation_of: Mapping[str, Imputation] = field(default_factory=dict)
    scaling: Scaling = "none"
    max_depth: int = 6
    min_child_weight: float = 1.0
    eta: float = 0.1
    subsample: float = 0.6
    colsample_bytree: float = 0.6
    num_boost_round: int = 999
    early_stopping_rounds: int = 10
    eval_metric: Literal["auc", "logloss"] = "logloss"
    weight_per_class: bool = True
    n_jobs: int = 1

    def __post_init__(self) -> None:
        for name, valid, expected in (
            ("threshold", 0 <= self.threshold < 1, "at least 0 and below 1"),
            ("test_size", 0 <= self.test_size < 1, "at least 0 and below 1"),
            (
                "val_size",
                0 < self.val_size < 1,
                "above 0 and below 1 (early stopping needs validation stars)",
            ),
            ("num_boost_round", self.num_boost_round >= 1, "at least 1"),
            ("early_stopping_rounds", self.early_stopping_rounds >= 1, "at least 1"),
            ("n_jobs", self.n_jobs >= 1, "at least 1"),
            ("features", self.features is None or len(self.features) > 0, "None or at least one name"),
        ):
            if not valid:
                raise OptionError(f"{name} is {getattr(self, name)}; expected {expected}")
        one_of("imputation", self.imputation, get_args(Imputation))
        one_of("scaling", self.scaling, get_args(Scaling))
        one_of("fourier", self.fourier, ("raw", "documented"))
        one_of("eval_metric", self.eval_metric, ("auc", "logloss"))
        for name, strategy in self.imputation_of.items():
            one_of(f"imputation_of[{name!r}]", strategy, get_args(Imputation))


def one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise OptionError if `value` is not among the `known` ones."""
    if value not in known:
        raise OptionError(f"{option} is {value!r}{nearest(str(value), known)}; expected one of {', '.join(known)}")
