"""Warming up compiles every kernel that a worker of a run calls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
from numba.core.dispatcher import Dispatcher
from prediction_tables import save_original_network

from scope_dask.conditioning.lightcurves import lightcurves
from scope_dask.crossmatch import LocalCatalog, crossmatch, drop_close_bright_stars
from scope_dask.extraction.features import FeatureOptions, features
from scope_dask.extraction.warm_up import warm_up
from scope_dask.inference.models import load_models
from scope_dask.inference.preparation import Preparation
from scope_dask.inference.scores import scores
from scope_dask.periods.options import PeriodOptions
from scope_dask.simulate import SimulationOptions, simulate_sources

PERIODS = PeriodOptions(("ELS_ECE_EAOV",), max_freq=1.0)


def compiled() -> dict[str, list[Any]]:
    """Return the types that each kernel of the package is compiled for, in the modules that are loaded."""
    modules = [module for name, module in sys.modules.items() if name.startswith("scope_dask.")]
    kernels = {
        f"{value.py_func.__module__}.{value.py_func.__name__}": value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, Dispatcher)
    }
    return {name: list(map(str, kernel.signatures)) for name, kernel in kernels.items() if kernel.signatures}


def test_nothing_is_compiled_after_the_warm_up(tmp_path: Path) -> None:
    warm_up(PERIODS)
    before = compiled()
    curves = lightcurves(simulate_sources(SimulationOptions(n_light_curves=6, light_curves_per_partition=6)))
    table = features(curves, FeatureOptions(PERIODS, device="cpu")).compute(scheduler="sync")
    stars = pd.DataFrame({"_id": table["_id"], "ra": table["ra"], "dec": table["dec"]})
    stars.assign(phot_g_mean_mag=12.0, bp_rp=0.5).to_parquet(tmp_path / "gaia.parquet")
    gaia = LocalCatalog(tmp_path / "gaia.parquet")
    fields = {"Gaia_EDR3": ("_id", "bp_rp")}
    assert crossmatch(drop_close_bright_stars(table, gaia), {"Gaia_EDR3": gaia}, fields=fields)["_id"].size
    names = tuple(name for name in table if name.endswith("ELS_ECE_EAOV"))[:4]
    network = save_original_network(tmp_path / "old", n_features=len(names))
    models = load_models(network, Preparation(names, ("none",) * len(names), (), ()))
    assert scores(table, models)["vnv_dnn"].notna().all()
    assert compiled() == before
