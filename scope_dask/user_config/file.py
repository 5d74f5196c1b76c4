"""Reading the file, its keys, its secrets, and where it differs from another."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr

from scope_dask.errors import OptionError, SourceError, nearest
from scope_dask.mapping import packaged_configs, read_yaml

NAME, DEFAULTS = "config.yaml", "config.defaults.yaml"
INSTANCES = ("kowalski", "gloria", "melman")
SECRETS = ("token", "password")

# The keys of the file. None: any value; "*": any name, with these keys below it.
_ANY: None = None
_LOGIN = dict.fromkeys(("token", "username", "password", "host", "port", "protocol", "timeout"), _ANY)
PARAMETERS = ("max_depth", "min_child_weight", "subsample", "colsample_bytree")
KEYS: dict[str, Any] = {
    "kowalski": {
        **_LOGIN,
        "hosts": {"*": _LOGIN},
        "collections": dict.fromkeys(("sources", "features", "classifications", "alerts", "gaia"), _ANY),
        "max_timestamp_hjd": _ANY,
    },
    "fritz": dict.fromkeys(
        ("token", "protocol", "host", "port", "max_attempts", "sleep_time", "timeout", "rate", "burst"), _ANY
    ),
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
            "gridsearch_params_start_stop_step": dict.fromkeys(PARAMETERS, _ANY),
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

    def section(self, *keys: str) -> Any:
        """Return the value below `keys`, or that of the packaged defaults where the file has none (or null).

        A section of the file stands for the whole section of the defaults: of ``section("training", "classes")`` a
        file with one class has one class. The value is None where there is none in the defaults either.

        Raises
        ------
        OptionError
            If a value stands where there should be keys.
        """
        found = self.get(*keys)
        return packaged_defaults().get(*keys) if found is None else found


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
    config = read_file(file)
    for sentence in unknown_keys(config.content, KEYS):
        warnings.warn(f"{file}: {sentence}", UserWarning, stacklevel=2)
    return _with_environment(config)


def read_file(file: str | os.PathLike[str]) -> UserConfig:
    """Read a configuration as it stands, without the environment; its secrets do not print.

    Raises
    ------
    SourceError, OptionError
        As for `read_user_config`.
    """
    content = read_yaml(file)
    content = {} if content is None else content
    if not isinstance(content, Mapping):
        raise OptionError(f"{file}: expected keys and values, found {type(content).__name__}")
    return UserConfig(_hidden(content), str(file))


@functools.cache
def packaged_defaults() -> UserConfig:
    """Return the defaults that travel with the package, ``config.defaults.yaml``."""
    return read_file(packaged_configs() / DEFAULTS)


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
