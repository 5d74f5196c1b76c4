"""Rubin's forced photometry: against a plain pandas computation, whatever the order of rows, files and partitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask.base import tokenize

from scope_dask import tally
from scope_dask.conditioning.lightcurves import lightcurves
from scope_dask.errors import OptionError, SourceError
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.rubin import BANDS, LOW_FLUX, PhotometryRule, object_ids, read_rubin
from scope_dask.sources.rubin.photometry import magnitudes
from scope_dask.sources.rubin.ranges import cut

FIRST = 611_255_759_837_069_401  # what ids of the first data preview look like; beyond what floats hold exactly
OBJECTS, VISITS = 60, 90
FLAGS = ("psfFlux_flag", "pixelFlags_bad")


def tables(seed: int = 0) -> dict[str, pd.DataFrame]:
    """Return the three tables in the columns and types of the data preview."""
    rng = np.random.default_rng(seed)
    ids = FIRST + np.sort(rng.choice(10**6, OBJECTS, replace=False))
    objects = pd.DataFrame(
        {
            "objectId": ids,
            "coord_ra": 53 + rng.uniform(-0.5, 0.5, OBJECTS),
            "coord_dec": -28 + rng.uniform(-0.5, 0.5, OBJECTS),
            "tract": np.repeat([5063, 4849], OBJECTS // 2),
        }
    )
    visits = pd.DataFrame(
        {
            "visit": 2024110800000 + rng.permutation(VISITS),
            "expMidptMJD": 60623 + rng.uniform(0, 30, VISITS),
            "band": rng.choice(list(BANDS), VISITS),
        }
    )
    pairs = pd.merge(objects["objectId"], visits, how="cross")
    pairs = pairs[rng.uniform(size=len(pairs)) < 0.7].reset_index(drop=True)
    flux = rng.normal(400, 300, len(pairs)).astype(np.float32)
    flux[rng.uniform(size=len(pairs)) < 0.01] = np.nan
    forced = pairs[["objectId", "visit", "band"]].assign(
        psfFlux=flux, psfFluxErr=rng.uniform(20, 120, len(pairs)).astype(np.float32)
    )
    for flag in FLAGS:
        forced[flag] = rng.uniform(size=len(pairs)) < 0.05
    return {"Object": objects, "ForcedSource": forced, "Visit": visits}


def write(folder: Path, data: dict[str, pd.DataFrame], rows: int = 500, files: int = 1) -> Path:
    """Write the tables: ForcedSource as a folder of `files`, in row groups of `rows`."""
    for name in ("Object", "Visit"):
        folder.mkdir(parents=True, exist_ok=True)
        data[name].to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "ForcedSource").mkdir()
    for k, part in enumerate(np.array_split(np.arange(len(data["ForcedSource"])), files)):
        table = pa.Table.from_pandas(data["ForcedSource"].iloc[part], preserve_index=False)
        pq.write_table(table, folder / "ForcedSource" / f"{k}.parquet", row_group_size=rows)
    return folder


def expected(data: dict[str, pd.DataFrame], snr: float = 3.0) -> dict[tuple[int, str], pd.DataFrame]:
    """Return {(objectId, band): points in time order} of what is kept."""
    points = data["ForcedSource"].merge(data["Visit"][["visit", "expMidptMJD"]], on="visit")
    points = points[(points["psfFlux"] > 0) & (points["psfFlux"].astype(float) >= snr * points["psfFluxErr"])]
    points = points.sort_values("expMidptMJD")
    return dict(iter(points.groupby(["objectId", "band"])))


def check(found: pd.DataFrame, data: dict[str, pd.DataFrame], wanted: dict[tuple[int, str], pd.DataFrame]) -> None:
    codes = {code: band for band, code in BANDS.items()}
    keys = [(int(i) // 8, codes[f]) for i, f in zip(found["_id"], found["filter"], strict=True)]
    assert sorted(keys) == sorted((int(i), b) for i, b in wanted)
    assert (found["_id"] % 8 == found["filter"]).all()
    places = data["Object"].set_index("objectId")
    for key, row in zip(keys, found.to_dict("records"), strict=True):
        points, place = wanted[key], places.loc[key[0]]
        assert (row["ra"], row["dec"], row["field"]) == (place["coord_ra"], place["coord_dec"], place["tract"])
        np.testing.assert_array_equal(row["hjd"], points["expMidptMJD"].to_numpy() + 2400000.5)
        flux = points["psfFlux"].to_numpy().astype(float)
        # astropy's zero point is 3631 Jy, the convention's 31.4 mag: 0.06 mmag apart.
        np.testing.assert_allclose(row["mag"], (flux * u.nJy).to(u.ABmag).value, atol=1e-4)
        np.testing.assert_allclose(row["magerr"], 1.0857362 * points["psfFluxErr"].astype(float) / flux, rtol=1e-6)
        bits = sum(points[flag].to_numpy().astype(int) << k for k, flag in enumerate(FLAGS))
        np.testing.assert_array_equal(row["catflags"], bits)


@pytest.mark.parametrize("order", ["by object", "by visit", "shuffled"])
@pytest.mark.parametrize("nbytes", [20_000, "64 MiB"])
def test_light_curves_against_pandas(tmp_path: Path, order: str, nbytes: Any) -> None:
    data = tables()
    forced = data["ForcedSource"]
    if order == "shuffled":
        forced = forced.sample(frac=1, random_state=1)
    elif order == "by visit":
        forced = forced.sort_values("visit")
    write(tmp_path, {**data, "ForcedSource": forced}, files=3)
    frame = read_rubin(tmp_path, partition_bytes=nbytes)
    assert frame.npartitions == 1 if nbytes == "64 MiB" else frame.npartitions > 10
    found = frame.compute()
    assert dict(found.dtypes) == dict(frame.dtypes) == dict(RAW_LIGHTCURVES.empty().dtypes)
    check(found, data, expected(data))
    assert found["_id"].is_monotonic_increasing
    assert found["_id"].is_unique


def test_magnitudes_are_ab() -> None:
    mag, magerr = magnitudes(np.array([1.0, 1000.0, 0.0, -5.0]), np.array([0.1, 10.0, 1.0, 1.0]))
    np.testing.assert_allclose(mag, [31.4, 23.9, np.nan, np.nan])
    np.testing.assert_allclose(magerr, [0.10857362, 0.010857362, np.nan, np.nan])


@pytest.mark.parametrize("snr", [0.0, 5.0])
def test_low_fluxes_are_left_out_and_counted(tmp_path: Path, snr: float) -> None:
    data = tables()
    write(tmp_path, data)
    part = read_rubin(tmp_path, min_snr=snr).partitions[0].compute()
    check(part, data, expected(data, snr))
    forced = data["ForcedSource"]
    missing = forced["psfFlux"].isna()
    low = (forced["psfFlux"] <= 0) | (forced["psfFlux"].astype(float) < snr * forced["psfFluxErr"])
    history = tally.history(part)[0]
    assert history["dropped"][f"points with a flux not above 0 or below {snr:g} times its error"] == low.sum() > 0
    assert history["dropped"]["points without a time, flux or error"] == missing.sum() > 0
    assert history["rows_in"] == forced.groupby(["objectId", "band"]).ngroups
    assert history["rows_out"] == len(part)


def test_low_fluxes_can_be_kept_flagged(tmp_path: Path) -> None:
    data = tables()
    write(tmp_path, data)
    raw = read_rubin(tmp_path, low="flag").compute()
    flags, mag = (np.concatenate(raw[name].to_list()) for name in ("catflags", "mag"))
    assert (np.isnan(mag) <= (flags & LOW_FLUX > 0)).all()
    forced = data["ForcedSource"].dropna()
    assert len(mag) == len(forced)
    assert np.isnan(mag).sum() == (forced["psfFlux"] <= 0).sum() > 0
    # The conditioning leaves flagged points out: what remains is what dropping gives.
    options = {"min_n_lc_points": 3, "min_cadence_minutes": 0.0}
    dropped = lightcurves(read_rubin(tmp_path).compute(), **options)
    pd.testing.assert_frame_equal(lightcurves(raw, **options), dropped, check_flags=False)


@pytest.mark.parametrize("nbytes", [20_000, "64 MiB"])
def test_selections(tmp_path: Path, nbytes: Any) -> None:
    data = tables()
    write(tmp_path, data, rows=100)
    objects = data["Object"]
    place = objects.iloc[7]
    near = ([place["coord_ra"], 10.0], [place["coord_dec"], 10.0], 1.0)
    cone = (place["coord_ra"], place["coord_dec"], 1.0)
    mine = {int(objects["objectId"].iloc[7])}
    first = set(objects["objectId"][: OBJECTS // 2])
    some = {(i, b) for i, b in list(expected(data))[5:9]}
    chosen: list[tuple[dict[str, Any], Any]] = [
        ({"cone": cone}, lambda i, b: i in mine),
        ({"near": near}, lambda i, b: i in mine),
        ({"tract": 5063}, lambda i, b: i in first),
        ({"bands": "uz"}, lambda i, b: b in "uz"),
        ({"ids": [8 * int(i) + BANDS[b] for i, b in some]}, lambda i, b: (i, b) in some),
    ]
    for asked, belongs in chosen:
        found = read_rubin(tmp_path, partition_bytes=nbytes, **asked).compute()
        check(found, data, {key: points for key, points in expected(data).items() if belongs(*key)})
    assert len(read_rubin(tmp_path, ids=[8 * 5 + 1]).compute()) == 0


def test_ids_name_objects() -> None:
    assert object_ids([8 * FIRST + BANDS["y"]]).tolist() == [FIRST]


def test_a_selection_leaves_out_partitions(tmp_path: Path) -> None:
    data = tables()
    write(tmp_path, data, rows=100)
    whole = read_rubin(tmp_path, partition_bytes=20_000)
    one = 8 * int(data["Object"]["objectId"][3]) + 1
    assert read_rubin(tmp_path, partition_bytes=20_000, ids=[one]).npartitions == 1 < whole.npartitions


def test_what_does_not_fit_together_is_counted(tmp_path: Path) -> None:
    data = tables()
    data["Visit"] = data["Visit"].iloc[5:]
    data["Object"] = data["Object"].iloc[3:]
    data["ForcedSource"].loc[data["ForcedSource"]["band"] == "y", "band"] = "white"
    write(tmp_path, data)
    part = read_rubin(tmp_path).partitions[0].compute()
    forced = data["ForcedSource"].merge(data["Object"]["objectId"])
    known = forced["visit"].isin(data["Visit"]["visit"])
    dropped = tally.history(part)[0]["dropped"]
    assert dropped["points of a visit that is not in Visit"] == (~known).sum() > 0
    assert dropped["points of an unknown band"] == (known & (forced["band"] == "white")).sum() > 0
    wanted = expected({**data, "ForcedSource": forced[forced["band"] != "white"]})
    check(part, data, wanted)


def test_the_band_may_stand_with_the_visit_and_be_a_dictionary(tmp_path: Path) -> None:
    data = tables()
    plain = write(tmp_path / "a", data)
    data["Visit"] = data["Visit"].astype({"band": "category"})
    data["ForcedSource"] = data["ForcedSource"].drop(columns="band")
    moved = write(tmp_path / "b", data)
    pd.testing.assert_frame_equal(read_rubin(plain).compute(), read_rubin(moved).compute())


def test_names_of_the_butler_and_tables_by_themselves(tmp_path: Path) -> None:
    data = tables()
    folder = write(tmp_path, data)
    wanted = read_rubin(folder).compute()
    named = read_rubin(
        objects=folder / "Object.parquet",
        forced_sources=str(folder / "ForcedSource" / "*.parquet"),
        visits=[folder / "Visit.parquet"],
    )
    pd.testing.assert_frame_equal(named.compute(), wanted)
    for old, new in (("Object", "object"), ("Visit", "visit_table")):
        (folder / f"{old}.parquet").rename(folder / f"{new}.parquet")
    (folder / "ForcedSource").rename(folder / "object_forced_source")
    pd.testing.assert_frame_equal(read_rubin(folder).compute(), wanted)


def test_the_name_of_the_table_changes_with_files_and_options(tmp_path: Path) -> None:
    folder = write(tmp_path, tables())
    names = {tokenize(read_rubin(folder, **asked)) for asked in ({}, {"low": "flag"}, {"min_snr": 2}, {"bands": "g"})}
    assert tokenize(read_rubin(folder)) in names
    assert len(names) == 4
    tables(1)["Object"].to_parquet(folder / "Object.parquet", index=False)
    assert tokenize(read_rubin(folder)) not in names


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"bands": "gw"}, "bands has 'w', expected some of g, r, i, u, z, y"),
        ({"bands": ""}, "bands is empty, expected some of"),
        ({"min_snr": -1}, "min_snr is -1, expected 0 or more"),
        ({"low": "keep"}, "low is 'keep', expected one of drop, flag"),
        ({"flags": ["pixelFlags_badd"]}, r"flags has 'pixelFlags_badd', .* \(did you mean 'pixelFlags_bad'\?\)"),
        ({"flags": ["psfFlux"]}, "flags has 'psfFlux', which is no column of truth values"),
        ({"partition_bytes": "much"}, "partition_bytes is 'much', expected a number of bytes"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, asked: Any, message: str) -> None:
    folder = write(tmp_path, tables())
    with pytest.raises(OptionError, match=message):
        read_rubin(folder, **asked)


def test_missing_tables_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no path was given for objects, forced_sources, visits: name the folder"):
        read_rubin()
    with pytest.raises(SourceError, match=r"has no table Object: looked for Object, Object\.parquet, object"):
        read_rubin(tmp_path)
    data = tables()
    data["Visit"] = data["Visit"].drop(columns="expMidptMJD")
    with pytest.raises(SourceError, match=r"Visit\.parquet lacks the column expMidptMJD; it has visit, band"):
        read_rubin(write(tmp_path, data))


def test_an_object_id_that_is_too_large_is_named(tmp_path: Path) -> None:
    data = tables()
    for name in ("Object", "ForcedSource"):
        data[name]["objectId"] += 2**61
    with pytest.raises(SourceError, match=r"an objectId is \d+, expected 0 to \d+: with a band it exceeds 64 bits"):
        read_rubin(write(tmp_path, data)).compute()


def test_ranges_hold_about_what_they_may_and_cover_every_id() -> None:
    rng = np.random.default_rng(3)
    low = FIRST + np.sort(rng.integers(0, 10**9, 50))
    high = low + rng.integers(0, 10**8, 50)
    rows = rng.integers(0, 5000, 50)
    edges, estimate = cut(low, high, rows, 1000.0)
    assert edges[0, 0] == low[rows > 0].min()
    assert edges[-1, 1] == high[rows > 0].max()
    assert (edges[1:, 0] == edges[:-1, 1] + 1).all()
    assert abs(estimate.sum() - rows.sum()) < 1e-6 * rows.sum()
    assert estimate.max() < 1100
    same = np.full(3, FIRST)
    edges, estimate = cut(same, same, np.array([4000, 4000, 4000]), 1000.0)
    assert edges.tolist() == [[FIRST, FIRST]]
    assert estimate.tolist() == [12000.0]


def test_the_rule_is_checked() -> None:
    with pytest.raises(OptionError, match="min_snr is nan, expected 0 or more"):
        PhotometryRule(float("nan"))
