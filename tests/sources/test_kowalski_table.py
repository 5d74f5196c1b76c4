"""Light curves of Kowalski as a lazy table: the right rows, at the right cost, whatever fails on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
from clusters import two_workers
from distributed import Client
from kowalski_documents import source_documents
from kowalski_server import Fault, KowalskiServer, html
from kowalski_sky import LARGE, QUADRANTS, SOURCES, TOKEN, access, instance, lightcurve_frame, running
from pydantic import SecretStr

import scope_dask as sd
from scope_dask import ragged, tally
from scope_dask.crossmatch import crossmatch
from scope_dask.errors import OptionError
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.kowalski import (
    KowalskiAnswerError,
    KowalskiUnavailableError,
    PointLimits,
    lightcurves_around,
    lightcurves_by_id,
    read_kowalski,
)
from scope_dask.sources.kowalski.as_catalog import KowalskiCatalog
from scope_dask.sources.selection import in_cone

FRAME = lightcurve_frame()
EVERYTHING = {"max_timestamp_hjd": np.inf}


@pytest.fixture
def server() -> Iterator[KowalskiServer]:
    with running(FRAME) as server:
        yield server


def rows(**values: Any) -> pd.DataFrame:
    """Return the light curves with these values, in the order of the ids."""
    keep = np.ones(len(FRAME), dtype=bool)
    for name, value in values.items():
        keep &= np.isin(FRAME[name], value)
    return FRAME[keep].reset_index(drop=True)


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    found, expected = found.reset_index(drop=True), expected.reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize(
    "where",
    [{"field": 296}, {"field": [296, 487]}, {"field": 296, "ccd": 1}, {"field": 296, "ccd": 1, "quad": [2, 3]}],
    ids=str,
)
def test_quadrants_and_fields(server: KowalskiServer, where: dict[str, Any]) -> None:
    table = read_kowalski(access(server), **where, partition_rows=10, **EVERYTHING)
    assert server.count() == server.count("aggregate") == np.size(where["field"])
    pd.testing.assert_frame_equal(table._meta, RAW_LIGHTCURVES.empty())
    same(table.compute(), rows(**where))


def test_partitions_are_slices_of_quadrants(server: KowalskiServer) -> None:
    table = read_kowalski(access(server), field=296, partition_rows=10, **EVERYTHING)
    lengths = [len(table.partitions[i].compute()) for i in range(table.npartitions)]
    assert lengths == [10, 10, 5, 7, 3]


def test_a_partition_is_fetched_in_queries_of_a_bounded_number_of_rows(server: KowalskiServer) -> None:
    table = read_kowalski(access(server, query_rows=4), field=296, ccd=1, quad=1, partition_rows=25, **EVERYTHING)
    same(table.compute(), rows(field=296, ccd=1, quad=1))
    lists = [q["query"]["filter"]["_id"]["$in"] for q in server.queries if "_id" in q["query"].get("filter", {})]
    assert [len(ids) for ids in lists] == [4, 4, 4, 4, 4, 4, 1]


def test_ids_beyond_2_53_are_exact(server: KowalskiServer) -> None:
    assert float(LARGE) == LARGE - 1, "a float would not tell them apart"
    table = read_kowalski(access(server), ids=np.array([LARGE + 2, LARGE]), **EVERYTHING)
    assert server.count() == 0, "a list of ids needs no question"
    found = table.compute()
    assert found["_id"].dtype == np.int64
    assert found["_id"].tolist() == [LARGE, LARGE + 2]
    same(found, rows(field=900))
    with pytest.raises(OptionError, match=r"ids are float64, expected int64"):
        read_kowalski(access(server), ids=np.array([float(LARGE)]))


def test_an_id_that_is_a_float_in_the_answer_is_refused(server: KowalskiServer) -> None:
    server.collections[SOURCES][0]["_id"] = float(FRAME["_id"][0])
    with pytest.raises(KowalskiAnswerError, match=r"the _id 10296001000000\.0 is no integer"):
        read_kowalski(access(server), field=296, ccd=1, quad=1).compute()


def test_ids_that_are_not_there_are_set_aside(server: KowalskiServer) -> None:
    ids = [*FRAME["_id"][:3], 5, 7]
    found = read_kowalski(access(server), ids=ids, **EVERYTHING).partitions[0].compute()
    same(found, FRAME[:3])
    (entry,) = tally.history(found)
    reason = f"not in the catalogue {SOURCES}"
    assert entry["set_aside"] == [(5, reason), (7, reason)]
    assert (entry["rows_in"], entry["rows_out"], entry["dropped"]) == (5, 3, {"not in the catalogue": 2})


def test_ids_with_a_selection(server: KowalskiServer) -> None:
    table = read_kowalski(access(server), ids=FRAME["_id"].to_numpy(), field=296, quad=4, partition_rows=20)
    same(table.compute(), rows(field=296, quad=4))
    assert table["_id"].compute().tolist() == rows(field=296, quad=4)["_id"].tolist()


def test_a_cone_is_asked_for_once_and_its_light_curves_by_id(server: KowalskiServer) -> None:
    cone = (0.0, 30.0, 200.0)
    table = read_kowalski(access(server), cone=cone, quad=[1], **EVERYTHING)
    assert server.count() == server.count("cone_search") == 1
    keep = in_cone(cone, FRAME["ra"], FRAME["dec"]) & (FRAME["quad"] == 1)
    assert 3 < keep.sum() < 20
    same(table.compute(), FRAME[keep].reset_index(drop=True))


def test_a_limit_takes_the_first_by_id(server: KowalskiServer) -> None:
    same(read_kowalski(access(server), field=296, limit=29, partition_rows=9, **EVERYTHING).compute(), FRAME[:29])
    same(read_kowalski(access(server), ids=FRAME["_id"], limit=4, **EVERYTHING).compute(), FRAME[:4])


def test_the_least_number_of_epochs(server: KowalskiServer) -> None:
    sizes = np.diff(ragged.split(FRAME["hjd"])[1])
    expected = FRAME[(sizes >= 20) & (FRAME["field"] == 296)].reset_index(drop=True)
    same(read_kowalski(access(server), field=296, min_epochs=20, **EVERYTHING).compute(), expected)


def test_where_there_is_nothing_there_is_an_empty_partition(server: KowalskiServer) -> None:
    for where in ({"field": 1}, {"ids": []}, {"cone": (100.0, -80.0, 1.0)}):
        table = read_kowalski(access(server), **where)
        assert table.npartitions == 1
        pd.testing.assert_frame_equal(table.compute(), RAW_LIGHTCURVES.empty())


def test_some_columns_are_asked_for_alone(server: KowalskiServer) -> None:
    table = read_kowalski(access(server), field=487, **EVERYTHING)
    same(table[["ra", "_id"]].compute(), rows(field=487)[["ra", "_id"]])
    assert not any(name.startswith("data") for name in server.queries[-1]["query"]["projection"])
    same(table[["mag"]].compute(), rows(field=487)[["mag"]])
    assert len(table) == 4


def test_points_outside_the_limits_are_cut_here() -> None:
    frame = FRAME[:3].reset_index(drop=True)
    hjd, offsets = ragged.split(frame["hjd"])
    programs = [[(1, 2, 3, 0)[k % 4] for k in range(n)] for n in np.diff(offsets)]
    last = float(np.median(hjd))
    documents = source_documents(frame, programs)
    documents[2]["data"] = [{**point, "hjd": last + 1} for point in documents[2]["data"]]
    with running(FRAME) as server:
        server.collections[SOURCES] = documents
        kowalski = access(server, max_timestamp_hjd=last)
        found = read_kowalski(kowalski, field=296, program_ids=(2, 3)).compute()
        whole = read_kowalski(kowalski, field=296, max_timestamp_hjd=np.inf, program_ids=(0, 1, 2, 3)).compute()
    for i in range(2):
        keep = (np.asarray(frame["hjd"][i]) <= last) & np.isin(programs[i], (2, 3))
        for name in ("hjd", "mag", "magerr", "catflags"):
            assert list(found[name][i]) == [v for v, k in zip(frame[name][i], keep, strict=True) if k]
    assert len(found["hjd"][2]) == 0, "a light curve without points is there, so that the rows do not depend on columns"
    same(whole[:2], frame[:2])


def test_not_a_number_and_null_magnitudes_arrive_as_nan() -> None:
    with running(FRAME) as server:
        points = server.collections[SOURCES][0]["data"]
        points[0]["mag"], points[0]["magerr"] = float("nan"), None
        found = lightcurves_by_id(access(server), FRAME["_id"][:1], PointLimits())
    assert np.isnan(found["mag"][0][0])
    assert np.isnan(found["magerr"][0][0])
    assert list(found["hjd"][0]) == list(FRAME["hjd"][0])


def test_a_point_without_programme_or_a_source_without_quadrant_is_an_error() -> None:
    with running(FRAME) as server:
        del server.collections[SOURCES][0]["data"][0]["programid"]
        with pytest.raises(
            KowalskiAnswerError, match=r"a point has no usable 'programid': one of the light curves 1029"
        ):
            lightcurves_by_id(access(server), FRAME["_id"][:2])
        del server.collections[SOURCES][1]["ccd"]
        with pytest.raises(KowalskiAnswerError, match=r"a source has no ccd, so this is no catalogue of ZTF sources"):
            lightcurves_by_id(access(server), FRAME["_id"][1:2])


def test_light_curves_around_positions(server: KowalskiServer) -> None:
    found = lightcurves_around(access(server), FRAME["ra"][[4, 2]], FRAME["dec"][[4, 2]], limits=PointLimits())
    same(found, FRAME.iloc[[2, 4]].reset_index(drop=True))
    assert server.queries[-2]["query_type"] == "near"


def test_a_catalogue_that_changed_is_noticed(server: KowalskiServer) -> None:
    table = read_kowalski(access(server), field=487)
    server.collections[SOURCES] = [d for d in server.collections[SOURCES] if d["_id"] != rows(field=487)["_id"][1]]
    with pytest.raises(KowalskiAnswerError, match=r"field 487, CCD 1, quadrant 1 has 3 sources .* expected 4"):
        table.compute()


def test_the_name_of_a_table_tells_what_it_holds_and_not_how_it_comes(server: KowalskiServer) -> None:
    kowalski = access(server)
    name = read_kowalski(kowalski, field=296)._name
    with running(FRAME) as other:
        assert read_kowalski(access(other, attempts=2, max_queries=1), field=296)._name == name
    assert read_kowalski(kowalski, field=296, max_timestamp_hjd=2459000.0)._name != name
    assert read_kowalski(kowalski, field=296, program_ids=(1,))._name != name
    assert read_kowalski(kowalski, field=487)._name != name
    assert TOKEN not in str(dict(read_kowalski(kowalski, field=296).optimize().dask))


def test_a_table_that_is_built_again_asks_with_the_access_given_last(server: KowalskiServer) -> None:
    """Dask gives back the parts of an equal table, which hold the access that it was built with."""
    catalogs = {"Gaia_EDR3": KowalskiCatalog(access(server), "Gaia_EDR3")}
    fields = {"Gaia_EDR3": ("_id",)}
    server.collections["Gaia_EDR3"] = []
    first = crossmatch(read_kowalski(access(server), field=487), catalogs, fields=fields)
    with running(FRAME, tokens=("new-token",)) as other:
        kowalski = access(instance(other, token=SecretStr("new-token")))
        catalogs = {"Gaia_EDR3": KowalskiCatalog(kowalski, "Gaia_EDR3")}
        other.collections["Gaia_EDR3"] = []
        again = crossmatch(read_kowalski(kowalski, field=487), catalogs, fields=fields)
        assert again._name == first._name
        asked = len(server.queries)
        assert len(again.compute(scheduler="sync")) == 4
        assert len(server.queries) == asked
        assert other.count("find") == 2
        assert other.count("cone_search") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "light curves of Kowalski are asked for by field, ids or cone"),
        ({"ccd": 3}, "light curves of Kowalski are asked for by field, ids or cone"),
        ({"field": 296, "ccd": 17}, "ccd is 17, expected 1 to 16"),
        ({"field": 296, "partition_rows": 0}, "partition_rows is 0, expected 1 or more"),
        ({"field": 296, "limit": 0}, "limit is 0, expected 1 or more"),
        ({"field": 296, "program_ids": ()}, "program_ids is empty"),
        ({"field": 296, "max_timestamp_hjd": -1}, r"max_hjd is -1\.0, expected a Julian date above 0"),
    ],
)
def test_options_are_checked_before_anything_is_sent(server: KowalskiServer, options: dict, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        read_kowalski(access(server), **options)
    assert server.queries == []


def test_a_failed_query_fails_its_partition_with_the_reason_and_a_rerun_fetches_only_that(
    server: KowalskiServer, tmp_path
) -> None:
    with Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0"):
        table = read_kowalski(access(server), field=296, partition_rows=10, **EVERYTHING)
        server.fail(*[html(502)] * 3, when=lambda query: query.get("kwargs", {}).get("skip") == 10)
        summary = sd.write(table, tmp_path / "out")
        assert len(summary.failed) == 1
        aside = pd.read_parquet(tmp_path / "out" / "_set_aside" / "0000" / "part-0000001.set_aside")
        assert aside["reason"][0].startswith("KowalskiUnavailableError: Kowalski instance kowalski (http://127.0.0.1:")
        assert "HTTP 502: 502 Bad Gateway" in aside["reason"][0]
        before = len(server.queries)
        again = read_kowalski(access(server), field=296, partition_rows=10, **EVERYTHING)
        assert sd.write(again, tmp_path / "out", resume=True).failed == {}
    assert [q["query_type"] for q in server.queries[before:]] == [
        "aggregate",
        "find",
        "find",
    ]
    same(pd.read_parquet(tmp_path / "out", columns=["_id"]), rows(field=296)[["_id"]])


def test_with_one_query_in_five_failing_nothing_is_lost_and_nothing_doubled(server: KowalskiServer) -> None:
    slow = Fault("delay", seconds=1.5)
    server.fail_often(0.2, html(502), html(429), html(200), Fault("reset"), Fault("cut"), Fault("broken"), slow)
    table = read_kowalski(
        access(server, attempts=12, timeout=1.0, query_rows=3), field=[296, 487], partition_rows=5, **EVERYTHING
    )
    same(table.compute(), rows(field=[296, 487]))
    assert server.count() > server.answered


def test_a_service_that_is_gone_ends_with_one_message() -> None:
    with running(FRAME) as server:
        table = read_kowalski(access(server), field=296)
    with pytest.raises(KowalskiUnavailableError, match="did not answer the find on ZTF_sources_20240117 in 3 attempts"):
        table.compute()


def test_threads_of_one_process_keep_the_limit(server: KowalskiServer) -> None:
    server.pause = 0.02
    table = read_kowalski(access(server, max_queries=2, query_rows=4), field=296, partition_rows=4, **EVERYTHING)
    with dask.config.set(scheduler="threads", num_workers=6):
        same(table.compute(), rows(field=296))
    assert server.peak == 2


def test_workers_of_a_cluster_keep_the_limit_together(server: KowalskiServer) -> None:
    server.pause = 0.05
    kowalski = access(server, max_queries=1)
    with two_workers() as client, dask.config.set(scheduler=None):
        table = read_kowalski(kowalski, field=296, partition_rows=4, **EVERYTHING)
        same(client.compute(table).result(), rows(field=296))
        assert server.peak == 1
        other = read_kowalski(kowalski, field=296, partition_rows=3, **EVERYTHING)  # the first may still be in memory
        server.fail(*[html(502)] * 30, when=lambda query: query.get("kwargs", {}).get("skip", 0) > 0)
        with pytest.raises(KowalskiUnavailableError, match="HTTP 502: 502 Bad Gateway"):
            client.compute(other).result()


def test_it_gives_what_the_archive_reader_gives_of_the_same_light_curves(server: KowalskiServer, tmp_path) -> None:
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0"):
        table = read_kowalski(access(server), field=[296, 487, 900], partition_rows=10, **EVERYTHING)
        sd.write_archive(table, tmp_path / "archive")
    archive = sd.read_archive(tmp_path / "archive")
    pd.testing.assert_frame_equal(archive._meta, table._meta)
    same(archive.compute(), table.compute())
    cone = (0.05, 30.0, 100.0)
    same(sd.read_archive(tmp_path / "archive", cone=cone).compute(), read_kowalski(access(server), cone=cone).compute())


def test_the_conditioning_runs_on_it_unchanged(server: KowalskiServer) -> None:
    raw = read_kowalski(access(server), field=296, partition_rows=10, **EVERYTHING)
    found = sd.lightcurves(raw, min_n_lc_points=5).compute().reset_index(drop=True)
    expected = sd.lightcurves(rows(field=296), min_n_lc_points=5)
    same(found, expected)
    assert len(found) > 20
    assert sum(QUADRANTS.values()) + 2 == len(FRAME)
