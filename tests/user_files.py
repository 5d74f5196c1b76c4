"""A ``config.yaml`` as large as the one of SCoPe 0.9.5, and the reading of small ones."""

from __future__ import annotations

from pathlib import Path

import yaml

from scope_dask.extraction.dmdt import DM_EDGES, DT_EDGES
from scope_dask.schema import FOURIER, STATISTICS
from scope_dask.user_config import UserConfig, read_user_config

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


def read(content) -> UserConfig:
    Path("config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return read_user_config()
