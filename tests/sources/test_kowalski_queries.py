"""Sources, features and other catalogues: each query that the generation of features makes, against brute force."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord
from kowalski_documents import place
from kowalski_server import KowalskiServer, message
from kowalski_sky import FEATURES, LARGE, QUADRANTS, SOURCES, access, lightcurve_frame, running

from scope_dask.errors import OptionError
from scope_dask.schema import SOURCES as SOURCE_COLUMNS
from scope_dask.sources.kowalski import (
    EXTERNAL_FEATURES,
    KowalskiAnswerError,
    alert_statistics,
    bright_stars,
    count_sources,
    features_by_id,
    features_of,
    nearest_matches,
    neighbours,
    quadrant_counts,
    source_ids,
    sources_around,
    sources_by_id,
    sources_of,
)

FRAME = lightcurve_frame()
RNG = np.random.default_rng(5)
NAN = float("nan")


@pytest.fixture
def server() -> Iterator[KowalskiServer]:
    with running(FRAME) as server:
        yield server


def scattered(n: int, fields: dict[str, Any], spread_arcsec: float = 6.0) -> list[dict[str, Any]]:
    """Return documents around the first positions of the frame, several a position, in no order."""
    made = []
    for i in range(n):
        k = i % 6
        ra = (FRAME["ra"][k] + RNG.normal(0, spread_arcsec / 3600)) % 360.0
        dec = FRAME["dec"][k] + RNG.normal(0, spread_arcsec / 3600)
        made.append({name: value(i) for name, value in fields.items()} | place(ra, dec))
    return made


def separations(documents: list[dict[str, Any]], ra: Any, dec: Any) -> np.ndarray:
    """Return the separations (arcsec) of positions and documents, by astropy."""
    there = SkyCoord([d["ra"] for d in documents], [d["dec"] for d in documents], unit="deg")
    return SkyCoord(np.asarray(ra), np.asarray(dec), unit="deg")[:, None].separation(there[None]).arcsec


@pytest.mark.parametrize("page_rows", [3, 5, 25, 1000])
def test_ids_of_a_quadrant_come_page_by_page_each_once(server: KowalskiServer, page_rows: int) -> None:
    ids = source_ids(access(server), 296, 1, 1, page_rows=page_rows)
    expected = FRAME["_id"][(FRAME["field"] == 296) & (FRAME["ccd"] == 1) & (FRAME["quad"] == 1)]
    assert ids.dtype == np.int64
    assert ids.tolist() == expected.tolist()
    assert server.count("find") == 25 // page_rows + 1


def test_ids_of_a_field_and_a_part_of_them(server: KowalskiServer) -> None:
    kowalski = access(server)
    field = FRAME["_id"][FRAME["field"] == 296].tolist()
    assert source_ids(kowalski, 296).tolist() == field
    assert source_ids(kowalski, 296, skip=4, limit=7, page_rows=3).tolist() == field[4:11]
    assert source_ids(kowalski, 900).tolist() == [LARGE, LARGE + 2]
    assert source_ids(kowalski, 1).dtype == np.int64
    assert source_ids(kowalski, 296, min_epochs=10, catalog=FEATURES).size == 4
    with pytest.raises(OptionError, match="page_rows is 0, expected 1 or more"):
        source_ids(kowalski, 296, page_rows=0)


def test_a_source_added_meanwhile_shifts_no_page(server: KowalskiServer) -> None:
    kowalski = access(server)
    first = {**server.collections[SOURCES][0], "_id": 1}
    pages = sources_of(kowalski, 296, page_rows=10)
    found = [next(pages)]
    server.collections[SOURCES].insert(0, first)
    found += pages
    assert pd.concat(found)["_id"].tolist() == FRAME["_id"][FRAME["field"] == 296].tolist()


def test_sources_of_a_field_by_id_and_around_positions(server: KowalskiServer) -> None:
    kowalski = access(server)
    expected = FRAME[SOURCE_COLUMNS.names]
    pages = list(sources_of(kowalski, 296, page_rows=30))
    assert [len(page) for page in pages] == [30, 5]
    pd.testing.assert_frame_equal(pd.concat(pages, ignore_index=True), expected[expected["field"] == 296])
    found = sources_by_id(kowalski, [LARGE + 2, 3, FRAME["_id"][0], LARGE])
    wanted = expected[expected["_id"].isin([LARGE, LARGE + 2, FRAME["_id"][0]])].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, wanted)
    pd.testing.assert_frame_equal(sources_by_id(kowalski, []), SOURCE_COLUMNS.empty())


@pytest.mark.parametrize("nearest_first", [True, False])
def test_sources_around_positions_are_those_of_brute_force(server: KowalskiServer, nearest_first: bool) -> None:
    ra, dec, radius = np.array([359.905, 0.05, 100.0]), np.array([30.0, 30.0, 5.0]), 45.0
    found = sources_around(access(server), ra, dec, radius, nearest_first=nearest_first)
    apart = separations(server.collections[SOURCES], ra, dec)
    expected = []
    for k in range(3):
        inside = np.flatnonzero(apart[k] <= radius)
        inside = inside[np.argsort(apart[k][inside])] if nearest_first else inside
        expected += [(k, FRAME["_id"][i]) for i in inside]
    assert list(zip(found["position"], found["_id"], strict=True)) == expected
    assert 2 in np.bincount(found["position"], minlength=3)
    assert server.queries[-1]["query_type"] == ("near" if nearest_first else "cone_search")
    if nearest_first:
        one = sources_around(access(server), ra, dec, radius, nearest_first=True, most=1)
        assert one["position"].tolist() == [0, 1]


def test_quadrants_are_counted_with_one_query_a_field(server: KowalskiServer) -> None:
    kowalski = access(server)
    counts = quadrant_counts(kowalski, [296, 487, 500])
    assert {tuple(row[:3]): row[3] for row in counts.to_numpy().tolist()} == QUADRANTS
    assert server.count() == 3
    assert quadrant_counts(kowalski, 296, [1], [2])["n"].tolist() == [7]
    assert quadrant_counts(kowalski, 296, catalog=FEATURES)["n"].tolist() == [5]
    assert list(quadrant_counts(kowalski, 1).dtypes) == [np.int64] * 4
    assert count_sources(kowalski, 296, 1, 1) == 25
    many = sum(len(h) >= 20 for h in FRAME["hjd"][:25])
    assert count_sources(kowalski, 296, 1, 1, min_epochs=20) == many
    assert quadrant_counts(kowalski, 296, 1, 1, min_epochs=20)["n"].tolist() == [many]


def test_features_have_exact_ids_and_nan_where_something_is_missing(server: KowalskiServer) -> None:
    ids = [d["_id"] for d in server.collections[FEATURES]]
    found = features_by_id(access(server), [*ids, 17], query_rows=2)
    assert found["_id"].tolist() == ids
    assert found["AllWISE___id"].dtype == found["field"].dtype == "Int64"
    assert found["AllWISE___id"].tolist() == [LARGE, LARGE + 2, pd.NA, LARGE + 6, LARGE + 8]
    assert found["Gaia_EDR3___id"].tolist() == [LARGE] * 5
    assert found["n"].dtype == found["AllWISE__w1mpro"].dtype == np.float64
    np.testing.assert_array_equal(found["f1_relamp1"], [0.25, NAN, 0.25, 0.25, 0.25])
    assert found["AllWISE__ph_qual"].tolist() == ["AAUU"] * 5
    assert found["dmdt"][3] is None
    assert np.shape(found["dmdt"][0]) == (26, 26)
    assert [len(q["query"]["filter"]["_id"]["$in"]) for q in server.queries[1:]] == [2, 2, 2]


def test_lists_of_ids_keep_below_the_limit_of_a_body(server: KowalskiServer) -> None:
    known = server.collections[FEATURES][0]["_id"]
    ids = np.append(np.arange(50_000) + 8 * 10**18, known)
    found = features_by_id(access(server), ids, ["n"], query_rows=100_000)
    assert found["_id"].tolist() == [known]
    assert [len(q["query"]["filter"]["_id"]["$in"]) for q in server.queries[1:]] == [40_000, 10_001]


def test_features_of_a_quadrant_come_page_by_page(server: KowalskiServer) -> None:
    columns = ["period", "n", "nothing"]
    pages = list(features_of(access(server), 296, 1, 1, columns, page_rows=2))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert list(pages[0].columns) == ["_id", *columns]
    np.testing.assert_array_equal(pages[1][["period", "nothing"]], [[2.5, NAN], [3.5, NAN]])
    enough = features_of(access(server), 296, columns=columns, min_epochs=30)
    assert pd.concat(enough)["n"].tolist() == [30.0, 40.0]


def test_the_nearest_object_of_each_catalogue(server: KowalskiServer) -> None:
    gaia = scattered(60, {"_id": lambda i: str(LARGE + i), "parallax": lambda i: 0.1 * i}, 2.0)
    wise = scattered(
        60, {"_id": lambda i: LARGE + 2 * i, "ph_qual": lambda i: f"A{i}", "w1mpro": lambda i: 10.0 + i}, 2.0
    )
    server.collections |= {"Gaia_EDR3": gaia, "AllWISE": wise, "PS1_DR1": []}
    ra, dec = FRAME["ra"], FRAME["dec"]
    found = nearest_matches(access(server), ra, dec, 2.0)
    assert list(found) == [f"{c}__{f}" for c, fields in EXTERNAL_FEATURES.items() for f in fields]
    assert len(found) == len(FRAME)
    for name, documents, field in (("Gaia_EDR3", gaia, "parallax"), ("AllWISE", wise, "w1mpro")):
        apart = separations(documents, ra, dec)
        best = apart.argmin(axis=1)
        matched = apart.min(axis=1) <= 2.0
        assert 3 <= matched.sum() < len(FRAME)
        expected = [int(documents[k]["_id"]) if m else pd.NA for k, m in zip(best, matched, strict=True)]
        assert found[f"{name}___id"].dtype == "Int64"
        assert found[f"{name}___id"].tolist() == expected
        values = np.where(matched, [documents[k][field] for k in best], NAN)
        np.testing.assert_array_equal(found[f"{name}__{field}"], values)
    assert found["AllWISE__ph_qual"].dropna().str.startswith("A").all()
    assert found["PS1_DR1__gMeanPSFMag"].isna().all()
    assert found["Gaia_EDR3__pmra"].dtype == np.float64
    assert server.count() == server.count("near") == 3


def test_positions_are_asked_for_a_thousand_at_a_time(server: KowalskiServer) -> None:
    server.collections["Gaia_EDR3"] = [{"_id": "7", "parallax": 1.5, **place(10.5, 0.0)}]
    ra = np.linspace(0.0, 21.0, 2101)
    found = nearest_matches(access(server), ra, np.zeros(2101), catalogs={"Gaia_EDR3": ["parallax"]})
    assert np.flatnonzero(found["Gaia_EDR3__parallax"] == 1.5).tolist() == [1050]
    assert [len(q["query"]["radec"]) for q in server.queries if q["query_type"] == "near"] == [1000, 1000, 101]


def test_every_neighbour_with_its_separation(server: KowalskiServer) -> None:
    stars = scattered(80, {"_id": str, "phot_g_mean_mag": lambda i: 9.0 + 0.1 * i, "bp_rp": lambda i: 0.01 * i})
    del stars[3]["bp_rp"]
    server.collections["Gaia_EDR3"] = stars
    ra, dec = FRAME["ra"][:4], FRAME["dec"][:4]
    found = bright_stars(access(server), ra, dec, 60.0)
    apart = separations(stars, ra, dec)
    bright = np.array([d["phot_g_mean_mag"] < 13.0 for d in stars])
    expected = [(k, i) for k in range(4) for i in np.argsort(apart[k]) if apart[k, i] <= 60.0 and bright[i]]
    assert len(expected) > 20
    assert found["position"].tolist() == [k for k, _ in expected]
    np.testing.assert_allclose(found["separation"], [apart[k, i] for k, i in expected], rtol=0, atol=1e-7)
    np.testing.assert_array_equal(found["bp_rp"], [stars[i].get("bp_rp", NAN) for _, i in expected])
    # The position comes as ra - 180: one rounding.
    np.testing.assert_allclose(found["ra"], [stars[i]["ra"] for _, i in expected], rtol=0, atol=1e-13)
    none = neighbours(access(server), [200.0], [0.0], 5.0, "Gaia_EDR3", ["_id"])
    assert (len(none), none["_id"].dtype) == (0, "Int64")


def test_alerts_are_counted_and_their_scores_averaged(server: KowalskiServer) -> None:
    scores = [0.5, 1.0, NAN, None]
    alerts = [{"_id": i, **place(10.0, 0.0), "classifications": {"braai": s}} for i, s in enumerate(scores)]
    alerts += [{"_id": 9, **place(20.0, 0.0), "classifications": {}}, {"_id": 10, **place(10.0, 0.01)}]
    server.collections["ZTF_alerts"] = alerts
    found = alert_statistics(access(server), [10.0, 20.0, 30.0], [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(found, [[4, 0.75], [1, NAN], [0, 0.0]])
    assert list(found) == ["n_ztf_alerts", "mean_ztf_alert_braai"]
    assert server.queries[-1]["query"]["catalogs"]["ZTF_alerts"]["projection"] == {"_id": 0, "classifications.braai": 1}


@pytest.mark.parametrize(
    ("ra", "dec", "radius", "said"),
    [
        ([1.0, 2.0], [3.0], 2.0, "there are 2 right ascensions and 1 declinations"),
        ([1.0, NAN], [3.0, 4.0], 2.0, r"position 1 is \(nan, 4\.0\), expected finite degrees"),
        ([1.0], [91.0], 2.0, r"position 0 is \(1\.0, 91\.0\)"),
        ([1.0], [3.0], 0.0, r"the radius is 0\.0 arcsec, expected more than 0"),
    ],
)
def test_positions_are_checked(server: KowalskiServer, ra: Any, dec: Any, radius: float, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        alert_statistics(access(server), ra, dec, radius)
    assert server.queries == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "the answer is no list of documents with _id"),
        ([{"ra": 1.0}], "the answer is no list of documents with _id"),
        ([{"_id": 5}], "of 1 ids, documents came twice or unasked"),
    ],
)
def test_an_answer_to_another_question_is_an_error(server: KowalskiServer, data: Any, said: str) -> None:
    fault = message(200, "")
    fault.body = json.dumps({"status": "success", **({} if data is None else {"data": data})})
    server.fail(fault)
    with pytest.raises(KowalskiAnswerError, match=said):
        features_by_id(access(server), [4])


def test_a_position_without_answer_is_an_error(server: KowalskiServer) -> None:
    server.collections["ZTF_alerts"] = []
    fault = message(200, "")
    fault.body = '{"status": "success", "data": {"ZTF_alerts": {"0": []}}}'
    server.fail(fault)
    with pytest.raises(KowalskiAnswerError, match="the cone_search has no answer for some of 2 positions"):
        alert_statistics(access(server), [1.0, 2.0], [1.0, 2.0])


def test_a_value_of_another_type_names_its_column(server: KowalskiServer) -> None:
    server.collections[FEATURES][1]["period"] = "long"
    with pytest.raises(KowalskiAnswerError, match="period has a value of another type"):
        features_by_id(access(server), [server.collections[FEATURES][1]["_id"]])
    server.collections[FEATURES][0]["AllWISE___id"] = 2.0**60
    with pytest.raises(KowalskiAnswerError, match=r"AllWISE___id has a value .* is no exact integer"):
        features_by_id(access(server), [server.collections[FEATURES][0]["_id"]])
