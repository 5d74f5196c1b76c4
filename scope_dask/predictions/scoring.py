"""Features to predictions: identification and scores of every light curve, and what it lacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from scope_dask import tally
from scope_dask.inference.models import Models
from scope_dask.inference.preparation import inputs_of
from scope_dask.inference.scores import SCORES
from scope_dask.schema import DMDT, SOURCES, score_schema
from scope_dask.stage import run_kernel

MATCHES = ("Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id")
"""Identifiers of the nearest source in other catalogues; 0: there is none."""
NAMES = ("obj_id", "fritz_name")
_BLANK = "it has none of the features of the models"
_TEXT = pd.StringDtype(na_value=np.nan)
_LIST = pd.ArrowDtype(pa.list_(pa.string()))


def identification(columns: Sequence[str], period: str) -> dict[str, str]:
    """Return the columns of predictions that are taken over from features, as {name: name there}.

    Parameters
    ----------
    columns : sequence of str
        Of the features.
    period : str
        Name of the column with the period.
    """
    name = next((c for c in NAMES if c in columns), None)
    wanted = {"_id": "_id", **({"obj_id": name} if name else {})}
    own = [*MATCHES, "ra", "dec", period, "field", "ccd", "quad", "filter"]
    return wanted | {c: c for c in own if c in columns}


def read_columns(models: Models, taken: dict[str, str]) -> list[str]:
    """Return the columns of the features that are read."""
    dmdt = [DMDT.name] if models.dmdt else []
    return list(dict.fromkeys([*taken.values(), *models.features, *dmdt]))


def predict_partition(features: pd.DataFrame, models: Models, taken: dict[str, str]) -> pd.DataFrame:
    """Return identification and scores of the rows of a partition, all of them and in their order.

    A row that a model cannot score is NaN there, and noted with the reason; so is one without any feature.
    """
    scored = run_kernel(features, SCORES, models)
    history = tally.history(scored)
    own = pd.DataFrame({name: _identified(name, features[there]) for name, there in taken.items()})
    out = pd.concat([own, scored[models.columns]], axis=1)
    ids = out["_id"].to_numpy()
    blank = out[models.columns].isna().all(axis=1).to_numpy()
    noted = {i for i, _ in history[-1]["set_aside"]}
    history[-1]["set_aside"] += [(int(i), _BLANK) for i in ids[blank] if i not in noted]
    return tally.put(out, history)


def _identified(name: str, column: pd.Series) -> pd.Series:
    """Return a column with one type, whatever is missing in it."""
    if name == "obj_id":
        return column.astype(_TEXT)
    if name in MATCHES:
        return column.fillna(0).astype(np.int64)
    if name in SOURCES and SOURCES[name].dtype == "int64":
        return column.astype("Int64").fillna(0).astype(np.int64)
    return column.astype(np.float64)


def predictions_meta(models: Models, taken: dict[str, str], like: pd.DataFrame) -> pd.DataFrame:
    """Return predictions without rows.

    Raises
    ------
    ModelError, SchemaError
        If the features lack something that a model needs, or it is of another type.
    """
    SCORES.meta(like, models)
    own = pd.DataFrame({name: _identified(name, like[there]) for name, there in taken.items()})
    return pd.concat([own, score_schema(models.columns).empty()], axis=1)


def lacking_partition(features: pd.DataFrame, models: Models) -> pd.DataFrame:
    """Return which features of the models each light curve lacks: ``_id`` and ``missing``, a list of names."""
    names = np.array([*models.features, *[DMDT.name] * models.dmdt], dtype=object)
    inputs = inputs_of(features, models.features, models.dmdt)
    lacks = np.isnan(inputs.values)
    if inputs.has_dmdt is not None:
        lacks = np.column_stack([lacks, ~inputs.has_dmdt])
    offsets = np.concatenate([[0], np.cumsum(lacks.sum(axis=1))]).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(names[np.nonzero(lacks)[1]], pa.string()))
    missing = pd.Series(pd.arrays.ArrowExtensionArray(lists), index=features.index)
    return pd.DataFrame({"_id": features["_id"].to_numpy(np.int64), "missing": missing})


def lacking_meta() -> pd.DataFrame:
    """Return the table of missing features without rows."""
    return pd.DataFrame({"_id": pd.Series(dtype=np.int64), "missing": pd.Series(dtype=_LIST)})


def tables(features: Any, models: Models, taken: dict[str, str], flags: bool) -> dict[str, Any]:
    """Return the lazy tables of a run: predictions by algorithm and, if wanted, ``flags``; features are read once.

    Parameters
    ----------
    features : dask.dataframe.DataFrame
    models : Models
    taken : dict
        As `identification` gives it.
    flags : bool
        Whether to tell which features are missing.

    Raises
    ------
    ModelError, SchemaError
        If the features lack something that a model needs.
    """
    meta = predictions_meta(models, taken, features._meta)
    how = {"enforce_metadata": False}
    all_of_them = features.map_partitions(predict_partition, models, taken, meta=meta, token="scores", **how)
    found = {}
    for algorithm in dict.fromkeys(model.algorithm for model in models):
        columns = [*taken, *(model.column for model in models if model.algorithm == algorithm)]
        found[algorithm] = all_of_them[columns]
    if flags:
        found["flags"] = features.map_partitions(lacking_partition, models, meta=lacking_meta(), token="flags", **how)
    return found
