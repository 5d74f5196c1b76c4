"""Sources, classifications, annotations, comments, photometry, groups, taxonomies and GCN events of Fritz."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from faulty_http import Fault, html
from fritz_observations import MOST_ROWS
from fritz_server import FritzServer, write_then
from fritz_world import ONTOLOGICAL, PHENOMENOLOGICAL, TREES

from scope_dask.fritz import Fritz, FritzInputError, FritzNotFoundError, FritzRefusedError
from scope_dask.fritz.annotations import (
    annotation,
    annotations_of,
    delete_annotation,
    post_annotation,
    update_annotation,
)
from scope_dask.fritz.classifications import classifications_of, delete_classification, vote
from scope_dask.fritz.comments import comments_of, delete_comment, post_comment
from scope_dask.fritz.gcn import gcn_event, gcn_events, sources_of_event, time_of
from scope_dask.fritz.groups import groups, groups_named
from scope_dask.fritz.photometry import instrument_id, photometry, put_photometry
from scope_dask.fritz.sources import (
    add_to_groups,
    groups_of,
    has_source,
    remove_source,
    save_source,
    source,
    sources,
    sources_around,
    tick_labelled,
)
from scope_dask.fritz.taxonomies import classes_of, post_taxonomy, taxonomies

STAR = "ZTFJ123456+123456"
LOST = (html(502), write_then(html(504, "Gateway Time-out")), write_then(Fault("reset")))


def not_get(request: object) -> bool:
    return getattr(request, "method", "") not in ("GET", "HEAD")


@pytest.fixture(params=[None, *LOST], ids=["well", "lost", "written, 504", "written, reset"])
def troubled(request: pytest.FixtureRequest, server: FritzServer) -> FritzServer:
    """The server with a star; the first write of the test does well, or its answer is lost."""
    server.state.add_source(STAR, 10.0, 20.0, [360])
    if request.param is not None:
        server.fail(request.param, when=not_get)
    return server


def test_a_source_is_saved_found_and_removed(server: FritzServer, fritz: Fritz) -> None:
    assert source(fritz, STAR) is None
    assert not has_source(fritz, STAR)
    assert save_source(fritz, STAR, 10.0, 20.0, [360, 361], origin="Fritz") == [360, 361]
    assert save_source(fritz, STAR, 10.0, 20.0, [360]) == []
    found = source(fritz, STAR)
    assert found is not None
    assert (found["ra"], found["dec"], found["origin"], groups_of(found)) == (10.0, 20.0, "Fritz", {360, 361})
    assert has_source(fritz, STAR)
    remove_source(fritz, STAR, 361)
    assert list(server.state.sources[STAR]["saved"]) == [360]
    for wrong in ("a b", "a:b", "..", ""):
        with pytest.raises(FritzInputError, match="ids with other characters than letters, digits"):
            save_source(fritz, wrong, 1.0, 1.0, [360])


def test_a_source_is_removed_from_a_group_once(troubled: FritzServer, fritz: Fritz) -> None:
    remove_source(fritz, STAR, 360)
    assert troubled.state.sources[STAR]["saved"] == {}


def test_groups_that_have_a_source_do_not_keep_it_from_the_others(troubled: FritzServer, fritz: Fritz) -> None:
    assert add_to_groups(fritz, STAR, [360, 361]) == [361]
    assert add_to_groups(fritz, STAR, [360, 361]) == []
    assert set(troubled.state.sources[STAR]["saved"]) == {360, 361}
    with pytest.raises(FritzNotFoundError, match="Fritz has no source nobody"):
        add_to_groups(fritz, "nobody", [360])


def test_sources_of_groups_and_around_a_position(server: FritzServer, fritz: Fritz) -> None:
    rng = np.random.default_rng(5)
    ra, dec = rng.uniform(0, 0.01, 40), rng.uniform(60, 60.01, 40)
    for number in range(40):
        server.state.add_source(f"s{number:02d}", ra[number], dec[number], [360 + number % 2])
    listed = [entry["id"] for page in sources(fritz, [361], includeLabellers=True) for entry in page]
    assert listed == [f"s{number:02d}" for number in range(1, 40, 2)]
    assert server.requests[-1].query["includeLabellers"] == "true"
    separation = np.hypot((ra - 0.005) * np.cos(np.radians(dec)), dec - 60.005) * 3600.0
    near = [f"s{number:02d}" for number in np.flatnonzero(separation < 10.0)]
    assert len(near) > 3
    assert [entry["id"] for entry in sources_around(fritz, 0.005, 60.005, 10.0)] == near
    with pytest.raises(FritzRefusedError, match="not accessible"):
        list(sources(fritz, [999]))


def test_the_labelled_box(server: FritzServer, fritz: Fritz) -> None:
    server.state.add_source(STAR, groups=[360])
    tick_labelled(fritz, STAR, [360])
    tick_labelled(fritz, STAR, [360])
    found = source(fritz, STAR, includeLabellers=True)
    assert found is not None
    assert found["labellers"] == [{"id": 11}]
    tick_labelled(fritz, STAR, [360], labelled=False)
    assert server.state.labels == set()


def test_classifications_are_read_voted_for_and_deleted(troubled: FritzServer, fritz: Fritz) -> None:
    first = troubled.state.add_classification(troubled.user, STAR, "variable", PHENOMENOLOGICAL, group_ids=[360])
    second = troubled.state.add_classification(troubled.user, STAR, "RR Lyrae", ONTOLOGICAL, group_ids=[360])
    delete_classification(fritz, {"id": first, "obj_id": STAR})
    assert troubled.state.labels == set()
    vote(fritz, second, 1)
    vote(fritz, second, -1)
    (left,) = classifications_of(fritz, STAR)
    assert (left["id"], [v["vote"] for v in left["votes"]]) == (second, [-1])
    assert classifications_of(fritz, "nobody") == []


def test_an_annotation_is_posted_changed_and_deleted(troubled: FritzServer, fritz: Fritz) -> None:
    number = post_annotation(fritz, STAR, "period", {"period": 0.5, "n": 3}, [360])
    assert post_annotation(fritz, STAR, "period", {"period": 0.5, "n": 3}, [360]) == number
    with pytest.raises(FritzRefusedError, match="HTTP 400: Annotation already exists"):
        post_annotation(fritz, STAR, "period", {"period": 0.7}, [360])
    found = annotation(fritz, STAR, "period")
    assert found is not None
    assert update_annotation(fritz, found, {"period": 0.25}) == {"period": 0.25, "n": 3}
    assert [entry["data"] for entry in annotations_of(fritz, STAR)] == [{"period": 0.25, "n": 3}]
    assert annotation(fritz, STAR, "other") is None
    delete_annotation(fritz, found)
    assert troubled.state.annotations == {}


def test_an_annotation_is_deleted_once(troubled: FritzServer, fritz: Fritz) -> None:
    body = {"origin": "period", "data": {}, "group_ids": [360]}
    number = troubled.state.post_annotation(troubled.user, {}, body, STAR)["annotation_id"]
    delete_annotation(fritz, {"id": number, "obj_id": STAR})
    assert troubled.state.annotations == {}


def test_annotations_that_cannot_be(server: FritzServer, fritz: Fritz) -> None:
    with pytest.raises(FritzInputError, match="origins that do not begin with a letter, digit or underscore: -x"):
        post_annotation(fritz, STAR, "-x", {}, [360])
    with pytest.raises(FritzInputError, match="values that are not finite"):
        post_annotation(fritz, STAR, "x", {"period": float("nan")}, [360])
    assert server.requests == []
    with pytest.raises(FritzNotFoundError, match="HTTP 404: Obj nobody not found"):
        post_annotation(fritz, "nobody", "x", {}, [360])


def test_a_comment_with_an_attachment_is_posted_once(troubled: FritzServer, fritz: Fritz) -> None:
    image = bytes(range(256))
    number = post_comment(fritz, STAR, "folded", [360], ("plot.png", image))
    assert post_comment(fritz, STAR, "folded", [360], ("plot.png", image)) == number
    other = post_comment(fritz, STAR, "confident", [360])
    assert [entry["text"] for entry in comments_of(fritz, STAR)] == ["folded", "confident"]
    assert troubled.state.comments[number]["content"] == image
    delete_comment(fritz, {"id": other, "obj_id": STAR})
    assert list(troubled.state.comments) == [number]


def points(count: int, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"mjd": np.sort(rng.uniform(58000, 59000, count)), "mag": rng.uniform(15, 20, count)})
    frame["magerr"], frame["limiting_mag"] = 0.01, 20.5
    frame["filter"] = rng.choice(["ztfg", "ztfr", "ztfi"], count)
    frame.loc[::7, ["mag", "magerr"]] = np.nan
    return frame


def test_photometry_is_put_in_parts_and_not_twice(troubled: FritzServer, fritz: Fritz) -> None:
    frame = points(MOST_ROWS + 200)
    instrument = instrument_id(fritz)
    assert instrument == 41
    ids = put_photometry(fritz, STAR, frame, instrument, [360])
    assert put_photometry(fritz, STAR, frame, instrument, [360]) == ids
    assert len(set(ids)) == len(frame) == len(troubled.state.photometry)
    back = photometry(fritz, STAR)
    pd.testing.assert_frame_equal(back[frame.columns], frame, check_dtype=False)
    assert set(back["magsys"]) == {"ab"}
    assert set(back["origin"]) == {"scope_dask"}


def test_photometry_that_cannot_be(server: FritzServer, fritz: Fritz) -> None:
    bad = points(5)
    bad.loc[2, "magerr"] = np.nan
    bad.loc[3, "mjd"] = np.inf
    with pytest.raises(FritzInputError, match="nothing was sent: ") as caught:
        put_photometry(fritz, STAR, bad, 41, [360])
    assert caught.value.problems == {
        "rows of the photometry whose mjd is not finite": ("3",),
        "rows of the photometry whose magerr is not finite": ("2",),
    }
    with pytest.raises(FritzInputError, match="columns of the photometry that are missing: limiting_mag"):
        put_photometry(fritz, STAR, points(3).drop(columns="limiting_mag"), 41, [360])
    with pytest.raises(FritzInputError, match="instruments that Fritz does not have: ZFT"):
        instrument_id(fritz, "ZFT")
    assert server.count("PUT") == 0
    with pytest.raises(FritzRefusedError, match="HTTP 403") as hidden:
        photometry(fritz, "nobody")
    assert hidden.value.status == 403
    server.state.add_source(STAR, groups=[360])
    assert photometry(fritz, STAR).empty


def test_groups(server: FritzServer, fritz: Fritz) -> None:
    assert [group["name"] for group in groups(fritz)] == ["Sitewide Group", "SCoPe", "golden"]
    assert [group["id"] for group in groups_named(fritz, "golden")] == [361]
    assert groups_named(fritz, "nothing") == []


def test_taxonomies_are_read_and_posted_once(troubled: FritzServer, fritz: Fritz) -> None:
    assert list(taxonomies(fritz)) == [ONTOLOGICAL, PHENOMENOLOGICAL]
    assert list(classes_of(TREES[ONTOLOGICAL])) == ["ontological", "Pulsating", "RR Lyrae", "Eclipsing"]
    tree = {"class": "phenomenological", "subclasses": [{"class": "new"}]}
    number = post_taxonomy(fritz, "phenomenological", "1.1.0", tree, provenance="github", group_ids=[360])
    found = taxonomies(fritz)
    assert len(found) == 3
    assert (found[number]["version"], found[number]["provenance"]) == ("1.1.0", "github")
    assert [found[key]["isLatest"] for key in (number, PHENOMENOLOGICAL)] == [True, False]
    with pytest.raises(FritzRefusedError, match="Hierarchy does not validate"):
        post_taxonomy(fritz, "x", "1", {"subclasses": []})


def test_gcn_events_and_the_sources_in_them(server: FritzServer, fritz: Fritz) -> None:
    dateobs = "2023-05-21T05:30:43"
    server.state.add_event(dateobs, 10.0, 20.0, 5.0, ["GW"])
    server.state.add_event("2023-04-01T00:00:00", 100.0, 20.0, 5.0, ["GRB"])
    for name, ra, day in (("in", 11.0, 1.0), ("late", 11.5, 9.0), ("out", 30.0, 1.0), ("unseen", 12.0, None)):
        server.state.add_source(name, ra, 20.0, [360])
        if day is not None:
            mjd = [60085.2297 + day]
            columns = {"mjd": mjd, "mag": [18.0], "magerr": [0.1], "limiting_mag": [20.0], "filter": ["ztfr"]}
            put_photometry(fritz, name, pd.DataFrame(columns), 41, [360])
    start = datetime(2023, 5, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert [event["dateobs"] for event in gcn_events(fritz, start)] == [dateobs]
    assert server.requests[-1].query["startDate"] == "2023-05-01T00:00:00"
    everything = gcn_events(fritz, datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC))
    assert [event["tags"] for event in everything] == [["GRB"], ["GW"]]
    event = gcn_event(fritz, dateobs)
    assert event is not None
    assert event["tags"] == ["GW"]
    assert gcn_event(fritz, "2020-01-01T00:00:00") is None

    def found(**how: object) -> list[str]:
        return [entry["id"] for page in sources_of_event(fritz, dateobs, **how) for entry in page]  # type: ignore[arg-type]

    assert found() == ["in"]
    assert found(days=10.0, group_ids=[360]) == ["in", "late"]
    assert found(detected=False) == ["in", "late", "unseen"]
    assert found(group_ids=[361]) == []
    with pytest.raises(FritzRefusedError, match=r"Localization 2020-01-01T00:00:00 not found"):
        list(sources_of_event(fritz, "2020-01-01"))
    with pytest.raises(FritzInputError, match="times of events that are not like 2023-05-21T05:30:43: 'GRB230521'"):
        time_of("GRB230521")
