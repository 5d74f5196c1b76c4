"""The user's config.yaml: a whole default file of SCoPe 0.9.5, its secrets, and what it means for our options."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml
from user_files import BASE, ONTOLOGICAL, PHENOMENOLOGICAL, WEIGHTED, defaults, read

from scope_dask.errors import OptionError, SourceError
from scope_dask.extraction.dmdt import DM_EDGES, DT_EDGES
from scope_dask.extraction.features import FeatureOptions
from scope_dask.training.options import TrainingOptions
from scope_dask.user_config import UserConfig, check_configs, packaged_defaults, read_user_config, unknown_keys
from scope_dask.user_config.features import (
    feature_generation,
    feature_names,
    feature_options,
    feature_statistics,
    imputation_strategies,
    period_algorithms,
    period_suffix,
)
from scope_dask.user_config.file import KEYS
from scope_dask.user_config.training import training_options


def test_the_default_file_is_as_large_as_the_original() -> None:
    content = defaults()
    assert len(yaml.safe_dump(content, sort_keys=False).splitlines()) > 1400
    sets = content["features"]
    assert [len(sets[name]) for name in ("phenomenological", "ontological")] == [46, 83]
    assert len(content["training"]["classes"]) == 52


def test_the_default_file_loads_without_a_warning(user_folder) -> None:
    config = read(defaults())
    assert config.path == "config.yaml"
    assert config.get("kowalski", "collections", "sources") == "ZTF_sources_20240117"
    assert config.get("fields_to_exclude", default=[]) == []
    assert period_suffix(config) == "ELS_ECE_EAOV"


def test_no_file_means_our_defaults(user_folder) -> None:
    config = read_user_config()
    assert config == UserConfig()
    assert feature_options(config) == FeatureOptions()
    assert training_options(config, "vnv") == TrainingOptions()
    assert feature_names(config, "phenomenological", None) is None


@pytest.mark.parametrize("content", [None, {}, {"training": None, "features": None, "kowalski": None}])
def test_absent_and_empty_keys_mean_our_defaults(user_folder, content) -> None:
    config = read(content)
    assert feature_options(config) == FeatureOptions()
    assert training_options(config, "vnv") == TrainingOptions()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"trainin": {}}, r"config\.yaml: there is no key trainin \(did you mean 'training'\?\), it is not used"),
        ({"fritz": {"tokn": "x"}}, r"there is no key fritz: tokn \(did you mean 'token'\?\)"),
        (
            {"features": {"mine": {"ad": {"inclde": 1}}}},
            r"no key features: mine: ad: inclde \(did you mean 'include'\?\)",
        ),
        ({"slurm": 1}, r"there is no key slurm, it is not used"),
    ],
)
def test_unknown_keys_are_named_in_a_warning(user_folder, content, sentence) -> None:
    with pytest.warns(UserWarning, match=sentence):
        read(content)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b\n", r"config\.yaml: expected keys and values, found list"),
        ("kowalski: 3\n", r"config\.yaml: kowalski: expected keys and values, found 3"),
        ("kowalski: {hosts: [a]}\n", r"config\.yaml: kowalski: hosts: expected keys and values, found \['a'\]"),
    ],
)
def test_values_where_keys_belong(user_folder, text, sentence) -> None:
    Path("config.yaml").write_text(text)
    with pytest.raises(OptionError, match=sentence):
        read_user_config()


def test_a_named_file_must_exist_and_be_yaml(user_folder) -> None:
    with pytest.raises(SourceError, match=r"there is no configuration mine\.yaml: "):
        read_user_config("mine.yaml")
    Path("mine.yaml").write_text("a: [")
    with pytest.raises(SourceError, match=r"mine\.yaml is not YAML"):
        read_user_config("mine.yaml")


def test_tokens_of_the_environment_win_and_no_secret_is_shown(user_folder, monkeypatch) -> None:
    content = defaults()
    content["kowalski"]["hosts"] = {
        "kowalski": {"token": "in-the-file-1"},
        "gloria": {"token": "in-the-file-2"},
        "mine": {"username": "me", "password": "in-the-file-3"},
    }
    variables = {
        "KOWALSKI_INSTANCE_TOKEN": "of-the-environment-1",
        "MELMAN_INSTANCE_TOKEN": "of-the-environment-2",
        "MINE_INSTANCE_TOKEN": "of-the-environment-3",
        "FRITZ_TOKEN": "of-the-environment-4",
        "WANDB_API_KEY": "of-the-environment-5",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    config = read(content)
    keys = [("kowalski", "hosts", name, "token") for name in ("kowalski", "melman", "mine", "gloria")]
    keys += [("fritz", "token"), ("wandb", "token"), ("kowalski", "hosts", "mine", "password")]
    found = [config.get(*key).get_secret_value() for key in keys]
    assert found == [
        *("of-the-environment-1", "of-the-environment-2", "of-the-environment-3"),
        *("in-the-file-2", "of-the-environment-4", "of-the-environment-5", "in-the-file-3"),
    ]
    differences = check_configs(config, UserConfig(defaults()))
    shown = " ".join([repr(config), str(config), f"{config.content}", *map(str, differences)])
    assert not re.search("in-the-file|of-the-environment", shown)
    assert "kowalski: hosts: kowalski: token: None → SecretStr('**********')" in map(str, differences)


def test_differences_from_the_defaults(user_folder) -> None:
    content = copy.deepcopy(defaults())
    content["kowalski"]["timeout"] = 60
    del content["inference"]["fields_to_run"]
    content["training"]["classes"]["vnv"]["threshold"] = 0.5
    expected = UserConfig(defaults())
    assert [str(d) for d in check_configs(read(content), expected)] == [
        "kowalski: timeout: 300 → 60",
        "training: classes: vnv: threshold: 0.7 → 0.5",
        "inference: fields_to_run: [296] → None",
    ]
    assert check_configs(read(defaults()), expected) == []


def whole_file() -> dict:
    """The default file of SCoPe 0.9.5 with all its sections at their size, and the user's own values in each."""
    content = copy.deepcopy(dict(packaged_defaults().content))
    kept = content["features"]["ontological"]
    numbered = [name for name, entry in kept.items() if entry["dtype"] in ("float", "Int64")][:74]
    content["feature_stats"] = {n: {"min": 0, "max": 1.5, "median": 0.5, "mean": 0.5, "std": 0.1} for n in numbered}
    guide = {f"class {k}": {"coordinates": [22.1, k], "period": 0.55, "title": f"class {k}"} for k in range(60)}
    content["docs"] = {"field_guide": guide}
    content["kowalski"] |= {"hosts": {"kowalski": {"username": "me", "password": "hush-1"}}, "timeout": 60}
    content["fritz"] |= {"token": "hush-2", "sleep_time": 1}
    content["wandb"] |= {"entity": "mine", "token": "hush-3"}
    algorithms = {"CPU": ["LS", "CE"], "GPU": ["ELS", "ECE", "EAOV"]}
    content["feature_generation"] |= {"path_to_features": "/data", "dataset": "ids.csv", "ids_skipGaia": "ids.json"}
    content["feature_generation"] |= {"period_algorithms": algorithms, "fields_to_run": [297, 298]}
    content["training"] |= {"dataset": "tools/fritzDownload/merged.parquet"}
    content["inference"] |= {"fields_to_run": [297], "path_to_preds": "/preds"}
    return content | {"fields_to_exclude": [1, 2]}


