"""scope-download-gcn-sources against a test Fritz and a test Kowalski."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kowalski_documents import place as at
from kowalski_sky import SOURCES

from scope_dask.formats import read_table
from scope_dask.generation.specific import read_specific_ids

NAME = "scope_download_gcn_sources"
DATEOBS = "2023-05-21T05:30:43"
STEM = "fritzDownload/specific_ids_GCN_sources.2023-05-21T05-30-43"
MJD = 60085.3  # two hours later


@pytest.fixture
def event(place) -> None:
    """An event with three sources within its localisation; two are detected after it."""
    state = place.fritz.state
    state.add_event(DATEOBS, 100.0, 20.0, 2.0)
    for name, ra, days in (("a", 100.0, 0.1), ("b", 100.0001, 9.0), ("late", 101.0, 60.0), ("away", 150.0, 0.1)):
        state.add_source(name, ra, 20.0, (361,) if name == "b" else (360,))
        state.photometry.append({"obj_id": name, "mjd": MJD + days, "mag": 18.0})
    spots = {1: 100.0, 2: 100.00012, 3: 100.001, 4: 150.0}
    place.kowalski.collections[SOURCES] = [{"_id": n, **at(ra, 20.0), "filter": 1} for n, ra in spots.items()]


def test_the_documented_line(place, event) -> None:
    said = place.run_process(NAME, "--dateobs", DATEOBS)
    assert "1 sources with 2 light curves" in said
    found = read_table(f"{STEM}.parquet")
    assert found["ztf_id"].tolist() == [1, 2]
    assert found["fritz_name"].tolist() == ["a", "a"]
    point = {"type": "Point", "coordinates": [100.0 - 180.0, 20.0]}
    assert found["coordinates"].tolist()[0] == {"radec_geojson": point}
    listed = json.loads(Path(f"{STEM}.json").read_text())
    assert listed["1"] == {"fritz_name": "a", "radec_geojson": point}
    for ending in ("json", "parquet"):
        ids = read_specific_ids(f"{STEM}.{ending}")
        assert ids.ids.tolist() == [1, 2]
        assert ids.names == {1: "a", 2: "a"}


def test_more_days_the_nearest_source_and_a_larger_radius(place, event) -> None:
    words = ["--days-range", "10", "--radius-arcsec", "4", "--save-filename", "out/ids"]
    place.run(NAME, "--dateobs", DATEOBS, *words)
    found = read_table("out/ids.2023-05-21T05-30-43.parquet")
    assert dict(zip(found["ztf_id"], found["fritz_name"], strict=True)) == {1: "a", 2: "b", 3: "b"}


def test_groups(place, event) -> None:
    place.run(NAME, "--dateobs", DATEOBS, "--group-ids", "361", "--days-range", "10")
    assert set(read_table(f"{STEM}.parquet")["fritz_name"]) == {"b"}


def test_an_event_without_sources_leaves_empty_files(place, event) -> None:
    place.run(NAME, "--dateobs", DATEOBS, "--days-range", "0.01")
    assert len(read_table(f"{STEM}.parquet")) == 0
    assert json.loads(Path(f"{STEM}.json").read_text()) == {}


def test_a_dry_run_asks_nothing(place, event) -> None:
    said = place.run(NAME, "--dateobs", DATEOBS, "--dry-run")
    assert f"would write {STEM}.json" in said
    assert place.fritz.requests == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--dateobs is missing"),
        (["--dateobs", "yesterday"], "not like 2023-05-21T05:30:43"),
        (["--dateobs", DATEOBS, "--days-range", "0"], "expected more than 0"),
        (["--dateobs", DATEOBS, "--radius-arcsec", "-1"], "expected more than 0"),
        (["--dateobs", "2001-01-01T00:00:00"], "Localization 2001-01-01T00:00:00 not found"),
        (["--dateobs", DATEOBS, "--group-ids", "999"], "not accessible"),
    ],
)
def test_wrong_usage(place, event, words, said) -> None:
    assert said in place.run(NAME, *words, code=2)
