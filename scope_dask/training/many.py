"""Many models side by side: classes, kinds of models and random states over the workers of a cluster.

The table is written once as a file that the workers map into memory (`mapped`); each model is a task of its own, with
its own log. What is finished stands in a journal beside the models and is not trained again.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import dask
import dask.dataframe as dd
import pandas as pd
from dask.tokenize import tokenize
from distributed import Client

from scope_dask.errors import UsageError
from scope_dask.formats import parts_folder
from scope_dask.journal import Journal, Record
from scope_dask.schema import DMDT
from scope_dask.training.dataset import feature_names
from scope_dask.training.devices import gpu_or_cpu
from scope_dask.training.fitting import TrainedModel, check_tag, free_stem, train
from scope_dask.training.log import LOGGER, logged_to
from scope_dask.training.mapped import STAR, MappedTable, label_name, write_mapped
from scope_dask.training.options import DNNOptions, ModelOptions, RecordOptions
from scope_dask.training.report import write_record
from scope_dask.training.sweep import SweepOptions, Trial, sweep
from scope_dask.training.weights import weights_only
from scope_dask.windows import outcomes, report
from scope_dask.writing import ensured_client, is_done

JOURNAL = "_trainings.jsonl"
_DRAWING = threading.Lock()  # matplotlib is not made for several threads


@dataclass(frozen=True)
class Training:
    """A model to train.

    Attributes
    ----------
    tag : str
        Class; the column of its labels.
    options : TrainingOptions or DNNOptions
    root : Path
        Folder of the group: the model goes to ``<root>/<tag>/<tag>.<time>``, with the record and the log beside it.
    keep : {"model", "weights", "record"}
        What is written: the model, only the weights of a network, or only the record.
    record : RecordOptions
    sweep : SweepOptions or None
        First search the options of the network.
    fixed : tuple of str
        Options that the sweep leaves as they are.
    """

    tag: str
    options: ModelOptions
    root: Path
    keep: Literal["model", "weights", "record"] = "model"
    record: RecordOptions = field(default_factory=RecordOptions)
    sweep: SweepOptions | None = None
    fixed: tuple[str, ...] = ()

    @property
    def algorithm(self) -> str:
        """``dnn`` or ``xgb``."""
        return "dnn" if isinstance(self.options, DNNOptions) else "xgb"

    def __str__(self) -> str:
        return f"{self.tag} {self.algorithm}, random state {self.options.random_state}"


@dataclass(frozen=True)
class Outcome:
    """What became of a training.

    Attributes
    ----------
    training : Training
    stem : Path or None
        Path of the model without its ending; None: nothing was written.
    reason : str
        Why it was set aside; empty: it is done.
    reused : bool
        Whether it was there already.
    seconds : float
    metrics : dict
        On the validation and the test rows.
    """

    training: Training
    stem: Path | None
    reason: str = ""
    reused: bool = False
    seconds: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)


def train_many(
    features: pd.DataFrame,
    labels: pd.DataFrame,
    trainings: Sequence[Training],
    groups: Any = None,
    client: Client | None = None,
    watch: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Train models side by side on a cluster, each as `scope_dask.training.fitting.train` does it, and save them.

    The same call goes on where one was interrupted: what is finished is not trained again, as long as its options and
    its part of the table are the same. A model that cannot be trained, or whose worker dies with it, is set aside with
    the reason, and the others go on.

    Parameters
    ----------
    features, labels, groups
        As for `scope_dask.training.fitting.train_all`.
    trainings : sequence of Training
        All roots on a disk that the workers see. `n_jobs` threads are used by each model, whatever the cluster.
    client : distributed.Client, optional
        By default the one in use, or threads in this process.
    watch : callable
        Called with each outcome, once it is recorded.

    Returns
    -------
    list of Outcome
        In the order of the trainings.

    Raises
    ------
    UsageError
        If there is no training, or one twice.
    SchemaError
        If an ``_id`` is there twice, or labels do not match.
    RunError
        If the scheduler is gone.
    """
    if not trainings:
        raise UsageError("there is nothing to train: name classes")
    found: dict[int, Outcome] = {}

    def done(number: int, outcome: Outcome) -> None:
        found[number] = outcome
        watch(outcome)

    seen = _features_seen(trainings, features, labels, done)
    names = list(dict.fromkeys(name for own in seen.values() for name in own))
    folder = parts_folder(trainings[0].root / "table").parent
    histograms = any(trainings[k].options.dmdt_imputation is not None for k in seen)
    table = write_mapped(features, [n for n in names if n != DMDT.name], histograms, labels, groups, folder)
    try:
        with ExitStack() as stack:
            roots = dict.fromkeys(training.root for training in trainings)
            journals = {root: stack.enter_context(Journal(root / JOURNAL, "training")) for root in roots}
            todo = _planned(trainings, seen, table, journals, done)
            _run(todo, table, journals, client or stack.enter_context(ensured_client()), done)
    finally:
        table.path.unlink(missing_ok=True)
        with suppress(OSError):  # another run uses the folder
            table.path.parent.rmdir()
    return [found[k] for k in range(len(trainings))]


