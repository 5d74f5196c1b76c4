"""Feature tables, small models and prediction files for tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from keras_files import keras2_file, network
from kowalski_documents import matchfile_id

from scope_dask.formats import write_table
from scope_dask.schema import DMDT
from scope_dask.training.fitting import train_all
from scope_dask.training.options import TrainingOptions
from scope_dask.user_config import packaged_defaults
from scope_dask.user_config.features import feature_names

SUFFIX = "ELS_ECE_EAOV"
PERIOD = f"period_{SUFFIX}"
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = feature_names(packaged_defaults(), "phenomenological", SUFFIX) or ()
SEEN = ("skew", PERIOD, f"f1_amp_{SUFFIX}", "wstd")  # by the small models
FIELD = 301


def feature_table(
    rows: int = 200, seed: int = 2, ccd: int = 1, quad: int = 1, names: tuple[str, ...] = NAMES, missing: float = 0.0
) -> pd.DataFrame:
    """Return features of light curves of a quadrant; each star has one in g, r and i, and ids of other catalogues."""
    rng = np.random.default_rng(seed)
    star = np.arange(rows) // 3
    ids = [matchfile_id(FIELD, ccd, quad, 1 + k % 3, k // 3 + 1) for k in range(rows)]
    frame = pd.DataFrame({"_id": np.array(ids, np.int64)})
    frame["ra"] = 200.0 + 0.05 * star + rng.normal(0, 2e-5, rows)
    frame["dec"] = 20.0 + 0.01 * ccd + 0.002 * quad + rng.normal(0, 2e-5, rows)
    frame["field"], frame["ccd"], frame["quad"], frame["filter"] = FIELD, ccd, quad, 1 + np.arange(rows) % 3
    values = pd.DataFrame(rng.normal(size=(rows, len(names))), columns=list(names))
    values[PERIOD] = np.exp(rng.normal(size=rows))
    frame = pd.concat([frame, values.mask(rng.random(values.shape) < missing)], axis=1)
    large = 2**60 + 10 * (1000 * ccd + 10_000 * quad + star)
    frame["Gaia_EDR3___id"] = pd.array(large, "Int64")
    frame["AllWISE___id"] = pd.array(large + 1, "Int64")
    frame["PS1_DR1___id"] = pd.array(large + 2, "Int64")
    for name, every in (("Gaia_EDR3___id", 4), ("AllWISE___id", 2), ("PS1_DR1___id", 1)):
        frame.loc[star % 5 < 5 - every, name] = pd.NA
    return frame


def with_dmdt(frame: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """Return the table with histograms, one of them missing."""
    rng = np.random.default_rng(seed)
    rows: list[Any] = list(rng.random((len(frame), 676)).astype("f4"))
    rows[1] = None
    return frame.assign(dmdt=pd.Series(rows, index=frame.index).astype(DMDT.pandas_dtype))  # type: ignore[call-overload]


def save_xgb_models(
    root: Path,
    tags: tuple[str, ...] = ("vnv", "rrlyr"),
    imputation: str = "median",
    features: tuple[str, ...] = SEEN,  # other names for these four
) -> None:
    """Train small XGBoost models and save them below a folder."""
    frame = feature_table(300, seed=5).rename(columns=dict(zip(SEEN, features, strict=True)))
    labels = pd.DataFrame({"_id": frame["_id"]})
    for k, tag in enumerate(tags):
        labels[tag] = (frame[features[k % 4]] > frame[features[k % 4]].median()).astype(float)
    options = TrainingOptions(features=features, num_boost_round=8, max_depth=3, imputation=imputation)  # type: ignore[arg-type]
    for model in train_all(frame, labels, options).values():
        model.save(root, WHEN)


def save_original_network(root: Path, tag: str = "vnv", n_features: int = len(NAMES), seed: int = 1) -> Path:
    """Save a network as SCoPe 0.9.5 leaves it: an HDF5 file of Keras 2, and nothing beside it."""
    path = root / tag / f"{tag}.20221117_001502.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(keras2_file(network(n_features, image=True, seed=seed)))
    return path


def write_features(frame: pd.DataFrame, path: Path, **metadata: Any) -> Path:
    """Write a table of features."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(frame, path, metadata)
    return path


def images(frame: pd.DataFrame) -> np.ndarray:
    """Return the histograms of a table, zeros where one is missing, shape (rows, 676)."""
    return np.stack([np.asarray(v) if isinstance(v, list | np.ndarray) else np.zeros(676) for v in frame["dmdt"]])
