"""Training: data sets, splits by star, models, cross-validation."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scope_dask.errors import OptionError, SchemaError, UsageError
from scope_dask.inference.xgb import load_booster
from scope_dask.schema import feature_schema
from scope_dask.training.dataset import (
    aligned,
    feature_names,
    fit_preparation,
    folds,
    group_keys,
    split,
    star_names,
    targets,
)
from scope_dask.training.evaluation import best_class, binary_metrics, confusion
from scope_dask.training.fitting import cross_validate, save_models, train, train_all
from scope_dask.training.options import TrainingOptions

SUFFIX = "ELS_ECE_EAOV"
FEW = TrainingOptions(features=("skew", f"period_{SUFFIX}", "wstd", "iqr"), num_boost_round=40)


def simulate(n: int = 600, seed: int = 1, missing: float = 0.02) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Return (features, labels, star of each row): three classes that differ in period and in the spread."""
    rng = np.random.default_rng(seed)
    names = feature_schema((SUFFIX,)).without("dmdt").names
    frame = pd.DataFrame({name: rng.normal(size=n) for name in names})
    stars = rng.integers(0, n // 2, n)
    kind = stars % 3
    frame[f"period_{SUFFIX}"] = 10.0 ** (kind - 1 + rng.normal(0, 0.5, n))
    frame["wstd"] = np.where(kind == 2, 1.0, 0.1) * rng.lognormal(0, 0.7, n)
    frame = frame.mask(rng.random(frame.shape) < missing)
    frame.insert(0, "_id", rng.permutation(10**15 + np.arange(n)))
    labels = pd.DataFrame({"short": kind == 0, "middle": kind == 1, "long": kind == 2}).astype(float)
    labels.insert(0, "_id", frame["_id"])
    return frame, labels, stars


def test_features_default_to_what_tells_about_the_star() -> None:
    columns = ["_id", "ra", "field", *feature_schema((SUFFIX, "LS")).names]
    names = feature_names(columns, SUFFIX)
    assert len(names) == 37
    assert names[:2] == ("median", "wmean")
    assert not {"n", "ra", "field", "dmdt", f"pdot_{SUFFIX}", "period_LS"} & set(names)
    bare = [c.removesuffix("_LS") for c in feature_schema(("LS",)).names]
    assert feature_names(bare, None) == feature_names(bare, "None")
    assert "f1_relphi4" in feature_names(bare, None)


def test_features_of_another_period_algorithm_are_told() -> None:
    with pytest.raises(SchemaError, match=r"lacks period_ELS_ECE_EAOV.*the table has: LS"):
        feature_names(feature_schema(("LS",)).names, SUFFIX)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_size": 0}, "val_size is 0; expected above 0"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"imputation": "medain"}, r"imputation is 'medain' \(did you mean 'median'\?\)"),
        ({"imputation_of": {"skew": "knn"}}, "imputation_of.*'knn'"),
        ({"scaling": "minmax"}, "scaling is 'minmax'"),
        ({"features": ()}, "features is"),
    ],
)
def test_wrong_options_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainingOptions(**change)


def test_a_label_must_be_above_the_threshold() -> None:
    labels = pd.DataFrame({"a": [0.7, 0.71, np.nan, 1.0]})
    assert targets(labels, 0.7)["a"].tolist()[:2] == [0.0, 1.0]
    assert np.isnan(targets(labels, 0.7)["a"][2])
    with pytest.raises(SchemaError, match="between 0 and 1"):
        targets(labels + 1, 0.7)
    with pytest.raises(SchemaError, match="must be numbers"):
        targets(pd.DataFrame({"a": ["RRab"]}), 0.7)


def test_labels_are_matched_by_id() -> None:
    features = pd.DataFrame({"_id": [3, 1, 2]}, index=[0, 0, 1])
    by_column = pd.DataFrame({"_id": [1, 2, 9], "a": [0.1, 0.2, 0.9]})
    expected = [np.nan, 0.1, 0.2]
    np.testing.assert_array_equal(aligned(by_column, features)["a"], expected)
    np.testing.assert_array_equal(aligned(by_column.set_index("_id")["a"], features)["a"], expected)
    by_position = pd.Series([0.3, 0.1, 0.2], index=[0, 0, 1], name="a")
    assert aligned(by_position, features)["a"].tolist() == [0.3, 0.1, 0.2]
    with pytest.raises(SchemaError, match="cannot be matched"):
        aligned(pd.Series([1.0], name="a"), features)
    with pytest.raises(SchemaError, match="no row of the features table has a label"):
        aligned(pd.DataFrame({"_id": [8], "a": [1.0]}), features)


