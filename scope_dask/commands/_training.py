"""What the training commands share: the kinds of models, their folders, and options from a command line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._parser import Call
from scope_dask.errors import ModelError, OptionError, SourceError

if TYPE_CHECKING:
    from distributed import Client

    from scope_dask.training.options import ModelOptions

_ALGORITHMS = {"dnn": "dnn", "nn": "dnn", "xgb": "xgb", "xgboost": "xgb"}

# Options of scope-train by that of the model; those with another name or meaning are set by hand.
_NAMES = {"scale_features": "scaling"}
_PLAIN = (
    "threshold", "weight_per_class", "scale_features", "test_size", "val_size", "random_state", "batch_size",
    "shuffle_buffer_size", "epochs", "lr", "beta_1", "beta_2", "epsilon", "decay", "momentum", "monitor", "patience",
    "run_eagerly", "pre_trained_model", "float_convert_types", "callbacks", "calibration",
)  # fmt: skip
OF_NETWORKS = (
    "batch_size", "shuffle_buffer_size", "epochs", "lr", "beta_1", "beta_2", "epsilon", "decay", "momentum", "monitor",
    "patience", "run_eagerly", "float_convert_types", "callbacks", "conv_branch", "no_conv_branch", "dense_branch",
    "no_dense_branch", "run_sweeps", "weights_only",
)  # fmt: skip
OF_TREES = ("skip_cv",)


def dnn_or_xgb(text: str) -> str:
    """Return ``dnn`` or ``xgb`` of a usual spelling.

    Raises
    ------
    OptionError
        If it is neither.
    """
    if (found := _ALGORITHMS.get(str(text).lower())) is None:
        raise OptionError(f"--algorithm is {text!r}, expected dnn or xgb")
    return found


def models_folder(kind: str, group: str) -> Path:
    """Return the folder of the models of a group, ``models_<algorithm>/<group>``.

    Raises
    ------
    OptionError
        If the group is no name of a folder.
    """
    if not group or Path(group).name != group:
        raise OptionError(f"the group is {group!r}, expected a name without slashes")
    return Path(f"models_{kind}") / group


def newest_model(folder: Path, tag: str) -> Path | None:
    """Return the newest model of a class in the folder of a group; None: there is none."""
    from scope_dask.inference.models import model_files

    try:
        found = model_files(folder / tag)
    except ModelError:
        return None
    return found[-1]


def dataset_of(call: Call) -> Path:
    """Return the training set of the command line or the configuration.

    Raises
    ------
    SourceError
        If it is not there.
    """
    path = Path(call.options.path_dataset or call.config.section("training", "dataset"))
    if not path.exists():
        raise SourceError(f"there is no training set {path}: name it with --path-dataset or training: dataset:")
    return path


def warn(sentence: str) -> None:
    """Warn the user."""
    warnings.warn(sentence, UserWarning, stacklevel=3)


def model_options(call: Call, kind: str) -> ModelOptions:
    """Return the options of the training of ``--tag``: the command line, then the configuration, then the defaults.

    Raises
    ------
    OptionError, SourceError
        If one is wrong.
    """
    from scope_dask.user_config.training import completed, grid_search, network_options, training_options

    options = call.options
    config = completed(call.config, options.period_suffix)
    made: ModelOptions = (network_options if kind == "dnn" else training_options)(config, options.tag)
    changes = {_NAMES.get(name, name): getattr(options, name) for name in _PLAIN if name in call.given}
    if options.balance is not None and options.balance >= 0:  # below 0: that of the configuration
        changes["balance"] = options.balance
    if options.feature_stats is not None:
        from scope_dask.predictions.original import statistics_of

        changes["feature_stats"] = statistics_of(options.feature_stats, config)
    changes["n_jobs"] = threads()
    if kind == "dnn":
        bar = call.verbose == 1 and sys.stdout.isatty()  # in a log, bars are one endless line
        changes |= _branches(call) | {"verbose": 0 if call.verbose < 1 else 1 if bar else 2}
    elif not options.skip_cv:
        changes["search"] = grid_search(config)
    known = {f.name for f in fields(made)}
    for name in ("float_convert_types", "callbacks"):
        changes |= {name: tuple(changes[name])} if name in changes else {}
    return replace(made, **{name: value for name, value in changes.items() if name in known})


def _branches(call: Call) -> dict[str, Any]:
    """Return which branches the command line turns on and off."""
    found = {}
    for name in ("conv_branch", "dense_branch"):
        on = getattr(call.options, name) if name in call.given else None
        off = getattr(call.options, f"no_{name}") if f"no_{name}" in call.given else None
        if on is not None and off is not None and on is off:
            dashed = name.replace("_", "-")
            raise OptionError(f"--{dashed} and --no-{dashed} contradict each other: give one of them")
        if on is not None or off is not None:
            found[name] = on if on is not None else not off
    return found


def threads(otherwise: int | None = None) -> int:
    """Return the threads of a training: ``OMP_NUM_THREADS``, else `otherwise`, by default the cores of this process."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return int(stated) if stated.isdecimal() and int(stated) else otherwise or len(os.sched_getaffinity(0))


@contextmanager
def client_of(call: Call, n_workers: int | None = None) -> Iterator[Client]:
    """Yield a client of the cluster that is asked for, or of processes on this machine, one per core or so many."""
    if call.options.cluster:
        from scope_dask.cluster.connect import client_of as named

        with named(call.options.cluster) as client:
            yield client
        return
    from scope_dask.config import RunOptions
    from scope_dask.diagnostics import cluster_for

    workers = call.options.n_workers or n_workers
    with cluster_for(None, RunOptions(n_workers=workers, dashboard_address="127.0.0.1:0")) as client:
        yield client
