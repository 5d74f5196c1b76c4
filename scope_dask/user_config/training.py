"""What the file says about training: the classes, and the parameters of XGBoost and of the networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scope_dask.errors import OptionError, nearest
from scope_dask.mapping import from_mapping
from scope_dask.training.options import DNNOptions, GridSearch, TrainingOptions
from scope_dask.user_config.features import feature_names, imputation_strategies, period_suffix
from scope_dask.user_config.file import PARAMETERS, UserConfig

_TENTHS = ("subsample", "colsample_bytree")


def completed(config: UserConfig, suffix: str | None = None) -> UserConfig:
    """Return the configuration with the packaged defaults where it has no features or nothing on training.

    Parameters
    ----------
    config : UserConfig
    suffix : str, optional
        Period algorithm in place of that of the configuration; ``None`` as a word: columns without a suffix.
    """
    own: Mapping[str, Any] = config.get("features", default={})
    sets = own if set(own) - {"info"} else config.section("features") | own
    info = {"period_suffix": period_suffix(config) if suffix is None else suffix}
    keys = ("dataset", "classes", "xgboost", "dnn")
    training = {**config.get("training", default={}), **{key: config.section("training", key) for key in keys}}
    content = {**config.content, "features": {**sets, "info": info}, "training": training}
    return UserConfig(content, config.path)


def class_labels(config: UserConfig) -> dict[str, str]:
    """Return the column of labels of each class, phenomenological classes first, else in the order of the file."""
    classes: Mapping[str, Any] = config.section("training", "classes") or {}
    entries = {str(tag): entry or {} for tag, entry in classes.items()}
    later = {tag: entry.get("features") != "phenomenological" for tag, entry in entries.items()}
    return {tag: str(entries[tag].get("label", tag)) for tag in sorted(entries, key=lambda tag: later[tag])}


def training_options(config: UserConfig, tag: str) -> TrainingOptions:
    """Return the options of the training of the XGBoost classifier `tag`.

    Of the ranges of a grid search the first value is taken, which is what a training without one uses.

    Raises
    ------
    OptionError
        If the file has classes, but not this one, or a value is wrong.
    """
    values = _class_values(config, tag) | _xgboost_parameters(config)
    return from_mapping(TrainingOptions, _given(values), f"{config.path}: training of {tag}")


def network_options(config: UserConfig, tag: str) -> DNNOptions:
    """Return the options of the training of the neural network `tag`.

    Raises
    ------
    OptionError
        If the file has classes, but not this one, or a value is wrong.
    """
    values = _class_values(config, tag)
    for name in ("dense_branch", "conv_branch", "loss", "optimizer"):
        values[name] = config.get("training", "dnn", name)
    for name in ("lr", "epsilon", "batch_size", "amsgrad"):
        values[name] = config.get("training", "classes", tag, name)
    if values["amsgrad"] is not None:
        values["amsgrad"] = bool(values["amsgrad"])  # sweeps of SCoPe 0.9.5 left numbers there
    return from_mapping(DNNOptions, _given(values), f"{config.path}: training of {tag}")


def grid_search(config: UserConfig) -> GridSearch:
    """Return the values among which the parameters of XGBoost are searched; ranges include their end.

    Raises
    ------
    OptionError
        If a range or a value is wrong.
    """
    where = f"{config.path}: training: xgboost"
    ranges = config.get("training", "xgboost", "gridsearch_params_start_stop_step", default={})
    other = config.get("training", "xgboost", "other_training_params", default={})
    values: dict[str, Any] = {}
    for name, stated in ranges.items():
        steps = _range(stated, f"{where}: {name}")
        values[name] = tuple(min(step / 10, 1.0) for step in steps) if name in _TENTHS else steps
    eta = other.get("eta", other.get("eta_list"))
    values["eta"] = tuple(eta) if isinstance(eta, list) else None if eta is None else (eta,)
    values["n_folds"], values["metric"] = other.get("nfold"), _first(other.get("metrics"))
    for name in _TENTHS:  # two steps may end in 1
        values[name] = tuple(dict.fromkeys(values[name])) if name in values else None
    return from_mapping(GridSearch, {k: v for k, v in values.items() if v is not None}, where)


def _range(stated: Any, where: str) -> tuple[int, ...]:
    if not (
        isinstance(stated, list) and len(stated) == 3 and all(isinstance(v, int) for v in stated) and stated[2] > 0
    ):
        raise OptionError(f"{where} is {stated!r}; expected three integers: first, last, step")
    start, stop, step = stated
    return tuple(range(start, stop + 1, step))


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the file has; a period suffix of None is one."""
    return {name: value for name, value in values.items() if value is not None or name == "period_suffix"}


def _class_values(config: UserConfig, tag: str) -> dict[str, Any]:
    """Return what both kinds of models are told of a class."""
    classes = config.get("training", "classes", default={})
    if classes and tag not in classes:
        hint = nearest(tag, classes)
        raise OptionError(f"{config.path}: there is no class {tag!r}{hint}; there are {', '.join(map(str, classes))}")
    values: dict[str, Any] = {"period_suffix": period_suffix(config), "dataset": config.get("training", "dataset")}
    for name in ("threshold", "weight_per_class", "balance"):
        values[name] = config.get("training", "classes", tag, name)
    values["scaling"] = config.get("training", "classes", tag, "scale_features")
    if (set_name := config.get("training", "classes", tag, "features")) is not None:
        values["features"] = feature_names(config, set_name, values["period_suffix"])
        values["imputation_of"] = _imputation(config, values["features"], values["period_suffix"])
    return values


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value


def _xgboost_parameters(config: UserConfig) -> dict[str, Any]:
    ranges = config.get("training", "xgboost", "gridsearch_params_start_stop_step", default={})
    other = config.get("training", "xgboost", "other_training_params", default={})
    values = {name: _first(ranges.get(name)) for name in PARAMETERS}
    for name in _TENTHS:
        values[name] = None if values[name] is None else values[name] / 10
    values["eta"] = _first(other.get("eta", other.get("eta_list")))
    values["random_state"] = other.get("seed")
    for name in ("eval_metric", "early_stopping_rounds", "num_boost_round"):
        values[name] = _first(other.get(name))
    return values


def _imputation(config: UserConfig, names: tuple[str, ...] | None, suffix: str | None) -> dict[str, str]:
    """Return the imputation strategy of the features `names`."""
    strategies = imputation_strategies(config, suffix)
    return {name: strategies[name] for name in names or () if name in strategies}
