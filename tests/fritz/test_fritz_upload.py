"""Posting classifications: each exactly once, whatever fails, and nothing before everything is checked."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty_http import Fault, html
from fritz_observations import User
from fritz_server import PASSING, TOKEN, FritzServer, Request, status_page, write_then
from fritz_world import ONTOLOGICAL, PHENOMENOLOGICAL
from processes import started

from scope_dask.errors import OptionError, SchemaError
from scope_dask.fritz import Fritz, FritzAuthError, FritzInputError, FritzUnavailableError
from scope_dask.fritz.checks import check_sources
from scope_dask.fritz.upload import UploadOptions, upload_classifications

OPTIONS = UploadOptions((360,), settle_seconds=0.0)


def rows_of(*rows: tuple[str, str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["obj_id", "classification", "taxonomy_id", "probability"])


def survey(server: FritzServer, count: int, seed: int = 3) -> pd.DataFrame:
    """Save sources, and return one or two classifications of each."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        obj_id = f"ZTFJ{number:04d}+{number:04d}"
        server.state.add_source(obj_id, groups=[360])
        rows.append((obj_id, "variable", PHENOMENOLOGICAL, round(rng.uniform(), 4)))
        if number % 2:
            rows.append((obj_id, "RR Lyrae", ONTOLOGICAL, round(rng.uniform(), 4)))
    return rows_of(*rows)


def posted(server: FritzServer) -> list[tuple[str, str, int, float]]:
    """What the service has."""
    keys = ("obj_id", "classification", "taxonomy_id", "probability")
    return sorted((tuple(entry[key] for key in keys) for entry in server.state.classifications.values()), key=str)


def asked(rows: pd.DataFrame) -> list[tuple[str, str, int, float]]:
    return sorted(rows.itertuples(index=False, name=None), key=str)


def is_post(request: Request) -> bool:
    return request.method == "POST"


def test_a_thousand_sources_with_one_call_in_twenty_failing(
    server: FritzServer, access: Callable[..., Fritz], tmp_path: Path
) -> None:
    rows = survey(server, 1000)
    server.fail_often(0.05, *PASSING)
    fritz = access(rate=500.0, burst=50.0, attempts=10)
    done: list[tuple[int, int]] = []
    result = upload_classifications(
        fritz, rows, OPTIONS, journal=tmp_path / "journal.jsonl", progress=lambda *state: done.append(state)
    )
    server.forget_faults()
    assert posted(server) == asked(rows)
    read_back = [
        (found["id"], entry["classification"], entry["taxonomy_id"], entry["probability"])
        for page in fritz.pages("/api/sources", "sources", {"group_ids": [360], "sortBy": "id", "sortOrder": "asc"})
        for found in page
        for entry in found["classifications"]
    ]
    assert sorted(read_back, key=str) == asked(rows)
    assert set(result["status"]) == {"posted"}
    ids = result["classification_id"].tolist()
    assert sorted(ids) == sorted(server.state.classifications)
    assert result.drop(columns=["status", "classification_id", "message"]).equals(rows)
    assert done[-1] == (1000, 1000)
    assert [count for count, _ in done] == sorted(count for count, _ in done)
    assert TOKEN not in (tmp_path / "journal.jsonl").read_text()


@pytest.mark.parametrize("seconds", [0.05, 0.3])
def test_a_write_that_comes_after_the_repetition_leaves_no_copy(
    server: FritzServer, fritz: Fritz, seconds: float
) -> None:
    rows = survey(server, 9)
    server.fail(write_then(html(504), seconds), when=is_post)
    result = upload_classifications(fritz, rows, UploadOptions((360,), settle_seconds=0.6))
    assert posted(server) == asked(rows)
    assert sorted(result["classification_id"]) == sorted(server.state.classifications)


def test_the_same_class_of_somebody_else_is_no_copy(server: FritzServer, fritz: Fritz) -> None:
    rows = survey(server, 1)
    person = User(77, "person", {1, 360})

    def meanwhile(request: Request) -> bool:
        if is_post(request):
            row = rows.iloc[0]
            server.state.add_classification(person, row["obj_id"], "variable", PHENOMENOLOGICAL, group_ids=[360])
        return is_post(request)

    server.fail(html(429), write_then(html(504)), when=meanwhile)
    upload_classifications(fritz, rows, OPTIONS)
    assert Counter(entry["author_id"] for entry in server.state.classifications.values()) == {77: 2, 11: 1}


