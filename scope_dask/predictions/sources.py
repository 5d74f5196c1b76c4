"""Light curves to sources: which light curves are of one star, and one row of scores for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from scope_dask.crossmatch.sphere import chord, unit_vectors
from scope_dask.predictions.scoring import MATCHES
from scope_dask.sources.lists import position_name

Statistic = Literal["mean", "median", "max"]
STATISTICS: tuple[Statistic, ...] = ("mean", "median", "max")
RADIUS_ARCSEC = 1.5
N_LIGHTCURVES = "n_lightcurves"
ALGORITHMS = ("dnn", "xgb")


def score_columns(columns: Sequence[str], algorithms: Sequence[str] = ALGORITHMS) -> list[str]:
    """Return the columns of scores: those that end in ``_dnn`` or ``_xgb``."""
    return [name for name in columns if name.rpartition("_")[2] in algorithms and name.rpartition("_")[0]]


def identifiers(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Return a column of identifiers as int64, 0 where there is none (or no such column)."""
    if name not in frame:
        return np.zeros(len(frame), np.int64)
    found: np.ndarray = frame[name].fillna(0).to_numpy(dtype=np.int64)
    return found


def source_numbers(frame: pd.DataFrame, radius_arcsec: float = RADIUS_ARCSEC) -> np.ndarray:
    """Tell which rows are of one source, whatever their order.

    Rows with the same name ``obj_id`` are of one source; else those with the same identifier in Gaia; else in AllWISE,
    then in PS1. A row without the better identifier joins the rows that have it and share its other one, where these
    are of one source; else the nearest source within the radius that has a better one, unless the two differ in another
    catalogue. Rows without any identifier belong to the nearest source within the radius, or are linked with each other
    within it; they are never dropped.

    Parameters
    ----------
    frame : pandas.DataFrame
        With some of ``obj_id``, ``Gaia_EDR3___id``, ``AllWISE___id``, ``PS1_DR1___id`` (0 or missing: none), and
        perhaps ``ra`` and ``dec`` (deg).
    radius_arcsec : float

    Returns
    -------
    numpy.ndarray, shape (rows,), int64
        Numbers from 0 in the order of first occurrence.
    """
    source = np.full(len(frame), -1, np.int64)
    if "obj_id" in frame:
        _join(source, pd.factorize(frame["obj_id"])[0] + 1)
    for name in MATCHES:
        _join(source, identifiers(frame, name))
    if {"ra", "dec"} <= set(frame.columns):
        vectors = unit_vectors(frame["ra"], frame["dec"])
    else:
        vectors = np.full((len(frame), 3), np.nan)
    _join_to_better(source, frame, vectors, chord(radius_arcsec))
    if (source < 0).any():
        _join_nameless(source, vectors, chord(radius_arcsec))
    return np.asarray(pd.factorize(source)[0], np.int64)


def _join(source: np.ndarray, ids: np.ndarray) -> None:
    """Give rows that have no source yet, and an identifier, the source of the rows that share it, or a new one."""
    there = ids > 0
    known, code = np.unique(ids[there], return_inverse=True)
    own = source[there]
    least, most = np.full(len(known), np.iinfo(np.int64).max), np.full(len(known), -1)
    assigned = own >= 0
    np.minimum.at(least, code[assigned], own[assigned])
    np.maximum.at(most, code[assigned], own[assigned])
    new = source.max(initial=-1) + 1 + np.arange(len(known))
    found = np.where(least == most, most, new)
    source[there] = np.where(assigned, own, found[code])


def _join_to_better(source: np.ndarray, frame: pd.DataFrame, vectors: np.ndarray, limit: float) -> None:
    """Join sources without an identifier in Gaia (AllWISE) to the nearest within the chord that has one there."""
    size = int(source.max(initial=-1)) + 1
    there = source >= 0
    has = np.zeros((size, len(MATCHES)), bool)
    for k, name in enumerate(MATCHES):
        has[source[there & (identifiers(frame, name) > 0)], k] = True
    rank = np.argmax(has, axis=1)
    if "obj_id" in frame:
        rank[source[there & frame["obj_id"].notna().to_numpy()]] = 0
    there &= np.isfinite(vectors).all(axis=1)
    for own in range(1, len(MATCHES)):
        weak, strong = (np.flatnonzero(there)[test(rank[source[there]], own)] for test in (np.equal, np.less))
        if not (len(weak) and len(strong)):
            continue
        distance, nearest = cKDTree(vectors[strong]).query(vectors[weak], distance_upper_bound=limit)
        near = np.isfinite(distance)
        groups, targets = source[weak[near]], source[strong[nearest[near]]]
        alike = ~(has[groups] & has[targets]).any(axis=1)
        groups, targets, distance = groups[alike], targets[alike], distance[near][alike]
        order = np.lexsort((distance, groups))
        groups, first = np.unique(groups[order], return_index=True)
        targets = targets[order][first]
        becomes = np.arange(size)
        becomes[groups] = targets
        np.logical_or.at(has, targets, has[groups])
        source[source >= 0] = becomes[source[source >= 0]]