def _features_seen(
    trainings: Sequence[Training], features: pd.DataFrame, labels: pd.DataFrame, done: Callable[[int, Outcome], None]
) -> dict[int, list[str]]:
    """Return the columns that each training sees; one that lacks something is done with that."""
    seen = {}
    for number, training in enumerate(trainings):
        options = training.options
        try:
            check_tag(training.tag)
            if training.tag not in labels:
                raise UsageError(f"the training set has no labels of {training.tag!r}")
            own: list[str] = []
            if options.sees_features:
                own += options.features or feature_names(features.columns, options.period_suffix)
            own += [DMDT.name] * (options.dmdt_imputation is not None)
            if missing := [name for name in own if name not in features]:
                raise UsageError(f"the training set lacks {', '.join(missing[:5])}{'…' * (len(missing) > 5)}")
            seen[number] = own
        except UsageError as error:
            done(number, Outcome(training, None, str(error)))
    return seen


@dataclass(frozen=True)
class _Task:
    number: int
    training: Training
    columns: tuple[str, ...]
    key: str
    root: Path  # absolute: workers may be in another folder
    stem: Path  # below the root
    moment: datetime

    @property
    def path(self) -> Path:
        return self.root / self.stem


def _planned(
    trainings: Sequence[Training],
    seen: dict[int, list[str]],
    table: MappedTable,
    journals: dict[Path, Journal],
    done: Callable[[int, Outcome], None],
) -> list[_Task]:
    """Return what is to be trained, each with a path of its own; note it, so that an interrupted one is found again."""
    records = {root: journal.read() for root, journal in journals.items()}
    latest: dict[Path, datetime] = {}
    tasks: dict[str, _Task] = {}
    for number, columns in seen.items():
        training = trainings[number]
        key = _key(training, [table.digests[c] for c in ("_id", STAR, label_name(training.tag), *columns)])
        if key in tasks:
            raise UsageError(f"{training} is there twice among the trainings")
        record = records[training.root].get(key)
        if record and is_done(record, training.root):
            done(number, replace(_outcome(training, record), reused=True))
            continue
        if record:  # interrupted, or set aside: what there is of it is written over
            stem, moment = Path(record["stem"]), datetime.fromisoformat(record["moment"])
        else:
            folder = training.root / training.tag
            path, moment = free_stem(training.root, training.tag, latest.get(folder))
            stem, latest[folder] = path.relative_to(training.root), moment + timedelta(seconds=1)
        tasks[key] = _Task(number, training, tuple(columns), key, training.root.resolve(), stem, moment)
        journals[training.root].append(_record(tasks[key], ok=False, reason="not finished"))
    return list(tasks.values())


def _key(training: Training, digests: list[str]) -> str:
    """Return what tells a training and its part of the table from others."""
    # Without what says how it is computed, and what the table is called: its columns are compared.
    options = replace(training.options, n_jobs=1, dataset="")
    if isinstance(options, DNNOptions):
        options = replace(options, verbose=0, tensorboard_dir="")
    before = options.pre_trained_model
    content = hashlib.sha256(Path(before).read_bytes()).hexdigest() if before and Path(before).is_file() else None
    return str(tokenize(training.tag, options, training.keep, training.sweep, training.fixed, content, digests))


