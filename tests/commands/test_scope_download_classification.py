"""scope-download-classification against a test Fritz and a test Kowalski."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faulty_http import Fault
from fritz_observations import User
from fritz_server import FritzServer
from fritz_world import ONTOLOGICAL, PHENOMENOLOGICAL
from kowalski_documents import place as at
from kowalski_sky import FEATURES, SOURCES
from processes import started

from scope_dask.formats import read_table, write_table

NAME = "scope_download_classification"
MATCHED = "PS1_DR1__gMeanPSFMag"
PERSON = User(77, "person", {1, 360, 361})


def sky(server: FritzServer, count: int = 4, groups: tuple[int, ...] = (360,)) -> list[str]:
    """Save sources a degree apart: variable, every other one also RR Lyrae, with an annotation."""
    ids = [f"ZTFJ{k:04d}+20" for k in range(count)]
    for number, obj_id in enumerate(ids):
        server.state.add_source(obj_id, 10.0 + number, 20.0, groups)
        one = server.state.add_classification(
            PERSON, obj_id, "variable", PHENOMENOLOGICAL, probability=0.9, group_ids=[360]
        )
        server.state.votes[one, 77] = 1
        server.state.votes[one, 78] = 1
        if number % 2:
            other = server.state.add_classification(
                PERSON, obj_id, "RR Lyrae", ONTOLOGICAL, probability=0.25, group_ids=[360]
            )
            server.state.votes[other, 77] = -1
        body = {"origin": "revisedperiod", "data": {"period": 0.5 + number}, "group_ids": [360]}
        server.state.post_annotation(PERSON, {}, body, obj_id)
        server.state.labels.add((obj_id, 77, 360))
    return ids


def curves(count: int = 4) -> list[dict[str, Any]]:
    """Two light curves of each source, 0.3 and 1 arcsec off, and one 3 arcsec off."""
    made = []
    for number in range(count):
        for band, off in ((1, 0.3), (2, 1.0), (3, 3.0)):
            place = at(10.0 + number, 20.0 + off / 3600)
            values = {"field": 1, "ccd": 1, "quad": 1, "n": 60, "median": 15.0 + number, MATCHED: None}
            values |= {MATCHED: 3.0} if band == 1 else {}
            made.append({"_id": 1000 * number + band, **place, **values})
    return made


def sample(file: str = "sample.csv", **columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame(columns)
    write_table(frame, file)
    return frame


def test_sources_of_a_file(place) -> None:
    ids = sky(place.fritz)
    frame = sample(obj_id=[ids[1], "unknown", ids[0]], note=["a", "b", "c"])
    said = place.run(NAME, "--file", "sample.csv", "--group-ids", 360)
    assert "--group-ids is not used" in said
    assert "2 of 3 sources have classifications" in said
    found = read_table("fritzDownload/sample_fritzDownload.parquet")
    assert found["note"].tolist() == frame["note"].tolist()
    assert found["obj_id"].tolist() == frame["obj_id"].tolist()
    assert found["classification"].tolist()[::2] == ["variable;RR Lyrae", "variable"]
    assert found["probability"].tolist()[::2] == ["0.9;0.25", "0.9"]
    assert found["sum_votes"].tolist()[::2] == ["2;-1", "2"]
    assert found["labellers"].tolist()[::2] == ["77", "77"]
    assert found["period_origin"].tolist()[::2] == ["revisedperiod", "revisedperiod"]
    assert found["period"].tolist()[::2] == ["1.5", "0.5"]
    assert found.loc[1, ["classification", "probability", "period"]].isna().all()
    assert [p.name for p in Path("fritzDownload").iterdir()] == ["sample_fritzDownload.parquet"]


def test_a_source_is_found_by_its_position(place) -> None:
    ids = sky(place.fritz)
    place.fritz.state.add_source("farther", 10.0, 20.0 + 1.5 / 3600, (360,))
    sample(ra=[10.0, 11.0, 50.0], dec=[20.0 + 0.4 / 3600, 20.0, 20.0])
    place.run(NAME, "--file", "sample.csv", "--output-format", "csv")
    found = read_table("fritzDownload/sample_fritzDownload.csv")
    assert found["obj_id"].tolist()[:2] == ids[:2]
    assert found["obj_id"].isna().tolist() == [False, False, True]


def test_sources_of_groups_page_by_page_and_from_a_page_on(place) -> None:
    ids = sky(place.fritz, 7)
    sky_of_others = sky(place.fritz, 0)
    place.fritz.state.add_source("elsewhere", 1.0, 1.0, (361,))
    place.run(NAME, "--file", "parse", "--group-ids", 360, "--output-dir", "out", "--output-format", "h5")
    found = read_table("out/parse_fritzDownload.h5")
    assert found["obj_id"].tolist() == ids + sky_of_others
    assert found["ra"].tolist() == [10.0 + k for k in range(7)]
    for number in range(500):
        place.fritz.state.add_source(f"more{number:03d}", 1.0, 1.0, (361,))
    place.run(NAME, "--group-ids", 360, 361, "--start", 2)
    found = read_table("fritzDownload/parse_fritzDownload_continued_page_2.parquet")
    assert found["obj_id"].tolist() == [f"more{number:03d}" for number in range(492, 500)]


def test_a_start_within_a_file(place) -> None:
    ids = sky(place.fritz, 5)
    sample(obj_id=ids)
    place.run(NAME, "--file", "sample.csv", "--start", 3)
    found = read_table("fritzDownload/sample_fritzDownload_continued_index_3.parquet")
    assert found["obj_id"].tolist() == ids[3:]


def test_the_documented_merge(place) -> None:
    ids = sky(place.fritz)
    place.kowalski.collections[FEATURES] = curves()
    place.kowalski.collections[SOURCES] = [
        {**document, "filter": document["_id"] % 1000, "data": []} for document in curves()
    ]
    sample(obj_id=ids)
    line = ["--file", "sample.csv", "--merge-features", "True", "--features-catalog", FEATURES, "--features-limit", 3]
    line += ["--taxonomy-map", "golden_dataset_mapper.json", "--output-dir", "fritzDownload"]
    line += ["--output-filename", "merged_classifications_features", "--output-format", "parquet"]
    place.run_process(NAME, *line, "-get-ztf-filters", "--impute-missing-features")
    found = read_table("fritzDownload/merged_classifications_features.parquet")
    assert found["ztf_id"].tolist() == [1000 * k + band for k in range(4) for band in (1, 2)]
    assert found["filter"].tolist() == [1, 2] * 4
    assert found["variable"].tolist() == [0.9] * 8
    assert found["RR Lyrae"].tolist() == [0.0, 0.0, 0.25, 0.25] * 2
    assert found["CV"].tolist() == [0.0] * 8
    assert "nice" not in found
    assert found[MATCHED].tolist() == [3.0] * 8
    assert found["obj_id"].tolist() == [name for name in ids for _ in range(2)]
    assert found.attrs["scope"]["features_ztf_dataRelease"] == "DR16"


def test_the_catalogue_the_size_of_queries_and_the_mapper_are_those_that_are_named(place) -> None:
    place.kowalski.collections["Other_DR9"] = curves()
    place.kowalski.collections[FEATURES] = []
    Path("map.json").write_text(json.dumps({"var": {"fritz_label": "variable", "taxonomy_id": 1017}}))
    sample(obj_id=sky(place.fritz))
    words = ["--features-catalog", "Other_DR9", "--features-limit", 3, "--taxonomy-map", "map.json"]
    said = place.run(NAME, "--file", "sample.csv", "--merge-features", *words)
    assert "the taxonomy mapper does not have RR Lyrae" in said
    found = read_table("fritzDownload/merged_classifications_features.parquet")
    assert found["var"].tolist() == [0.9] * 8
    assert "variable" not in found
    assert found.attrs["scope"]["features_ztf_dataRelease"] == "DR9"
    asked = [q["query"]["filter"]["_id"]["$in"] for q in place.kowalski.queries if q["query_type"] == "find"]
    assert sorted(map(len, asked)) == [2, 3, 3]
    place.run(NAME, "--file", "sample.csv", "--merge-features", "False", "--output-dir", "plain", *words)
    assert [path.name for path in Path("plain").iterdir()] == ["sample_fritzDownload.parquet"]


def test_a_file_with_classifications_is_not_asked_for_again(place) -> None:
    place.kowalski.collections[FEATURES] = curves()
    columns = {"classification": ["variable"], "probability": [0.8], "period_origin": ["x"], "period": [0.5]}
    sample(obj_id=["s"], ra=[10.0], dec=[20.0], **columns)
    place.run(NAME, "--file", "sample.csv", "--merge-features", "--output-filename", "merged.csv")
    assert place.fritz.requests == []
    found = read_table("fritzDownload/merged.csv")
    assert found["variable"].tolist() == [0.8, 0.8]
    assert "median" in found


def test_a_light_curve_near_two_sources_belongs_to_the_nearest(place) -> None:
    place.kowalski.collections[FEATURES] = [{"_id": 5, **at(10.0, 20.0), "median": 1.0}]
    columns = {"classification": ["variable", "flaring"], "probability": [0.8, 0.7]}
    columns |= {"period_origin": ["", ""], "period": ["", ""]}
    sample("two.parquet", obj_id=["far", "near"], ra=[10.0] * 2, dec=[20.0 + 1 / 3600, 20.0 - 0.5 / 3600], **columns)
    place.run(NAME, "--file", "two.parquet", "--merge-features")
    found = read_table("fritzDownload/merged_classifications_features.parquet")
    assert found[["ztf_id", "obj_id", "variable", "flaring"]].values.tolist() == [[5, "near", 0.0, 0.7]]


def test_the_training_set_is_updated_by_votes(place) -> None:
    place.configure(training={"dataset": "data/training.csv"})
    ids = sky(place.fritz)
    place.fritz.state.labels.discard((ids[3], 77, 360))  # nobody has looked at it
    place.kowalski.collections[FEATURES] = curves()
    Path("data").mkdir()
    training = pd.DataFrame({"ztf_id": [1, 99], "median": [3.0, 4.0], "variable": [0.1, 0.2], "RR Lyrae": [1.0, 0.0]})
    write_table(training, "data/training.csv")
    said = place.run(NAME, "--group-ids", 360, "--update-training-set")
    assert "5 light curves more" in said
    found = read_table("data/updated_AL_training.csv").set_index("ztf_id")
    assert sorted(found.index) == [1, 2, 99, 1001, 1002, 2001, 2002]
    assert found.loc[1].tolist() == [3.0, 0.9, 1.0]
    assert found.loc[99].tolist() == [4.0, 0.2, 0.0]
    assert found.loc[1001, ["variable", "RR Lyrae"]].tolist() == [0.9, 0.0]  # −1 votes
    place.run(NAME, "--group-ids", 360, "--update-training-set", "--min-vote-diff", 3)
    assert len(read_table("data/updated_AL_training.csv")) == len(training)
    options = ("--update-training-set", "--min-vote-diff", -1, "--updated-training-set-prefix", "all")
    place.run(NAME, "--group-ids", 360, *options)
    found = read_table("data/all_training.csv").set_index("ztf_id")
    assert found.loc[1001, ["variable", "RR Lyrae"]].tolist() == [0.9, 0.25]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_download_goes_on(place, how) -> None:
    ids = sky(place.fritz, 40)
    sample(obj_id=ids)
    place.configure(fritz={**place.fritz_section(), "rate": 60, "burst": 1})
    with started(place.command(NAME, "--file", "sample.csv"), cwd=place.folder, env=place.environment) as process:
        while len(place.fritz.requests) < 30:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(how)
        assert process.wait(20) == (-how if how == signal.SIGKILL else 130)
    kept = len(read_table("fritzDownload/sample_fritzDownload.parquet"))
    assert 0 < kept < 40
    before = len(place.fritz.requests)
    said = place.run(NAME, "--file", "sample.csv")
    assert "sources are there from an interrupted call" in said
    assert 0 < len(place.fritz.requests) - before <= 2 * (40 - kept)
    found = read_table("fritzDownload/sample_fritzDownload.parquet")
    assert found["obj_id"].tolist() == ids
    assert found["classification"].notna().all()


def test_a_dry_run_touches_nothing(place) -> None:
    sample(obj_id=["a", "b"])
    said = place.run(NAME, "--file", "sample.csv", "--merge-features", "--dry-run")
    assert "would ask <Fritz at" in said
    assert "2 sources" in said
    assert "would write fritzDownload/merged_classifications_features.parquet" in said
    assert place.fritz.requests == []
    assert place.kowalski.queries == []
    assert not Path("fritzDownload").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--file", "parse"], "name them by --group-ids"),
        (["--file", "absent.csv"], "absent.csv does not exist"),
        (["--file", "sample.csv", "--start", "9"], "has 1 rows"),
        (["--file", "sample.csv", "--output-format", "fits"], "expected parquet, h5 or csv"),
        (["--file", "sample.csv", "--features-limit", "0"], "expected 1 or more"),
        (["--file", "other.csv"], "neither obj_id nor ra and dec"),
        (["--file", "sample.csv", "--update-training-set"], "is no file"),
        (["--file", "sample.csv", "--merge-features", "--taxonomy-map", "none.json"], "there is no file none.json"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(place, words, said) -> None:
    sample(obj_id=["a"])
    sample("other.csv", name=["a"])
    assert said in place.run(NAME, *words, code=2)
    assert place.fritz.requests == []


def test_a_service_that_fails_is_a_failed_run(place) -> None:
    sample(obj_id=["a"])
    place.fritz.fail(*[Fault("reset")] * 9)
    assert "did not answer" in place.run(NAME, "--file", "sample.csv", code=1)


def test_numbers_of_a_csv_are_texts_again(place) -> None:
    from scope_dask.fritz.download import split

    assert split("0.9;nan") == ["0.9", "nan"]
    assert split(0.9) == ["0.9"]
    assert split(np.int64(3)) == ["3"]
    assert split(float("nan")) == split(None) == split(pd.NA) == split("") == []
