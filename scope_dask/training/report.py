"""The local record of a training: statistics as JSON, and figures where matplotlib is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from scope_dask.errors import UsageError
from scope_dask.formats.atomic import replacing
from scope_dask.inference.dnn import read_network
from scope_dask.inference.network import Network
from scope_dask.inference.preparation import Inputs, predict
from scope_dask.training import figures
from scope_dask.training.dataset import PARTS
from scope_dask.training.evaluation import CUT, binary_metrics
from scope_dask.training.fitting import TrainedModel
from scope_dask.training.options import RecordOptions
from scope_dask.training.sample import Sample

__all__ = ["RecordOptions", "calibration_bins", "feature_importance", "scored", "statistics", "write_record"]

N_BINS = 10
_MOST_ROWS = 20_000  # by which the importance of features is measured


def write_record(trained: TrainedModel, stem: Path, options: RecordOptions | None = None) -> Path:
    """Write ``<stem>_plots``: ``{train,val,test}/<name>_stats.json`` and figures, importance, history and record.

    Parameters
    ----------
    trained : TrainedModel
        Just trained: with its sample.
    stem : Path
        Path of the model without its ending.
    options : RecordOptions, optional

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UsageError
        If figures as PDF or of the model are asked for without matplotlib, or the model has no sample.
    """
    options = options or RecordOptions()
    if trained.sample is None:
        raise UsageError("a record needs the rows a model was trained on; expected a model that was just trained")
    drawn = figures.can_draw()
    if (options.pdf or options.model) and not drawn:
        raise UsageError("figures need matplotlib: pip install 'scope_dask[plot]'")
    folder = stem.with_name(f"{stem.name}_plots")
    kinds = (("png", "pdf") if options.pdf else ("png",)) if drawn else ()
    for part in PARTS:
        if len(trained.sample.parts[part]):
            _write_part(trained, part, folder / part / stem.name, kinds, options)
    what, weights = feature_importance(trained)
    _write(folder / f"{stem.name}_impvars.json", _json(weights))
    for kind in kinds if weights else ():
        title = f"{trained.manifest.tag}: importance of features"
        _write(folder / f"{stem.name}_impvars.{kind}", figures.importance(weights, what, title, kind))
    history = trained.manifest.metrics.get("history", {})
    for kind in kinds if history else ():
        _write(folder / f"{stem.name}_history.{kind}", figures.history(history, trained.manifest.tag, kind))
    if options.model:
        _write_model(trained, folder / f"{stem.name}_model")
    _write(folder / f"{stem.name}_record.json", _json(_record(trained, options)))
    return folder


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=1, allow_nan=False).encode()


def _record(trained: TrainedModel, options: RecordOptions) -> dict[str, Any]:
    manifest = trained.manifest
    names = ("tag", "algorithm", "dataset", "threshold", "period_suffix", "parameters", "counts", "metrics", "versions")
    return {**{name: getattr(manifest, name) for name in names}, **options.context}


def scored(trained: TrainedModel, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and scores of the rows of a part of the sample."""
    sample = _sample(trained)
    inputs = sample.inputs.take(sample.parts[part])
    return sample.targets(part), predict(trained.score, trained.manifest.preparation, inputs)


def _sample(trained: TrainedModel) -> Sample:
    if trained.sample is None:
        raise UsageError("the rows a model was trained on are known only just after the training")
    return trained.sample


