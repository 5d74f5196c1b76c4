"""scope-manage-annotation against a test Fritz."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from faulty_http import Fault, html
from fritz_server import FritzServer, write_then
from processes import started

from scope_dask.commands.scope_manage_annotation import number_or_text
from scope_dask.formats import read_table, write_table

NAME = "scope_manage_annotation"
ORIGIN = ["--origin", "revisedperiod"]
POST = ["--action", "post", *ORIGIN, "--group_ids", "360", "361"]


@pytest.fixture
def sources(place) -> list[str]:
    """Save sources, and write a table of them with periods."""
    ids = ["ZTFJ1+2", "ZTFJ3-4", "a_b.c"]
    for obj_id in ids:
        place.fritz.state.add_source(obj_id, groups=[360])
    write_table(pd.DataFrame({"obj_id": ids, "period": [0.5, 1.5, 2.0], "n": [1, 2, 3]}), "sample.csv")
    return ids


def notes(server: FritzServer) -> dict[str, dict[str, Any]]:
    return {note["obj_id"]: note["data"] for note in server.state.annotations.values()}


def annotate(server: FritzServer, obj_id: str, **data: Any) -> None:
    body = {"origin": "revisedperiod", "data": data, "group_ids": [360]}
    server.state.post_annotation(server.user, {}, body, obj_id)


def test_posting_from_a_file(place, sources) -> None:
    said = place.run_process(NAME, *POST, "--source", "sample.csv", "--key", "period")
    assert notes(place.fritz) == {sources[0]: {"period": 0.5}, sources[1]: {"period": 1.5}, sources[2]: {"period": 2.0}}
    assert f"{sources[0]}: revisedperiod: period = 0.5" in said
    assert all(note["groups"] == [360, 361] for note in place.fritz.state.annotations.values())
    result = read_table("fritzAnnotations/sample_post_revisedperiod.csv")
    assert result["obj_id"].tolist() == sources
    assert [p.name for p in Path("fritzAnnotations").iterdir()] == ["sample_post_revisedperiod.csv"]
    writes = sum(r.method != "GET" for r in place.fritz.requests)
    assert "is there already" in place.run(NAME, *POST, "--source", "sample.csv", "--key", "period")
    assert sum(r.method != "GET" for r in place.fritz.requests) == writes


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("0.25", 0.25), ("1e-3", 0.001), ("-2", -2), ("x", "x")])
def test_posting_one_value(place, sources, text, value) -> None:
    place.run(NAME, *POST, "--source", sources[0], "--key", "k", "--value", text)
    assert notes(place.fritz) == {sources[0]: {"k": value}}
    assert type(notes(place.fritz)[sources[0]]["k"]) is type(value)
    assert number_or_text("nan") == "nan"


def test_updating_keeps_the_other_keys(place, sources) -> None:
    annotate(place.fritz, sources[0], period=9.0, note="kept")
    said = place.run(NAME, "--action", "update", *ORIGIN, "--source", "sample.csv", "--key", "period")
    assert notes(place.fritz) == {sources[0]: {"period": 0.5, "note": "kept"}}
    assert "period = 0.5, was 9.0" in said
    assert f"{sources[1]}: has no annotation revisedperiod" in said


def test_deleting_a_key_and_a_whole_annotation(place, sources) -> None:
    annotate(place.fritz, sources[0], period=9.0, note="kept")
    annotate(place.fritz, sources[1], period=8.0)
    said = place.run(NAME, "--action", "delete", *ORIGIN, "--source", "sample.csv", "--key", "period")
    assert notes(place.fritz) == {sources[0]: {"note": "kept"}}
    assert f"{sources[0]}: revisedperiod: period = 9.0 is deleted" in said
    assert "revisedperiod is deleted, with period = 8.0" in said
    assert "has no period" in place.run(NAME, "--action", "delete", *ORIGIN, "--source", sources[0], "--key", "period")
    place.run(NAME, "--action", "delete", *ORIGIN, "--source", sources[0])
    assert notes(place.fritz) == {}


def test_an_interrupted_call_goes_on(place, sources) -> None:
    place.fritz.fail(*[html(502)] * 4, when=lambda r: r.method == "POST" and sources[1] in r.path)
    place.run(NAME, *POST, "--source", "sample.csv", "--key", "period", code=1)
    assert list(notes(place.fritz)) == sources[:1]
    before = len(place.fritz.requests)
    place.run(NAME, *POST, "--source", "sample.csv", "--key", "period")
    assert list(notes(place.fritz)) == sources
    assert not [r for r in place.fritz.requests[before:] if sources[0] in r.path]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("action", ["post", "update", "delete"])
def test_an_ended_call_goes_on_and_sends_nothing_twice(place, action, how) -> None:
    place.configure(fritz={**place.fritz_section(), "rate": 60, "burst": 1})
    ids = [f"s{number}" for number in range(20)]
    write_table(pd.DataFrame({"obj_id": ids, "period": 0.5}), "many.csv")
    for obj_id in ids:
        place.fritz.state.add_source(obj_id, groups=[360])
        if action != "post":
            annotate(place.fritz, obj_id, period=9.0)
    words = ["--action", action, *ORIGIN, "--source", "many.csv"]
    words += ["--key", "period"] if action != "delete" else []
    words += ["--group-ids", "360"] if action == "post" else []

    def writes() -> int:
        return sum(r.method != "GET" for r in place.fritz.requests)

    silent = {"cwd": place.folder, "env": place.environment, "stdout": subprocess.DEVNULL}
    with started(place.command(NAME, *words), **silent) as process:
        while writes() < 8:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(how)
        assert process.wait(20) == (-how if how == signal.SIGKILL else 130)
    result = read_table(f"fritzAnnotations/many_{action}_revisedperiod.csv")
    assert result["obj_id"].tolist() == ids
    assert 0 < result["done"].notna().sum() < 20
    place.configure()
    assert "s19" in place.run(NAME, *words)
    assert writes() <= 21  # a change that was under way may come again: it is the same then
    assert notes(place.fritz) == ({} if action == "delete" else {obj_id: {"period": 0.5} for obj_id in ids})
    assert read_table(f"fritzAnnotations/many_{action}_revisedperiod.csv")["done"].notna().all()


def test_a_write_whose_answer_is_lost_is_not_repeated(place, sources) -> None:
    place.fritz.fail(write_then(Fault("reset")), when=lambda r: r.method == "POST")
    place.run(NAME, *POST, "--source", "sample.csv", "--key", "period")
    assert sum(r.method == "POST" for r in place.fritz.requests) == 3


def test_a_source_that_is_not_there_is_said_and_the_others_are_changed(place, sources) -> None:
    del place.fritz.state.sources[sources[1]]
    said = place.run(NAME, *POST, "--source", "sample.csv", "--key", "period", code=1)
    assert f"{sources[1]}: is not on Fritz" in said
    assert list(notes(place.fritz)) == [sources[0], sources[2]]


def test_a_dry_run_sends_nothing(place, sources) -> None:
    said = place.run(NAME, *POST, "--source", "sample.csv", "--key", "period", "--dry-run")
    assert "ZTFJ1+2: period = 0.5" in said
    assert place.fritz.requests == []
    assert not Path("fritzAnnotations").exists()
    wrong = place.run(NAME, *POST, "--source", "a:b", "--key", "k", "--value", "1", "--dry-run", code=2)
    assert "letters, digits and _-.+: 'a:b'" in wrong


def test_groups_are_of_new_annotations_only(place, sources) -> None:
    annotate(place.fritz, sources[0], period=9.0)
    words = ["--action", "update", *ORIGIN, "--source", sources[0], "--key", "period", "--value", "1"]
    assert "--group-ids is not used with --action update" in place.run(NAME, *words, "--group-ids", "361")
    assert [note["groups"] for note in place.fritz.state.annotations.values()] == [[360]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--action", "put"], "invalid choice"),
        ([], "--action post needs --key"),
        (["--key", "k"], "needs --value"),
        (["--key", "k", "--value", "1", "--group-ids", "999"], "groups that do not exist"),
        (["--key", "k", "--value", "1", "--origin", ".x"], "do not begin with a letter"),
        (["--key", "k", "--value", "1", "--source", "a:b"], "'a:b'"),
        (["--source", "bad.csv", "--key", "absent"], "has no column absent"),
        (["--source", "bad.csv", "--key", "period"], "twice: a; sources without period: b"),
        (
            ["--source", "worse.csv", "--key", "n", "--origin", ".x", "--group-ids", "360", "5"],
            "letters, digits and _-.+",
        ),
        (["--source", "worse.csv", "--key", "n", "--origin", ".x"], "rows without obj_id: 1"),
        (["--source", "worse.csv", "--key", "n", "--origin", ".x"], "underscore: .x; sources whose n is infinite: a:b"),
        (["--source", "worse.csv", "--key", "n", "--group-ids", "360", "5"], "a:b; groups that do not exist"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_write(place, sources, words, said) -> None:
    write_table(pd.DataFrame({"obj_id": ["a", "a", "b"], "period": [1.0, 2.0, None]}), "bad.csv")
    write_table(pd.DataFrame({"obj_id": ["a:b", None], "n": [np.inf, 1.0]}), "worse.csv")
    assert said in place.run(NAME, *POST, "--source", "ZTFJ1+2", *words, code=2)
    assert {r.method for r in place.fritz.requests} <= {"GET"}
