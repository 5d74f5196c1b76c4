"""Real light curves of known class, scored by models that have not seen their stars: XGBoost, networks, and a peer.

    python bench/classification.py [--data ../shared/data/irsa] [--seeds 5] [--dnn-seeds 5] [--method sigmoid]

The labelled stars of ASAS in the archive, features by this project with the default options, Fourier columns with raw
contents (the default) and with documented ones. Five folds by star; every class against all others; F1 at 0.5 and the
calibration error are averaged over the classes, then over the seeds (of folds, splits and models). The peer is
scikit-learn's HistGradientBoostingClassifier with its defaults, trained on all stars of the other folds; ours leave a
tenth of them out to know when to stop, and are calibrated by these.

Features and scores are kept below --cache: delete it to compute them again. Networks are trained where
TensorFlow is installed (the extra dnn); elsewhere their scores are taken from the cache, or left out. A network takes
minutes where trees take seconds: --dnn-seeds and --contents say how many.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from dask.tokenize import tokenize
from workload import machine

import scope_dask as sd
from scope_dask.demo.labels import Labels, archive_labels, read_truth
from scope_dask.extraction.fourier import documented
from scope_dask.formats import read_table, write_table
from scope_dask.schema import FOURIER
from scope_dask.training.calibration import fit_calibration
from scope_dask.training.dataset import assemble, folds
from scope_dask.training.fitting import train_all
from scope_dask.training.options import CalibrationMethod, DNNOptions, ModelOptions, TrainingOptions
from scope_dask.training.report import scored, statistics

N_FOLDS = 5
MARGIN = 0.01  # by which XGBoost may be below the peer
SUFFIX = "ELS_ECE_EAOV"
CONTENTS = ("raw", "documented")
# Tuned by hand on the first fold of seed 0: see results/classification.md.
NETWORK = DNNOptions(lr=3e-3, scaling="median_std", epochs=200, patience=30, conv_branch=False)


@dataclass(frozen=True)
class Data:
    """Labelled features.

    Attributes
    ----------
    features : pandas.DataFrame
    labels : Labels
    """

    features: pd.DataFrame
    labels: Labels

    @property
    def targets(self) -> pd.DataFrame:
        """1 for members and 0 for others, a column a class, in the order of the features."""
        return self.labels.table.set_index("_id").loc[self.features["_id"]]

    def with_contents(self, contents: str) -> Data:
        """Return the same with other contents of the Fourier columns."""
        if contents == "raw":
            return self
        names = [f"f1_{name}_{SUFFIX}" for name in FOURIER]
        table = self.features.copy()
        table[names] = documented(table[names].to_numpy())
        return Data(table, self.labels)


def load(archive: Path, cache: Path) -> Data:
    """Return the labelled features of ASAS; they are computed once."""
    truth = read_truth(archive)
    if truth is None:
        raise SystemExit(f"{archive} has no truth.parquet: name another folder with --data")
    truth = truth[truth["survey"] == "ASAS"]
    path = cache / "features.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        curves = sd.lightcurves(sd.read_archive(str(archive), ids=truth["_id"].to_numpy()))
        write_table(sd.features(curves).compute(scheduler="synchronous"), path, {})
    table = read_table(path)
    labels = archive_labels(truth, table["_id"])
    assert labels is not None
    return Data(table[table["_id"].isin(labels.table["_id"])].reset_index(drop=True), labels)


def ours(data: Data, options: ModelOptions, method: CalibrationMethod) -> np.ndarray:
    """Return the scores of our models of every row, shape (rows, classes, 2): as they are, and calibrated."""
    found = np.full((*data.targets.shape, 2), np.nan)
    for own, other in _folds(data, options):
        models = train_all(data.features[other], data.labels.table, options, data.labels.stars)
        for column, model in enumerate(models.values()):
            score = model.predict(data.features[own])
            found[own, column, 0] = score
            found[own, column, 1] = fit_calibration(*scored(model, "val"), method).apply(score)
    return found


def peer(data: Data, options: ModelOptions, method: CalibrationMethod) -> np.ndarray:
    """Return the scores of scikit-learn's gradient boosting in the same form, those calibrated missing."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    found = np.full((*data.targets.shape, 2), np.nan)
    table = assemble(data.features, data.labels.table, options, data.labels.stars)
    values = table.inputs.values[np.argsort(table.position)]
    for own, other in _folds(data, options):
        for column, tag in enumerate(data.targets):
            model = HistGradientBoostingClassifier(random_state=options.random_state)
            model.fit(values[other], data.targets[tag][other])
            found[own, column, 0] = model.predict_proba(values[own])[:, 1]
    return found


