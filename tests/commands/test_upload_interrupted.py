"""Uploads that fail or are interrupted: the same call goes on, each thing is sent once, the results are saved."""

from __future__ import annotations

import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from faulty_http import Fault, html
from fritz_server import write_then
from fritz_world import PHENOMENOLOGICAL
from processes import started
from upload_sample import BASE, MAPPER, NAME, names, posted, write_sample

from scope_dask.formats import read_table


@pytest.fixture
def sample(place) -> pd.DataFrame:
    return write_sample(place)


def test_failures_on_the_way_leave_nothing_twice_and_nothing_out(place, sample) -> None:
    place.configure(fritz={**place.fritz_section(), "max_attempts": 12})
    faults = (html(502), Fault("reset"), write_then(html(504)), write_then(Fault("reset")))
    place.fritz.fail_often(0.2, *faults)
    words = ["--classification", "read", "--post-survey-id", "--comment", "hi", "--use-existing-obj-id"]
    place.run(NAME, *BASE, *words)
    state = place.fritz.state
    expected = [
        (f"mine_{k}", label, row[key])
        for k, row in sample.iterrows()
        for key, (label, _) in MAPPER.items()
        if key in row and row[key] > 0
    ]
    assert posted(place.fritz) == sorted(expected)
    assert len(state.photometry) == 6 * 2 * 29
    assert Counter(note["origin"] for note in state.annotations.values()) == {"uploadedperiod": 6, "SCoPe_xmatch": 6}
    assert Counter(one["obj_id"] for one in state.comments.values()) == {f"mine_{k}": 1 for k in range(6)}


@pytest.mark.parametrize(
    ("writes", "how"), [(9, signal.SIGKILL), (31, signal.SIGKILL), (14, signal.SIGINT), (28, signal.SIGTERM)]
)
def test_an_ended_upload_goes_on_and_sends_nothing_twice(place, sample, writes, how) -> None:
    place.configure(fritz={**place.fritz_section(), "rate": 120, "burst": 1})
    words = [*BASE, "--classification", "read", "--post-survey-id", "--comment", "hi", "--write-obj-id"]
    silent = {"cwd": place.folder, "env": place.environment, "stdout": subprocess.DEVNULL}
    with started(place.command(NAME, *words), **silent) as process:
        while sum(r.method != "GET" for r in place.fritz.requests) < writes:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(how)
        assert process.wait(20) == (-how if how == signal.SIGKILL else 130)
    place.configure()
    place.run(NAME, *words)
    state = place.fritz.state
    assert len(state.classifications) == 5 + 5 + 6
    assert len(set(posted(place.fritz))) == 16
    assert len(state.photometry) == 6 * 2 * 29
    assert Counter(note["origin"] for note in state.annotations.values()) == {"uploadedperiod": 6, "SCoPe_xmatch": 6}
    assert len(state.comments) == 6
    assert read_table("fritzUpload/sample_fritzUpload.parquet")["obj_id"].tolist() == names(sample)
    writing = Counter((r.method, r.path) for r in place.fritz.requests if r.method == "POST" and "comments" in r.path)
    assert sum(writing.values()) <= 7  # the one that was under way may come again; Fritz knows it


def test_the_result_is_saved_as_it_goes(place, sample) -> None:
    words = [*BASE, "--classification", "read", "--use-existing-obj-id", "--write-obj-id"]
    result = Path("fritzUpload/sample_fritzUpload_classifications.parquet")
    copy = Path("fritzUpload/sample_fritzUpload.parquet")
    place.fritz.fail(*[html(502)] * 4, when=lambda r: r.method == "POST" and r.path.endswith("mine_3/annotations"))
    assert "did not answer" in place.run(NAME, *words, code=1)
    assert read_table(copy)["obj_id"].tolist() == sample["obj_id"].tolist()
    assert not result.exists()
    place.fritz.fail(
        *[html(502)] * 4,
        when=lambda r: r.path == "/api/classification" and len(place.fritz.state.classifications) > 4,
    )
    assert "did not answer POST /api/classification" in place.run(NAME, *words, code=1)
    found = read_table(result)
    there = found[found["status"] == "posted"]
    assert sorted(there["classification_id"]) == sorted(place.fritz.state.classifications)
    assert len(there) > 4
    assert set(found["status"]) == {"posted", "waiting"}
    assert place.fritz.state.taxonomies.keys() >= set(found["taxonomy_id"]) >= {PHENOMENOLOGICAL}
    place.run(NAME, *words)
    assert set(read_table(result)["status"]) == {"posted"}
    assert len(posted(place.fritz)) == len(set(posted(place.fritz))) == 16
