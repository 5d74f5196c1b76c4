"""scope-upload-classification against a test Fritz and a test Kowalski: every option, and the checks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fritz_observations import User
from fritz_world import ONTOLOGICAL, PHENOMENOLOGICAL
from upload_sample import BASE, NAME, curves, names, posted, write_sample

from scope_dask.formats import read_table, write_table
from scope_dask.fritz.lightcurves import earth_mjd

PERSON = User(77, "person", {1, 360, 361, 999})


@pytest.fixture
def sample(place) -> pd.DataFrame:
    return write_sample(place)


def test_new_sources_with_all_that_belongs_to_them(place, sample) -> None:
    said = place.run_process(NAME, *BASE, "--classification", "vnv", "fla", "--p-threshold", "0.9")
    assert "vnv: variable of taxonomy 1017" in said
    assert "4 of 4 sources are new" in said
    own = names(sample)
    expected = [(own[0], "variable", 0.95), (own[1], "variable", 0.9), (own[1], "flaring", 0.92)]
    expected += [(own[2], "flaring", 0.99), (own[4], "variable", 1.0)]
    assert posted(place.fritz) == sorted(expected)
    entry = next(iter(place.fritz.state.classifications.values()))
    assert (entry["origin"], entry["ml"], entry["groups"]) == ("SCoPe", True, [360, 361])
    assert place.fritz.state.votes == {}
    assert place.fritz.state.labels == set()
    state = place.fritz.state
    assert sorted(state.sources) == sorted(own[k] for k in (0, 1, 2, 4))
    assert set(state.sources[own[0]]["saved"]) == {360, 361}
    assert state.sources[own[0]]["origin"] == "Fritz"
    periods = {
        note["obj_id"]: note["data"] for note in state.annotations.values() if note["origin"] == "uploadedperiod"
    }
    assert periods[own[1]] == {"period": 1.25}
    result = read_table("fritzUpload/sample_fritzUpload_classifications.parquet")
    assert sorted(result["classification_id"]) == sorted(state.classifications)
    assert [p.name for p in Path("fritzUpload").iterdir()] == ["sample_fritzUpload_classifications.parquet"]


def test_photometry_of_new_sources_whatever_is_skipped(place, sample) -> None:
    place.run(NAME, *BASE, "--start", "1", "--stop", "1")
    points = pd.DataFrame(place.fritz.state.photometry)
    document = next(one for one in curves(6) if one["_id"] == 1001)
    used = [point for point in document["data"] if point["catflags"] == 0]
    green = points[points["filter"] == "ztfg"].sort_values("mjd")
    assert len(points) == 2 * 29
    assert green["mag"].tolist() == [point["mag"] for point in used]
    hjd = np.array([point["hjd"] for point in used])
    assert np.abs(green["mjd"] - (hjd - 2400000.5)).max() * 1440 < 8.4
    assert np.allclose(green["mjd"], earth_mjd(hjd, np.full(29, 31.0), np.full(29, 10.0)), rtol=0, atol=1e-9)
    assert set(points["instrument_id"]) == {41}
    assert set(points["limiting_mag"]) == {20.8, 20.6}
    assert place.fritz.state.classifications == {}
    before = len(place.fritz.requests)
    place.run(NAME, *BASE, "--start", "1", "--stop", "1")
    again = place.fritz.requests[before:]
    assert not [r for r in again if r.method in ("PUT", "POST")]
    place.run(NAME, *BASE[:-1], "--start", "1", "--stop", "1")  # photometry again, but no point twice
    assert len(place.fritz.state.photometry) == 2 * 29


def test_the_times_are_those_of_astropy() -> None:
    from astropy import units as u
    from astropy.coordinates import SkyCoord, get_body_barycentric
    from astropy.time import Time

    hjd = np.linspace(2458200, 2458600, 9)
    place = SkyCoord(200.0 * u.deg, 33.0 * u.deg)
    times = Time(hjd, format="jd", scale="tdb")
    earth = get_body_barycentric("earth", times) - get_body_barycentric("sun", times)
    light = earth.dot(place.cartesian).to_value(u.lightyear) * 365.25
    expected = hjd - 2400000.5 - light
    found = earth_mjd(hjd, np.full(9, 200.0), np.full(9, 33.0))
    assert np.abs(found - expected).max() * 86400 < 1e-3  # rounding of a Julian date is 4e-5 s


def test_names_from_the_file_votes_labels_and_origin(place, sample) -> None:
    words = ["--use-existing-obj-id", "--post-upvote", "--check-labelled-box", "--no-ml"]
    words += ["--classification-origin", "people", "--start", "0", "--stop", "0"]
    place.run(NAME, *BASE, *words, "--classification", "vnv")
    (number, entry) = next(iter(place.fritz.state.classifications.items()))
    assert (entry["obj_id"], entry["origin"], entry["ml"]) == ("mine_0", "people", False)
    assert place.fritz.state.votes == {(number, 11): 1}
    assert place.fritz.state.labels == {("mine_0", 11, 360), ("mine_0", 11, 361)}


def test_the_newest_source_of_a_position_is_taken(place, sample) -> None:
    state = place.fritz.state
    for name in ("ZTFJold", "ZTFJnew", "other"):
        state.add_source(name, 30.0, 10.0 + 1 / 3600, (360, 361))
    state.add_source("ZTFJfar", 30.0, 10.0 + 3 / 3600, (360, 361))
    state.add_source("ZTFJpart", 31.0, 10.0, (360,))
    said = place.run(NAME, *BASE, "--classification", "vnv", "--stop", "1", "--start", "0")
    assert "1 of 2 sources are new" in said
    assert [one[0] for one in posted(place.fritz)] == ["ZTFJnew", "ZTFJpart"]
    assert set(state.sources["ZTFJpart"]["saved"]) == {360, 361}


def test_sources_are_matched_by_survey_ids(place, sample) -> None:
    state = place.fritz.state
    for name, key in (("any", "survey_id_2"), ("ZTFJnew", "survey_id")):
        state.add_source(name, 30.0, 10.0, (360, 361))
        body = {"origin": "SCoPe_xmatch", "data": {key: str(10**17 + (name != "any"))}, "group_ids": [360]}
        state.post_annotation(place.fritz.user, {}, body, name)
    place.run(NAME, *BASE, "--match-ids", "--classification", "vnv", "--stop", "0")
    assert [one[0] for one in posted(place.fritz)] == ["any"]


def test_survey_ids_are_matched_under_their_origin(place, sample) -> None:
    state = place.fritz.state
    for name, origin in (("ZTFJone", "SCoPe_xmatch"), ("other", "xm")):
        state.add_source(name, 30.0, 10.0, (360, 361))
        body = {"origin": origin, "data": {"survey_id": str(10**17)}, "group_ids": [360]}
        state.post_annotation(place.fritz.user, {}, body, name)
    place.run(NAME, *BASE, "--match-ids", "--survey-id-origin", "xm", "--classification", "vnv", "--stop", "0")
    assert [one[0] for one in posted(place.fritz)] == ["other"]


@pytest.mark.parametrize("missing", [False, True])
def test_survey_ids_of_a_table_of_numbers_keep_all_digits(place, sample, missing) -> None:
    sample = sample[["ra", "dec", "period", "survey_id"]].astype({"survey_id": "Int64"})
    if missing:
        sample.loc[1, "survey_id"] = pd.NA
    write_table(sample, "numbers.parquet")
    place.run(NAME, *BASE, "--file", "numbers.parquet", "--post-survey-id", "--match-ids", "--stop", "2")
    notes = [one for one in place.fritz.state.annotations.values() if one["origin"] == "SCoPe_xmatch"]
    found = {one["obj_id"]: one["data"]["survey_id"] for one in notes}
    kept = [k for k in range(3) if not (missing and k == 1)]
    assert found == {names(sample)[k]: str(10**17 + k) for k in kept}
    write_table(sample.assign(survey_id=[9000.0, np.nan, *[1e17] * 4]), "numbers.parquet")
    words = ["--file", "numbers.parquet", "--post-survey-id", "--survey-id-origin", "few"]
    place.run(NAME, *BASE, *words, "--stop", "1")
    assert [one["data"] for one in place.fritz.state.annotations.values() if one["origin"] == "few"] == [
        {"survey_id": "9000"}
    ]
    assert "survey ids in floating point, which has lost their last digits" in place.run(NAME, *BASE, *words, code=2)


def test_the_radius_and_the_instrument_of_the_photometry(place, sample) -> None:
    sample["dec"] += 3.0 / 3600
    write_table(sample, "sample.csv")
    place.run(NAME, *BASE, "--stop", "0")
    assert place.fritz.state.photometry == []
    words = [*BASE[:-1], "--stop", "0", "--radius-arcsec", "4", "--instrument-name", "SEDM"]
    place.run(NAME, *words)
    assert {point["instrument_id"] for point in place.fritz.state.photometry} == {7}
    assert len(place.fritz.state.photometry) == 2 * 29


def test_survey_ids_are_annotated_and_added(place, sample) -> None:
    state = place.fritz.state
    state.add_source("mine_0", 30.0, 10.0, (360, 361))
    body = {"origin": "xm", "data": {"survey_id": "7"}, "group_ids": [360]}
    state.post_annotation(place.fritz.user, {}, body, "mine_0")
    words = ["--use-existing-obj-id", "--post-survey-id", "--survey-id-origin", "xm", "--stop", "1"]
    for _ in range(2):
        place.run(NAME, *BASE, *words)
    found = {note["obj_id"]: note["data"] for note in state.annotations.values() if note["origin"] == "xm"}
    assert found == {"mine_0": {"survey_id": "7", "survey_id_2": str(10**17)}, "mine_1": {"survey_id": str(10**17 + 1)}}


def test_comments_and_plots_once(place, sample) -> None:
    words = ["--comment", "confident", "--post-phot-as-comment", "--post-phasefolded-phot", "--phot-dirname", "figures"]
    for _ in range(2):
        place.run(NAME, *BASE, *words, "--use-existing-obj-id", "--stop", "1")
    comments = list(place.fritz.state.comments.values())
    kinds = Counter((one["obj_id"], one["text"], one["attachment_name"]) for one in comments)
    assert kinds == {
        (f"mine_{k}", text, name): 1
        for k, period in ((0, "0.25"), (1, "1.25"))
        for text, name in (
            ("confident", None),
            ("ZTF photometry", f"mine_{k}_phot.png"),
            (f"ZTF photometry folded by {period} d", f"mine_{k}_phasefolded.png"),
        )
    }
    for one in comments:
        if one["attachment_name"]:
            assert one["content"] == (Path("figures") / one["attachment_name"]).read_bytes()
            assert one["content"].startswith(b"\x89PNG")
    assert [one["groups"] for one in comments] == [[360, 361]] * 6


def test_replacing_takes_out_of_the_given_groups_only(place, sample) -> None:
    state = place.fritz.state
    state.add_source("mine_0", 30.0, 10.0, (360, 361, 999))
    place.fritz.user.groups.add(999)
    state.add_classification(PERSON, "mine_0", "RR Lyrae", ONTOLOGICAL, probability=0.3, group_ids=[360])
    state.add_classification(PERSON, "mine_0", "flaring", PHENOMENOLOGICAL, probability=0.3, group_ids=[360, 999])
    words = ["--use-existing-obj-id", "--replace-classifications", "--classification", "vnv", "--stop", "0"]
    place.run(NAME, *BASE, *words)
    assert posted(place.fritz) == [("mine_0", "flaring", 0.3), ("mine_0", "variable", 0.95)]
    kept = next(one for one in state.classifications.values() if one["classification"] == "flaring")
    assert kept["groups"] == [999]


def test_the_copy_with_names_grows_over_calls(place, sample) -> None:
    words = ["--write-obj-id", "--result-dir", "done", "--classification", "read", "--p-threshold", "0.9"]
    write_table(sample.drop(columns="obj_id"), "sample.csv")
    place.run(NAME, *BASE, *words, "--stop", "0", "--result-filetag", "one.csv")
    first = read_table("done/sample_one.csv")
    own = names(sample)
    assert first["obj_id"].tolist()[0] == own[0]
    assert first["obj_id"].isna().sum() == 5
    assert first.drop(columns="obj_id").equals(sample.drop(columns="obj_id"))
    again = ["--file", "done/sample_one.csv", *BASE[2:], *words, "--start", "1", "--stop", "99"]
    place.run(NAME, *again, "--result-format", "h5")
    both = read_table("done/sample_one_fritzUpload.h5")
    assert both["obj_id"].tolist()[:3] == own[:3]
    assert both["obj_id"].isna().tolist() == [False, False, False, True, False, True]
    assert Path("done/sample_one_fritzUpload_classifications.h5").exists()


def test_the_last_columns_stand_in_for_names_that_are_none(place, sample) -> None:
    frame = sample.rename(columns={"fla": "a", "rrlyr": "b"})
    write_table(frame, "sample.csv")
    said = place.run(NAME, *BASE, "--classification", "fla", "rrlyr", "--stop", "0", "--use-existing-obj-id")
    assert "a: flaring of taxonomy 1017" in said
    assert posted(place.fritz) == [("mine_0", "RR Lyrae", 0.5), ("mine_0", "flaring", 0.1)]
    frame["b"] = 3.0
    write_table(frame, "sample.csv")
    said = place.run(NAME, *BASE, "--classification", "fla", "rrlyr", code=2)
    assert "do not all hold numbers from 0 to 1" in said


def test_all_that_is_wrong_is_listed_before_the_first_write(place, sample) -> None:
    sample.loc[0, "vnv"] = 1.5
    sample["fla"] = sample["fla"].where(sample.index != 1)
    sample.loc[2, ["ra", "obj_id"]] = [400.0, "bad id"]
    sample.loc[3, "dec"] = np.nan
    sample.loc[5, "obj_id"] = "mine_4"
    write_table(sample, "sample.csv")
    mapper = json.loads(Path("map.json").read_text())
    mapper["rrlyr"]["fritz_label"] = "RR Lyra"
    Path("map.json").write_text(json.dumps(mapper))
    words = ["--classification", "read", "--use-existing-obj-id", "--group-ids", "360", "555"]
    said = place.run(NAME, *BASE, *words, "--instrument-name", "ZTE", code=2)
    for text in (
        "mine_0 vnv 1.5",
        "mine_1 fla nan",
        "'bad id'",
        "bad id 400",
        "mine_3 nan",
        "mine_4",
        "'RR Lyra' in 1015 (did you mean 'RR Lyrae'?)",
        "555",
        "ZTE",
    ):
        assert text in said
    assert {r.method for r in place.fritz.requests} == {"GET"}


def test_a_dry_run_finds_all_that_is_wrong_with_the_table(place, sample) -> None:
    frame = sample.astype({"period": object, "obj_id": object, "ra": object})
    frame.loc[0, "period"], frame.loc[1, "period"], frame.loc[2, "period"] = "long", -1.0, None
    frame.loc[3, "ra"] = "12:00:00"
    frame.loc[5, "obj_id"] = None
    frame.to_csv("sample.csv", index=False)
    words = ["--use-existing-obj-id", "--classification", "vnv", "fla"]
    dry = place.run(NAME, *BASE, *words, "--dry-run", "--group-ids", "360", code=2)
    real = place.run(NAME, *BASE, *words, "--group-ids", "555", code=2)
    for said in (dry, real):
        assert "periods that are no numbers above 0: mine_0 long, mine_1 -1.0" in said
        assert "rows without obj_id: 5" in said
    assert "555" in real
    sample["ra"] = frame["ra"]
    sample["dec"] = 10.0
    sample.to_csv("sample.csv", index=False)
    assert "right ascensions outside 0 to 360 deg: row_3 nan" in place.run(NAME, *BASE, "--dry-run", code=2)
    assert {r.method for r in place.fritz.requests} == {"GET"}


def test_rows_that_are_the_same_source_are_found_before_the_first_write(place, sample) -> None:
    place.fritz.state.add_source("ZTFJone", 30.0, 10.0 + 1.5 / 3600, (360, 361))
    sample.loc[1, ["ra", "dec"]] = [30.0, 10.0 + 3.0 / 3600]
    write_table(sample, "sample.csv")
    assert "several rows of the file are: ZTFJone" in place.run(NAME, *BASE, code=2)
    assert {r.method for r in place.fritz.requests} == {"GET"}


def test_rows_that_would_be_the_same_source_are_found_before_the_first_write(place, sample) -> None:
    sample.loc[1, ["ra", "dec"]] = [30.0, 10.0 + 0.7 / 3600]
    write_table(sample, "sample.csv")
    assert "within 2 arcsec of each other: 0 and 1" in place.run(NAME, *BASE, code=2)
    assert {r.method for r in place.fritz.requests} == {"GET"}
    place.run(NAME, *BASE, "--use-existing-obj-id")


def test_a_dry_run_prints_what_would_be_sent(place, sample) -> None:
    words = ["--classification", "vnv", "fla", "--p-threshold", "0.9", "--comment", "hi", "--write-obj-id"]
    said = place.run(NAME, *BASE, *words, "--replace-classifications", "--dry-run")
    assert f"{names(sample)[1]}: flaring 0.92, variable 0.9" in said
    assert "the comment 'hi'" in said
    assert "would write fritzUpload/sample_fritzUpload.parquet" in said
    assert place.fritz.requests == []
    assert not Path("fritzUpload").exists()
    sample.loc[0, "vnv"] = 2.0
    write_table(sample, "sample.csv")
    assert f"{names(sample)[0]} vnv 2" in place.run(NAME, *BASE, *words, "--dry-run", code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--classification", "vmv"], "is not in the taxonomy mapper (did you mean 'vnv'?)"),
        (["--classification", "nice"], "its fritz_label is None"),
        (["--start", "6"], "leave no row of 6"),
        (["--start", "3", "--stop", "2"], "leave no row of 6"),
        (["--p-threshold", "1.1"], "expected 0 to 1"),
        (["--radius-arcsec", "0"], "expected more than 0"),
        (["--result-format", "fits"], "expected parquet, h5 or csv"),
        (["--file", "bare.csv", "--use-existing-obj-id"], "obj_id (for --use-existing-obj-id)"),
        (["--file", "bare.csv", "--post-survey-id"], "survey_id (for --post-survey-id or --match-ids)"),
        (["--file", "bare.csv", "--post-phasefolded-phot"], "period (for --post-phasefolded-phot)"),
        (["--file", "bare.csv", "--classification", "read"], "none of the columns of the taxonomy mapper"),
    ],
)
def test_wrong_usage(place, sample, words, said) -> None:
    write_table(sample[["ra", "dec"]], "bare.csv")
    assert said in place.run(NAME, *BASE, *words, code=2)
    assert place.fritz.requests == []
