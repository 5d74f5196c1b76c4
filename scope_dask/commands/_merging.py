"""Downloaded classifications with the features of their light curves, and a training set updated by votes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scope_dask.errors import SchemaError, SourceError
from scope_dask.fritz.download import NEEDED, RADIUS_ARCSEC, split

if TYPE_CHECKING:
    from scope_dask.fritz.mappers import Mapper
    from scope_dask.sources.kowalski import Kowalski
    from scope_dask.user_config import UserConfig

ID = "ztf_id"


@dataclass(frozen=True)
class Merging:
    """How classifications and features are brought together.

    Attributes
    ----------
    catalog : str
        Of features.
    query_rows : int
        Light curves of a query.
    mapper : dict of str to Entry
    filters : bool
        Add the filter of each light curve from the catalogue of sources.
    least_votes : int or None
        Only classifications with as many net votes, of reviewed sources; None: all.
    """

    catalog: str
    query_rows: int
    mapper: Mapper
    filters: bool = False
    least_votes: int | None = None


def merged(kowalski: Kowalski, table: pd.DataFrame, how: Merging) -> pd.DataFrame:
    """Return a row for each light curve within 2 arcsec of a classified source, with features and labels.

    A light curve that is near several sources belongs to the nearest. The labels are the keys of the mapper: the
    probability where Fritz has the class, else 0; of several of the same class the newest counts.

    Parameters
    ----------
    kowalski : Kowalski
    table : pandas.DataFrame
        ``obj_id``, ``ra``, ``dec``, ``classification`` and ``probability``.
    how : Merging

    Raises
    ------
    SchemaError
        If a column is missing.
    KowalskiError
    """
    from scope_dask.sources.kowalski import features_by_id, neighbours, sources_by_id

    needed = ["obj_id", "ra", "dec", "classification", "probability"]
    needed += [] if how.least_votes is None else ["sum_votes"]
    if missing := [name for name in needed if name not in table.columns]:
        raise SchemaError(f"features cannot be merged: the sources have no column {', '.join(missing)}")
    labelled = with_labels(table, how)
    ra, dec = (labelled[name].to_numpy(np.float64, na_value=np.nan) for name in ("ra", "dec"))
    place = np.isfinite(ra) & np.isfinite(dec)
    labelled = labelled[place].reset_index(drop=True)
    near = neighbours(kowalski, ra[place], dec[place], RADIUS_ARCSEC, how.catalog, ["_id"])
    near = near.sort_values(["separation", "position"], kind="stable").drop_duplicates("_id")
    ids = near["_id"].to_numpy(np.int64)
    features = features_by_id(kowalski, ids, catalog=how.catalog, query_rows=how.query_rows)
    features = features.rename(columns={"_id": ID})
    if how.filters and len(ids):
        known = sources_by_id(kowalski, ids).set_index("_id")["filter"]
        features["filter"] = features[ID].map(known).astype("Int64")
    owner = pd.DataFrame({ID: ids, "position": near["position"].to_numpy(np.int64)})
    own = labelled.drop(columns=[name for name in labelled.columns if name in features.columns])
    own.insert(0, "position", np.arange(len(own)))
    whole = features.merge(owner, on=ID, validate="1:1").merge(own, on="position", validate="m:1")
    first = [ID, "obj_id"]
    return whole[[*first, *(name for name in whole.columns if name not in (*first, "position"))]]


def with_labels(table: pd.DataFrame, how: Merging) -> pd.DataFrame:
    """Return the sources with classifications, a column for each key of the mapper, without the texts."""
    columns: dict[str, list[str]] = {}
    for column, entry in how.mapper.items():
        if entry.uploaded:
            columns.setdefault(entry.fritz_label, []).append(column)
    names = [name for own in columns.values() for name in own]
    values: dict[str, list[float]] = {name: [] for name in names}
    kept: list[int] = []
    unknown: dict[str, None] = {}
    for number, row in enumerate(table.to_dict("records")):
        found = dict(_classes(row, how.least_votes))
        unknown |= dict.fromkeys(label for label in found if label not in columns)
        if not found.keys() & columns.keys():
            continue
        kept.append(number)
        for label, own in columns.items():
            for name in own:
                values[name].append(found.get(label, 0.0))
    if unknown:
        warnings.warn(f"the taxonomy mapper does not have {', '.join(unknown)}: left out", UserWarning, stacklevel=2)
    texts = [name for name in (*NEEDED, "labellers", "sum_votes", "ztf_id_origin", ID) if name in table.columns]
    frame = table.drop(columns=texts).iloc[kept].reset_index(drop=True)
    frame = frame.drop(columns=[name for name in names if name in frame.columns])
    return pd.concat([frame, pd.DataFrame(values, dtype=np.float64)], axis=1)


def _classes(row: Mapping[str, Any], least_votes: int | None) -> Iterator[tuple[str, float]]:
    """Yield (class, probability) of a source, the oldest first; where votes count, those with enough of them."""
    classes, values = split(row["classification"]), [float(value) for value in split(row["probability"])]
    if len(values) != len(classes):
        raise SchemaError(f"{row['obj_id']}: {len(classes)} classifications have {len(values)} probabilities")
    votes: list[int] = []
    if least_votes is not None:
        votes = [int(value) for value in split(row["sum_votes"])]
        if len(votes) != len(classes):
            raise SchemaError(f"{row['obj_id']}: {len(classes)} classifications have {len(votes)} sums of votes")
        if "labellers" in row and not split(row["labellers"]):
            return  # nobody has looked at it
    for number, (label, value) in enumerate(zip(classes, values, strict=True)):
        if least_votes is None or votes[number] >= least_votes:
            yield label, value


def imputed(frame: pd.DataFrame, config: UserConfig) -> pd.DataFrame:
    """Return the rows with missing features imputed by the strategies of the configuration, fitted on these rows."""
    from scope_dask.commands._imputing import imputing_of
    from scope_dask.training.imputation import fit_imputation

    strategies = {name: kind for name, kind in imputing_of(config, False).strategies.items() if name in frame.columns}
    if not strategies or frame.empty:
        warnings.warn("there are no features to impute", UserWarning, stacklevel=2)
        return frame
    return fit_imputation(frame, strategies).complete(frame)


def training_set(config: UserConfig) -> Path:
    """Return the training set of the configuration.

    Raises
    ------
    SourceError
        If it is not there.
    """
    dataset = config.section("training", "dataset")
    if dataset is None or not Path(dataset).expanduser().is_file():
        raise SourceError(
            f"--update-training-set needs the training set, training: dataset: of the configuration; {dataset} is no "
            "file"
        )
    return Path(dataset).expanduser()


def updated(training: pd.DataFrame, fresh: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    """Return a training set with new light curves added, and the labels of those that it has replaced.

    Parameters
    ----------
    training : pandas.DataFrame
        With ``ztf_id``.
    fresh : pandas.DataFrame
        As `merged` gives it.
    labels : list of str
        Columns of labels. Of a light curve that is in both, a label that is above 0 in `fresh` is taken from there.

    Raises
    ------
    SchemaError
        If the training set has no ``ztf_id``.
    """
    if ID not in training.columns:
        raise SchemaError(f"the training set has no column {ID}; it has {', '.join(map(str, training.columns[:10]))} …")
    there = fresh[fresh[ID].isin(training[ID])].set_index(ID)
    result = training.copy()
    for name in labels:
        if name not in fresh.columns or (name not in result.columns and not (fresh[name] > 0).any()):
            continue
        new = result[ID].map(there[name])
        old = result[name] if name in result.columns else pd.Series(0.0, index=result.index)
        result[name] = new.where(new > 0, old)
    more = fresh[~fresh[ID].isin(training[ID])]
    result = pd.concat([result, more[[name for name in more.columns if name in result.columns]]], ignore_index=True)
    known = [name for name in labels if name in result.columns]
    result[known] = result[known].fillna(0.0)
    return result
