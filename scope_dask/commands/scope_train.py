"""``scope-train``: the classifier of one class, a neural network or XGBoost, with a record of how good it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scope_dask.commands._parser import Call, Command, flag, option, values
from scope_dask.commands._training import (
    OF_NETWORKS,
    OF_TREES,
    client_of,
    dataset_of,
    dnn_or_xgb,
    model_options,
    models_folder,
    threads,
    warn,
)
from scope_dask.errors import OptionError, SourceError

if TYPE_CHECKING:
    from scope_dask.training.fitting import TrainedModel
    from scope_dask.training.options import DNNOptions, ModelOptions, RecordOptions
    from scope_dask.training.sweep import SweepOptions
    from scope_dask.training.tracking import Tracking

_OWN = "of the class in config.yaml"

SEVERAL = (
    values("--tags", "classes to train side by side, or all; in place of --tag"),
    values("--algorithms", "kinds of models to train of each class; in place of --algorithm", dnn_or_xgb),
    values("--random-states", "a model of each class and kind for each; in place of --random-state", int),
)

ARGUMENTS = (
    option("--tag", "class to train, one of training: classes of the configuration"),
    option("--path-dataset", "labelled features: csv, h5, parquet", config=("training", "dataset")),
    option("--algorithm", "dnn or xgb", dnn_or_xgb, "dnn"),
    option("--gpu", "number of the CUDA device to train on", int),
    option("--job-type", "kind of run, for Weights & Biases and the record", default="train"),
    option("--group", "group of models: folder models_<algorithm>/<group>", default="experiment"),
    flag("--run-sweeps", "first search the options of the network by wandb: sweep_config_dnn of the configuration"),
    option("--period-suffix", "period algorithm of the features; None: names without one; else by the configuration"),
    option("--threshold", f"a label above it is a member; else that {_OWN}", float),
    option("--balance", f"most others for each member (or the reverse); below 0: that {_OWN}", float, -1.0),
    flag("--weight-per-class", f"weight members and others to count the same; else as {_OWN}"),
    option("--scale-features", "min_max, median_std or none; networks: min_max"),
    option("--calibration", "sigmoid or isotonic: make probabilities of the scores; none (the default): leave them"),
    option("--test-size", "fraction of the stars for the test (0.1)", float),
    option("--val-size", "fraction of the rest for validation (0.1)", float),
    option("--random-state", "of the split and everything random (42)", int),
    option("--feature-stats", "scale by these statistics: config, or a JSON or YAML file; else by the training rows"),
    option("--batch-size", f"rows of a step; else that {_OWN}, or 64", int),
    option("--shuffle-buffer-size", "rows among which the next one is drawn (512)", int),
    option("--epochs", "most passes through the training rows (100)", int),
    values("--float-convert-types", "bits of floats of the features and of what the network sees (64 32)", int, most=2),
    option("--lr", f"learning rate to begin with; else that {_OWN}, or 0.0003", float),
    option("--beta-1", "of Adam (0.9)", float),
    option("--beta-2", "of Adam (0.999)", float),
    option("--epsilon", f"of Adam; else that {_OWN}, or 1e-7", float),
    option("--decay", "the rate of step i is divided by 1 + decay i (0)", float),
    option("--momentum", "of stochastic gradient descent (0.9)", float),
    option("--monitor", "metric that early stopping and the learning rate follow (val_loss)"),
    option("--patience", "epochs without a better value that end the training (20)", int),
    values("--callbacks", "of early_stopping, reduce_lr_on_plateau, tensorboard (the first two)"),
    flag("--run-eagerly", "step by step in Python, to look for errors"),
    option("--pre-trained-model", "model file whose training is continued"),
    flag("--conv-branch", "the network sees the dmdt histograms; else as training: dnn of the configuration"),
    flag("--no-conv-branch", "it does not"),
    flag("--dense-branch", "the network sees the features; else as training: dnn of the configuration"),
    flag("--no-dense-branch", "it does not"),
    flag("--save", "save the model"),
    flag("--weights-only", "with --save: only the weights of the network"),
    flag("--plot", "figures as PDF too"),
    flag("--plot-model", "the layers of the network as a figure, or the trees as text"),
    flag("--skip-cv", "no search of the parameters of XGBoost by cross-validation"),
    *SEVERAL,
    flag("--out-of-core", "XGBoost from Parquet files larger than memory, by all workers of a cluster together"),
    option("--n-workers", "worker processes on this machine; else one per core, with --out-of-core one", int),
)


@dataclass(frozen=True)
class Plan:
    """What a command line asks for.

    Attributes
    ----------
    tag, algorithm : str
    dataset : Path
    label : str
        Column of the labels.
    features : tuple of str
        That are read.
    options : ModelOptions
    folder : Path
        Of the models of the group.
    record : RecordOptions
    tracking : Tracking
    sweep : SweepOptions or None
    """

    tag: str
    algorithm: str
    dataset: Path
    label: str
    features: tuple[str, ...]
    options: ModelOptions
    folder: Path
    record: RecordOptions
    tracking: Tracking
    sweep: SweepOptions | None


def plan_of(call: Call, columns: list[str] | None = None) -> Plan:
    """Return what a command line asks for.

    Parameters
    ----------
    call : Call
    columns : list of str, optional
        Of the training set, where they are known.

    Raises
    ------
    OptionError, SourceError, SchemaError
        If an option is wrong, or a file is absent or lacks a column.
    """
    from scope_dask.training.devices import gpu_or_cpu
    from scope_dask.training.labelled import columns_of, label_column
    from scope_dask.training.options import DNNOptions, RecordOptions
    from scope_dask.user_config.training import class_labels

    given, kind = call.options, call.options.algorithm
    if not given.tag:
        raise OptionError("--tag is missing: give it, or --tags; --help says what it is")
    options = model_options(call, kind)
    _notes(call, kind)
    dataset = dataset_of(call)
    columns = columns_of(dataset) if columns is None else columns
    label = label_column(columns, class_labels(call.config)[given.tag], given.tag)
    options = replace(options, dataset=str(dataset), gpu=given.gpu if given.cluster else gpu_or_cpu(given.gpu))
    if given.out_of_core:
        _check_out_of_core(options, dataset)
    if options.pre_trained_model is not None and not Path(options.pre_trained_model).is_file():
        raise SourceError(f"--pre-trained-model is {options.pre_trained_model}, and there is no such file")
    features = _features(options, columns) if options.sees_features else ()
    plot = call.config.section("training", "xgboost", "plot_params") or {}
    context = {"group": given.group, "job_type": given.job_type, "label": label}
    sweep = _sweep_of(call) if given.run_sweeps and isinstance(options, DNNOptions) else None
    record = RecordOptions(given.plot, given.plot_model, context, **plot)
    return Plan(
        given.tag, kind, dataset, label, features, options, models_folder(kind, given.group), record,
        tracking_of(call), sweep,
    )  # fmt: skip


def _check_out_of_core(options: ModelOptions, dataset: Path) -> None:
    from scope_dask.training.options import TrainingOptions

    if not isinstance(options, TrainingOptions):
        raise OptionError("--out-of-core is of XGBoost: give --algorithm xgb")
    if options.search is not None:
        raise OptionError("--out-of-core needs --skip-cv: the search of parameters has the table in memory")
    if not dataset.is_dir() and dataset.suffix.lower() not in (".parquet", ".pq"):
        raise OptionError(f"--out-of-core reads Parquet files, found {dataset}")


def is_several(call: Call) -> bool:
    """Tell whether a command line asks for several models."""
    return not call.given.isdisjoint(argument.dest for argument in SEVERAL)


def _features(options: ModelOptions, columns: list[str]) -> tuple[str, ...]:
    if options.features is not None:
        return options.features
    from scope_dask.training.dataset import feature_names

    return feature_names(columns, options.period_suffix)


def _notes(call: Call, kind: str) -> None:
    """Warn of options that are not used."""
    if kind == "xgb":
        unused = [name for name in OF_NETWORKS if name in call.given]
        what = "are of networks, and not used to train trees"
    else:
        unused = [name for name in OF_TREES if name in call.given]
        what = "is of XGBoost, and not used to train a network"
    if unused:
        warn(f"{', '.join('--' + name.replace('_', '-') for name in unused)} {what}")
    if call.options.weights_only and not call.options.save:
        warn("--weights-only is not used without --save")


def _sweep_of(call: Call) -> SweepOptions:
    from scope_dask.mapping import from_mapping
    from scope_dask.training.sweep import SweepOptions

    stated = call.config.section("wandb", "sweep_config_dnn") or {}
    known = {name: stated[name] for name in ("method", "metric", "run_cap", "parameters") if name in stated}
    return from_mapping(SweepOptions, known, f"{call.config.path}: wandb: sweep_config_dnn")


def tracking_of(call: Call) -> Tracking:
    """Return where runs of Weights & Biases go, by the configuration."""
    from scope_dask.training.tracking import Tracking

    found = {name: call.config.section("wandb", name) for name in ("project", "entity", "token")}
    found = {name: value for name, value in found.items() if value}
    return Tracking(**found, group=call.options.group, job_type=call.options.job_type)


def track(plan: Plan, name: str, record: Mapping[str, Any]) -> str:
    """Send the results of a training to Weights & Biases; return the folder of the run.

    Parameters
    ----------
    plan : Plan
    name : str
    record : mapping
        With ``parameters`` and ``metrics``, as of a manifest.
    """
    metrics = record["metrics"]
    summary = {
        f"{part}_{key}": value
        for part in ("val", "test")
        for key, value in metrics.get(part, {}).items()
        if value is not None
    }
    return plan.tracking.log(name, record["parameters"], metrics.get("history", {}), summary)


def run(call: Call) -> int | None:
    """Train a model, or several, or tell what would be done."""
    if is_several(call):
        from scope_dask.commands._training_several import train_several

        return train_several(call)
    plan = plan_of(call)
    if "n_workers" in call.given and not call.options.out_of_core:
        warn("--n-workers is of several models or --out-of-core, and not used to train one")
    if call.dry_run:
        _show(call, plan)
        return None
    trained, trials = _train(call, plan)
    stem = _save(call, plan, trained)
    context = {**plan.record.context, "model": str(stem) if call.options.save else None, "sweep": trials}
    _report(call, plan, trained, stem, replace(plan.record, context=context))
    return None


def _train(call: Call, plan: Plan) -> tuple[TrainedModel, list[dict[str, Any]]]:
    """Return the model, and the trials of a sweep."""
    from scope_dask.training.fitting import train
    from scope_dask.training.labelled import class_labels, read_labelled, stars

    if call.options.out_of_core:
        return _train_out_of_core(call, plan), []
    frame = read_labelled(plan.dataset, plan.features, [plan.label], plan.options.dmdt_imputation is not None)
    fourier = frame.attrs.get("scope", {}).get("fourier", plan.options.fourier)
    options = replace(plan.options, fourier=fourier)
    labels = class_labels(frame, plan.label, options.threshold).rename(plan.tag)
    groups = stars(frame)

    def fit(own: ModelOptions) -> TrainedModel:
        return train(frame, labels, plan.tag, own, groups)

    call.say(f"{plan.tag}: {plan.algorithm} on {len(frame)} rows of {plan.dataset}")
    if plan.sweep is None:
        return fit(options), []
    return _swept(call, plan, options, fit)  # type: ignore[arg-type]


def _train_out_of_core(call: Call, plan: Plan) -> TrainedModel:
    from dask.system import CPU_COUNT

    from scope_dask.training.options import TrainingOptions
    from scope_dask.training.out_of_core import train_out_of_core

    assert isinstance(plan.options, TrainingOptions)
    with client_of(call, n_workers=1) as client:
        client.wait_for_workers(1)
        there = client.nthreads()
        own = max(there.values()) if call.options.cluster else max(1, CPU_COUNT // len(there))
        call.say(f"{plan.tag}: xgb on {plan.dataset}, by {len(there)} workers")
        options = replace(plan.options, n_jobs=threads(own))
        return train_out_of_core(plan.dataset, plan.label, plan.tag, options, client)


def _swept(
    call: Call, plan: Plan, options: DNNOptions, fit: Callable[[ModelOptions], TrainedModel]
) -> tuple[TrainedModel, list[dict[str, Any]]]:
    from scope_dask.training.sweep import Trial, sweep

    assert plan.sweep is not None
    done: list[Trial] = []

    def seen(trial: Trial, model: TrainedModel) -> None:
        done.append(trial)
        shown = ", ".join(f"{name} {value:.3g}" for name, value in trial.settings.items() if isinstance(value, float))
        call.say(
            f"sweep {len(done)} of {plan.sweep and plan.sweep.run_cap}: {shown}: {trial.metric} {trial.result:.4g}"
        )
        if plan.tracking.available:
            history = model.manifest.metrics["history"]
            name = f"{plan.tag} sweep {len(done)}"
            replace(plan.tracking, job_type="sweep").log(name, trial.settings, history, {trial.metric: trial.result})

    model, trials = sweep(fit, options, plan.sweep, stated(call, options), seen)
    return model, [asdict(trial) for trial in trials]


def stated(call: Call, options: DNNOptions) -> set[str]:
    """Return the options of a network that are on the command line: a sweep leaves them as they are."""
    fixed = {name for name in call.given if hasattr(options, name)}
    return fixed | {name.removeprefix("no_") for name in call.given if name.startswith("no_")}


def _save(call: Call, plan: Plan, trained: TrainedModel) -> Path:
    """Save the model if wanted; return its path, or that it would have, without ending."""
    from scope_dask.inference.dnn import WEIGHTS
    from scope_dask.training.fitting import free_stem
    from scope_dask.training.weights import weights_only

    if not call.options.save:
        return free_stem(plan.folder, plan.tag)[0]
    alone = call.options.weights_only and plan.algorithm == "dnn"
    path = (weights_only(trained) if alone else trained).save(plan.folder)
    call.say(f"{plan.tag}: saved {path}")
    return path.with_name(path.name.removesuffix(WEIGHTS if alone else path.suffix))


def _report(call: Call, plan: Plan, trained: TrainedModel, stem: Path, record: RecordOptions) -> None:
    """Write the record, print the results, and send them to Weights & Biases."""
    from scope_dask.training.figures import can_draw
    from scope_dask.training.report import write_record

    folder = write_record(trained, stem, record)
    manifest = trained.manifest
    for part in ("val", "test"):
        if part in manifest.metrics:
            found, counts = manifest.metrics[part], manifest.counts[part]
            call.say(f"{plan.tag}: {part} ({counts['rows']} rows, {counts['members']} members): {shown(found)}")
    call.say(f"{plan.tag}: record in {folder}" + ("" if can_draw() else ", without figures (no matplotlib)"))
    if not plan.tracking.available:
        call.say("Weights & Biases is not installed: the local record only", level=2)
        return
    where = track(plan, stem.name, {"parameters": manifest.parameters, "metrics": manifest.metrics})
    call.say(f"{plan.tag}: Weights & Biases run in {where}", level=2)


def shown(metrics: Mapping[str, float | None]) -> str:
    """Return the results on the rows of a part in words."""
    names = ("precision", "recall", "f1", "roc_auc")
    found = {name: metrics[name] for name in names}
    return ", ".join(
        f"{name} {'undefined' if value is None else format(value, '.3f')}" for name, value in found.items()
    )


def _show(call: Call, plan: Plan) -> None:
    """Print what would be read and written."""
    call.say(f"would read {len(plan.features)} features and the labels {plan.label!r} of {plan.dataset}")
    call.say(f"would train a model {plan.algorithm} of {plan.tag}")
    call.say(plan.options, level=2)
    if plan.sweep:
        call.say(f"would train {plan.sweep.run_cap} networks for the sweep")
    stem = f"{plan.folder}/{plan.tag}/{plan.tag}.<time>"
    call.say(f"would write {stem}_plots" + (f" and the model {stem}" if call.options.save else ""))


COMMAND = Command(
    "scope-train",
    "Train the classifier of a class, or of several side by side.",
    ARGUMENTS,
    run,
    on_worker=lambda call: not (is_several(call) or call.options.out_of_core),
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