def test_what_is_posted_says_all_that_the_service_would_assume_otherwise(server: FritzServer, fritz: Fritz) -> None:
    rows = survey(server, 2)
    upload_classifications(fritz, rows, OPTIONS)
    assert server.state.votes == {}
    assert server.state.labels == set()
    for entry in server.state.classifications.values():
        assert (entry["origin"], entry["ml"], entry["groups"]) == ("SCoPe", True, [360])
    more = UploadOptions((361, 361, 360), "me", ml=False, vote=True, label=True)
    server.state.add_source("other", groups=[360])
    upload_classifications(fritz, rows_of(("other", "periodic", PHENOMENOLOGICAL, 1.0)), more)
    last = list(server.state.classifications.values())[-1]
    assert (last["origin"], last["ml"], last["groups"]) == ("me", False, [360, 361])
    assert list(server.state.votes) == [(last["id"], 11)]
    assert server.state.labels == {("other", 11, 360), ("other", 11, 361)}


def test_a_classification_that_is_there_is_not_posted_again(server: FritzServer, fritz: Fritz) -> None:
    rows = survey(server, 4)
    upload_classifications(fritz, rows, OPTIONS)
    before = dict(server.state.classifications)
    again = upload_classifications(fritz, rows.assign(probability=0.5), OPTIONS)
    assert set(again["status"]) == {"already there"}
    assert sorted(again["classification_id"]) == sorted(before)
    assert server.state.classifications == before
    further = upload_classifications(fritz, rows, UploadOptions((360, 361), settle_seconds=0.0))
    assert set(further["status"]) == {"posted"}
    new = [entry for number, entry in server.state.classifications.items() if number not in before]
    assert [entry["groups"] for entry in new] == [[361]] * len(rows)


def test_replacing_touches_the_given_groups_only(server: FritzServer, fritz: Fritz) -> None:
    rows = survey(server, 2)
    first, second = rows["obj_id"].unique()
    person = server.user
    old = server.state.add_classification(person, first, "flaring", PHENOMENOLOGICAL, group_ids=[360], ml=True)
    same = server.state.add_classification(person, first, "variable", PHENOMENOLOGICAL, group_ids=[360])
    both = server.state.add_classification(person, second, "variable", PHENOMENOLOGICAL, group_ids=[360, 361], ml=True)
    elsewhere = server.state.add_classification(person, second, "flaring", PHENOMENOLOGICAL, group_ids=[361])
    server.fail(write_then(html(502)), when=lambda request: request.method == "DELETE")
    server.fail(write_then(html(504)), when=is_post)
    result = upload_classifications(fritz, rows, UploadOptions((360,), replace=True, settle_seconds=0.0))
    left = server.state.classifications
    assert old not in left
    assert same not in left
    assert (left[both]["groups"], left[both]["ml"]) == ([361], True)
    assert left[elsewhere]["groups"] == [361]
    in_group = {number for number, entry in left.items() if 360 in entry["groups"]}
    assert in_group == set(result["classification_id"])
    assert set(result["status"]) == {"posted"}
    assert server.state.labels == set()


def test_a_refused_row_does_not_take_the_others_with_it(server: FritzServer, fritz: Fritz) -> None:
    rows = survey(server, 6)
    bad = rows["obj_id"].iloc[4]
    rows.loc[4, "classification"] = "periodic"

    def forget_the_class(request: Request) -> bool:
        if is_post(request):
            server.state.taxonomies[PHENOMENOLOGICAL]["hierarchy"] = {"class": "variable"}
        return False

    server.fail(html(502), when=forget_the_class)
    rows = pd.concat([rows, rows_of(("nobody", "variable", PHENOMENOLOGICAL, 0.5))], ignore_index=True)
    result = upload_classifications(fritz, rows, OPTIONS)
    refused = result[result["status"] == "refused"].set_index("obj_id")["message"]
    assert "That classification (periodic) is not in the allowed classes" in refused[bad]
    assert "Fritz has no source nobody: save it first" in refused["nobody"]
    assert posted(server) == asked(rows.drop(index=[4, len(rows) - 1]))