def test_a_row_without_a_star_is_its_own() -> None:
    ids = np.array([5, 6, 7])
    keys = group_keys(ids, pd.array([10, None, 10], dtype="Int64"), 42)
    assert keys[0] == keys[2]
    assert len(set(keys)) == 2
    assert len(set(group_keys(ids, None, 42))) == 3
    by_id = pd.Series(["x", "y", "x"], index=pd.Index([7, 6, 5], name="_id"))
    assert star_names(ids, by_id).tolist() == ["x", "y", "x"]
    with pytest.raises(UsageError, match="groups has 2 values for 3 rows"):
        star_names(ids, ["x", "y"])


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_split_keeps_stars_together_and_the_share_of_members(data: st.DataObject) -> None:
    n = data.draw(st.integers(30, 200))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    options = TrainingOptions(test_size=data.draw(st.sampled_from([0.0, 0.1, 0.3])), random_state=int(rng.integers(99)))
    groups = np.array([f"star {k}" for k in rng.integers(0, n // 2, n)], dtype=object)
    kind = {name: rng.random() < 0.3 for name in set(groups)} | {groups[0]: True, groups[-1]: False}
    y = np.array([float(kind[g]) for g in groups])
    stars = {k: len({g for g in groups if kind[g] == k}) for k in (True, False)}
    if min(stars.values()) < 3:
        return
    keys = group_keys(np.arange(n), groups, options.random_state)
    parts = split(keys, y, options)
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(n))
    names = [set(groups[rows]) for rows in parts.values()]
    assert sum(map(len, names)) == len(set.union(*names))
    for k, count in stars.items():
        found = [sum(kind[g] == k for g in part) for part in names]
        n_test = min(int(np.ceil(round(options.test_size * count, 9))), count - 2)
        assert found[2] == n_test
        assert found[1] == max(int(np.ceil(round(0.1 * (count - n_test), 9))), 1)
    order = rng.permutation(n)
    keys = group_keys(np.arange(n), groups[order], options.random_state)
    again = split(keys, y[order], options)
    for name, rows in parts.items():
        assert set(order[again[name]]) == set(rows)


def test_too_few_members_are_refused() -> None:
    frame, labels, _ = simulate(60)
    labels["short"] = 0.0
    labels.loc[:1, "short"] = 1.0
    with pytest.raises(UsageError, match=r"the class 'short' has 2 members \(stars\); at least 3"):
        train(frame, labels, "short", FEW)


def test_folds_keep_stars_together_and_spread_every_class() -> None:
    _, labels, stars = simulate(900)
    y = labels.drop(columns="_id").to_numpy()
    ids = labels["_id"].to_numpy()
    fold = folds(group_keys(ids, stars, 42), y, 5)
    assert pd.Series(fold).groupby(stars).nunique().max() == 1
    first = pd.Series(fold).groupby(stars).first()
    for kind in range(3):
        counts = np.bincount(first[first.index % 3 == kind], minlength=5)
        assert np.ptp(counts) <= 1
    order = np.random.default_rng(0).permutation(len(stars))
    shuffled = folds(group_keys(ids[order], stars[order], 42), y[order], 5)
    np.testing.assert_array_equal(shuffled, fold[order])
    assert (folds(group_keys(ids, stars, 43), y, 5) != fold).mean() > 0.5


def test_imputation_and_scaling_values() -> None:
    values = np.array([[1.0, np.nan, 5.0, 0.0], [2.0, 4.0, 5.0, 0.0], [6.0, 8.0, np.nan, 0.0]])
    names = ("a", "b", "c", "d")
    options = TrainingOptions(imputation_of={"b": "mean", "c": "none", "d": "zero"}, scaling="min_max")
    prepared = fit_preparation(values, names, options)
    assert prepared.imputation == (2.0, 6.0, None, 0.0)
    assert prepared.offset == (1.0, 4.0, 5.0, 0.0)
    assert prepared.scale == (5.0, 4.0, 1.0, 1.0)
    given = np.array([[np.nan, np.nan, 6.0, 1e300]])
    np.testing.assert_array_equal(prepared.apply(given), [[np.float32(0.2), 0.5, 1.0, np.finfo(np.float32).max]])
    robust = fit_preparation(values[:, :2], names[:2], TrainingOptions(scaling="median_std"))
    assert robust.offset == (2.0, 6.0)
    assert robust.scale == (np.std([1.0, 2.0, 6.0]), 2.0)
    with pytest.raises(UsageError, match="the feature b has no value in any training row"):
        fit_preparation(values[:1], names, TrainingOptions())


def test_values_are_fitted_on_training_rows_only() -> None:
    frame, labels, stars = simulate()
    model = train(frame, labels, "long", FEW, stars)
    parts = split(group_keys(frame["_id"].to_numpy(), stars, FEW.random_state), labels["long"].to_numpy(), FEW)
    training = frame["wstd"].to_numpy()[parts["train"]]
    assert model.manifest.preparation.imputation[2] == np.nanmedian(training)
    assert model.manifest.preparation.imputation[2] != np.nanmedian(frame["wstd"])
    assert model.manifest.counts["train"]["rows"] == len(parts["train"])


def test_training_finds_the_class_and_says_how_well() -> None:
    frame, labels, stars = simulate()
    model = train(frame, labels, "long", TrainingOptions(dataset="simulated"), stars)
    manifest = model.manifest
    assert manifest.dataset == "simulated"
    assert manifest.metrics["test"]["roc_auc"] > 0.9
    keys = group_keys(frame["_id"].to_numpy(), stars, TrainingOptions().random_state)
    parts = split(keys, labels["long"].to_numpy(), TrainingOptions())
    held_out = frame.iloc[parts["test"]]
    expected = binary_metrics(labels["long"].to_numpy()[parts["test"]], model.predict(held_out))
    assert manifest.metrics["test"] == expected
    scores = model.predict(frame)
    assert scores.dtype == np.float32
    assert np.ptp(scores) > 0.9
    assert load_booster(model.content).feature_names == list(manifest.preparation.features)


def test_training_does_not_depend_on_the_order_of_rows() -> None:
    frame, labels, stars = simulate(300)
    model = train(frame, labels, "short", FEW, stars)
    order = np.random.default_rng(5).permutation(len(frame))
    shuffled = train(frame.iloc[order], labels.sample(frac=1, random_state=1), "short", FEW, stars[order])
    assert shuffled.content == model.content
    assert shuffled.manifest == model.manifest
    other = train(frame, labels, "short", replace(FEW, random_state=1), stars)
    assert other.content != model.content


def test_train_all_is_train_of_each() -> None:
    frame, labels, stars = simulate(300)
    models = train_all(frame, labels, FEW, stars)
    assert list(models) == ["short", "middle", "long"]
    alone = train(frame, labels.set_index("_id")["middle"], "middle", FEW, stars)
    assert alone == models["middle"]


def test_rows_that_cannot_be_used_are_counted() -> None:
    frame, labels, _ = simulate(300, missing=0.0)
    frame.loc[:4, "skew"] = np.nan
    frame.loc[10:12, list(FEW.features or ())] = np.inf
    labels.loc[20:29, "short"] = np.nan
    strict = replace(FEW, imputation="none")
    assert train(frame, labels, "short", FEW).manifest.counts["unused"] == 13
    model = train(frame, labels, "short", strict)
    assert model.manifest.counts["unused"] == 18
    assert np.isnan(model.predict(frame)).nonzero()[0].tolist() == [0, 1, 2, 3, 4, 10, 11, 12]


def test_wrong_tables_are_refused() -> None:
    frame, labels, _ = simulate(60)
    with pytest.raises(SchemaError, match=r"the training table has .* in 2 rows"):
        train(pd.concat([frame, frame]), labels, "short", FEW)
    with pytest.raises(SchemaError, match="needs the column _id"):
        train(frame.drop(columns="_id"), labels, "short", FEW)
    with pytest.raises(SchemaError, match=r"training needs the column skew"):
        train(frame.drop(columns="skew"), labels, "short", FEW)
    with pytest.raises(UsageError, match=r"no labels of the class 'shrot' \(did you mean 'short'\?\)"):
        train(frame, labels, "shrot", FEW)
    with pytest.raises(OptionError, match="cannot name a model file"):
        train(frame, labels.rename(columns={"short": "../short"}), "../short", FEW)


def test_saved_files(tmp_path: Path) -> None:
    frame, labels, stars = simulate(300)
    models = train_all(frame, labels, FEW, stars)
    when = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    path = models["long"].save(tmp_path, when)
    assert path == tmp_path / "long" / "long.20260131_235959.json"
    assert models["long"].save(tmp_path, when).name == "long.20260201_000000.json"
    assert len(save_models(models, tmp_path)) == 3
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]
    manifest = json.loads(path.with_suffix(".manifest.json").read_text())
    assert manifest["features"] == list(FEW.features or ())
    assert list(manifest["imputation"]) == manifest["features"]
    assert manifest["created"] == "2026-01-31T23:59:59+00:00"
    assert manifest["versions"].keys() == {"scope_dask", "xgboost", "numpy", "python"}
    assert manifest["fourier"] == "raw"
    config = json.loads(path.with_suffix(".params").read_text())
    assert config["learner"]["objective"]["name"] == "binary:logistic"


def test_metrics_against_scikit_learn() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(3)
    y, score = rng.integers(0, 2, 200), rng.integers(0, 10, 200) / 10
    found = binary_metrics(y, score)
    chosen = score >= 0.5
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, chosen), rel=1e-14)
    assert found["precision"] == pytest.approx(metrics.precision_score(y, chosen), rel=1e-14)
    assert found["recall"] == pytest.approx(metrics.recall_score(y, chosen), rel=1e-14)
    assert found["f1"] == pytest.approx(metrics.f1_score(y, chosen), rel=1e-14)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, score), rel=1e-14)


