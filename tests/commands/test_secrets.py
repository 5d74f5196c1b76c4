"""No token or password in what the commands for Fritz say and leave, even where a service shows it to them.

Every test with the fixture `place` looks through its folder at the end; here are those in which it is hard.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from faulty_http import message
from fritz_server import TOKEN
from secrets_search import files_with
from upload_sample import BASE, write_sample

from scope_dask.formats import read_table, write_table

PASSWORD = "swordfish-1"
UPLOAD = "scope_upload_classification"


def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": np.arange(200), "said": ["nothing"] * 199 + ["a secret"]})
    for name in ("a.parquet", "a.h5", "deep/.a.csv"):
        write_table(frame, tmp_path / name)
    write_table(frame.iloc[:9], tmp_path / "b.parquet", {"note": "a secret"})
    write_table(frame.iloc[:9], tmp_path / "c.parquet")
    (tmp_path / "config.yaml").write_text("a secret")
    assert files_with(tmp_path, ["a secret"]) == ["a.h5", "a.parquet", "b.parquet", "deep/.a.csv"]


@pytest.mark.parametrize("from_environment", [False, True])
def test_a_refusal_that_repeats_the_token(place, from_environment, monkeypatch) -> None:
    write_sample(place)
    if from_environment:
        monkeypatch.setenv("FRITZ_TOKEN", TOKEN)
        place.configure(fritz={**place.fritz_section(), "token": None})
    told = message(400, f"Error posting classification: Authorization: token {TOKEN} may not")
    place.fritz.fail(*[told] * 9, when=lambda r: r.method == "POST" and "classification" in r.path)
    said = place.run(UPLOAD, *BASE, "--classification", "read", "--verbose", "2", "--stop", "1")
    assert "is refused" in said
    refused = read_table("fritzUpload/sample_fritzUpload_classifications.parquet")["message"]
    assert "token **********" in refused.iloc[0]


@pytest.mark.parametrize("command", ["scope_download_classification", UPLOAD, "scope_manage_annotation"])
def test_a_service_that_fails_and_repeats_the_token(place, command) -> None:
    write_sample(place)
    place.fritz.fail_often(1.0, message(503, f"headers = {{'Authorization': 'token {TOKEN}'}}"))
    annotate = ["--action", "post", "--source", "sample.csv", "--group-ids", "360", "--origin", "o", "--key", "vnv"]
    words = {UPLOAD: BASE, "scope_manage_annotation": annotate}.get(command, ["--file", "sample.csv"])
    assert "**********" in place.run(command, *words, "--verbose", "2", code=1)


def test_a_password_for_kowalski(place) -> None:
    write_sample(place)
    place.kowalski.users["ada"] = PASSWORD
    content = yaml.safe_load(Path("config.yaml").read_text())
    host = content["kowalski"]["hosts"]["kowalski"]
    del host["token"]
    host.update(username="ada", password=PASSWORD)
    Path("config.yaml").write_text(yaml.safe_dump(content))
    said = place.run_process(UPLOAD, *BASE, "--verbose", "2", "--check-configs")
    assert len(place.fritz.state.photometry) == 6 * 2 * 29
    place.kowalski.users["ada"] = "another"
    words = ["--file", "sample.csv", "--group-ids", "361", "--use-existing-obj-id"]
    said += place.run_process(UPLOAD, *words, code=2)
    assert PASSWORD not in said
    assert files_with(place.folder, [PASSWORD]) == []


def test_nothing_of_the_machine_or_the_token_in_the_plots(place) -> None:
    write_sample(place)
    place.run(UPLOAD, *BASE, "--post-phasefolded-phot", "--stop", "0")
    for path in Path("phot_plots").iterdir():
        content = path.read_bytes().decode("latin-1")
        assert not [word for word in (TOKEN, str(place.folder), os.uname().nodename) if word in content]
