"""Runs of the feature generation: one file with its metadata, resumed after failures, ended when Kowalski is gone."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import generation_sky as sky
import pandas as pd
import pyarrow.parquet as pq
import pytest
from distributed import Client
from kowalski_server import Fault, KowalskiServer, html

from scope_dask._version import __version__
from scope_dask.errors import OptionError, RunError, SourceError, UsageError
from scope_dask.formats import read_table
from scope_dask.formats.atomic import locked
from scope_dask.generation import FeatureFolder, Job, Quadrant, SpecificIds, feature_table, generate
from scope_dask.sources.kowalski import disconnect

OPTIONS = replace(sky.QUICK, find_periods=False)
IDS = sky.light_curves()["_id"].to_numpy()
NAMES = {"ZTF_source_catalog": sky.SOURCES, "ZTF_alerts_catalog": sky.ALERTS, "Gaia_catalog": sky.GAIA}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        dask.config.set(sky.QUIET),
        Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as client,
    ):
        yield client


@pytest.fixture
def server(client: Client) -> Iterator[KowalskiServer]:
    running = sky.server()
    yield running
    disconnect()
    running.close()


def job(server: KowalskiServer, root: Path, what: Any = sky.HERE, options: Any = OPTIONS, **access: Any) -> Job:
    return Job(
        what=what, folder=FeatureFolder(root), options=options, names=NAMES, **sky.from_kowalski(server, **access)
    )


def expected(server: KowalskiServer, what: Any = sky.HERE, options: Any = OPTIONS) -> pd.DataFrame:
    return sky.sorted_features(feature_table(what=what, options=options, **sky.from_kowalski(server)).compute())


def same(path: Path, expected: pd.DataFrame) -> None:
    columns = [name for name in expected if name not in ("dmdt", "radec_geojson")]
    pd.testing.assert_frame_equal(sky.sorted_features(read_table(path))[columns], expected[columns])


def test_one_file_with_its_metadata_and_nothing_beside_it(server, client, tmp_path) -> None:
    made = generate(job(server, tmp_path), client)
    path = tmp_path / "field_301" / "gen_features_field_301_ccd_2_quad_4.parquet"
    assert made.path == path
    same(path, expected(server))
    assert made.rows == len(read_table(path))
    assert [p.name for p in path.parent.rglob("*.parquet")] == [path.name]
    stated = json.loads(pq.read_schema(path).metadata[b"scope"])
    assert {name: stated[name] for name in NAMES} == NAMES
    assert stated["scope_code_version"] == __version__
    start, end = (stated[f"feature_generation_{name}_dateTime_utc"] for name in ("start", "end"))
    assert start <= end <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert stated["period_kernels"] == {"Ones": "Ones"}
    entry = json.loads((tmp_path / "meta.json").read_text())["(field, ccd, quad)"]["(301, 2, 4)"]
    assert {name: entry[name] for name in ("minobs", "total")} == {"minobs": 30, "total": made.rows}
    assert {name: entry[name] for name in NAMES} == NAMES
    assert entry["dropped"]["bright_stars"] == {"close to a bright star": 6}
    square = pd.read_parquet(path, columns=["dmdt", "radec_geojson"])
    assert (len(square["dmdt"][0]), len(square["dmdt"][0][0])) == (26, 26)
    assert set(square["radec_geojson"][0]) == {"coordinates"}


def test_the_same_again_is_not_computed_and_other_options_replace_the_file(server, client, tmp_path) -> None:
    first = generate(job(server, tmp_path), client)
    before = first.path.stat().st_mtime_ns
    again = generate(job(server, tmp_path), client)
    assert (again.rows, again.summary) == (first.rows, None)
    assert first.path.stat().st_mtime_ns == before
    other = generate(job(server, tmp_path, options=replace(OPTIONS, first=3)), client)
    assert other.path == first.path
    assert other.rows < first.rows
    assert generate(job(server, tmp_path, options=replace(OPTIONS, first=3)), client, overwrite=True).summary


def test_two_processes_do_not_compute_the_same_file(server, client, tmp_path) -> None:
    path = job(server, tmp_path).path
    path.parent.mkdir()
    with (
        locked(path.with_name(f".{path.name}.lock")),
        pytest.raises(RunError, match=r"quad_4.parquet is being computed by another process"),
    ):
        generate(job(server, tmp_path), client)
    assert not path.exists()


def test_a_failed_partition_leaves_no_file_and_the_rerun_asks_for_it_alone(server, client, tmp_path) -> None:
    server.fail(*[html(502)] * 3, when=lambda query: query.get("kwargs", {}).get("skip") == 6)
    with pytest.raises(RunError, match=r"1 of 3 partitions could not be computed, such as partition 1 \(Kowalski"):
        generate(job(server, tmp_path), client)
    assert not job(server, tmp_path).path.exists()
    with pytest.raises(UsageError, match=r"holds a run of other tables \(max_timestamp_hjd: 2459951.5 → 2459000.0\)"):
        generate(job(server, tmp_path, options=replace(OPTIONS, max_timestamp_hjd=2459000.0)), client)
    server.queries.clear()
    made = generate(job(server, tmp_path), client)
    assert made.summary.reused == 2
    assert [q["kwargs"]["skip"] for q in server.queries if q.get("kwargs", {}).get("skip") is not None] == [6]
    same(made.path, expected(server))


def test_with_one_answer_in_twenty_failing_nothing_is_lost_and_nothing_doubled(server, client, tmp_path) -> None:
    kinds = (html(502), html(429), html(200), Fault("reset"), Fault("cut"), Fault("broken"))
    server.fail_often(0.05, *kinds, Fault("delay", seconds=1.5))
    every = SpecificIds(IDS)
    options = replace(OPTIONS, bright_stars=None)
    made = generate(
        job(server, tmp_path, every, options, partition_rows=2, query_rows=1, attempts=12, timeout=1.0), client
    )
    assert server.count() > server.answered
    server.forget_faults()
    same(made.path, expected(server, every, options))
    counts = Counter(read_table(made.path)["_id"])
    assert set(counts.values()) == {1}


def test_kowalski_gone_for_good_ends_the_run_and_keeps_what_is_done(server, client, tmp_path) -> None:
    work = {"what": SpecificIds(IDS), "partition_rows": 1, "attempts": 2}
    gone = [html(502)] * 10_000
    server.fail(*gone, when=lambda query: len(server.queries) > 40 and query["query_type"] != "info")
    with pytest.raises(RunError, match=r"the run ends after 3 partitions in a row: Kowalski instance kowalski .* 502"):
        generate(job(server, tmp_path, **work), client)
    asked = server.count()
    assert asked < 40 + 2 * len(IDS), "it went on asking"
    records = (job(server, tmp_path, **work).folder.parts(work["what"]) / "_records.jsonl").read_text().splitlines()
    done = [record["partition"] for record in map(json.loads, records) if record["ok"]]
    assert done
    server.forget_faults()
    made = generate(job(server, tmp_path, **work), client)
    assert made.summary.reused == len(done)
    same(made.path, expected(server, work["what"]))


def test_a_quadrant_where_nothing_survives_is_an_empty_file(server, client, tmp_path) -> None:
    for what in (Quadrant(999, 1, 1), sky.HERE):
        options = replace(OPTIONS, lightcurves=replace(OPTIONS.lightcurves, min_n_lc_points=100))
        made = generate(job(server, tmp_path, what, options), client)
        table = read_table(made.path)
        assert (made.rows, len(table)) == (0, 0)
        assert list(table.columns) == list(expected(server, what, options).columns)
    assert set(json.loads((tmp_path / "meta.json").read_text())["(field, ccd, quad)"]) == {"(999, 1, 1)", "(301, 2, 4)"}


def test_specific_ids_have_a_folder_of_their_own_and_what_is_missing_is_listed(server, client, tmp_path) -> None:
    what = SpecificIds(np_append(IDS[:4], 77), {int(IDS[0]): "ZTFJ1"})
    made = generate(job(server, tmp_path, what), client)
    assert made.path == tmp_path / "specific_ids" / "gen_features_specific_ids.parquet"
    assert read_table(made.path)["fritz_name"].dropna().tolist() == ["ZTFJ1"]
    aside = read_table(tmp_path / "set_aside" / made.path.name)
    assert aside[["_id", "reason"]].values.tolist() == [[77, f"not in the catalogue {sky.SOURCES}"]]
    kept = json.loads((made.path.parent / "specific_ids_dropCloseSources.json").read_text())
    assert set(kept) == {str(i) for i in read_table(made.path)["_id"]}
    assert kept[str(IDS[0])]["fritz_name"] == "ZTFJ1"
    assert len(kept[str(IDS[0])]["radec_geojson"]["coordinates"]) == 2


def np_append(ids: Any, another: int) -> Any:
    import numpy as np

    return np.sort(np.append(ids, another))


def test_nothing_is_left_where_nothing_is_to_be_saved(server, client, tmp_path) -> None:
    made = generate(job(server, tmp_path), client, save=False)
    assert made.path is None
    assert made.rows == len(expected(server))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_gpu_that_no_worker_sees_is_one_sentence(server, client, tmp_path) -> None:
    features = replace(OPTIONS.features, device="gpu")
    work = job(server, tmp_path, options=replace(sky.QUICK, features=features))
    with pytest.raises(RunError, match=r"1 of 1 workers of the cluster see no CUDA device: .* --doCPU, .* --cluster"):
        generate(work, client)
    with pytest.raises(RunError, match=r"there is no CUDA device here: .* --doCPU, .* --cluster"):
        generate(work)


def test_jobs_of_a_quadrant_file(tmp_path) -> None:
    folder = FeatureFolder(tmp_path)
    with pytest.raises(SourceError, match=r"the quadrant file .* cannot be read \(No such file or directory\)"):
        folder.job("slurm.dat", 0)
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "slurm.dat").write_text("0 296 1 1\n5738 301 2 4\n")
    assert folder.job("slurm.dat", 5738) == sky.HERE
    with pytest.raises(OptionError, match=r"slurm.dat has no job 3; it has 0 to 5738: see --quadrant-index"):
        folder.job("slurm.dat", 3)
    (tmp_path / "slurm" / "bad.dat").write_text("0 296 1 1\n1 x\n")
    with pytest.raises(SourceError, match=r"bad.dat, line 2 is '1 x', expected: job field ccd quad"):
        folder.job("bad.dat", 0)