def test_undefined_metrics_are_none() -> None:
    found = binary_metrics(np.zeros(3), np.zeros(3))
    assert found["accuracy"] == 1.0
    assert [found[k] for k in ("precision", "recall", "f1", "roc_auc")] == [None] * 4
    assert binary_metrics(np.empty(0), np.empty(0))["accuracy"] is None


def test_cross_validation_never_scores_a_star_it_has_seen() -> None:
    frame, labels, _ = simulate(400, missing=0.0)
    # Nothing but the name of the star tells the class: a model that has seen the star would know it.
    rng = np.random.default_rng(8)
    stars = np.repeat(np.arange(40), 10)
    secret = rng.normal(size=40)[stars]
    frame["skew"] = frame["wstd"] = frame["iqr"] = frame[f"period_{SUFFIX}"] = secret
    labels["short"] = rng.permutation(np.repeat([0.0, 1.0], 20))[stars]
    y = labels["short"].to_numpy()
    grouped = cross_validate(frame, labels[["_id", "short"]], stars, FEW)["short"]
    leaking = cross_validate(frame, labels[["_id", "short"]], None, FEW)["short"]
    assert binary_metrics(y, leaking.to_numpy())["roc_auc"] > 0.9
    assert binary_metrics(y, grouped.to_numpy())["roc_auc"] < 0.75


