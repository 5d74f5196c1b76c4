"""``scope-upload-disagreements`` (deprecated): sources that the algorithms score differently, to Fritz."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import SecretStr

from scope_dask.commands._parser import Call, Command, option
from scope_dask.errors import SchemaError

if TYPE_CHECKING:
    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski

ORIGIN = "ML_DR5_d15_v1"
SCORES = ("vnv_dnn", "vnv_xgb")
HIGH, LOW = 0.95, 0.1  # one score above the first, the other not above the second
SAME_ARCSEC = 2.0
STATISTICS = ("Gaia_EDR3__parallax", *(f"Gaia_EDR3__phot_{band}_mean_mag" for band in ("g", "bp", "rp")))
RESULT = Path("fritzUpload")

ARGUMENTS = (
    option("--file", "training set with ztf_id, whose sources are left out: csv, h5 or parquet", required=True),
    option("--id", "group on Fritz", int, required=True),
    option("--token", "token for Fritz; better in FRITZ_TOKEN or config.yaml, where others do not see it", SecretStr),
)


def disagreements(kowalski: Kowalski, known: np.ndarray, catalog: str, suffix: str | None) -> pd.DataFrame:
    """Return the sources that one algorithm calls variable and the other does not.

    Parameters
    ----------
    kowalski : Kowalski
    known : numpy.ndarray of int64
        Ids of light curves that are left out.
    catalog : str
        Of scores.
    suffix : str or None
        Period algorithm, of the name of the column with the period.

    Returns
    -------
    pandas.DataFrame
        ``ztf_id``, ``ra``, ``dec``, the scores, ``period`` and the statistics that there are; of light curves within
        2 arcsec of each other only the one with the largest disagreement.

    Raises
    ------
    KowalskiError
    """
    from scope_dask.crossmatch.sphere import chord, unit_vectors
    from scope_dask.sources.kowalski import features_by_id, sources_by_id

    found = _scored(kowalski, catalog)
    found = found[~found["_id"].isin(known)]
    ids = found["_id"].to_numpy(np.int64)
    places = sources_by_id(kowalski, ids)[["_id", "ra", "dec"]]
    period = f"period_{suffix}" if suffix else "period"
    features = features_by_id(kowalski, ids, [period, *STATISTICS]).rename(columns={period: "period"})
    whole = found.merge(places, on="_id").merge(features, on="_id", how="left").rename(columns={"_id": "ztf_id"})
    apart = (whole[SCORES[0]] - whole[SCORES[1]]).abs()
    whole = whole.loc[apart.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)
    if whole.empty:
        return whole
    from scipy.spatial import cKDTree

    pairs = cKDTree(unit_vectors(whole["ra"], whole["dec"])).query_pairs(chord(SAME_ARCSEC), output_type="ndarray")
    dropped: set[int] = set()
    for first, second in sorted((min(pair), max(pair)) for pair in pairs.tolist()):
        if first not in dropped:
            dropped.add(second)
    return whole.drop(index=sorted(dropped)).sort_values("ztf_id", ignore_index=True)


def _scored(kowalski: Kowalski, catalog: str) -> pd.DataFrame:
    """Return the ids and scores of light curves that the algorithms do not agree on."""
    from scope_dask.sources.kowalski.queries import PAGE_ROWS, pages

    rows = []
    for high, low in (SCORES, SCORES[::-1]):
        condition: dict[str, Any] = {high: {"$gt": HIGH}, low: {"$lte": LOW}}
        for page in pages(kowalski, catalog, condition, {"_id": 1, high: 1, low: 1}, page_rows=PAGE_ROWS):
            rows += [(int(one["_id"]), *(float(one[name]) for name in SCORES)) for one in page]
    frame = pd.DataFrame(rows, columns=["_id", *SCORES]).astype({"_id": np.int64})
    return frame.drop_duplicates("_id").sort_values("_id", ignore_index=True)


def send_all(call: Call, fritz: Fritz, kowalski: Kowalski, table: pd.DataFrame, group: int) -> None:
    """Save the sources with photometry and an annotation, each once, and list them with their names on Fritz.

    Raises
    ------
    FritzError
    """
    from scope_dask.commands._posting import Posting, send, with_points
    from scope_dask.commands._resuming import THREADS, Resumed, counting, journal_of
    from scope_dask.commands._threads import side_by_side
    from scope_dask.formats import write_table
    from scope_dask.fritz.checks import Findings, check_sources
    from scope_dask.fritz.groups import check_groups
    from scope_dask.fritz.matching import target_of
    from scope_dask.fritz.photometry import instrument_id
    from scope_dask.fritz.saving import saving

    found = Findings()
    groups = found.look(lambda: check_groups(fritz, [group])) or ()
    found.look(lambda: check_sources(table.assign(obj_id=table["ztf_id"].astype(str).astype(object))))
    instrument = found.look(lambda: instrument_id(fritz))
    found.refuse()
    posting = Posting(groups)
    result = RESULT / f"disagreements_{group}.parquet"
    records = table.to_dict("records")
    with Resumed(journal_of(result), [group, table["ztf_id"].tolist()]) as resumed:
        keys = [str(record["ztf_id"]) for record in records]
        todo = [row for row, key in enumerate(keys) if key not in resumed.done]
        targets = list(side_by_side(lambda row: target_of(fritz, row, records[row], groups), todo, THREADS))

        def save() -> None:
            write_table(table.assign(obj_id=pd.array(list(map(resumed.done.get, keys)), dtype="string")), result)

        with saving(save) as step, counting(call, "source", len(targets)) as add:
            for target, points in with_points(kowalski, targets, posting):
                send(fritz, target, {}, points, posting, instrument)
                _annotate(fritz, target.obj_id, records[target.row], groups)
                resumed.add(keys[target.row], target.obj_id)
                add(1)
                step()
        resumed.finish()
    call.say(f"{len(table)} sources are in group {group}, listed in {result}")


def _annotate(fritz: Fritz, obj_id: str, values: dict[str, Any], groups: tuple[int, ...]) -> None:
    from scope_dask.fritz.annotations import annotation, post_annotation

    names = ("period", *SCORES, *STATISTICS)
    data = {name: float(values[name]) for name in names if pd.notna(values.get(name)) and np.isfinite(values[name])}
    if annotation(fritz, obj_id, ORIGIN) is None:
        post_annotation(fritz, obj_id, ORIGIN, data, groups)


def run(call: Call) -> None:
    """Upload the sources that the algorithms score differently, or tell what would be done."""
    from scope_dask.formats import read_table
    from scope_dask.fritz import Fritz
    from scope_dask.sources.kowalski import Kowalski
    from scope_dask.user_config.features import period_suffix

    options = call.options
    said = "scope-upload-disagreements is deprecated: select-fritz-sample and scope-upload-classification do more"
    warnings.warn(said, UserWarning, stacklevel=2)
    changes = {}
    if options.token is not None:
        said = "--token is seen by everybody on this machine while the command runs: set FRITZ_TOKEN instead"
        warnings.warn(said, UserWarning, stacklevel=2)
        changes = {"token": options.token}
    training = read_table(options.file)
    if "ztf_id" not in training:
        raise SchemaError(f"{options.file} has no column ztf_id; it has {', '.join(map(str, training.columns[:10]))}")
    kowalski = Kowalski.from_config(call.config)
    catalog = call.config.section("kowalski", "collections", "classifications")
    with Fritz.from_config(call.config, **changes) as fritz:
        if call.dry_run:
            call.say(f"would ask {kowalski} for {' and '.join(SCORES)} in {catalog}, and for statistics and positions")
            call.say(f"would send those not in {options.file} to {fritz}, group {options.id}, annotation {ORIGIN}")
            call.say(f"would write {RESULT / f'disagreements_{options.id}.parquet'}")
            return
        known = pd.to_numeric(training["ztf_id"]).dropna().to_numpy(np.int64)
        table = disagreements(kowalski, known, str(catalog), period_suffix(call.config))
        call.say(f"{len(table)} sources are variable for one algorithm and not for the other")
        send_all(call, fritz, kowalski, table, options.id)


COMMAND = Command(
    "scope-upload-disagreements",
    "Upload sources that neural networks and XGBoost score differently to Fritz (deprecated).",
    ARGUMENTS,
    run,
)
main = COMMAND.main

if __name__ == "__main__":
    sys.exit(main())