def statistics(y: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """Return the statistics of scores, None where undefined.

    Those of `binary_metrics` (F1 under the name ``f1_score``), the average precision, the Brier score (mean square of
    score − target) and the calibration error (mean of |mean score − fraction of members| over ten bins of the score,
    weighted by their rows: Naeini et al. 2015, AAAI 29, 2901).

    Parameters
    ----------
    y : numpy.ndarray, shape (rows,)
        1 for members, 0 for others.
    score : numpy.ndarray, shape (rows,)
    """
    from sklearn.metrics import average_precision_score

    found = binary_metrics(y, score, CUT)
    found["f1_score"] = found.pop("f1")
    bins = calibration_bins(y, score)
    gaps = np.abs(np.subtract(bins["score"], bins["members"]))
    found["average_precision"] = float(average_precision_score(y, score)) if (y > 0).any() else None
    found["brier"] = float(np.mean((score.astype(np.float64) - y) ** 2))
    found["calibration_error"] = float(np.average(gaps, weights=bins["rows"]))
    return found


def calibration_bins(y: np.ndarray, score: np.ndarray) -> dict[str, list[float]]:
    """Return mean score, fraction of members and number of rows of ten equal bins of the score that have rows."""
    place = np.minimum((score.astype(np.float64) * N_BINS).astype(np.int64), N_BINS - 1)
    rows = np.bincount(place, minlength=N_BINS)
    there = rows > 0
    sums = (np.bincount(place, weights, N_BINS)[there] / rows[there] for weights in (score.astype(np.float64), y))
    mean, members = (values.tolist() for values in sums)
    return {"score": mean, "members": members, "rows": rows[there].tolist()}


def _write_part(trained: TrainedModel, part: str, stem: Path, kinds: tuple[str, ...], options: RecordOptions) -> None:
    y, score = scored(trained, part)
    found = statistics(y, score)
    _write(stem.with_name(f"{stem.name}_stats.json"), _json({**found, "calibration": calibration_bins(y, score)}))
    title = f"{trained.manifest.tag}, {part}"
    titles = {"roc": title, "recall": title, "calibration": title}
    if options.annotate_scores:
        shown = {"roc": "roc_auc", "recall": "average_precision", "calibration": "calibration_error"}
        titles = {name: f"{title}: {key} {_rounded(found[key])}" for name, key in shown.items()}
    counts = np.array(
        [[found["true_negatives"], found["false_positives"]], [found["false_negatives"], found["true_positives"]]]
    )
    for kind in kinds:
        drawn = {
            "cm": figures.confusion(
                counts, title, kind, count=options.cm_include_count, percent=options.cm_include_percent
            ),
            "calibration": figures.calibration(calibration_bins(y, score), titles["calibration"], kind),
        }
        if found["roc_auc"] is not None:
            drawn["roc"] = figures.roc(y, score, titles["roc"], kind)
            drawn["recall"] = figures.precision_recall(y, score, titles["recall"], kind)
        for name, content in drawn.items():
            _write(stem.with_name(f"{stem.name}_{name}.{kind}"), content)


def _rounded(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def feature_importance(trained: TrainedModel) -> tuple[str, dict[str, float]]:
    """Return what the importance of features is, and that of each, the largest first.

    Of trees: by how much the splits on it lower the loss, in total. Of a network: by how much the area under the ROC
    curve of validation falls when the values of the feature are shuffled among the rows (Breiman 2001, Machine
    Learning 45, 5).
    """
    if trained.manifest.algorithm == "xgb":
        from scope_dask.inference.xgb import load_booster

        found = load_booster(trained.content).get_score(importance_type="total_gain")
        what, values = (
            "total gain of the splits",
            {name: float(found.get(name, 0.0)) for name in _sample(trained).names},
        )
    else:
        what, values = "fall of the area under the ROC curve of validation", _permuted(trained)
    return what, dict(sorted(values.items(), key=lambda item: -item[1]))


def _permuted(trained: TrainedModel) -> dict[str, float]:
    sample = _sample(trained)
    rows = sample.parts["val"][:_MOST_ROWS]
    y, inputs = sample.y[rows], sample.inputs.take(rows)
    preparation = trained.manifest.preparation
    order = np.random.default_rng(0).permutation(len(rows))

    def auc(own: Inputs) -> float | None:
        found: float | None = binary_metrics(y, predict(trained.score, preparation, own))["roc_auc"]
        return found

    best = auc(inputs)
    if best is None:
        return {}
    falls = {}
    for k, name in enumerate(sample.names):
        values = inputs.values.copy()
        values[:, k] = values[order, k]
        falls[name] = best - (auc(Inputs(values, inputs.dmdt, inputs.has_dmdt)) or 0.0)
    if inputs.dmdt is not None and inputs.has_dmdt is not None:
        falls["dmdt"] = best - (auc(Inputs(inputs.values, inputs.dmdt[order], inputs.has_dmdt[order])) or 0.0)
    return falls


def _write_model(trained: TrainedModel, stem: Path) -> None:
    """Write what a model looks like: a figure of the layers of a network, or the trees as text."""
    if trained.manifest.algorithm == "xgb":
        from scope_dask.inference.xgb import load_booster

        trees = load_booster(trained.content).get_dump(with_stats=True)
        text = "".join(f"tree {k}\n{tree}" for k, tree in enumerate(trees))
        _write(stem.with_suffix(f"{stem.suffix}.txt"), text.encode())
        return
    network = read_network(trained.files[".keras"], "the trained network")
    content = figures.layers(_layers(network), f"{trained.manifest.tag}: layers and shapes of their output")
    _write(stem.with_suffix(f"{stem.suffix}.png"), content)


def _layers(network: Network) -> list[list[str]]:
    """Return the layers of the branches and of the head, in words."""
    branches = []
    if network.dense:
        own = [f"dense ({len(bias)}), relu" for _, bias in network.dense]
        branches.append([f"features ({network.n_features})", *own])
    if network.convolutions:
        a, b, c, d = (len(bias) for _, _, bias in network.convolutions)
        own = [
            f"dmdt ({26} × {26})",
            f"separable convolution (24 × 24 × {a})",
            f"separable convolution (22 × 22 × {b})",
        ]
        own += [f"maximum of 2 × 2 (11 × 11 × {b})", f"separable convolution (9 × 9 × {c})"]
        branches.append([*own, f"separable convolution (7 × 7 × {d})", f"mean ({d})"])
    (_, hidden), _ = network.head
    return [*branches, [f"dense ({len(hidden)}), relu", "dense (1), sigmoid"]]
