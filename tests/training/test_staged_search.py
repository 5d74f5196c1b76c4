"""The search of XGBoost's parameters, of the options of networks, and labelled tables."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scope_dask.errors import ModelError, OptionError, SchemaError, UsageError
from scope_dask.training.fitting import train
from scope_dask.training.labelled import class_labels, columns_of, label_column, read_labelled, stars
from scope_dask.training.options import DNNOptions, GridSearch, TrainingOptions
from scope_dask.training.search import SEARCHED
from scope_dask.training.sweep import SweepOptions, sweep
from scope_dask.user_config import UserConfig
from scope_dask.user_config.training import completed, grid_search, network_options

NAMES = ("a", "b", "c")
SMALL = GridSearch(max_depth=(1, 3), min_child_weight=(1.0,), subsample=(1.0,), colsample_bytree=(0.5, 1.0), eta=(0.3,))


def table(n: int = 300, members: float = 0.4) -> tuple[pd.DataFrame, pd.Series]:
    """Return features of which two tell members only together."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=list(NAMES))
    frame.insert(0, "_id", np.arange(n))
    member = (frame["a"] * frame["b"] > 0) & (rng.random(n) < 2 * members)
    return frame, member.astype(float).rename("vnv")


def test_the_search_finds_what_cross_validation_prefers() -> None:
    import xgboost

    frame, labels = table()
    options = TrainingOptions(features=NAMES, search=SMALL, num_boost_round=20)
    manifest = train(frame, labels, "vnv", options).manifest
    trials = manifest.parameters["trials"]
    best = max(trials, key=lambda trial: trial["result"])
    assert {name: manifest.parameters[name] for name in SEARCHED} == {name: best[name] for name in SEARCHED}
    assert best["max_depth"] > 1  # one split cannot tell the product of two features
    settings = [tuple(trial[name] for name in SEARCHED) for trial in trials]
    assert len(set(settings)) == len(settings)
    # The steps around the best are tried on both sides, and none is beyond what is allowed.
    depth = best["max_depth"]
    assert {depth - 1, depth + 1} <= {trial["max_depth"] for trial in trials}
    assert {trial["subsample"] for trial in trials} == {0.9, 1.0}
    assert xgboost.__version__ == manifest.versions["xgboost"]


def test_without_enough_members_the_search_says_how_to_go_on() -> None:
    frame, labels = table(60)
    labels[:] = 0.0
    labels.iloc[:3] = 1.0
    with pytest.raises(UsageError, match="there are 1 of one of them: leave the search out"):
        train(frame, labels, "vnv", TrainingOptions(features=NAMES, search=SMALL))


def test_trees_are_added_to_a_model(tmp_path) -> None:
    frame, labels = table()
    options = TrainingOptions(features=NAMES, num_boost_round=5, early_stopping_rounds=5)
    first = train(frame, labels, "vnv", options)
    path = first.save(tmp_path)
    more = train(frame, labels, "vnv", dataclasses.replace(options, pre_trained_model=str(path), scaling="min_max"))
    assert more.manifest.parameters["rounds"] > first.manifest.parameters["rounds"]
    assert more.manifest.preparation == first.manifest.preparation
    for change, message in (
        ({"features": ("b", "a", "c")}, "was trained on other features"),
        ({"features": ("a", "b")}, "takes 3 features, and would be given 2"),
    ):
        with pytest.raises(ModelError, match=message):
            train(frame, labels, "vnv", dataclasses.replace(options, pre_trained_model=str(path), **change))


def test_ranges_of_the_configuration_include_their_end() -> None:
    ranges = {"max_depth": [3, 9, 2], "subsample": [8, 12, 2], "colsample_bytree": [5, 5, 1]}
    other = {"eta": [0.2, 0.1], "nfold": 3, "metrics": ["logloss"]}
    content = {"training": {"xgboost": {"gridsearch_params_start_stop_step": ranges, "other_training_params": other}}}
    found = grid_search(UserConfig(content))
    assert found.max_depth == (3, 5, 7, 9)
    assert found.subsample == (0.8, 1.0)
    assert found.colsample_bytree == (0.5,)
    assert (found.eta, found.n_folds, found.metric) == ((0.2, 0.1), 3, "logloss")
    assert grid_search(completed(UserConfig())) == GridSearch()
    ranges["max_depth"] = [3, 9]
    with pytest.raises(OptionError, match=r"max_depth is \[3, 9\]; expected three integers"):
        grid_search(UserConfig(content))


def test_network_options_of_a_class() -> None:
    own = {"label": "variable", "lr": 0.01, "epsilon": 1e-8, "amsgrad": 3e-4, "batch_size": 16, "balance": 2}
    dnn = {"conv_branch": False, "optimizer": "sgd"}
    options = network_options(UserConfig({"training": {"dnn": dnn, "classes": {"vnv": own}}}), "vnv")
    assert (options.lr, options.epsilon, options.amsgrad, options.batch_size) == (0.01, 1e-8, True, 16)
    assert (options.balance, options.conv_branch, options.dense_branch, options.optimizer) == (2, False, True, "sgd")
    assert network_options(UserConfig(), "vnv") == DNNOptions()
    suffixed = network_options(completed(UserConfig(), "LS"), "vnv")
    assert suffixed.period_suffix == "LS"
    assert "f1_amp_LS" in (suffixed.features or ())
    assert network_options(completed(UserConfig(), "None"), "vnv").period_suffix is None


def fake(options: DNNOptions) -> Any:
    """Return a model whose loss has its minimum where the rate is 0.02 and the rows of a step are 32."""
    loss = (np.log10(options.lr) - np.log10(0.02)) ** 2 + (options.batch_size != 32)
    history = {"val_loss": [loss + 1.0, loss], "val_auc": [0.5, 1.0 - loss]}
    return SimpleNamespace(manifest=SimpleNamespace(metrics={"history": history}), options=options)