def _record(task: _Task, **more: Any) -> Record:
    own = {"training": task.key, "what": str(task.training), "stem": str(task.stem)}
    return {**own, "moment": task.moment.isoformat(), **more}


def _run(
    tasks: list[_Task],
    table: MappedTable,
    journals: dict[Path, Journal],
    client: Client,
    done: Callable[[int, Outcome], None],
) -> None:
    if not tasks:
        return
    topic = f"scope_dask-{uuid.uuid4().hex}"
    with dask.config.set({"dataframe.convert-string": False}):
        lazy = dd.from_map(
            _train_one, tasks, range(len(tasks)), table=table, topic=topic, meta=pd.DataFrame(), enforce_metadata=False,
            label="train",
        )  # fmt: skip
    with closing(outcomes(lazy, range(len(tasks)), client, len(tasks), topic)) as ended:
        for place, result in ended:
            task = tasks[place]
            record = result if isinstance(result, dict) else {"ok": False, "reason": _reason(result)}
            journals[task.training.root].append(_record(task, **record))
            done(task.number, _outcome(task.training, record | {"stem": task.stem}))


def _outcome(training: Training, record: Record) -> Outcome:
    how = {"seconds": record.get("seconds", 0.0), "metrics": record.get("metrics", {})}
    return Outcome(training, training.root / record["stem"], record.get("reason", ""), **how)


def _reason(error: BaseException) -> str:
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return "its worker died while training it: out of memory, or killed"
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0] if isinstance(error, UsageError) else f"{type(error).__name__}: {lines[0]}"


def _train_one(task: _Task, place: int, table: MappedTable, topic: str) -> pd.DataFrame:
    """Train a model, keep what is wanted of it, and report; what it logs goes to ``<stem>.log``."""
    start = time.perf_counter()
    with logged_to(task.path.with_name(f"{task.path.name}.log")):
        LOGGER.info("%s: begun on %s, process %d", task.training, socket.gethostname(), os.getpid())
        model, trials = _trained(task.training, task.columns, table)
        files = _kept(task, model, trials)
        manifest = model.manifest
        metrics: dict[str, Any] = {p: manifest.metrics[p] for p in ("val", "test") if p in manifest.metrics}
        for part, count in manifest.counts.items():
            LOGGER.info("%s: %s %s", part, count, metrics.get(part, ""))
        seconds = time.perf_counter() - start
        LOGGER.info("done after %.1f s", seconds)
    sizes = [[str(path.relative_to(task.root)), path.stat().st_size] for path in files]
    report(topic, place, {"ok": True, "files": sizes, "seconds": round(seconds, 3), "metrics": metrics})
    return pd.DataFrame()


def _trained(training: Training, columns: tuple[str, ...], table: MappedTable) -> tuple[TrainedModel, list[Trial]]:
    label = label_name(training.tag)
    frame = table.read(["_id", STAR, label, *columns])
    gpu = gpu_or_cpu(training.options.gpu)
    if gpu != training.options.gpu:
        LOGGER.warning("there is no GPU here: training on the CPU")
    options = replace(training.options, gpu=gpu)

    def fit(own: ModelOptions) -> TrainedModel:
        return train(frame, frame[label], training.tag, own, frame[STAR])

    if training.sweep is None or not isinstance(options, DNNOptions):
        return fit(options), []
    return sweep(fit, options, training.sweep, training.fixed, lambda trial, model: LOGGER.info("%s", trial))


def _kept(task: _Task, model: TrainedModel, trials: list[Trial]) -> list[Path]:
    """Write the record and what is wanted of the model, the model last; return the files that must be there."""
    training = task.training
    saved = training.keep != "record"
    context = {"model": str(training.root / task.stem) if saved else None, "sweep": [asdict(trial) for trial in trials]}
    with _DRAWING:
        record = replace(training.record, context={**training.record.context, **context})
        folder = write_record(model, task.path, record)
    files = [folder / f"{task.path.name}_record.json"]
    if saved:
        alone = training.keep == "weights" and training.algorithm == "dnn"
        files.append((weights_only(model) if alone else model).save_as(task.path, task.moment))
    return files