def test_cross_validated_confusion() -> None:
    frame, labels, stars = simulate(300)
    frame.index = frame.index % 7
    labels.loc[3, ["short", "middle", "long"]] = np.nan
    out = cross_validate(frame, labels, stars, FEW, n_folds=3)
    assert out.index.equals(frame.index)
    assert list(out.columns) == ["short", "middle", "long"]
    assert out.isna().all(axis=1).to_numpy().nonzero()[0].tolist() == [3]
    true = labels[["short", "middle", "long"]].fillna(0).idxmax(axis=1)
    table = confusion(true, best_class(out))
    assert table.to_numpy().sum() == 299
    assert np.trace(table.to_numpy()) > 0.75 * 299
    order = np.random.default_rng(0).permutation(len(frame))
    again = cross_validate(frame.iloc[order], labels, stars[order], FEW, n_folds=3)
    np.testing.assert_array_equal(again.to_numpy(), out.to_numpy()[order])
    with pytest.raises(OptionError, match="n_folds is 1"):
        cross_validate(frame, labels, stars, FEW, n_folds=1)


def test_confusion_has_every_class_on_both_sides() -> None:
    table = confusion(["a", "a", "b", None], pd.Series(["a", "c", "b", "a"]))
    assert table.index.tolist() == table.columns.tolist() == ["a", "b", "c"]
    assert table.to_numpy().tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]
    with pytest.raises(UsageError, match="1 labels and 2 predictions"):
        confusion(["a"], ["a", "b"])