def test_the_whole_file_of_an_existing_user_loads_and_every_section_is_read(user_folder) -> None:
    config = read(whole_file())
    assert len(Path("config.yaml").read_text().splitlines()) > 2000
    assert config.get("kowalski", "timeout") == 60
    assert config.get("fritz", "sleep_time") == 1
    assert config.get("wandb", "sweep_config_dnn", "parameters", "lr") == {"min": 3e-4, "max": 3e-2}
    assert "hush" not in repr(config)
    assert config.get("taxonomy")[0]["subclasses"][0]["subclasses"][0]["class"] == "vnv"
    assert period_algorithms(config, "CPU") == ("LS", "CE")
    generation = feature_generation(config)
    assert (generation.path_to_features, generation.dataset, generation.ids_skipGaia) == (
        "/data",
        "ids.csv",
        "ids.json",
    )
    assert generation.fields_to_run == (297, 298)
    assert len(generation.cesium_features) == 59
    statistics = feature_statistics(config)
    assert len(statistics) == 74
    assert statistics["ad"] == {"min": 0.0, "max": 1.5, "median": 0.5, "mean": 0.5, "std": 0.1}
    assert (config.section("inference", "path_to_preds"), config.section("fields_to_exclude")) == ("/preds", [1, 2])
    assert len(config.section("training", "classes")) == 52
    assert training_options(config, "vnv").dataset == "tools/fritzDownload/merged.parquet"
    strategies = imputation_strategies(config, "ELS_ECE_EAOV")
    assert (strategies["AllWISE__w1mpro"], strategies["period_ELS_ECE_EAOV"]) == ("regress", "none")


def test_the_packaged_defaults_are_those_of_the_code() -> None:
    from scope_dask.sources.kowalski import EXTERNAL_FEATURES, Collections

    defaults = packaged_defaults()
    assert list(unknown_keys(defaults.content, KEYS)) == []
    assert defaults.get("kowalski", "collections") == {
        name: getattr(Collections(), name) for name in ("gaia", "sources", "features", "classifications", "alerts")
    }
    generation = feature_generation(defaults)
    assert {k: set(v) for k, v in generation.external_catalogs.items()} == {
        k: set(v) for k, v in EXTERNAL_FEATURES.items()
    }
    assert len(set(generation.cesium_features)) == 59
    assert feature_options(UserConfig()) == FeatureOptions()
    assert defaults.get("feature_generation", "dmdt_ints") == {"dtints": DT_EDGES.tolist(), "dmints": DM_EDGES.tolist()}
    sets = [defaults.get("features", name) for name in ("phenomenological", "ontological")]
    assert [len(entries) for entries in sets] == [46, 83]
    assert [sum(entry["include"] for entry in entries.values()) for entries in sets] == [35, 61]
    assert [name for name, entry in sets[0].items() if entry["include"]] == BASE
    found = {tag: entry["label"].replace(" ", "_") for tag, entry in defaults.get("training", "classes").items()}
    expected = dict(pair.split("=") for pair in f"{PHENOMENOLOGICAL} {ONTOLOGICAL}".split())
    assert found == expected
    weighted = [tag for tag, entry in defaults.get("training", "classes").items() if entry["weight_per_class"]]
    assert sorted(weighted) == sorted(WEIGHTED)
