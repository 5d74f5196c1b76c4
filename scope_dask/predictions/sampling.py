"""Choosing sources for people to look at: so many of each class, drawn reproducibly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scope_dask.crossmatch.sphere import Positions
from scope_dask.formats import common_schema, read_table
from scope_dask.predictions.scoring import MATCHES
from scope_dask.predictions.sources import RADIUS_ARCSEC, Statistic, consolidate, identifiers, source_numbers

NOT_VARIABLE = "nonvar"


@dataclass(frozen=True)
class SampleOptions:
    """How sources are drawn.

    Attributes
    ----------
    per_class : int
        Sources of each class.
    top : bool
        Those with the highest scores; else at random.
    all_labels : bool
        Keep all scores of a source that reach the threshold; else those of the classes that it was drawn for.
    threshold : float
        A source is of a class if its score is at least this.
    random_state : int
    """

    per_class: int = 1000
    top: bool = False
    all_labels: bool = False
    threshold: float = 0.9
    random_state: int = 9


def per_field(
    files: Sequence[Path],
    columns: Sequence[str],
    statistic: Statistic = "mean",
    training: pd.DataFrame | None = None,
    radius_arcsec: float = RADIUS_ARCSEC,
) -> pd.DataFrame:
    """Return one row a source of the predictions of a field; for columns see `consolidate`.

    Only names that the predictions have are there.

    Parameters
    ----------
    files : sequence of Path
    columns : sequence of str
        Of scores.
    statistic : {"mean", "median", "max"}
    training : pandas.DataFrame, optional
        Sources that are left out: with ``ztf_id`` or ``_id``, and perhaps identifiers, ``ra``, ``dec``.
    radius_arcsec : float
    """
    there = common_schema(files).names
    identity = [n for n in there if n in ("_id", "obj_id", "ra", "dec", *MATCHES) or n.startswith("period")]
    wanted = [*identity, *(n for n in columns if n in there)]
    frame = pd.concat([read_table(path, wanted) for path in files], ignore_index=True)
    if training is not None:
        number = source_numbers(frame, radius_arcsec)
        known = number[in_training(frame, training, radius_arcsec)]
        frame = frame[~np.isin(number, known)]
    return consolidate(frame, statistic, radius_arcsec, [n for n in columns if n in there], name_all=False)


def in_training(frame: pd.DataFrame, training: pd.DataFrame, radius_arcsec: float = RADIUS_ARCSEC) -> np.ndarray:
    """Tell which rows are of the training set: by the light curve, an identifier, the name or the position."""
    name = "ztf_id" if "ztf_id" in training else "_id"
    found = np.zeros(len(frame), bool)
    if name in training:
        found |= frame["_id"].isin(training[name]).to_numpy()
    for match in MATCHES:
        ids = identifiers(frame, match)
        found |= (ids > 0) & np.isin(ids, identifiers(training, match))
    if "obj_id" in frame and "obj_id" in training:
        found |= frame["obj_id"].isin(training["obj_id"].dropna()).to_numpy()
    if {"ra", "dec"} <= set(frame.columns) & set(training.columns):
        known = training[["ra", "dec"]].dropna()
        if len(known):
            i, _ = Positions(frame["ra"], frame["dec"]).pairs(Positions(known["ra"], known["dec"]), radius_arcsec)
            found[i] = True
    return found


def across_fields(fields: Iterable[pd.DataFrame], columns: Sequence[str], radius_arcsec: float) -> pd.DataFrame:
    """Return one row a source of tables of sources of fields: the mean over the fields.

    Of sources with the same name, which is that of the position to 0.1", the one with most light curves is kept.
    """
    tables = [frame for frame in fields if len(frame)]
    if not tables:
        return pd.DataFrame()
    whole = pd.concat(tables, ignore_index=True)
    found = consolidate(whole, "mean", radius_arcsec, [n for n in columns if n in whole])
    found = found.sort_values(["n_lightcurves", "_id"], ascending=[False, True], kind="stable")
    return found.drop_duplicates("obj_id").sort_values("_id", ignore_index=True)


def with_not_variable(sources: pd.DataFrame, algorithm: str) -> pd.DataFrame:
    """Return the table with the score of not being variable, 1 − that of vnv to two decimals, where there is none."""
    name, variable = f"{NOT_VARIABLE}_{algorithm}", f"vnv_{algorithm}"
    if name in sources or variable not in sources:
        return sources
    return sources.assign(**{name: (1.0 - sources[variable].astype(np.float64)).round(2).astype(np.float32)})


def sample(
    sources: pd.DataFrame, columns: Sequence[str], options: SampleOptions | None = None
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Draw sources of each class.

    Classes with few candidates come first; sources that are drawn already and are of the class count. Which source is
    drawn depends on its name, the class and the seed: not on the order of the rows, and hardly on the other sources.

    Parameters
    ----------
    sources : pandas.DataFrame
        One row a source, with ``obj_id`` and `columns`.
    columns : sequence of str
        Of scores, one a class.
    options : SampleOptions, optional

    Returns
    -------
    sample : pandas.DataFrame
        In the order of `sources`; scores that are not kept are 0.
    counts : dict of str to int
        Sources by column.
    """
    options = options or SampleOptions()
    scores = sources[list(columns)].to_numpy(np.float64)
    of_class = scores >= np.float32(options.threshold)
    drawn = np.zeros_like(of_class)
    for k in np.argsort(of_class.sum(axis=0), kind="stable"):
        candidates = np.flatnonzero(of_class[:, k])
        if options.top:
            key = [sources["obj_id"].to_numpy(str)[candidates], -scores[candidates, k]]
            drawn[candidates[np.lexsort(key)][: options.per_class], k] = True
            continue
        there = drawn[candidates].any(axis=1)
        drawn[candidates[there], k] = True
        rest = candidates[~there]
        place = np.argsort(_draw(sources["obj_id"].iloc[rest], str(columns[k]), options.random_state), kind="stable")
        drawn[rest[place[: max(0, options.per_class - int(there.sum()))]], k] = True
    chosen = drawn.any(axis=1)
    kept = (of_class if options.all_labels else drawn)[chosen]
    found = sources[chosen].reset_index(drop=True)
    found[list(columns)] = np.where(kept, scores[chosen], 0.0).astype(np.float32)
    return found, {name: int(count) for name, count in zip(columns, kept.sum(axis=0), strict=True)}


def _draw(names: pd.Series, column: str, random_state: int) -> np.ndarray:
    """Return a number for each name that is as if at random."""
    key = f"{random_state % 10**16:016d}"
    found: np.ndarray = pd.util.hash_array((column + " " + names.astype(str)).to_numpy(object), hash_key=key)
    return found
