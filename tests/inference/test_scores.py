"""Scores: model artefacts, loading, and the stage."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.tokenize import tokenize

from scope_dask import tally
from scope_dask.errors import ModelError, SchemaError
from scope_dask.inference.models import Manifest, Models, load_models, read_manifest, score_of
from scope_dask.inference.scores import SCORES, score_partition, scores
from scope_dask.schema import feature_schema
from scope_dask.training.fitting import TrainedModel, save_models, train_all
from scope_dask.training.options import TrainingOptions

SUFFIX = "ELS_ECE_EAOV"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FEATURES = ("skew", f"period_{SUFFIX}", f"f1_amp_{SUFFIX}", "wstd")


def simulate(n: int = 300, seed: int = 2) -> pd.DataFrame:
    """Return a features table (identification, statistics, one period algorithm) with missing values."""
    rng = np.random.default_rng(seed)
    names = feature_schema((SUFFIX,)).without("dmdt").names
    frame = pd.DataFrame({name: rng.normal(size=n) for name in names})
    frame = frame.mask(rng.random(frame.shape) < 0.1)
    frame.insert(0, "_id", rng.permutation(10**15 + np.arange(n)))
    frame.insert(1, "ra", rng.uniform(0, 360, n))
    frame.insert(2, "filter", rng.integers(1, 4, n))
    return frame


@pytest.fixture(scope="module")
def trained() -> dict[str, TrainedModel]:
    frame = simulate()
    noisy = frame.fillna(0.0)
    labels = pd.DataFrame(
        {
            "_id": frame["_id"],
            "vnv": (noisy["skew"] > 0).astype(float),
            "rr lyr": (noisy["wstd"] + noisy["skew"] > 1).astype(float),
        }
    )
    return train_all(frame, labels, TrainingOptions(features=FEATURES, num_boost_round=30))


@pytest.fixture(scope="module")
def folder(trained: dict[str, TrainedModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for model in trained.values():
        model.save(root, WHEN)
    return root


@pytest.fixture(scope="module")
def models(folder: Path) -> Models:
    return load_models(folder)


def test_scores_of_a_saved_model_are_those_of_the_trained_one(trained: dict[str, TrainedModel], models: Models) -> None:
    frame = simulate(seed=3)
    out = scores(frame, models)
    assert list(out.columns) == ["_id", "ra", "filter", "rr lyr_xgb", "vnv_xgb"]
    for tag, model in trained.items():
        assert out[f"{tag}_xgb"].dtype == np.float32
        np.testing.assert_array_equal(out[f"{tag}_xgb"], model.predict(frame))
    assert out["vnv_xgb"].nunique() > 20


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_scores_do_not_depend_on_partitions_and_order(models: Models, partitions: int) -> None:
    frame = simulate(seed=4)
    expected = scores(frame, models)
    shuffled = frame.sample(frac=1, random_state=partitions).reset_index(drop=True)
    lazy = scores(dd.from_pandas(shuffled, npartitions=partitions, sort=False), models)
    assert lazy.dtypes.to_dict() == expected.dtypes.to_dict()
    found = lazy.compute(scheduler="threads").set_index("_id")
    pd.testing.assert_frame_equal(found.loc[expected["_id"]], expected.set_index("_id"), check_exact=True)


def test_one_row_and_no_row(models: Models) -> None:
    frame = simulate(seed=5)
    whole = scores(frame, models)
    pd.testing.assert_frame_equal(scores(frame.iloc[[17]], models), whole.iloc[[17]], check_exact=True)
    empty = scores(frame.iloc[:0], models)
    assert len(empty) == 0
    assert empty.dtypes.to_dict() == whole.dtypes.to_dict()


def test_missing_features_take_the_values_of_the_manifest(models: Models) -> None:
    frame = simulate(seed=6)
    model = models.models[1]
    values = dict(zip(model.preparation.features, model.preparation.imputation, strict=True))
    frame["skew"] = np.where(np.arange(len(frame)) % 2, np.nan, np.inf)
    filled = frame.assign(skew=values["skew"])
    expected = scores(filled, models)
    # The median of this batch is far from the one of the manifest: it must not matter.
    frame["wstd"] = filled["wstd"] = frame["wstd"].fillna(values["wstd"])
    frame.loc[0, "skew"] = 100.0
    np.testing.assert_array_equal(scores(frame, models)["vnv_xgb"][1:], expected["vnv_xgb"][1:])


def test_a_row_without_any_feature_has_no_score(models: Models) -> None:
    frame = simulate(20)
    frame.loc[3, list(FEATURES)] = np.nan
    out = scores(frame, models)
    assert out["vnv_xgb"].isna().to_numpy().nonzero()[0].tolist() == [3]
    assert tally.history(out)[0]["set_aside"] == []


def test_a_feature_that_is_not_imputed_sets_the_row_aside(models: Models) -> None:
    frame = simulate(20).fillna(0.5)
    frame.loc[5, "skew"] = np.nan
    frame.loc[6, list(FEATURES)] = np.nan
    vnv = models.models[1]
    strict = replace(vnv, preparation=replace(vnv.preparation, imputation=(None, 0.0, 0.0, 0.0)))
    out = scores(frame, Models((models.models[0], strict)))
    assert out["vnv_xgb"].isna().to_numpy().nonzero()[0].tolist() == [5, 6]
    assert out["rr lyr_xgb"].isna().to_numpy().nonzero()[0].tolist() == [6]
    noted = tally.history(out)[0]["set_aside"]
    assert noted == [(frame.loc[5, "_id"], "a feature is missing that is not imputed by the models vnv")]


def test_scaled_models_score_alike(tmp_path: Path) -> None:
    frame = simulate()
    labels = pd.DataFrame({"_id": frame["_id"], "a": (frame["skew"].fillna(0) > 0).astype(float)})
    for scaling in ("none", "min_max", "median_std"):
        options = TrainingOptions(features=FEATURES, num_boost_round=20, scaling=scaling)
        model = train_all(frame, labels, options)["a"]
        loaded = load_models(model.save(tmp_path / scaling, WHEN))
        assert loaded.models[0].preparation.scaling == scaling
        np.testing.assert_array_equal(scores(frame, loaded)["a_xgb"], model.predict(frame))
        assert model.manifest.metrics["test"]["roc_auc"] > 0.9


def test_building_the_graph_reads_no_rows(models: Models) -> None:
    def fail(part: pd.DataFrame) -> pd.DataFrame:
        raise AssertionError("a row was read")

    meta = simulate(5).iloc[:0]
    frame = dd.from_map(fail, [meta, meta], meta=meta)
    booster_calls = _cache_size()
    lazy = scores(frame, models)
    assert lazy.npartitions == 2
    assert _cache_size() == booster_calls
    with dask.config.set({"tokenize.ensure-deterministic": True}):
        assert tokenize(models) == tokenize(pickle.loads(pickle.dumps(models)))
        assert tokenize(models) != tokenize(Models(models.models[:1]))


def _cache_size() -> int:
    from scope_dask.inference import models as module

    return int(module._cached_score.cache_info().currsize)


def test_missing_features_are_told_before_anything_runs(models: Models) -> None:
    frame = simulate(10).drop(columns=["wstd", f"period_{SUFFIX}"])
    lazy = dd.from_pandas(frame, npartitions=2)
    message = r"the model 'rr lyr' needs columns .*\(so do 1 others\): period_ELS_ECE_EAOV.*, wstd.*compute them"
    with pytest.raises(ModelError, match=message):
        scores(lazy, models)
    with pytest.raises(ModelError, match=message):
        SCORES(lazy, models)
    wrong = lazy.assign(wstd="x", **{f"period_{SUFFIX}": 1.0})
    with pytest.raises(SchemaError, match="wstd is str"):
        scores(wrong, models)


def test_the_kind_of_fourier_columns_must_match(models: Models) -> None:
    frame = simulate(10)
    with pytest.raises(ModelError, match="trained on 'raw' Fourier columns, the table has 'documented'"):
        scores(frame, models, fourier="documented")
    same_in_both = ("skew", f"f1_power_{SUFFIX}", f"f1_b_{SUFFIX}", f"period_{SUFFIX}")
    model = models.models[0]
    free = replace(model, preparation=replace(model.preparation, features=same_in_both))
    assert free.fourier_features == []
    assert len(scores(frame, Models((free,)), fourier="documented")) == 10


def test_integer_and_nullable_features_are_numbers(models: Models) -> None:
    frame = simulate(30)
    frame["skew"] = np.round(frame["skew"])
    other = frame.assign(skew=frame["skew"].astype("Int64"))
    pd.testing.assert_frame_equal(scores(other, models), scores(frame, models))


def test_threads_share_one_booster(models: Models) -> None:
    frame = simulate(4000, seed=9)
    expected = scores(frame, models)
    parts = [frame.iloc[i : i + 200] for i in range(0, 4000, 200)] * 5
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda part: score_partition(part, models), parts))
        boosters = set(map(id, pool.map(score_of, [models.models[0]] * 20)))
    assert len(boosters) == 1
    for part, out in zip(parts, found, strict=True):
        np.testing.assert_array_equal(out["vnv_xgb"], expected.loc[part.index, "vnv_xgb"])


def test_the_newest_model_of_each_class_is_taken(trained: dict[str, TrainedModel], tmp_path: Path) -> None:
    old = trained["vnv"].save(tmp_path, WHEN)
    new = trained["vnv"].save(tmp_path, WHEN.replace(year=2027))
    save_models({"rr lyr": trained["rr lyr"]}, tmp_path)
    found = load_models(tmp_path)
    assert found.tags == ["rr lyr", "vnv"]
    assert found.models[1].path == str(new.resolve())
    assert load_models(tmp_path / "vnv").models[0].path == str(new.resolve())
    assert load_models(str(old)).models[0].path == str(old.resolve())
    assert load_models([old, tmp_path / "rr lyr"]).columns == ["vnv_xgb", "rr lyr_xgb"]
    with pytest.raises(ModelError, match="two models give the column vnv_xgb"):
        load_models([old, new])


def test_manifest_round_trip(folder: Path, trained: dict[str, TrainedModel]) -> None:
    manifest = read_manifest(folder / "vnv" / "vnv.20260102_030405.json")
    assert replace(manifest, created="") == trained["vnv"].manifest
    assert Manifest.from_json(manifest.to_json(), "here") == manifest


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda m: m.with_suffix(".manifest.json").unlink(),
            "has no manifest, so the features .* are not known",
        ),
        (lambda m: m.with_suffix(".manifest.json").write_text("{"), "is not a manifest of a model"),
        (lambda m: _change(m, features=["skew", "n"]), "is not a manifest of a model .*KeyError"),
        (lambda m: _change(m, algorithm="knn"), "of a model of kind 'knn'; expected xgb or dnn"),
        (lambda m: _change(m, format=99), "has format 99, this version reads up to 3"),
        (
            lambda m: m.write_bytes(m.read_bytes()[:-100]),
            "is not the one of its manifest .*damaged or was replaced",
        ),
        (lambda m: m.unlink(), "holds no models; expected files"),
    ],
)
def test_broken_models_are_told(trained: dict[str, TrainedModel], tmp_path: Path, damage: Any, message: str) -> None:
    damage(trained["vnv"].save(tmp_path, WHEN))
    with pytest.raises(ModelError, match=message):
        load_models(tmp_path)


def _change(model: Path, **changes: Any) -> None:
    path = model.with_suffix(".manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_absent_models_are_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist; expected a model file or a folder"):
        load_models(tmp_path / "nothing")
    with pytest.raises(ModelError, match="no path of a model was given"):
        load_models([])


def test_a_model_that_changes_after_loading_is_refused(trained: dict[str, TrainedModel], tmp_path: Path) -> None:
    path = trained["vnv"].save(tmp_path, WHEN)
    models = load_models(path)
    path.write_bytes(trained["rr lyr"].content)
    with pytest.raises(ModelError, match="is not the one of its manifest"):
        scores(simulate(5), models)
    path.unlink()
    with pytest.raises(ModelError, match="it must be there on every worker"):
        scores(simulate(5), models)


def test_importing_the_stage_loads_nothing_heavy() -> None:
    code = (
        "import sys, scope_dask.inference.scores, scope_dask.training.xgb;"
        "sys.exit(' '.join({'xgboost', 'sklearn'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
