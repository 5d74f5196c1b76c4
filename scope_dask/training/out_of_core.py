"""XGBoost from tables that do not fit into memory: workers read their share of the files piece by piece.

Rows and inputs are those of the training in memory: the same rows in the same parts, the same imputation and scaling,
found from one column at a time. Features are binned as they are read and kept on the disks of the workers, a byte a
value; the workers add up their histograms through the communicator of `xgboost.dask`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from distributed import Client, Future, get_worker, wait
from distributed.scheduler import KilledWorker

from scope_dask.errors import OptionError, RunError, SchemaError, UsageError, nearest
from scope_dask.formats import read_table
from scope_dask.inference.preparation import Inputs, Preparation, feature_values, predict
from scope_dask.inference.xgb import booster_score, load_booster
from scope_dask.predictions.reading import FeatureFiles, Piece, read_piece
from scope_dask.training.calibration import calibrated
from scope_dask.training.dataset import (
    PARTS,
    feature_names,
    fit_preparation,
    group_keys,
    split,
    targets,
    unique_ids,
)
from scope_dask.training.devices import gpu_or_cpu
from scope_dask.training.evaluation import binary_metrics
from scope_dask.training.fitting import TrainedModel, check_tag, counted, described, thinned
from scope_dask.training.labelled import class_labels, read_labelled, stars
from scope_dask.training.neighbours import Neighbours, chosen_donors
from scope_dask.training.options import TrainingOptions
from scope_dask.training.sample import Fitted, Sample
from scope_dask.training.search import booster_parameters
from scope_dask.training.xgb import fitted_trees, pre_trained

BATCH_ROWS = 100_000  # that a worker prepares at a time
REPORT_ROWS = 100_000  # of each part that reports and calibration see
_LOOK_SECONDS = 1.0  # between two looks whether the workers are there
_ENDED = "a worker ended, and the training with it: begin again"


@dataclass(frozen=True)
class _Rows:
    """What is known of all rows: a few numbers each, in the order of the files."""

    y: np.ndarray
    groups: np.ndarray
    parts: dict[str, np.ndarray]
    unused: int


@dataclass(frozen=True)
class _Share:
    """Pieces of the files, with the part (-1: none) and the target of each of their rows."""

    pieces: tuple[Piece, ...]
    parts: tuple[np.ndarray, ...]
    targets: tuple[np.ndarray, ...]


def train_out_of_core(
    path: str | Path, label: str, tag: str, options: TrainingOptions, client: Client, batch_rows: int = BATCH_ROWS
) -> TrainedModel:
    """Train the XGBoost classifier of a class by the workers of a cluster, each with its share of a table.

    Rows, parts, imputation and scaling are those of `scope_dask.training.fitting.train`. With one worker and rows in
    the order of ``_id`` the trees are, too, as far as the bins are; with several the sums are rounded in another order.
    The client holds some columns of the table at a time, a worker one piece of `batch_rows`.

    Parameters
    ----------
    path : path
        Parquet file or a folder of them, which the workers see, with ``_id`` (or ``ztf_id``), features and labels.
    label : str
        Column of the labels.
    tag : str
    options : TrainingOptions
        Without `search`: it needs the rows in memory.
    client : distributed.Client
    batch_rows : int
        Most rows of a piece.

    Raises
    ------
    OptionError
        If there is a search.
    SourceError, SchemaError, UsageError
        As of the training in memory.
    RunError
        If a worker ends.
    """
    if options.search is not None:
        raise OptionError("the search of parameters needs the table in memory: leave it out (--skip-cv)")
    files = FeatureFiles.find([Path(path).resolve()])  # workers may be in another folder
    options = replace(options, fourier=files.stated("fourier", options.fourier))  # type: ignore[arg-type]
    names = tuple(options.features or feature_names(files.columns, options.period_suffix))
    if missing := [name for name in names if name not in files.columns]:
        raise SchemaError(f"the training set {path} has no column {missing[0]!r}{nearest(missing[0], files.columns)}")
    rows = _rows(files, label, names, check_tag(tag), options)
    pieces = list(files.pieces([*names], batch_rows))
    preparation, sample = _prepared(files, pieces, names, rows, options)
    start = b""
    if options.pre_trained_model is not None:
        booster, preparation = pre_trained(sample, options.pre_trained_model)
        start, sample = bytes(booster.save_raw("json")), replace(sample, preparation=preparation)
    shares = _shares(pieces, rows, len(_workers(client)))
    params = booster_parameters(rows.y[rows.parts["train"]], options)
    content, config = _train(client, shares, preparation, params, options, start)
    fitted = calibrated(fitted_trees(content, config, preparation), sample, options.calibration)
    metrics = _held_out(client, shares, preparation, content, fitted)
    counts = {"unused": rows.unused, **counted(rows.parts, rows.y, rows.groups)}
    return described(tag, options, fitted, sample, counts, metrics)


def _columns(files: FeatureFiles, names: Sequence[str]) -> np.ndarray:
    """Return columns of all files, float64 of shape (rows, columns)."""
    return np.concatenate([feature_values(read_table(file.path, list(names)), names) for file in files.files])


def _rows(files: FeatureFiles, label: str, names: tuple[str, ...], tag: str, options: TrainingOptions) -> _Rows:
    """Tell the part of every row, as `scope_dask.training.dataset` does it for a table in memory."""
    frame = pd.concat([read_labelled(file.path, (), [label], False) for file in files.files], ignore_index=True)
    ids = unique_ids(frame, "the training table")
    y = targets(class_labels(frame, label, options.threshold), options.threshold).to_numpy()
    groups = group_keys(ids, stars(frame), options.random_state)
    blank, lacking = np.ones(len(ids), bool), np.zeros(len(ids), bool)
    for name in names:
        missing = np.isnan(_columns(files, [name])[:, 0])
        blank &= missing
        if options.imputation_of.get(name, options.imputation) == "none":
            lacking |= missing
    order = np.argsort(ids)
    rows = order[(~np.isnan(y) & ~blank & ~lacking)[order]]
    local = split(groups[rows], y[rows], options, f"the class {tag!r}")
    parts = {part: rows[own] for part, own in local.items()}
    parts["train"] = thinned(parts["train"], y[parts["train"]], options)
    return _Rows(y, groups, parts, len(ids) - len(rows))


def _prepared(
    files: FeatureFiles, pieces: list[Piece], names: tuple[str, ...], rows: _Rows, options: TrainingOptions
) -> tuple[Preparation, Sample]:
    """Fit imputation and scaling, one feature at a time; return it with rows of each part for reports."""
    draw = np.random.default_rng(options.random_state)
    shown = {part: np.sort(draw.permutation(own)[:REPORT_ROWS]) for part, own in rows.parts.items()}
    chosen = np.concatenate([shown[part] for part in PARTS])
    values = np.empty((len(chosen), len(names)))
    singles = []
    for k, name in enumerate(names):
        column = _columns(files, [name])
        singles.append(fit_preparation(column[rows.parts["train"]], (name,), options))
        values[:, k] = column[chosen, 0]
    preparation = replace(
        singles[0],
        features=names,
        imputation=tuple(one.imputation[0] for one in singles),
        offset=tuple(value for one in singles for value in one.offset),
        scale=tuple(value for one in singles for value in one.scale),
        neighbours=_neighbours(pieces, [one.neighbours for one in singles], rows),
    )
    ends = np.cumsum([0, *(len(shown[part]) for part in PARTS)])
    parts = {part: np.arange(ends[k], ends[k + 1]) for k, part in enumerate(PARTS)}
    return preparation, Sample(names, Inputs(values), rows.y[chosen], parts, preparation, rows.groups[chosen])


def _neighbours(pieces: list[Piece], singles: list[Neighbours | None], rows: _Rows) -> Neighbours | None:
    """Return similar stars from those of each feature alone, and the donors of the pieces."""
    own = [one for one in singles if one is not None]
    if not own:
        return None
    names = tuple(one.features[0] for one in own)
    training = np.zeros(len(rows.y), bool)
    training[rows.parts["train"]] = True
    donors = np.empty((0, len(names)))
    for piece, inside in zip(pieces, _cut(training, pieces), strict=True):
        values = feature_values(read_piece(piece, names), names)[inside]
        donors = chosen_donors(np.concatenate([donors, values]))
    offset, scale = (tuple(getattr(one, name)[0] for one in own) for name in ("offset", "scale"))
    return Neighbours(names, offset, scale, donors)


def _cut(values: np.ndarray, pieces: list[Piece]) -> list[np.ndarray]:
    """Return the values of the rows of each piece."""
    return np.split(values, np.cumsum([piece.last - piece.first for piece in pieces])[:-1])


def _shares(pieces: list[Piece], rows: _Rows, workers: int) -> list[_Share]:
    """Return the shares of at most so many workers: neighbouring pieces, about as many training rows each."""
    part = np.full(len(rows.y), -1, np.int8)
    for code, name in enumerate(PARTS):
        part[rows.parts[name]] = code
    parts, y = _cut(part, pieces), _cut(rows.y.astype(np.float32), pieces)
    used = [k for k in range(len(pieces)) if (parts[k] >= 0).any()]
    ends = np.cumsum([(parts[k] == 0).sum() for k in used])
    while True:
        owner = np.minimum(np.maximum(ends - 1, 0) * workers // ends[-1], workers - 1)
        own = [[k for k, who in zip(used, owner, strict=True) if who == number] for number in range(workers)]
        if workers == 1 or all(any((parts[k] == code).any() for k in some) for some in own for code in (0, 1)):
            return [
                _Share(tuple(pieces[k] for k in some), tuple(parts[k] for k in some), tuple(y[k] for k in some))
                for some in own
            ]
        workers -= 1  # each has rows to train and to validate


def _workers(client: Client) -> list[str]:
    client.wait_for_workers(1)
    return sorted(client.nthreads())


def _train(
    client: Client,
    shares: list[_Share],
    preparation: Preparation,
    params: dict[str, Any],
    options: TrainingOptions,
    start: bytes,
) -> tuple[bytes, bytes]:
    """Return the trees and the configuration of XGBoost."""
    workers = _workers(client)[: len(shares)]
    link = _link(client, len(shares)) if len(shares) > 1 else {}
    futures = [
        client.submit(_boost, share, preparation, params, options, start, link, workers=[worker], pure=False)
        for share, worker in zip(shares, workers, strict=True)
    ]
    try:
        found: tuple[bytes, bytes] = _result(client, futures, workers)
        return found
    finally:
        for future in futures:
            future.cancel()


def _result(client: Client, futures: list[Future], workers: list[str]) -> Any:
    """Return the first result when all are there; an error of one ends it, the others wait for it in vain."""
    from xgboost.core import XGBoostError

    failed: list[Future] = []
    while not failed:
        try:
            wait(futures, timeout=_LOOK_SECONDS)
            break
        except TimeoutError:
            failed = [future for future in futures if future.status == "error"]
            if not failed and set(workers) - set(client.nthreads()):
                raise RunError(_ENDED) from None
    try:
        return client.gather(failed or futures)[0]
    except KilledWorker:
        raise RunError(_ENDED) from None
    except XGBoostError as error:  # also where it notices first that another worker is gone
        raise RunError(f"XGBoost stopped, perhaps because a worker ended: {str(error).splitlines()[-1]}") from error


def _link(client: Client, workers: int) -> dict[str, Any]:
    """Start what brings the workers together, beside the scheduler; return where it is."""
    host = client.scheduler.address.split("://")[-1].rpartition(":")[0]
    found: dict[str, Any] = client.run_on_scheduler(_start_tracker, workers, host)
    return found


def _start_tracker(workers: int, host: str) -> dict[str, Any]:
    from threading import Thread

    from xgboost.tracker import RabitTracker

    tracker = RabitTracker(n_workers=workers, host_ip=host, sortby="task")
    tracker.start()
    Thread(target=tracker.wait_for, daemon=True).start()
    return dict(tracker.worker_args())


def _boost(
    share: _Share,
    preparation: Preparation,
    params: dict[str, Any],
    options: TrainingOptions,
    start: bytes,
    link: dict[str, Any],
) -> tuple[bytes, bytes]:
    """Boost trees on the rows of a share, together with the other workers."""
    import xgboost
    from xgboost.dask import CommunicatorContext

    gpu = gpu_or_cpu(options.gpu)
    params = {**params, "device": "cpu" if gpu is None else f"cuda:{gpu}"}
    stop = xgboost.callback.EarlyStopping(
        rounds=options.early_stopping_rounds, maximize=options.eval_metric == "auc", save_best=True
    )
    with CommunicatorContext(**link) if link else nullcontext(), _folder() as folder:
        batches = [_batches(share, preparation, code, folder, gpu is not None) for code in (0, 1)]
        train = xgboost.ExtMemQuantileDMatrix(batches[0], nthread=options.n_jobs)
        val = xgboost.ExtMemQuantileDMatrix(batches[1], nthread=options.n_jobs, ref=train)
        booster = xgboost.train(
            params,
            train,
            options.num_boost_round,
            evals=[(val, "val")],
            callbacks=[stop],
            verbose_eval=False,
            xgb_model=load_booster(start) if start else None,
        )
        del train, val  # they delete their files
    return bytes(booster.save_raw("json")), booster.save_config().encode()


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=get_worker().local_directory) as folder:
        yield Path(folder)


def _batches(share: _Share, preparation: Preparation, code: int, folder: Path, gpu: bool) -> Any:
    """Return the iterator by which XGBoost reads the rows of a part, a piece at a time, as often as it wants."""
    import xgboost

    names = preparation.features

    class Batches(xgboost.DataIter):
        def __init__(self) -> None:
            self.number = 0
            super().__init__(cache_prefix=str(folder / PARTS[code]), release_data=True)

        def next(self, input_data: Any) -> bool:
            while self.number < len(share.pieces):
                number, self.number = self.number, self.number + 1
                inside = share.parts[number] == code
                if inside.any():
                    x = preparation.apply(feature_values(read_piece(share.pieces[number], names), names)[inside])
                    y = share.targets[number][inside]
                    input_data(data=_on_gpu(x) if gpu else x, label=y, feature_names=list(names))
                    return True
            return False

        def reset(self) -> None:
            self.number = 0

    return Batches()


def _on_gpu(x: np.ndarray) -> Any:
    try:
        import cupy
    except ImportError as error:
        raise UsageError(f"binning on a GPU needs CuPy ({error}): pip install 'scope_dask[gpu]'") from error
    return cupy.asarray(x)


def _held_out(
    client: Client, shares: list[_Share], preparation: Preparation, content: bytes, fitted: Fitted
) -> dict[str, Any]:
    """Return the metrics on all rows of validation and test."""
    trees = client.scatter(content, broadcast=True)
    futures = [client.submit(_score, share, preparation, trees, pure=False) for share in shares]
    part, y, score = (np.concatenate(found) for found in zip(*client.gather(futures), strict=True))
    if fitted.calibration is not None:
        score = fitted.calibration.apply(score)
    codes = {name: code for code, name in enumerate(PARTS) if name != "train"}
    return {name: binary_metrics(y[part == code], score[part == code]) for name, code in codes.items()}


def _score(share: _Share, preparation: Preparation, content: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return part, target and score of the rows of a share that were held out."""
    score = booster_score(load_booster(content))
    found = [(np.empty(0, np.int8), np.empty(0, np.float32), np.empty(0, np.float32))]
    for piece, part, y in zip(share.pieces, share.parts, share.targets, strict=True):
        rows = np.flatnonzero(part > 0)
        values = feature_values(read_piece(piece, preparation.features), preparation.features)[rows]
        found.append((part[rows], y[rows], predict(score, preparation, Inputs(values))))
    part, y, scores = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return part, y, scores
