"""``scope-train`` of several models: classes, kinds and random states side by side on a cluster."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scope_dask.commands._endings import EXIT_FAILED
from scope_dask.commands._parser import Call
from scope_dask.commands._training import OF_NETWORKS, OF_TREES, client_of, dataset_of, threads, warn
from scope_dask.commands.scope_train import Plan, plan_of, shown, stated, track
from scope_dask.errors import OptionError, SchemaError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from scope_dask.training.many import Outcome, Training

ALL = "all"


def train_several(call: Call) -> int:
    """Train the models, or tell what would be done; return the exit code."""
    plans, aside = plans_of(call)
    if call.dry_run:
        for plan in plans:
            call.say(f"would train {training_of(call, plan)} below {plan.folder}")
    elif plans:
        aside |= _trained(call, plans)
    for what, reason in aside.items():
        warn(f"{what} is set aside: {reason}")
    return EXIT_FAILED if aside else 0


def plans_of(call: Call) -> tuple[list[Plan], dict[str, str]]:
    """Return what a command line asks for, a plan for each model, and why classes cannot be trained.

    Raises
    ------
    OptionError, SourceError
        If an option is wrong, or a file is absent.
    """
    from scope_dask.training.labelled import columns_of

    columns = columns_of(dataset_of(call))
    plans: list[Plan] = []
    aside: dict[str, str] = {}
    if call.options.out_of_core:
        raise OptionError("--out-of-core trains one model with all workers: give --tag and --algorithm")
    kinds = _either(call, "algorithms", "algorithm")
    pairs = [(tag, kind) for tag in _tags(call) for kind in kinds]
    states = _either(call, "random_states", "random_state") if "random_states" in call.given else [None]
    if call.options.pre_trained_model and len(pairs) > 1:
        raise OptionError("--pre-trained-model is of one class and one algorithm: name one of each")
    for tag, kind in pairs:
        try:
            plan = plan_of(_single(call, tag, kind, len(kinds) > 1), columns)
            if missing := [name for name in plan.features if name not in columns]:
                raise SchemaError(f"the training set has no column {missing[0]!r}{nearest(missing[0], columns)}")
        except SchemaError as error:
            aside[f"{tag} {kind}"] = str(error)
            continue
        options = replace(plan.options, n_jobs=threads(1))
        own = [options.random_state if state is None else state for state in states]
        plans += [replace(plan, options=replace(options, random_state=state)) for state in own]
    return plans, aside


def _tags(call: Call) -> list[str]:
    from scope_dask.user_config.training import class_labels

    tags = _either(call, "tags", "tag")
    return list(class_labels(call.config)) if tags == [ALL] else tags


def _either(call: Call, several: str, one: str) -> list[Any]:
    """Return the values of an option, or the only one of the option in whose place it stands.

    Raises
    ------
    OptionError
        If both are given, or none has a value.
    """
    dashed = [f"--{name.replace('_', '-')}" for name in (several, one)]
    if several in call.given and one in call.given:
        raise OptionError(f"{' and '.join(dashed)} are both given: one of them decides")
    found = getattr(call.options, several) or [getattr(call.options, one)]
    if found == [None]:
        raise OptionError(f"{' or '.join(dashed)} is missing: give one of them")
    return list(dict.fromkeys(found))


def _single(call: Call, tag: str, kind: str, both: bool) -> Call:
    """Return the command line of one class and kind, without what is of the other kind where `both` are trained."""
    options = argparse.Namespace(**{**vars(call.options), "tag": tag, "algorithm": kind})
    others = OF_NETWORKS if kind == "xgb" else OF_TREES
    return replace(call, options=options, given=call.given.difference(others if both else ()))


def training_of(call: Call, plan: Plan) -> Training:
    """Return the training of a plan."""
    from scope_dask.training.many import Training
    from scope_dask.training.options import DNNOptions

    options = plan.options
    fixed: tuple[str, ...] = ()
    if isinstance(options, DNNOptions):
        options = replace(options, verbose=0)  # workers have no terminal; epochs are in the log
        fixed = tuple(sorted(stated(call, options)))
    keep = "record" if not call.options.save else "weights" if call.options.weights_only else "model"
    return Training(plan.tag, options, plan.folder, keep, plan.record, plan.sweep, fixed)  # type: ignore[arg-type]


def _trained(call: Call, plans: list[Plan]) -> dict[str, str]:
    """Train, print each result; return why what was set aside was."""
    from scope_dask.training.labelled import stars
    from scope_dask.training.many import train_many

    frame, labels, aside = _table(plans)
    plans = [plan for plan in plans if plan.tag in labels]
    if not plans:
        return aside
    stated = frame.attrs.get("scope", {}).get("fourier")
    if stated is not None:
        plans = [replace(plan, options=replace(plan.options, fourier=stated)) for plan in plans]
    trainings = [training_of(call, plan) for plan in plans]
    call.say(f"{len(trainings)} models on {len(frame)} rows of {plans[0].dataset}")
    by_name = dict(zip(map(str, trainings), plans, strict=True))

    def told(outcome: Outcome) -> None:
        _tell(call, by_name[str(outcome.training)], outcome)

    with client_of(call) as client:
        found = train_many(frame, labels, trainings, stars(frame), client, told)
    count = Counter("aside" if one.reason else "there" if one.reused else "new" for one in found)
    call.say(f"{count['new']} models trained, {count['there']} were there, {count['aside']} set aside")
    return aside | {str(one.training): one.reason for one in found if one.reason}


def _tell(call: Call, plan: Plan, outcome: Outcome) -> None:
    """Print a result and, of a new model, send it to Weights & Biases."""
    if outcome.reason or outcome.stem is None:
        return
    found = outcome.metrics.get("test") or outcome.metrics["val"]
    there = "there already, " if outcome.reused else ""
    call.say(f"{outcome.training}: {there}{shown(found)}; {outcome.stem}")
    if outcome.reused or not plan.tracking.available:
        return
    record = outcome.stem.with_name(f"{outcome.stem.name}_plots") / f"{outcome.stem.name}_record.json"
    track(plan, outcome.stem.name, json.loads(record.read_text()))


def _table(plans: list[Plan]) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Return the rows with all that any of the models sees, the labels, one column a class, and why some are none.

    The training set is read here, once.
    """
    import pandas as pd

    from scope_dask.training.labelled import class_labels, read_labelled

    features = dict.fromkeys(name for plan in plans for name in plan.features)
    columns = dict.fromkeys(plan.label for plan in plans)
    histograms = any(plan.options.dmdt_imputation is not None for plan in plans)
    frame = read_labelled(plans[0].dataset, features, columns, histograms)
    first = {plan.tag: plan for plan in reversed(plans)}
    labels, aside = {}, {}
    for tag, plan in first.items():
        try:
            labels[tag] = class_labels(frame, plan.label, plan.options.threshold)
        except SchemaError as error:
            aside[tag] = str(error)
    return frame, pd.DataFrame(labels), aside