@pytest.mark.parametrize("replace", [False, True])
def test_an_interrupted_upload_goes_on_and_sends_nothing_twice(
    server: FritzServer, access: Callable[..., Fritz], tmp_path: Path, replace: bool
) -> None:
    rows, journal = survey(server, 40), tmp_path / "journal.jsonl"
    first = rows["obj_id"].iloc[0]
    old = server.state.add_classification(server.user, first, "variable", PHENOMENOLOGICAL, group_ids=[361])
    options = UploadOptions((360,), settle_seconds=0.0, replace=replace)

    def far(request: Request) -> bool:
        return is_post(request) and len(server.state.classifications) > 25

    server.fail(write_then(Fault("reset")), when=far)
    with pytest.raises(FritzUnavailableError, match="did not answer POST /api/classification in 1 attempts"):
        upload_classifications(access(attempts=1), rows, options, journal=journal)
    there = set(server.state.classifications)
    assert 25 < len(there) < len(rows)
    posts = server.count("POST")
    with journal.open("a") as lines:
        lines.write('{"obj_id": "ZTFJ0000+0000", "sta')  # a line that a crash has torn
    result = upload_classifications(access(), rows, options, journal=journal)
    assert set(result["status"]) == {"posted"}
    assert there <= set(server.state.classifications)
    assert Counter(posted(server)) == Counter([*asked(rows), (first, "variable", PHENOMENOLOGICAL, None)])
    assert sorted(result["classification_id"]) == sorted(set(server.state.classifications) - {old})
    assert server.count("POST") - posts <= 3
    requests = len(server.requests)
    upload_classifications(access(), rows, options, journal=journal)
    assert len(server.requests) == requests + 2  # the taxonomies and the groups


def test_a_journal_of_another_upload_is_not_mistaken_for_this_one(
    server: FritzServer, fritz: Fritz, tmp_path: Path
) -> None:
    rows, journal = survey(server, 3), tmp_path / "journal.jsonl"
    upload_classifications(fritz, rows, OPTIONS, journal=journal)
    other = UploadOptions((361,), settle_seconds=0.0)
    assert set(upload_classifications(fritz, rows, other, journal=journal)["status"]) == {"posted"}
    assert len(server.state.classifications) == 2 * len(rows)


def test_all_that_is_wrong_is_listed_before_anything_is_written(server: FritzServer, fritz: Fritz) -> None:
    rows = rows_of(
        ("ok", "variable", PHENOMENOLOGICAL, 0.5),
        ("ok", "variable", PHENOMENOLOGICAL, 0.6),
        ("a:b", "variable", PHENOMENOLOGICAL, 0.5),
        ("..", "variable", PHENOMENOLOGICAL, 0.5),
        ("low", "variable", PHENOMENOLOGICAL, -0.1),
        ("high", "variable", PHENOMENOLOGICAL, 1.1),
        ("none", "variable", PHENOMENOLOGICAL, float("nan")),
        ("typo", "periodc", PHENOMENOLOGICAL, 0.5),
        ("where", "variable", 7, 0.5),
    )
    with pytest.raises(FritzInputError, match=r"^nothing was sent: ids that are not made of .*'a:b', '..'") as caught:
        upload_classifications(fritz, rows, OPTIONS)
    assert caught.value.problems == {
        "ids that are not made of letters, digits and _-.+": ("'a:b'", "'..'"),
        "probabilities outside 0 to 1": ("low variable -0.1", "high variable 1.1", "none variable nan"),
        "classifications that are there twice": ("ok variable",),
        "taxonomies that do not exist or that the token does not see (there are 1015, 1017)": ("7",),
        "classes that their taxonomy does not have": ("'periodc' in 1017 (did you mean 'periodic'?)",),
    }
    good = rows_of(("ok", "variable", PHENOMENOLOGICAL, 0.5))
    with pytest.raises(FritzInputError, match=r"the token does not belong to: 999, 5$"):
        upload_classifications(fritz, good, UploadOptions((360, 999, 5)))
    with pytest.raises(FritzInputError, match="groups are missing: name one at least"):
        upload_classifications(fritz, good, UploadOptions(()))
    with pytest.raises(SchemaError, match="the table has no column taxonomy_id, probability; it has obj_id, classific"):
        upload_classifications(fritz, good[["obj_id", "classification"]], OPTIONS)
    assert server.count("POST") == 0