def _folds(data: Data, options: ModelOptions) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield which rows are scored, and which are trained on."""
    stars = assemble(data.features, data.labels.table, options, data.labels.stars)
    fold = np.empty(len(data.features), np.int64)
    fold[stars.position] = folds(stars.groups, stars.targets.to_numpy(), N_FOLDS)
    for k in range(N_FOLDS):
        yield fold == k, fold != k


CONTENDERS: dict[str, tuple[Callable[[Data, ModelOptions, CalibrationMethod], np.ndarray], ModelOptions]] = {
    "XGBoost": (ours, TrainingOptions(test_size=0.0)),
    "HistGradientBoosting": (peer, TrainingOptions(test_size=0.0)),
    "network": (ours, NETWORK),
}


def scores(name: str, data: Data, contents: str, seed: int, args: argparse.Namespace) -> np.ndarray | None:
    """Return the scores of a contender, computed once; None: it cannot be trained here."""
    run, options = CONTENDERS[name]
    options = replace(options, random_state=seed)
    key = tokenize(data.features.drop(columns="dmdt"), options, args.method, contents)[:12]
    path = args.cache / f"{name}-{contents}-{seed}-{key}.npy"
    if not path.exists():
        if name == "network" and (find_spec("tensorflow") is None or seed >= args.dnn_seeds):
            return None
        np.save(path, run(data.with_contents(contents), options, args.method))
    return np.load(path)


def judged(targets: pd.DataFrame, found: np.ndarray) -> pd.DataFrame:
    """Return the statistics of scores by class: F1, calibration error and area, as they are and calibrated."""
    rows = {}
    for column, tag in enumerate(targets):
        y = targets[tag].to_numpy()
        both = [statistics(y, found[:, column, k]) if np.isfinite(found[:, column, k]).all() else {} for k in (0, 1)]
        rows[tag] = {
            "F1": both[0]["f1_score"],
            "F1 calibrated": both[1].get("f1_score", np.nan),
            "error": both[0]["calibration_error"],
            "error calibrated": both[1].get("calibration_error", np.nan),
            "ROC area": both[0]["roc_auc"],
        }
    return pd.DataFrame(rows).T


def compare(data: Data, contents: str, args: argparse.Namespace) -> None:
    """Print the statistics of all contenders on features with these Fourier columns."""
    means, classes = {}, {}
    for name in CONTENDERS:
        found = [scores(name, data, contents, seed, args) for seed in range(args.seeds)]
        tables = [judged(data.targets, own) for own in found if own is not None]
        if tables:
            each = pd.DataFrame([table.mean() for table in tables])
            means[name] = {**each.mean(), "spread of F1": each["F1"].std(), "seeds": len(tables)}
            classes[name] = sum(table["F1"] for table in tables) / len(tables)
    print(f"Fourier columns: {contents}")
    print(pd.DataFrame(means).T.round(4).to_string(), end="\n\n")
    print("F1 by class")
    print(pd.DataFrame(classes).T.round(3).to_string(), end="\n\n")
    difference = means["XGBoost"]["F1"] - means["HistGradientBoosting"]["F1"]
    verdict = "met" if difference >= -MARGIN else "NOT met"
    print(f"XGBoost − HistGradientBoosting: {difference:+.4f}; at least {-MARGIN}: {verdict}", end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).parents[1]
    parser.add_argument("--data", type=Path, default=root.parent / "shared" / "data" / "irsa")
    parser.add_argument("--cache", type=Path, default=root / "out" / "classification")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--dnn-seeds", type=int, default=5)
    parser.add_argument("--contents", nargs="*", choices=CONTENTS, default=CONTENTS)
    parser.add_argument("--method", choices=("sigmoid", "isotonic"), default="sigmoid")
    args = parser.parse_args()
    print(machine())
    data = load(args.data, args.cache)
    print(f"{len(data.features)} light curves: {data.targets.sum().astype(int).to_dict()}", end="\n\n")
    for contents in args.contents:
        compare(data, contents, args)


if __name__ == "__main__":
    main()
