"""What an existing ``config.yaml`` says of features, their generation and training."""

from __future__ import annotations

import pytest
from user_files import BASE, defaults, read

from scope_dask.errors import OptionError
from scope_dask.user_config import UserConfig
from scope_dask.user_config.features import (
    FeatureGeneration,
    feature_generation,
    feature_names,
    feature_options,
    feature_statistics,
    imputation_strategies,
    period_algorithms,
)
from scope_dask.user_config.training import training_options


@pytest.mark.parametrize("tag", ["vnv", "ea"])
def test_training_options_of_a_phenomenological_class(user_folder, tag) -> None:
    options = training_options(read(defaults()), tag)
    assert options.features == tuple(f"{n}_ELS_ECE_EAOV" if n.startswith("f1_") else n for n in BASE)
    assert len(options.features) == 35
    assert options.weight_per_class is (tag == "ea")
    assert (options.max_depth, options.min_child_weight, options.eta) == (3, 1.0, 0.3)
    assert (options.subsample, options.colsample_bytree, options.eval_metric) == (0.6, 0.6, "auc")
    assert (options.random_state, options.num_boost_round, options.early_stopping_rounds) == (42, 999, 10)
    assert (options.threshold, options.period_suffix) == (0.7, "ELS_ECE_EAOV")
    assert options.dataset == "tools/fritzDownload/merged.parquet"
    assert options.imputation_of == dict.fromkeys(options.features, "none")


def test_every_class_of_the_default_file_has_training_options(user_folder) -> None:
    config = read(defaults())
    for tag in defaults()["training"]["classes"]:
        assert training_options(config, tag).features is not None


def test_imputation_strategies_of_the_default_file(user_folder) -> None:
    options = training_options(read(defaults()), "agn")
    assert options.features is not None
    assert len(options.features) == 61
    assert options.imputation_of["n_ztf_alerts"] == "zero"
    assert options.imputation_of["AllWISE__w1sigmpro"] == "median"
    assert options.imputation_of["AllWISE__w1mpro"] == "regress"
    assert options.imputation_of["period_ELS_ECE_EAOV"] == "none"


@pytest.mark.parametrize(("written", "expected"), [("None", None), (None, None), ("LS", "LS")])
def test_a_period_suffix_of_none_means_no_suffix(user_folder, written, expected) -> None:
    content = defaults()
    content["features"]["info"]["period_suffix"] = written
    options = training_options(read(content), "vnv")
    assert options.period_suffix == expected
    assert options.features is not None
    assert ("f1_amp" if expected is None else "f1_amp_LS") in options.features


def test_feature_names_keep_the_order_of_the_file(user_folder) -> None:
    sets = {"mine": {"wstd": {"include": True}, "period": {"periodic": True}, "ad": {"include": False}, "sw": None}}
    assert feature_names(read({"features": sets}), "mine", "LS") == ("wstd", "period_LS", "sw")
    with pytest.raises(OptionError, match=r"config\.yaml: there is no feature set 'mini' \(did you mean 'mine'\?\)"):
        feature_names(read({"features": sets}), "mini", None)


def test_feature_options_take_the_algorithms_of_the_file(user_folder) -> None:
    config = read(defaults())
    assert feature_options(config).periods.algorithms == ("LS", "CE")
    assert feature_options(config, "GPU").periods.algorithms == ("ELS", "ECE", "EAOV")


def test_an_unknown_algorithm_is_named_with_its_place(user_folder) -> None:
    config = read({"feature_generation": {"period_algorithms": {"CPU": ["AOV_cython"]}}})
    with pytest.raises(OptionError, match=r"config\.yaml: feature_generation: period_algorithms: .*'AOV_cython'"):
        feature_options(config)


def test_other_dmdt_bins_are_refused(user_folder) -> None:
    config = read({"feature_generation": {"dmdt_ints": {"dtints": [0, 1, 2]}}})
    with pytest.raises(
        OptionError, match=r"dmdt_ints: dtints is \[0, 1, 2\], but dmdt is made with the edges \[0\.0, "
    ):
        feature_options(config)


def test_an_unknown_class_is_named_with_the_nearest(user_folder) -> None:
    with pytest.raises(
        OptionError, match=r"config\.yaml: there is no class 'vnw' \(did you mean 'vnv'\?\); there are vnv"
    ):
        training_options(read(defaults()), "vnw")


def test_a_wrong_value_is_named_with_its_class(user_folder) -> None:
    content = defaults()
    content["training"]["classes"]["vnv"]["threshold"] = "high"
    with pytest.raises(OptionError, match=r"config\.yaml: training of vnv: threshold is 'high'; "):
        training_options(read(content), "vnv")


def test_a_section_of_the_file_stands_for_the_whole_section(user_folder) -> None:
    config = read({"training": {"classes": {"mine": {"label": "mine"}}}, "feature_generation": {"dataset": "mine.csv"}})
    assert list(config.section("training", "classes")) == ["mine"]
    assert config.section("kowalski", "collections", "alerts") == "ZTF_alerts"
    generation = feature_generation(config)
    assert generation.dataset == "mine.csv"
    assert len(generation.cesium_features) == 59
    assert period_algorithms(config, "CPU") == ("LS_CE_AOV",)
    assert feature_statistics(config) == {}
    assert feature_generation(UserConfig()).fields_to_run == (296,)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"cesium_features": 3}, r"config\.yaml: feature_generation: cesium_features is 3; "),
        (
            {"external_catalog_features": {"A": 1}},
            r"feature_generation: A: expected a projection with the fields, found 1",
        ),
        (
            {"external_catalog_features": {"A": {"filter": "g < 13", "projection": {"_id": 1}}}},
            r"feature_generation: A: expected a filter of keys and values, found 'g < 13'",
        ),
    ],
)
def test_wrong_values_of_the_feature_generation(user_folder, section, sentence) -> None:
    with pytest.raises(OptionError, match=sentence):
        feature_generation(read({"feature_generation": section}))


def test_wrong_statistics_and_strategies(user_folder) -> None:
    with pytest.raises(OptionError, match=r"config\.yaml: feature_stats: expected numbers below each feature"):
        feature_statistics(read({"feature_stats": {"ad": {"min": "low"}}}))
    with pytest.raises(
        OptionError, match=r"features: mine: ad: impute_strategy is 'medain' \(did you mean 'median'\?\)"
    ):
        imputation_strategies(read({"features": {"mine": {"ad": {"impute_strategy": "medain"}}}}), None)


def test_a_projection_names_the_fields_that_are_wanted_and_a_filter_the_objects(user_folder) -> None:
    catalogs = {"A": {"projection": {"_id": 1, "b": 0, "c": 1}}, "B": {"filter": {"g": 1}, "projection": {"g": 1}}}
    generation = feature_generation(read({"feature_generation": {"external_catalog_features": catalogs}}))
    assert isinstance(generation, FeatureGeneration)
    assert generation.external_catalogs == {"A": ("_id", "c"), "B": ("g",)}
    assert generation.external_filters == {"A": {}, "B": {"g": 1}}
