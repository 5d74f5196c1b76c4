"""scope-upload-disagreements against a test Fritz and a test Kowalski."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty_http import Fault, html
from fritz_observations import User
from fritz_server import write_then
from kowalski_documents import source_documents
from kowalski_sky import FEATURES, SOURCES
from processes import started
from secrets_search import files_with

from scope_dask import ragged
from scope_dask.formats import read_table, write_table
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.lists import position_name

NAME = "scope_upload_disagreements"
SCORED = "ZTF_source_classifications_DR16"
LINE = ["-file", "dataset.csv", "-id", "360"]


@pytest.fixture
def sky(place) -> pd.DataFrame:
    """Eight light curves; 1 and 2 are a source, 7 is in the training set, the algorithms agree on 5 and 6."""
    frame = pd.DataFrame({"_id": np.arange(1, 9), "field": 1, "ccd": 1, "quad": 1, "filter": 1})
    frame["ra"] = [50.0, 50.0 + 1 / 3600, 51.0, 52.0, 53.0, 54.0, 55.0, 56.0]
    frame["dec"] = 0.0
    offsets = np.arange(9) * 5
    for name, value in (("hjd", 2458300.0), ("mag", 16.0), ("magerr", 0.02)):
        frame[name] = ragged.join(value + np.arange(40) * (1.0 if name == "hjd" else 0.0), offsets)
    frame["catflags"] = ragged.join(np.zeros(40, np.int32), offsets)
    place.kowalski.collections[SOURCES] = source_documents(frame[RAW_LIGHTCURVES.names])
    scores = [(0.99, 0.1), (0.96, 0.05), (0.02, 0.99), (0.96, 0.0), (0.95, 0.0), (0.99, 0.11), (0.99, 0.0), (0.99, 0.0)]
    documents = [{"_id": k, "vnv_dnn": dnn, "vnv_xgb": xgb} for k, (dnn, xgb) in enumerate(scores, 1)]
    place.kowalski.collections[SCORED] = documents
    gaia = {"Gaia_EDR3__parallax": 1.5, "Gaia_EDR3__phot_g_mean_mag": None, "period_ELS_ECE_EAOV": 0.5}
    place.kowalski.collections[FEATURES] = [{"_id": k, **gaia} for k in (2, 3)]
    write_table(pd.DataFrame({"ztf_id": [7, 1000]}), "dataset.csv")
    return frame


def test_the_documented_line(place, sky) -> None:
    said = place.run_process(NAME, *LINE, "-token", "7f4ec8f3-1d4b-4c63-9d44-0c5dd1b6e1b0")
    assert "is deprecated" in said
    assert "set FRITZ_TOKEN instead" in said
    names = [position_name(ra, 0.0) for ra in (50.0 + 1 / 3600, 51.0, 52.0, 56.0)]
    state = place.fritz.state
    assert sorted(state.sources) == sorted(names)
    notes = {note["obj_id"]: note["data"] for note in state.annotations.values() if note["origin"] == "ML_DR5_d15_v1"}
    assert notes[names[0]] == {"period": 0.5, "vnv_dnn": 0.96, "vnv_xgb": 0.05, "Gaia_EDR3__parallax": 1.5}
    assert notes[names[3]] == {"vnv_dnn": 0.99, "vnv_xgb": 0.0}
    assert len(state.photometry) == 5 * (2 + 1 + 1 + 1)
    found = read_table("fritzUpload/disagreements_360.parquet")
    assert found["ztf_id"].tolist() == [2, 3, 4, 8]
    assert found["obj_id"].tolist() == names
    before = len(place.fritz.requests)
    place.run(NAME, *LINE)
    assert {r.method for r in place.fritz.requests[before:]} <= {"GET", "PUT"}
    assert len(state.sources) == 4
    assert len(state.photometry) == 25


def test_the_token_of_the_command_line_is_the_one_that_is_used(place, sky) -> None:
    place.fritz.state.users["sample_token"] = User(12, "sample", {1, 360})
    place.run(NAME, *LINE, "-token", "sample_token")
    assert {note["author_id"] for note in place.fritz.state.annotations.values()} == {12}
    assert files_with(place.folder, ["sample_token"]) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_ended_call_goes_on_and_sends_nothing_twice(place, sky, how) -> None:
    place.configure(fritz={**place.fritz_section(), "rate": 20, "burst": 1})

    def written() -> list[str]:
        return [r.path for r in place.fritz.requests if r.method == "POST"]

    with started(place.command(NAME, *LINE), cwd=place.folder, env=place.environment) as process:
        while len(written()) < 3:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(how)
        assert process.wait(20) == (-how if how == signal.SIGKILL else 130)
    assert read_table("fritzUpload/disagreements_360.parquet")["obj_id"].notna().sum() >= 1
    place.configure()
    place.run(NAME, *LINE)
    assert len(place.fritz.state.sources) == len(place.fritz.state.annotations) == 4
    assert len(place.fritz.state.photometry) == 25
    assert len(written()) <= 9  # the request that was under way may come again: Fritz knows it
    assert read_table("fritzUpload/disagreements_360.parquet")["obj_id"].notna().all()


def test_failures_leave_nothing_twice(place, sky) -> None:
    place.configure(fritz={**place.fritz_section(), "max_attempts": 12})
    place.fritz.fail_often(0.2, html(502), write_then(html(504)), write_then(Fault("reset")))
    place.run(NAME, *LINE)
    assert len(place.fritz.state.annotations) == 4
    assert len(place.fritz.state.photometry) == 25


def test_a_dry_run_and_wrong_usage(place, sky) -> None:
    said = place.run(NAME, *LINE, "--dry-run")
    assert f"in {SCORED}" in said
    assert place.fritz.requests == []
    assert not Path("fritzUpload").exists()
    write_table(pd.DataFrame({"_id": [7]}), "other.csv")
    assert "has no column ztf_id" in place.run(NAME, "-file", "other.csv", "-id", 360, code=2)
    assert "--id is missing" in place.run(NAME, "-file", "dataset.csv", code=2)
    assert "do not exist" in place.run(NAME, "-file", "dataset.csv", "-id", 999, code=2)
    assert not place.fritz.state.sources
