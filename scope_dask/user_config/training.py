"""What the file says about training: the classes and the parameters of XGBoost."""

from __future__ import annotations

from typing import Any

from scope_dask.errors import OptionError, nearest
from scope_dask.mapping import from_mapping
from scope_dask.training.options import TrainingOptions
from scope_dask.user_config.features import feature_names, imputation_strategies, period_suffix
from scope_dask.user_config.file import PARAMETERS, UserConfig


def training_options(config: UserConfig, tag: str) -> TrainingOptions:
    """Return the options of the training of the classifier `tag`.

    Of the ranges of a grid search the first value is taken, which is what a training without one uses.

    Raises
    ------
    OptionError
        If the file has classes, but not this one, or a value is wrong.
    """
    classes = config.get("training", "classes", default={})
    if classes and tag not in classes:
        hint = nearest(tag, classes)
        raise OptionError(f"{config.path}: there is no class {tag!r}{hint}; there are {', '.join(map(str, classes))}")
    values: dict[str, Any] = {"period_suffix": period_suffix(config), "dataset": config.get("training", "dataset")}
    values |= _xgboost_parameters(config)
    for name in ("threshold", "weight_per_class"):
        values[name] = config.get("training", "classes", tag, name)
    if (set_name := config.get("training", "classes", tag, "features")) is not None:
        values["features"] = feature_names(config, set_name, values["period_suffix"])
        values["imputation_of"] = _imputation(config, values["features"], values["period_suffix"])
    given = {name: value for name, value in values.items() if value is not None}
    if values["period_suffix"] is None:
        given["period_suffix"] = None
    return from_mapping(TrainingOptions, given, f"{config.path}: training of {tag}")


def _xgboost_parameters(config: UserConfig) -> dict[str, Any]:
    def first(value: Any) -> Any:
        return value[0] if isinstance(value, list) and value else value

    ranges = config.get("training", "xgboost", "gridsearch_params_start_stop_step", default={})
    other = config.get("training", "xgboost", "other_training_params", default={})
    values = {name: first(ranges.get(name)) for name in PARAMETERS}
    for name in ("subsample", "colsample_bytree"):  # in tenths
        values[name] = None if values[name] is None else values[name] / 10
    values["eta"] = first(other.get("eta", other.get("eta_list")))
    values["random_state"] = other.get("seed")
    for name in ("eval_metric", "early_stopping_rounds", "num_boost_round"):
        values[name] = first(other.get(name))
    return values


def _imputation(config: UserConfig, names: tuple[str, ...] | None, suffix: str | None) -> dict[str, str]:
    """Return the imputation strategy of the features `names`."""
    strategies = imputation_strategies(config, suffix)
    return {name: strategies[name] for name in names or () if name in strategies}
