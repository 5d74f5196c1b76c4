"""The user's ``config.yaml`` with the keys of SCoPe 0.9.5: reading, checking, and what it means for our options.

Nothing has to be in the file: what is absent keeps the default of the options it would set. Secrets come from the
environment before the file, and are shown as asterisks wherever the configuration is printed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import SecretStr

from scope_dask.config import from_mapping, read_yaml
from scope_dask.errors import OptionError, SourceError, nearest
from scope_dask.extraction.dmdt import DM_EDGES, DT_EDGES
from scope_dask.extraction.features import FeatureOptions
from scope_dask.periods.options import PeriodOptions
from scope_dask.training.options import TrainingOptions

NAME = "config.yaml"
INSTANCES = ("kowalski", "gloria", "melman")
SECRETS = ("token", "password")

# The keys of the file. None: any value; "*": any name, with these keys below it.
_ANY: None = None
_LOGIN = dict.fromkeys(("token", "username", "password", "host", "port", "protocol", "timeout"), _ANY)
_PARAMETERS = ("max_depth", "min_child_weight", "subsample", "colsample_bytree")
KEYS: dict[str, Any] = {
    "kowalski": {
        **_LOGIN,
        "hosts": {"*": _LOGIN},
        "collections": dict.fromkeys(("sources", "features", "classifications", "alerts", "gaia"), _ANY),
        "max_timestamp_hjd": _ANY,
    },
    "fritz": dict.fromkeys(("token", "protocol", "host", "port", "max_attempts", "sleep_time"), _ANY),
    "wandb": dict.fromkeys(("entity", "project", "token", "sweep_config_dnn"), _ANY),
    "taxonomy": _ANY,
    "docs": _ANY,
    "features": {
        "info": {"period_suffix": _ANY},
        "*": {"*": dict.fromkeys(("include", "dtype", "periodic", "impute_strategy"), _ANY)},
    },
    "feature_stats": {"*": dict.fromkeys(("min", "max", "median", "mean", "std"), _ANY)},
    "feature_generation": {
        **dict.fromkeys(("path_to_features", "dataset", "ids_skipGaia", "fields_to_run", "cesium_features"), _ANY),
        "period_algorithms": {"CPU": _ANY, "GPU": _ANY},
        "external_catalog_features": _ANY,
        "dmdt_ints": {"dmints": _ANY, "dtints": _ANY},
    },
    "training": {
        "dataset": _ANY,
        "xgboost": {
            "gridsearch_params_start_stop_step": dict.fromkeys(_PARAMETERS, _ANY),
            "other_training_params": dict.fromkeys(
                (
                    "eta", "eta_list", "seed", "nfold", "metrics", "objective", "eval_metric", "early_stopping_rounds",
                    "num_boost_round",
                ),
                _ANY,
            ),
            "plot_params": dict.fromkeys(("cm_include_count", "cm_include_percent", "annotate_scores"), _ANY),
        },
        "dnn": dict.fromkeys(("dense_branch", "conv_branch", "loss", "optimizer"), _ANY),
        "classes": {
            "*": dict.fromkeys(
                (
                    "label", "features", "threshold", "balance", "weight_per_class", "batch_size", "amsgrad", "epsilon",
                    "lr", "scale_features",
                ),
                _ANY,
            )
        },
    },
    "inference": dict.fromkeys(("fields_to_run", "path_to_preds"), _ANY),
    "fields_to_exclude": _ANY,
}  # fmt: skip


@dataclass(frozen=True)
class UserConfig:
    """The content of a ``config.yaml``, the secrets of the environment included.

    Attributes
    ----------
    content : mapping
        As in the file; tokens and passwords are `pydantic.SecretStr`, which prints asterisks.
    path : str
        Where it comes from, for messages; ``defaults`` where there is no file.
    """

    content: Mapping[str, Any] = field(default_factory=dict)
    path: str = "defaults"

    def get(self, *keys: str, default: Any = None) -> Any:
        """Return the value below `keys`, or `default` where there is none (or null).

        Raises
        ------
        OptionError
            If a value stands where there should be keys.
        """
        value: Any = self.content
        for depth, key in enumerate(keys):
            if not isinstance(value, Mapping):
                where = ": ".join((self.path, *keys[:depth]))
                raise OptionError(f"{where}: expected keys and values, found {value!r}")
            value = value.get(key)
            if value is None:
                return default
        return value


def read_user_config(path: str | os.PathLike[str] | None = None) -> UserConfig:
    """Read the user's configuration; unknown keys are named in a warning.

    Tokens in the environment win over those of the file: ``KOWALSKI_INSTANCE_TOKEN``, ``GLORIA_INSTANCE_TOKEN``,
    ``MELMAN_INSTANCE_TOKEN`` (and ``<NAME>_INSTANCE_TOKEN`` of any other host in the file), ``FRITZ_TOKEN``,
    ``WANDB_API_KEY``.

    Parameters
    ----------
    path : path, optional
        By default ``config.yaml`` in the working folder, if it is there.

    Raises
    ------
    SourceError
        If the file is absent (when named), cannot be read or is not YAML.
    OptionError
        If it does not consist of keys and values.
    """
    given = path is not None
    file = Path(path if path is not None else NAME)
    if not given and not file.exists():
        return _with_environment(UserConfig())
    if given and not file.is_file():
        raise SourceError(f"there is no configuration {file}: name an existing config.yaml, or none for the defaults")
    content = read_yaml(file)
    content = {} if content is None else content
    if not isinstance(content, Mapping):
        raise OptionError(f"{file}: expected keys and values, found {type(content).__name__}")
    for sentence in unknown_keys(content, KEYS):
        warnings.warn(f"{file}: {sentence}", UserWarning, stacklevel=2)
    return _with_environment(UserConfig(_hidden(content), str(file)))


def unknown_keys(content: Mapping[str, Any], known: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield a sentence on every key that no command reads."""
    for key, value in content.items():
        name = str(key)
        if name not in known and "*" not in known:
            yield f"there is no key {where}{name}{nearest(name, known)}, it is not used"
            continue
        below = known.get(name, known.get("*"))
        if below is not None and isinstance(value, Mapping):
            yield from unknown_keys(value, below, f"{where}{name}: ")