def _join_nameless(source: np.ndarray, vectors: np.ndarray, limit: float) -> None:
    """Give the rows that have no source yet one by their position; where there is none they are on their own."""
    alone = np.flatnonzero(source < 0)
    source[alone] = source.max(initial=-1) + 1 + np.arange(len(alone))
    finite = np.isfinite(vectors).all(axis=1)
    named = np.setdiff1d(np.flatnonzero(finite), alone)
    alone = alone[finite[alone]]
    if len(named) and len(alone):
        distance, nearest = cKDTree(vectors[named]).query(vectors[alone], distance_upper_bound=limit)
        near = np.isfinite(distance)
        source[alone[near]] = source[named[nearest[near]]]
        alone = alone[~near]
    if len(alone):
        pairs = cKDTree(vectors[alone]).query_pairs(limit, output_type="ndarray")
        links = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(alone), len(alone)))
        _, group = connected_components(links, directed=False)
        _, first = np.unique(group, return_index=True)
        source[alone] = source[alone[first]][group]


def consolidate(
    frame: pd.DataFrame,
    statistic: Statistic = "mean",
    radius_arcsec: float = RADIUS_ARCSEC,
    scores: Sequence[str] | None = None,
    name_all: bool = True,
) -> pd.DataFrame:
    """Return one row a source, whatever the order of the light curves.

    Parameters
    ----------
    frame : pandas.DataFrame
        Predictions.
    statistic : {"mean", "median", "max"}
        Of the scores of a source's light curves, missing ones aside.
    radius_arcsec : float
        For light curves without an identifier; see `source_numbers`.
    scores : sequence of str, optional
        Columns of scores; by default those that end in ``_dnn`` or ``_xgb``.
    name_all : bool
        Name sources that have no name after their position; names tell sources apart, so this comes last.

    Returns
    -------
    pandas.DataFrame
        In the order of ``_id``, which is the least of the light curves; ``obj_id``, the position's name where there is
        no other; ``survey_id``, the identifier in the best catalogue; identifiers; mean ``ra`` and ``dec`` (deg); the
        middle one of the periods; ``n_lightcurves``; scores.
    """
    names = list(score_columns([str(c) for c in frame.columns]) if scores is None else scores)
    frame = frame.sort_values("_id", ignore_index=True, kind="stable")
    number = source_numbers(frame, radius_arcsec)
    groups = frame.groupby(number)
    found = _identity(frame, number, name_all)
    for name in [c for c in frame.columns if c == "period" or str(c).startswith("period_")]:
        found[name] = _middle(frame[name].to_numpy(np.float64), number, len(found))
    count = groups[N_LIGHTCURVES].sum() if N_LIGHTCURVES in frame else groups["_id"].nunique()
    found[N_LIGHTCURVES] = count.to_numpy(np.int64)
    values = frame[names].groupby(number)
    return pd.concat([found, getattr(values, statistic)().astype(np.float32)], axis=1)


def _identity(frame: pd.DataFrame, number: np.ndarray, name_all: bool) -> pd.DataFrame:
    """Return name, identifiers and position of each source."""
    groups = frame.groupby(number)
    found = pd.DataFrame({"_id": groups["_id"].min()})
    for name in (n for n in MATCHES if n in frame):
        ids = pd.Series(identifiers(frame, name)).astype("Int64")
        found[name] = ids.mask(ids == 0).groupby(number).first().fillna(0).astype(np.int64)
    if {"ra", "dec"} <= set(frame.columns):
        x, y, z = pd.DataFrame(unit_vectors(frame["ra"], frame["dec"])).groupby(number).mean().to_numpy().T
        found["ra"], found["dec"] = np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))
    stated = groups["obj_id"].first() if "obj_id" in frame else pd.Series(None, index=found.index, dtype=object)
    if name_all:
        found.insert(1, "obj_id", [_name(*row) for row in zip(stated, *_positions(found), found["_id"], strict=True)])
    else:
        found.insert(1, "obj_id", stated)
    found.insert(2, "survey_id", _survey_ids(found))
    return found.astype({"obj_id": "str", "survey_id": "str"})


def _positions(found: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    none = np.full(len(found), np.nan)
    return (found["ra"].to_numpy(), found["dec"].to_numpy()) if "ra" in found else (none, none)


def _name(stated: object, ra: float, dec: float, number: int) -> str:
    if isinstance(stated, str):
        return stated
    return position_name(ra, dec) if np.isfinite(ra) else f"ZTF_{number}"


def _survey_ids(found: pd.DataFrame) -> pd.Series:
    """Return the identifier of each source in the best catalogue: ``Gaia_EDR3_<id>``, …, or ``ZTF_<_id>``."""
    names = "ZTF_" + found["_id"].astype(str)
    for name in reversed(MATCHES):
        if name in found:
            names = names.mask(found[name] > 0, f"{name.removesuffix('___id')}_" + found[name].astype(str))
    return names


def _middle(values: np.ndarray, number: np.ndarray, size: int) -> np.ndarray:
    """Return the lower median of the finite values of each group: one of them, not a number between two."""
    order = np.lexsort((values, number))
    values, number = values[order], number[order]
    finite = np.isfinite(values)
    values, number = values[finite], number[finite]
    groups, first, counts = np.unique(number, return_index=True, return_counts=True)
    out = np.full(size, np.nan)
    out[groups] = values[first + (counts - 1) // 2]
    return out