SWEPT = {
    "lr": {"min": 1e-4, "max": 0.1, "distribution": "log_uniform_values"},
    "batch_size": {"values": [32, 64]},
    "epochs": {"value": 7},
}


@pytest.mark.parametrize("method", ["bayes", "random"])
def test_a_sweep_returns_the_best_of_its_trials(method) -> None:
    best, trials = sweep(fake, DNNOptions(), SweepOptions(method=method, run_cap=12, parameters=SWEPT))
    results = [trial.result for trial in trials]
    assert len(trials) == 12
    assert fake(best.options).manifest.metrics["history"]["val_loss"][-1] == min(results)
    assert best.options.epochs == 7
    assert all(1e-4 <= trial.settings["lr"] <= 0.1 for trial in trials)
    again = sweep(fake, DNNOptions(), SweepOptions(method=method, run_cap=12, parameters=SWEPT))[1]
    assert [trial.result for trial in again] == results


def test_a_bayesian_sweep_comes_nearer_than_chance() -> None:
    found = {}
    for method in ("bayes", "random"):
        options = SweepOptions(method=method, run_cap=15, parameters=SWEPT)
        found[method] = [
            min(t.result for t in sweep(fake, DNNOptions(random_state=seed), options)[1]) for seed in range(10)
        ]
    assert np.median(found["bayes"]) < 0.5 * np.median(found["random"])


def test_sweeps_by_grid_goals_and_options_that_are_fixed() -> None:
    parameters = {"lr": {"values": [0.001, 0.02]}, "batch_size": {"values": [64, 32]}}
    grid = SweepOptions("grid", {"goal": "maximize", "name": "val_auc"}, 10, parameters)
    best, trials = sweep(fake, DNNOptions(), grid)
    assert len(trials) == 4
    assert (best.options.lr, best.options.batch_size) == (0.02, 32)
    assert trials[-1].result == pytest.approx(1.0)
    best, trials = sweep(fake, DNNOptions(lr=0.5), grid, fixed={"lr"})
    assert [trial.settings for trial in trials] == [{"batch_size": 64}, {"batch_size": 32}]
    assert best.options.lr == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "bayess"}, r"method of the sweep is 'bayess' \(did you mean 'bayes'\?\)"),
        ({"run_cap": 0}, "run_cap of the sweep is 0"),
        ({"metric": {"name": "val_los"}}, "did you mean 'val_loss'"),
        ({"parameters": {"lrr": {"value": 1}}}, r"no option 'lrr' to sweep \(did you mean 'lr'\?\)"),
        ({"parameters": {"lr": {"min": 1.0}}}, "expected value, values, or min and max"),
        ({"parameters": {"lr": {"min": 2.0, "max": 1.0}}}, "min 2.0 and max 1.0"),
        ({"parameters": {"lr": {"mean": 2.0}}}, "the sweep of lr has 'mean'"),
        ({"method": "grid", "parameters": {"lr": {"min": 1.0, "max": 2.0}}}, "a sweep by grid needs values of lr"),
    ],
)
def test_wrong_sweeps_are_refused(change, message) -> None:
    with pytest.raises(OptionError, match=message):
        SweepOptions(**change)


def test_labels_of_a_class() -> None:
    frame = pd.DataFrame(
        {"variable": [0.9, 0.7, 0.1, np.nan], "non-variable": [0.0, 0.1, 0.9, 0.9], "EA": [1, 0, 1, 0]}
    )
    found = class_labels(frame, "variable", 0.7)
    assert found.isna().tolist() == [False, True, False, True]
    assert class_labels(frame.drop(columns="non-variable"), "variable", 0.7).isna().sum() == 1
    assert class_labels(frame, "EA", 0.7).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert label_column(frame.columns, "variable", "vnv") == "variable"
    assert label_column(["ea"], "EA", "ea") == "ea"
    with pytest.raises(SchemaError, match=r"no column 'variabl' .* \(did you mean 'variable'\?\)"):
        label_column(frame.columns, "variabl", "vnv")


def test_stars_are_told_apart_by_what_there_is() -> None:
    frame = pd.DataFrame({"obj_id": ["A", None, None, None], "Gaia_EDR3___id": pd.array([7, 7, 0, None], "Int64")})
    frame["PS1_DR1___id"] = [1, 2, 3, 0]
    found = stars(frame)
    assert found is not None
    assert found.tolist()[:3] == ["obj_id A", "Gaia_EDR3___id 7", "PS1_DR1___id 3"]
    assert pd.isna(found[3])
    assert stars(frame[[]]) is None


@pytest.mark.parametrize("ending", ["csv", "h5", "parquet"])
def test_labelled_tables_of_all_formats_are_the_same(tmp_path, ending) -> None:
    from training_tables import labelled_table

    from scope_dask.formats import write_table

    frame = labelled_table(6, dmdt=True)
    path = tmp_path / f"set.{ending}"
    write_table(frame, path, {"fourier": "raw"})
    assert set(columns_of(path)) == set(frame.columns)
    found = read_labelled(path, ["skew"], ["variable"], True)
    assert found.attrs["scope"] == {"fourier": "raw"}
    assert list(found.columns) == ["_id", "skew", "variable", "dmdt", "obj_id", "non-variable"]
    np.testing.assert_array_equal(found["_id"], frame["ztf_id"])
    np.testing.assert_array_equal(found["skew"], frame["skew"])
    np.testing.assert_allclose(np.stack(found["dmdt"]), np.stack(frame["dmdt"]))
    with pytest.raises(SchemaError, match=r"lacks skw \(did you mean 'skew'\?\)"):
        read_labelled(path, ["skw"], ["variable"], False)
