"""The user's config.yaml: a whole default file of SCoPe 0.9.5, its secrets, and what it means for our options."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import yaml

from scope_dask.errors import OptionError, SourceError
from scope_dask.extraction.dmdt import DM_EDGES, DT_EDGES
from scope_dask.extraction.features import FeatureOptions
from scope_dask.schema import FOURIER, STATISTICS
from scope_dask.training.options import TrainingOptions
from scope_dask.user_config import UserConfig, check_configs, packaged_defaults, read_user_config, unknown_keys
from scope_dask.user_config.features import (
    FeatureGeneration,
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

PHENOMENOLOGICAL = (
    "vnv=variable pnp=periodic sin=sinusoidal el=ellipsoidal saw=sawtooth mp=multi_periodic longt=long_timescale "
    "e=eclipsing ea=EA eb=EB ew=EW wp=wrong_period hp=half_period dp=double_period i=irregular fla=flaring dip=dipping "
    "bogus=bogus ext=extended blend=blend bright=bright_star artfct=ccd_artifact"
)
ONTOLOGICAL = (
    "agn=AGN bis=binary_star blher=BL_Her blyr=Beta_Lyr cbin=compact_binary ceph=Cepheid ceph2=Cepheid_type-II cv=CV "
    "dscu=Delta_Scu emsms=detached_eclipsing_MS-MS f=F hwvir=eclipsing_sdB+dM_(HW_Vir) lpv=LPV mir=Mira "
    "nnser=eclipsing_WD+dM_(NN_Ser) o=O osarg=OSARG puls=pulsator rdbkp=Redback_pulsar rrlyr=RR_Lyrae rrab=RR_Lyrae_ab "
    "rrc=RR_Lyrae_c rrd=RR_Lyrae_d rrblz=RR_Lyrae_Blazhko rscvn=RS_CVn rvtau=RV_Tau srv=SRV wuma=W_UMa wvir=W_Virginis "
    "yso=YSO"
)
WEIGHTED = ["ea", "artfct", "cbin", "f", "hwvir", "nnser", "o", "rdbkp", "rvtau"]
BASE = sorted([c.name for c in STATISTICS if c.name != "n"] + [f"f1_{name}" for name in FOURIER])
MAGNITUDES = {
    "AllWISE": ("w1mpro", "w2mpro", "w3mpro", "w4mpro"),
    "Gaia_EDR3": ("parallax", "phot_bp_mean_mag", "phot_g_mean_mag", "phot_rp_mean_mag"),
    "PS1_DR1": tuple(f"{band}MeanPSFMag" for band in "girzy"),
}
ERRORS = {
    "AllWISE": ("w1sigmpro", "w2sigmpro"),
    "Gaia_EDR3": ("parallax_error", "phot_bp_rp_excess_factor"),
    "PS1_DR1": tuple(f"{band}MeanPSFMagErr" for band in "girzy"),
}
NOT_INCLUDED = "ra dec field ccd quad n pdot _id filter"


def feature(name: str, include: bool = True, **more) -> dict:
    periodic = name in ("period", "significance", "pdot") or name.startswith("f1_")
    return {"include": include, "dtype": "float", "periodic": periodic, **more}


def feature_sets() -> dict:
    """46 phenomenological and 83 ontological features, 35 and 61 of them included."""
    phenomenological = {name: feature(name) for name in BASE}
    extra = ["period", "significance", "n_ztf_alerts", "mean_ztf_alert_braai", *NOT_INCLUDED.split()[:7]]
    phenomenological |= {name: feature(name, include=False) for name in extra}
    strategies = dict.fromkeys([*BASE, "period", "significance"], "none")
    strategies |= dict.fromkeys(["n_ztf_alerts", "mean_ztf_alert_braai"], "zero")
    for catalogue, names in ERRORS.items():
        strategies |= {f"{catalogue}__{name}": "median" for name in names}
    for catalogue, names in MAGNITUDES.items():
        strategies |= {f"{catalogue}__{name}": "regress" for name in names}
    ontological = {name: feature(name, impute_strategy=strategy) for name, strategy in strategies.items()}
    others = [*NOT_INCLUDED.split(), "coordinates", "dmdt", "obj_id", *(f"Gaia_EDR3__pm{k}" for k in range(10))]
    ontological |= {name: feature(name, include=False, impute_strategy="None") for name in others}
    return {"info": {"period_suffix": "ELS_ECE_EAOV"}, "phenomenological": phenomenological, "ontological": ontological}


def classes() -> dict:
    made = {}
    for features, pairs in (("phenomenological", PHENOMENOLOGICAL), ("ontological", ONTOLOGICAL)):
        for pair in pairs.split():
            tag, label = pair.split("=")
            made[tag] = {
                "label": label.replace("_", " "),
                "features": features,
                "threshold": 0.7,
                "balance": None,
                "weight_per_class": tag in WEIGHTED,
            }
    made["vnv"] |= {"batch_size": 64, "amsgrad": 0.00345, "epsilon": 3.4e-08, "lr": 0.02229}
    return made


def defaults() -> dict:
    """The default file of SCoPe 0.9.5: its keys and values, made anew."""
    login = {"token": None, "port": 443, "protocol": "https"}
    sets = feature_sets()
    stats = {name: {"min": 0.0, "max": 1.0, "median": 0.5, "mean": 0.5, "std": 0.1} for name in sets["ontological"]}
    return {
        "kowalski": {
            "hosts": {name: {"token": None} for name in ("kowalski", "gloria", "melman")},
            "port": 443,
            "protocol": "https",
            "timeout": 300,
            "collections": {
                "gaia": "Gaia_EDR3",
                "sources": "ZTF_sources_20240117",
                "features": "ZTF_source_features_DR16",
                "classifications": "ZTF_source_classifications_DR16",
                "alerts": "ZTF_alerts",
            },
            "max_timestamp_hjd": 2459951.5,
        },
        "fritz": login | {"host": "fritz.science", "max_attempts": 10, "sleep_time": 5},
        "wandb": {"entity": "ztf-scope", "project": "scope", "token": None, "sweep_config_dnn": {"method": "bayes"}},
        "taxonomy": {"class": "tds", "subclasses": [{"class": "vnv", "name": "variable", "subclasses": None}]},
        "docs": {"field_guide": {"rr lyr": {"coordinates": [22.1, 33.2], "period": 0.55, "title": "RR Lyrae"}}},
        "features": sets,
        "feature_stats": stats,
        "feature_generation": {
            "path_to_features": None,
            "dataset": "tools/fritzDownload/merged.parquet",
            "ids_skipGaia": "tools/ids.json",
            "period_algorithms": {"CPU": ["LS", "CE"], "GPU": ["ELS", "ECE", "EAOV"]},
            "fields_to_run": [296],
            "cesium_features": ["avg_err", "skew"],
            "external_catalog_features": {"AllWISE": {"filter": {}, "projection": {"_id": 1, "w1mpro": 1}}},
            "dmdt_ints": {"dmints": DM_EDGES.tolist(), "dtints": DT_EDGES.tolist()},
        },
        "training": {
            "dataset": "tools/fritzDownload/merged.parquet",
            "xgboost": {
                "gridsearch_params_start_stop_step": {
                    "max_depth": [3, 8, 2],
                    "min_child_weight": [1, 6, 2],
                    "subsample": [6, 11, 2],
                    "colsample_bytree": [6, 11, 2],
                },
                "other_training_params": {
                    "eta": [0.3, 0.2, 0.1, 0.05],
                    "seed": 42,
                    "nfold": 5,
                    "metrics": ["auc"],
                    "objective": "binary:logistic",
                    "eval_metric": "auc",
                    "early_stopping_rounds": 10,
                    "num_boost_round": 999,
                },
                "plot_params": {"cm_include_count": False, "cm_include_percent": True, "annotate_scores": False},
            },
            "dnn": {
                "dense_branch": True,
                "conv_branch": True,
                "loss": "binary_crossentropy",
                "optimizer": "adam",
            },
            "classes": classes(),
        },
        "inference": {"fields_to_run": [296], "path_to_preds": None},
        "fields_to_exclude": None,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder, no tokens in the environment."""
    for name in ("KOWALSKI_INSTANCE", "GLORIA_INSTANCE", "MELMAN_INSTANCE", "FRITZ"):
        monkeypatch.delenv(f"{name}_TOKEN", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(content) -> UserConfig:
    Path("config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return read_user_config()


def test_the_default_file_is_as_large_as_the_original() -> None:
    content = defaults()
    assert len(yaml.safe_dump(content, sort_keys=False).splitlines()) > 1400
    sets = content["features"]
    assert [len(sets[name]) for name in ("phenomenological", "ontological")] == [46, 83]
    assert len(content["training"]["classes"]) == 52


def test_the_default_file_loads_without_a_warning(folder) -> None:
    config = read(defaults())
    assert config.path == "config.yaml"
    assert config.get("kowalski", "collections", "sources") == "ZTF_sources_20240117"
    assert config.get("fields_to_exclude", default=[]) == []
    assert period_suffix(config) == "ELS_ECE_EAOV"


def test_no_file_means_our_defaults(folder) -> None:
    config = read_user_config()
    assert config == UserConfig()
    assert feature_options(config) == FeatureOptions()
    assert training_options(config, "vnv") == TrainingOptions()
    assert feature_names(config, "phenomenological", None) is None


@pytest.mark.parametrize("content", [None, {}, {"training": None, "features": None, "kowalski": None}])
def test_absent_and_empty_keys_mean_our_defaults(folder, content) -> None:
    config = read(content)
    assert feature_options(config) == FeatureOptions()
    assert training_options(config, "vnv") == TrainingOptions()


@pytest.mark.parametrize("tag", ["vnv", "ea"])
def test_training_options_of_a_phenomenological_class(folder, tag) -> None:
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


def test_every_class_of_the_default_file_has_training_options(folder) -> None:
    config = read(defaults())
    for tag in defaults()["training"]["classes"]:
        assert training_options(config, tag).features is not None


def test_imputation_strategies_of_the_default_file(folder) -> None:
    options = training_options(read(defaults()), "agn")
    assert options.features is not None
    assert len(options.features) == 61
    assert options.imputation_of["n_ztf_alerts"] == "zero"
    assert options.imputation_of["AllWISE__w1sigmpro"] == "median"
    assert options.imputation_of["AllWISE__w1mpro"] == "regress"
    assert options.imputation_of["period_ELS_ECE_EAOV"] == "none"


@pytest.mark.parametrize(("written", "expected"), [("None", None), (None, None), ("LS", "LS")])
def test_a_period_suffix_of_none_means_no_suffix(folder, written, expected) -> None:
    content = defaults()
    content["features"]["info"]["period_suffix"] = written
    options = training_options(read(content), "vnv")
    assert options.period_suffix == expected
    assert options.features is not None
    assert ("f1_amp" if expected is None else "f1_amp_LS") in options.features


def test_feature_names_keep_the_order_of_the_file(folder) -> None:
    sets = {"mine": {"wstd": {"include": True}, "period": {"periodic": True}, "ad": {"include": False}, "sw": None}}
    assert feature_names(read({"features": sets}), "mine", "LS") == ("wstd", "period_LS", "sw")
    with pytest.raises(OptionError, match=r"config\.yaml: there is no feature set 'mini' \(did you mean 'mine'\?\)"):
        feature_names(read({"features": sets}), "mini", None)


def test_feature_options_take_the_algorithms_of_the_file(folder) -> None:
    config = read(defaults())
    assert feature_options(config).periods.algorithms == ("LS", "CE")
    assert feature_options(config, "GPU").periods.algorithms == ("ELS", "ECE", "EAOV")


def test_an_unknown_algorithm_is_named_with_its_place(folder) -> None:
    config = read({"feature_generation": {"period_algorithms": {"CPU": ["AOV_cython"]}}})
    with pytest.raises(OptionError, match=r"config\.yaml: feature_generation: period_algorithms: .*'AOV_cython'"):
        feature_options(config)


def test_other_dmdt_bins_are_refused(folder) -> None:
    config = read({"feature_generation": {"dmdt_ints": {"dtints": [0, 1, 2]}}})
    with pytest.raises(
        OptionError, match=r"dmdt_ints: dtints is \[0, 1, 2\], but dmdt is made with the edges \[0\.0, "
    ):
        feature_options(config)


def test_an_unknown_class_is_named_with_the_nearest(folder) -> None:
    with pytest.raises(
        OptionError, match=r"config\.yaml: there is no class 'vnw' \(did you mean 'vnv'\?\); there are vnv"
    ):
        training_options(read(defaults()), "vnw")


def test_a_wrong_value_is_named_with_its_class(folder) -> None:
    content = defaults()
    content["training"]["classes"]["vnv"]["threshold"] = "high"
    with pytest.raises(OptionError, match=r"config\.yaml: training of vnv: threshold is 'high'; "):
        training_options(read(content), "vnv")


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
def test_unknown_keys_are_named_in_a_warning(folder, content, sentence) -> None:
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
def test_values_where_keys_belong(folder, text, sentence) -> None:
    Path("config.yaml").write_text(text)
    with pytest.raises(OptionError, match=sentence):
        read_user_config()


def test_a_named_file_must_exist_and_be_yaml(folder) -> None:
    with pytest.raises(SourceError, match=r"there is no configuration mine\.yaml: "):
        read_user_config("mine.yaml")
    Path("mine.yaml").write_text("a: [")
    with pytest.raises(SourceError, match=r"mine\.yaml is not YAML"):
        read_user_config("mine.yaml")


def test_tokens_of_the_environment_win_and_no_secret_is_shown(folder, monkeypatch) -> None:
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


def test_differences_from_the_defaults(folder) -> None:
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


def test_the_whole_file_of_an_existing_user_loads_and_every_section_is_read(folder) -> None:
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


def test_a_section_of_the_file_stands_for_the_whole_section(folder) -> None:
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
            {"external_catalog_features": {"A": {"filter": {"g": {"$lt": 13}}, "projection": {"_id": 1}}}},
            r"feature_generation: A: a filter is not supported, found \{'g'",
        ),
    ],
)
def test_wrong_values_of_the_feature_generation(folder, section, sentence) -> None:
    with pytest.raises(OptionError, match=sentence):
        feature_generation(read({"feature_generation": section}))


def test_wrong_statistics_and_strategies(folder) -> None:
    with pytest.raises(OptionError, match=r"config\.yaml: feature_stats: expected numbers below each feature"):
        feature_statistics(read({"feature_stats": {"ad": {"min": "low"}}}))
    with pytest.raises(
        OptionError, match=r"features: mine: ad: impute_strategy is 'medain' \(did you mean 'median'\?\)"
    ):
        imputation_strategies(read({"features": {"mine": {"ad": {"impute_strategy": "medain"}}}}), None)


def test_a_projection_names_the_fields_that_are_wanted(folder) -> None:
    config = read(
        {"feature_generation": {"external_catalog_features": {"A": {"projection": {"_id": 1, "b": 0, "c": 1}}}}}
    )
    assert feature_generation(config).external_catalogs == {"A": ("_id", "c")}
    assert isinstance(feature_generation(config), FeatureGeneration)