def test_sources_are_checked_as_a_whole() -> None:
    frame = pd.DataFrame(
        {
            "obj_id": ["a", "b", "c", "d", "d", "e f", None],
            "ra": [0.0, 360.0, np.nan, 359.999, 1.0, 1.0, 1.0],
            "dec": [-90.0, 90.0, 90.1, 0.0, np.inf, 1.0, 1.0],
        }
    )
    with pytest.raises(FritzInputError, match="nothing was sent: ") as caught:
        check_sources(frame)
    assert caught.value.problems == {
        "ids that are not made of letters, digits and _-.+": ("'e f'", repr(frame["obj_id"].iloc[-1])),
        "right ascensions outside 0 to 360 deg": ("b 360", "c nan"),
        "declinations outside −90 to 90 deg": ("c 90.1", "d inf"),
        "sources that are there twice": ("d",),
    }
    check_sources(frame.iloc[[0, 3]])


def test_a_token_that_may_not_classify_ends_the_upload(server: FritzServer, fritz: Fritz) -> None:
    rows = survey(server, 2)
    server.user.acls = server.user.acls - {"Classify"}
    with pytest.raises(FritzAuthError, match=r"POST /api/classification: .* that it has the permission 'Classify'"):
        upload_classifications(fritz, rows, OPTIONS)
    assert server.state.classifications == {}


def test_a_restart_of_the_service_is_waited_for(server: FritzServer, fritz: Fritz) -> None:
    rows = survey(server, 3)
    server.fail(write_then(html(504)), when=is_post)
    server.fail(status_page("GET"), when=lambda request: request.method == "GET" and server.count("POST") > 0)
    upload_classifications(fritz, rows, OPTIONS)
    assert posted(server) == asked(rows)
    assert server.count("POST") == 1


def test_upload_options_that_cannot_be() -> None:
    for wrong in ({"rows_per_call": 0}, {"settle_seconds": -1.0}):
        with pytest.raises(OptionError, match=f"{next(iter(wrong))} is .*, expected"):
            UploadOptions((1,), **wrong)


UPLOAD = """
import sys
import pandas as pd
from scope_dask.fritz import Fritz
from scope_dask.fritz.upload import UploadOptions, upload_classifications
rows = pd.read_csv(sys.argv[1])
upload_classifications(Fritz(), rows, UploadOptions((360,), settle_seconds=0.0), journal=sys.argv[2])
"""


def test_a_killed_upload_goes_on(server: FritzServer, fritz: Fritz, tmp_path: Path) -> None:
    rows, journal = survey(server, 60), tmp_path / "journal.jsonl"
    rows.to_csv(tmp_path / "rows.csv", index=False)
    where = {"HOST": "127.0.0.1", "PORT": str(server.port), "PROTOCOL": "http", "TOKEN": TOKEN, "RATE": "1000"}
    killed: list[int] = []

    def kill(request: Request) -> bool:
        if is_post(request) and len(server.state.classifications) > 30 and not killed:
            killed.append(server.count("POST"))
            process.kill()
            return True
        return False

    server.fail(write_then(Fault("reset")), when=kill)  # what it asked for last is done all the same
    command = [sys.executable, "-c", UPLOAD, str(tmp_path / "rows.csv"), str(journal)]
    environment = os.environ | {f"FRITZ_{name}": value for name, value in where.items()}
    with started(command, cwd=tmp_path, env=environment) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert 30 < len(server.state.classifications) < len(rows)
    result = upload_classifications(fritz, rows, OPTIONS, journal=journal)
    assert posted(server) == asked(rows)
    assert sorted(result["classification_id"]) == sorted(server.state.classifications)
    assert TOKEN not in journal.read_text()
