"""gcn_cronjob against a test Fritz and a test Kowalski: every option, repeating, events that fail."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gcn_event
import generation_sky as sky
import pytest
from gcn_event import CLASSES, DATEOBS, LABEL, NAME, QUICK, THRESHOLD, WHEN, add, checkpoint, posted, writes

from scope_dask.commands._gcn import Checkpoint
from scope_dask.commands.gcn_cronjob import LOCK
from scope_dask.formats import read_table


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gcn_event.save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def event(place, models: Path) -> list[str]:
    return gcn_event.prepare(place, models)


def test_new_sources_are_classified_and_posted_once(place, event) -> None:
    said = place.run(NAME, *QUICK, *THRESHOLD)
    assert "1 events" in said
    assert "3 new sources with 6 light curves" in said
    assert "done: 3 new sources in 1 events, 0 events failed" in said
    assert all(line[:4].isdecimal() for line in said.splitlines() if "sources" in line)
    scored = read_table(f"preds_dnn_xgb/{LABEL}/merged_GCN_sources_{LABEL}.parquet")
    assert set(scored["obj_id"]) == set(event)
    rows = scored.to_dict("records")
    expected = {(row["obj_id"], label) for row in rows for tag, (label, _) in CLASSES.items() if row[tag] >= 0.5}
    assert expected
    assert set(posted(place)) == expected
    assert len(posted(place)) == len(expected)
    assert all(one["groups"] == [1544] for one in place.fritz.state.classifications.values())
    texts = Counter(one["text"].split(" by")[0] for one in place.fritz.state.comments.values())
    sent = len({name for name, _ in expected})
    assert texts == {"ZTF photometry": sent, "ZTF photometry folded": sent}
    assert checkpoint(place) == {"gw": event, "grb": []}

    before = len(place.fritz.requests)
    assert "no new sources" in place.run(NAME, *QUICK, *THRESHOLD)
    assert writes(place, before) == []

    curves = sky.light_curves()
    star = curves[curves["filter"] == 1].iloc[4]
    add(place, "ZTF26new", star["ra"], star["dec"])
    before = len(place.fritz.requests)
    assert "1 new sources with 2 light curves" in place.run(NAME, *QUICK, *THRESHOLD)
    assert all("ZTF26aa" not in one for one in writes(place, before))
    assert checkpoint(place)["gw"] == [*event, "ZTF26new"]

    assert "4 new sources" in place.run(NAME, *QUICK, *THRESHOLD, "--ignore-checkpoint")
    assert len(posted(place)) == len(set(posted(place)))


def test_the_options_of_places_groups_and_posting(place, event, models) -> None:
    place.fritz.state.events[DATEOBS]["tags"] = ["Fermi"]
    shutil.copytree(models / "models_dnn", "models_dnn")
    words = ["--dateobs", DATEOBS, "--combined-preds-dirname", "both", "--xgb-preds-directory", "by_xgb"]
    words += ["--dnn-preds-directory", "by_dnn", "--agg-method", "max", "--filename", "features"]
    words += ["--generated-features-dirname", "made", "--checkpoint-filename", "known.json"]
    words += ["--save-filename", "lists/ids", "--paths-models", "models_xgb/small", "models_dnn/small", *QUICK]
    said = place.run(NAME, *words, "--doNotPost")
    assert writes(place) == []
    assert not Path("known.json").exists()
    scores = [f"by_{kind}/field_{LABEL}_specific_ids/field_{LABEL}_specific_ids.parquet" for kind in ("xgb", "dnn")]
    xgb, dnn = (read_table(name).groupby("obj_id").max(numeric_only=True) for name in scores)
    merged = read_table(f"both/{LABEL}/merged_GCN_sources_{LABEL}.parquet").set_index("obj_id")
    assert merged["vnv"].to_dict() == xgb["vnv_xgb"].combine(dnn["vnv_dnn"], max).to_dict()
    assert Path(f"made/specific_ids/features_{LABEL}_specific_ids.parquet").is_file()
    assert Path(f"lists/ids.{LABEL}.json").is_file()
    assert "classifications:" not in said
    mapper = {"vnv": {"fritz_label": "variable", "taxonomy_id": 1017}}
    Path("one.json").write_text(json.dumps(mapper))
    place.run(NAME, *words, *THRESHOLD, "--grb-group-ids", "360", "48", "--taxonomy-map", "one.json")
    assert {tuple(one["groups"]) for one in place.fritz.state.classifications.values()} == {(48, 360)}
    assert sorted(posted(place)) == sorted((name, "variable") for name in merged.index[merged["vnv"] >= 0.5])
    assert checkpoint(place, "known.json") == {"gw": [], "grb": event}


def test_the_groups_of_gravitational_waves_and_a_cluster(place, event, cluster) -> None:
    quick = QUICK[: QUICK.index("--n-workers")]
    place.run(NAME, *quick, *THRESHOLD, *cluster, "--post-group-ids", "360", "--query_group_ids", "360")
    assert {tuple(one["groups"]) for one in place.fritz.state.classifications.values()} == {(360,)}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--daysAgo", "40", "--query-group-ids", "361"], "2 events"),
        (["--query-group-ids", "361"], "0 sources with 0 light curves"),
        (["--days-range", "0.05"], "0 sources with 0 light curves"),
        (["--radius-arcsec", "0.0001", "--doNotPost"], "3 sources with 3 light curves"),
    ],
)
def test_which_sources_are_looked_at(place, event, words, said) -> None:
    assert said in place.run(NAME, *QUICK, *words)
    assert writes(place) == []


def test_a_checkpoint_that_is_old_torn_or_not_wanted_is_begun_anew(place, event) -> None:
    path = Path("gcn_sources_checkpoint.json")
    start = datetime.now(UTC) - timedelta(days=10)
    path.write_text(json.dumps({"start_dt": start.isoformat(), "sources": {"gw": event, "grb": []}}))
    assert "no new sources" in place.run(NAME, *QUICK)
    assert "3 new sources" in place.run(NAME, *QUICK, "--checkpoint-refresh-days", "9", "--doNotPost")
    assert Checkpoint.read(path, 30).sources["gw"] == event
    assert Checkpoint.read(path, 9).sources["gw"] == []
    assert Checkpoint.read(path, 30, ignore=True).sources["gw"] == []
    path.write_text("{torn")
    assert Checkpoint.read(path, 30).sources == {"gw": [], "grb": []}


def test_an_event_that_fails_is_said_and_the_others_go_on(place, event) -> None:
    place.fritz.state.add_event((WHEN + timedelta(hours=2)).isoformat(), 0.0, 0.0, 0.1, ("GW",))
    Path("fritz_mapper.json").write_text(json.dumps({"vnv": {"fritz_label": "absent", "taxonomy_id": 1017}}))
    said = place.run(NAME, *QUICK, "--p-threshold", "0", code=1)
    assert f"{DATEOBS} failed: nothing was sent: classes that their taxonomy does not have: 'absent' in 1017" in said
    assert "2 events" in said
    assert "1 events failed" in said
    assert writes(place) == []
    assert not Path("gcn_sources_checkpoint.json").exists()


def test_a_dry_run_and_wrong_usage(place, event) -> None:
    said = place.run(NAME, "--dry-run", "--username", "me", "--partition", "gpu", "--path-to-python", "python3")
    for name in ("--username", "--partition", "--path-to-python"):
        assert f"Warning: {name} is not used" in said
    assert "would post scores of 0.7 to [1544]" in said
    assert place.fritz.requests == []
    assert not LOCK.exists()
    for words, text in (
        (["--daysAgo", "0"], "expected more than 0"),
        (["--p-threshold", "2"], "expected 0 to 1"),
        (["--time-limit-minutes", "-1"], "expected 0 or more"),
        (["--dateobs", "2001-01-01T00:00:00"], "Fritz has no such event"),
        (["--taxonomy-map", "none.json"], "there is no file none.json"),
        (["--doCPU", "--doGPU"], "one of them decides"),
    ):
        assert text in place.run(NAME, *words, code=2)
    shutil.rmtree("models_xgb")
    assert "there are no models" in place.run(NAME, code=2)