def _hidden(content: Any, key: str = "") -> Any:
    """Return a copy in which secrets do not print."""
    if isinstance(content, Mapping):
        return {str(name): _hidden(value, str(name)) for name, value in content.items()}
    return SecretStr(str(content)) if key in SECRETS and content is not None else content


def _with_environment(config: UserConfig) -> UserConfig:
    """Put the tokens of the environment in place of those of the file."""
    hosts = [*INSTANCES, *config.get("kowalski", "hosts", default={})]
    variables: dict[str, tuple[str, ...]] = {"FRITZ_TOKEN": ("fritz",), "WANDB_API_KEY": ("wandb",)}
    variables |= {f"{name.upper()}_INSTANCE_TOKEN": ("kowalski", "hosts", name) for name in hosts}
    for variable, keys in variables.items():
        config.get(*keys, "token")  # a value where keys belong is an error, whether there is a variable or not
        if token := os.environ.get(variable):
            config = UserConfig(_with(config.content, (*keys, "token"), SecretStr(token)), config.path)
    return config


def _with(content: Mapping[str, Any] | None, keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return a copy with `value` below `keys`."""
    first, *rest = keys
    below = _with((content or {}).get(first), tuple(rest), value) if rest else value
    return {**(content or {}), first: below}


def feature_options(config: UserConfig, algorithms_of: str = "CPU") -> FeatureOptions:
    """Return the options of the feature extraction.

    Parameters
    ----------
    config : UserConfig
    algorithms_of : {"CPU", "GPU"}
        Which list of ``feature_generation: period_algorithms`` is taken.

    Raises
    ------
    OptionError
        If an algorithm is unknown, or the file has other dmdt bins than features are computed with.
    """
    for name, edges in (("dtints", DT_EDGES), ("dmints", DM_EDGES)):
        found = config.get("feature_generation", "dmdt_ints", name)
        if found is not None and not np.array_equal(np.asarray(found, dtype=float), edges):
            raise OptionError(
                f"{config.path}: feature_generation: dmdt_ints: {name} is {found}, but dmdt is made with the edges "
                f"{edges.tolist()} only: remove the key"
            )
    algorithms = config.get("feature_generation", "period_algorithms", algorithms_of)
    where = f"{config.path}: feature_generation: period_algorithms"
    periods = {} if algorithms is None else {"algorithms": algorithms}
    return FeatureOptions(periods=from_mapping(PeriodOptions, periods, where))


def period_suffix(config: UserConfig) -> str | None:
    """Return the period algorithm whose columns models use; None where they have no suffix."""
    info = config.get("features", "info", default={})
    if "period_suffix" not in info:
        return TrainingOptions().period_suffix
    suffix = info["period_suffix"]
    return None if suffix in (None, "None") else str(suffix)


def feature_names(config: UserConfig, set_name: str, suffix: str | None) -> tuple[str, ...] | None:
    """Return the included features of a set, in the order of the file, periodic ones with the suffix.

    Parameters
    ----------
    config : UserConfig
    set_name : str
        Such as ``phenomenological`` or ``ontological``.
    suffix : str or None
        As `period_suffix` gives it.

    Returns
    -------
    tuple of str or None
        None where the file has no feature sets: the default of `TrainingOptions.features`.

    Raises
    ------
    OptionError
        If the file has feature sets, but not this one.
    """
    sets = {name: entries for name, entries in config.get("features", default={}).items() if name != "info"}
    if not sets:
        return None
    if set_name not in sets:
        hint = nearest(set_name, sets)
        raise OptionError(f"{config.path}: there is no feature set {set_name!r}{hint}; there are {', '.join(sets)}")
    end = f"_{suffix}" if suffix else ""
    entries = {name: entry or {} for name, entry in config.get("features", set_name, default={}).items()}
    return tuple(
        f"{name}{end}" if entry.get("periodic") else str(name)
        for name, entry in entries.items()
        if entry.get("include", True)
    )


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
    values = {name: first(ranges.get(name)) for name in _PARAMETERS}
    for name in ("subsample", "colsample_bytree"):  # in tenths
        values[name] = None if values[name] is None else values[name] / 10
    values["eta"] = first(other.get("eta", other.get("eta_list")))
    values["random_state"] = other.get("seed")
    for name in ("eval_metric", "early_stopping_rounds", "num_boost_round"):
        values[name] = first(other.get(name))
    return values


def _imputation(config: UserConfig, names: tuple[str, ...] | None, suffix: str | None) -> dict[str, str]:
    """Return the imputation strategy of the features `names`, from whichever set states one."""
    stated: dict[str, str] = {}
    for set_name in config.get("features", default={}):
        for name, entry in config.get("features", set_name, default={}).items() if set_name != "info" else ():
            if isinstance(entry, Mapping) and "impute_strategy" in entry:
                key = f"{name}_{suffix}" if suffix and entry.get("periodic") else name
                stated[key] = str(entry["impute_strategy"]).lower()
    stated = {name: stated[name] for name in names or () if name in stated}
    regressed = [name for name, strategy in stated.items() if strategy == "regress"]
    if regressed:
        warnings.warn(
            f"{config.path}: imputation by regression is not available; the median is taken for {', '.join(regressed)}",
            UserWarning,
            stacklevel=3,
        )
    return {name: "median" if strategy == "regress" else strategy for name, strategy in stated.items()}


class Difference(NamedTuple):
    """A key that two configurations do not agree on; a value that is not there is None."""

    key: str
    default: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.default!r} → {self.found!r}"


def check_configs(config: UserConfig, defaults: UserConfig) -> list[Difference]:
    """Return where `config` differs from `defaults`, in the order of the keys; secrets print as asterisks."""
    before, now = dict(_leaves(defaults.content)), dict(_leaves(config.content))
    keys = dict.fromkeys([*before, *now])
    return [Difference(key, before.get(key), now.get(key)) for key in keys if before.get(key) != now.get(key)]


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}: ")
        else:
            yield f"{prefix}{key}", value
