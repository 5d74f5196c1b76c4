"""gcn_cronjob against a test Fritz and a test Kowalski: the crontab lines, repeating, locking, ending."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import generation_sky as sky
import pytest
import yaml
from prediction_tables import save_xgb_models

from scope_dask.commands.gcn_cronjob import LOCK
from scope_dask.commands.scope_initialize import script
from scope_dask.formats import read_table

NAME = "gcn_cronjob"
QUICK = ["--max-freq", "1", "--samples-per-peak", "3", "--min-n-lc-points", "30", "--n-workers", "1"]
ROOT = Path(__file__).parents[2]
WHEN = (datetime.now(UTC) - timedelta(days=2)).replace(microsecond=0, tzinfo=None)
DATEOBS = WHEN.isoformat()
LABEL = DATEOBS.replace(":", "-")
THRESHOLD = ["--p-threshold", "0.5"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_xgb_models(root / "small")
    return root


@pytest.fixture
def event(place, models: Path) -> list[str]:
    """An event with three detected sources at the places of stars, one elsewhere, and another event without tags."""
    state = place.fritz.state
    for group, name in ((1544, "GW"), (48, "GRB")):
        place.fritz.add_group(group, name)
    state.taxonomies[1017]["hierarchy"] = tree("phenomenological", ("variable",))
    state.taxonomies[1015]["hierarchy"] = tree("ontological", ("RR Lyrae",))
    curves = sky.light_curves()
    stars = curves[curves["filter"] == 1].iloc[[0, 2, 3]]
    names = [f"ZTF26aa{k}" for k in range(3)]
    for name, (ra, dec) in zip([*names, "away"], [*stars[["ra", "dec"]].to_numpy(), (10.0, 10.0)], strict=True):
        add(place, name, ra, dec)
    state.add_event(DATEOBS, 150.0, 20.0, 3.0, ("GW", "BNS"))
    state.add_event((WHEN + timedelta(hours=1)).isoformat(), 150.0, 20.0, 3.0, ("Neutrino",))
    state.add_event((WHEN - timedelta(days=30)).isoformat(), 150.0, 20.0, 3.0, ("GW",))
    other = sky.server()
    place.kowalski.collections.update(other.collections)
    other.close()
    Path("models_xgb").symlink_to(models)
    place.configure()
    content = yaml.safe_load(Path("config.yaml").read_text())
    content["kowalski"]["collections"] = {"sources": sky.SOURCES}
    Path("config.yaml").write_text(yaml.safe_dump(content))
    return names


def tree(root: str, below: tuple[str, ...]) -> dict[str, Any]:
    return {"class": root, "subclasses": [{"class": name} for name in below]}


def add(place, name: str, ra: float, dec: float) -> None:
    mjd = WHEN.replace(tzinfo=UTC).timestamp() / 86400.0 + 40587.0 + 0.1
    place.fritz.state.add_source(name, float(ra), float(dec), (360,))
    detection = {"instrument_id": 41, "origin": "alert", "mag": 18.0, "magerr": 0.1, "filter": "ztfg"}
    place.fritz.state.photometry.append({"id": 1, "obj_id": name, "mjd": mjd, **detection})


def mapper() -> None:
    """Leave a mapper of the two classes of the models."""
    content = {"vnv": ("variable", 1017), "rrlyr": ("RR Lyrae", 1015)}
    entries = {key: {"fritz_label": label, "taxonomy_id": number} for key, (label, number) in content.items()}
    Path("fritz_mapper.json").write_text(json.dumps(entries))


def writes(place, start: int = 0) -> list[str]:
    return [f"{r.method} {r.path}" for r in place.fritz.requests[start:] if r.method not in ("GET", "HEAD")]


def test_new_sources_are_classified_and_posted_once(place, event) -> None:
    mapper()
    said = place.run(NAME, *QUICK, *THRESHOLD)
    assert "1 events" in said
    assert "3 new sources with 6 light curves" in said
    assert "done: 3 new sources in 1 events, 0 events failed" in said
    assert all(line[:4].isdecimal() for line in said.splitlines() if "sources" in line)
    scored = read_table(f"preds_dnn_xgb/{LABEL}/merged_GCN_sources_{LABEL}.parquet")
    assert sorted(scored["obj_id"]) == event[: len(scored)] or set(scored["obj_id"]) <= set(event)
    state = place.fritz.state
    expected = {
        (row["obj_id"], label)
        for row in scored.to_dict("records")
        for tag, label in (("vnv", "variable"), ("rrlyr", "RR Lyrae"))
        if row[tag] >= 0.5
    }
    assert expected
    posted = state.classifications.values()
    assert {(one["obj_id"], one["classification"]) for one in posted} == expected
    assert len(posted) == len(expected)
    assert all(one["groups"] == [1544] for one in posted)
    texts = Counter(one["text"].split(" by")[0] for one in state.comments.values())
    sent = len({name for name, _ in expected})
    assert texts == {"ZTF photometry": sent, "ZTF photometry folded": sent}
    known = json.loads(Path("gcn_sources_checkpoint.json").read_text())
    assert known["sources"] == {"gw": event, "grb": []}

    before = len(place.fritz.requests)
    assert "no new sources" in place.run(NAME, *QUICK, *THRESHOLD)
    assert writes(place, before) == []

    curves = sky.light_curves()
    star = curves[curves["filter"] == 1].iloc[4]
    add(place, "ZTF26new", star["ra"], star["dec"])
    before = len(place.fritz.requests)
    assert "1 new sources with 2 light curves" in place.run(NAME, *QUICK, *THRESHOLD)
    assert all("ZTF26aa" not in one for one in writes(place, before))
    assert json.loads(Path("gcn_sources_checkpoint.json").read_text())["sources"]["gw"] == [*event, "ZTF26new"]

    before = len(place.fritz.requests)
    place.run(NAME, *QUICK, *THRESHOLD, "--ignore-checkpoint")
    assert len(state.classifications) == len(
        {(c["obj_id"], c["classification"]) for c in state.classifications.values()}
    )


def test_the_options_of_places_groups_and_posting(place, event) -> None:
    mapper()
    place.fritz.state.events[DATEOBS]["tags"] = ["Fermi"]
    words = ["--dateobs", DATEOBS, "--combined-preds-dirname", "both", "--xgb-preds-directory", "by_xgb"]
    words += ["--generated-features-dirname", "made", "--checkpoint-filename", "known.json", "--agg-method", "max"]
    words += ["--save-filename", "lists/ids", "--paths-models", "models_xgb/small", *QUICK, *THRESHOLD]
    said = place.run(NAME, *words, "--doNotPost")
    assert writes(place) == []
    assert not Path("known.json").exists()
    assert Path(f"both/{LABEL}/merged_GCN_sources_{LABEL}.parquet").is_file()
    assert Path(f"by_xgb/field_{LABEL}_specific_ids/field_{LABEL}_specific_ids.parquet").is_file()
    assert Path(f"made/specific_ids/gen_features_{LABEL}_specific_ids.parquet").is_file()
    assert Path(f"lists/ids.{LABEL}.json").is_file()
    assert "classifications:" not in said
    place.run(NAME, *words)
    assert {tuple(one["groups"]) for one in place.fritz.state.classifications.values()} == {(48,)}
    assert json.loads(Path("known.json").read_text())["sources"] == {"gw": [], "grb": event}


def test_an_old_checkpoint_is_dropped(place, event) -> None:
    from scope_dask.commands._gcn import Checkpoint

    path = Path("gcn_sources_checkpoint.json")
    start = datetime.now(UTC) - timedelta(days=10)
    path.write_text(json.dumps({"start_dt": start.isoformat(), "sources": {"gw": ["a"], "grb": []}}))
    assert Checkpoint.read(path, 30).sources["gw"] == ["a"]
    assert Checkpoint.read(path, 9).sources["gw"] == []
    assert Checkpoint.read(path, 30, ignore=True).sources["gw"] == []
    path.write_text("{torn")
    assert Checkpoint.read(path, 30).sources == {"gw": [], "grb": []}


def test_an_event_that_fails_is_said_and_the_others_go_on(place, event) -> None:
    mapper()
    place.fritz.state.add_event((WHEN + timedelta(hours=2)).isoformat(), 0.0, 0.0, 0.1, ("GW",))
    Path("fritz_mapper.json").write_text(json.dumps({"vnv": {"fritz_label": "absent", "taxonomy_id": 1017}}))
    said = place.run(NAME, *QUICK, "--p-threshold", "0", code=1)
    assert f"{DATEOBS} failed: nothing was sent: classes that their taxonomy does not have: 'absent' in 1017" in said
    assert "2 events" in said
    assert "1 events failed" in said
    assert writes(place) == []
    assert not Path("gcn_sources_checkpoint.json").exists()


def test_a_dry_run_and_wrong_usage(place, event) -> None:
    said = place.run(NAME, "--dry-run")
    assert "would post scores of 0.7 to [1544]" in said
    assert place.fritz.requests == []
    assert not LOCK.exists()
    for words, text in (
        (["--daysAgo", "0"], "expected more than 0"),
        (["--p-threshold", "2"], "expected 0 to 1"),
        (["--dateobs", "2001-01-01T00:00:00"], "Fritz has no such event"),
        (["--taxonomy-map", "none.json"], "there is no file none.json"),
        (["--doCPU", "--doGPU"], "one of them decides"),
    ):
        assert text in place.run(NAME, *words, code=2)
    Path("models_xgb").unlink()
    assert "there are no models" in place.run(NAME, code=2)


def cron(place, line: str, **more: str) -> subprocess.Popen[bytes]:
    """Run a crontab line as cron does: in the home folder, with next to nothing in the environment."""
    home = place.folder.parent / f"home_of_{place.folder.name}"
    bin_folder = home / "miniforge3" / "envs" / "scope-env" / "bin"
    if not home.exists():
        bin_folder.mkdir(parents=True)
        (home / "scope").symlink_to(place.folder)
        python = bin_folder / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (place.folder / "gcn_cronjob.py").write_text(script("gcn_cronjob"))
    environment = {"HOME": str(home), "SHELL": "/bin/sh", "PATH": "/usr/bin:/bin", **more}
    return subprocess.Popen(["/bin/sh", "-c", line], cwd=home, env=environment, start_new_session=True)


CALL = "~/miniforge3/envs/scope-env/bin/python ~/scope/gcn_cronjob.py > ~/scope/log_gcn_cronjob.txt 2>&1"
FIRST = f"cd scope && {CALL}"
SECOND = f"/opt/homebrew/bin/gtimeout 2h {CALL}"


@pytest.mark.parametrize("line", [FIRST, SECOND])
def test_the_crontab_lines(place, event, line) -> None:
    mapper()
    more = {"PYTHONPATH": str(place.folder)} if line is SECOND else {}
    place.fritz.state.events.clear()
    process = cron(place, line.replace("/opt/homebrew/bin/gtimeout", "timeout"), **more)
    assert process.wait(60) == 0, Path("log_gcn_cronjob.txt").read_text()
    log = Path("log_gcn_cronjob.txt").read_text().splitlines()
    assert log[-1].endswith("done: 0 new sources in 0 events, 0 events failed")
    assert all("\r" not in text and "\x1b" not in text for text in log)


def test_sigterm_ends_it_a_second_copy_does_nothing_and_the_next_run_goes_on(place, event) -> None:
    mapper()
    place.kowalski.pause = 0.8
    words = " ".join([*QUICK, *THRESHOLD])
    process = cron(place, f"cd scope && exec {CALL.replace(' > ', f' {words} > ')}")
    try:
        log = place.folder / "log_gcn_cronjob.txt"
        wait_for(lambda: log.exists() and "new sources with" in log.read_text())
        shown = subprocess.run(["ps", "auxww"], capture_output=True, text=True, check=True).stdout
        assert "gcn_cronjob.py" in shown
        assert "another gcn_cronjob is running" in place.run_process(NAME, *QUICK)
        start = time.monotonic()
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        assert time.monotonic() - start < 10.0
        assert "interrupted" in log.read_text() or "ended while" in log.read_text()
    finally:
        place.kowalski.pause = 0.0
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
    place.run(NAME, *QUICK, *THRESHOLD)
    assert json.loads(Path("gcn_sources_checkpoint.json").read_text())["sources"]["gw"] == event
    posted = [(one["obj_id"], one["classification"]) for one in place.fritz.state.classifications.values()]
    assert len(posted) == len(set(posted)) > 0


def wait_for(condition: Any, seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_time_limit_ends_it(place, event) -> None:
    mapper()
    place.kowalski.pause = 3.0
    said = place.run_process(NAME, *QUICK, "--time-limit-minutes", "0.05", code=1)
    assert "the time limit of 0.05 minutes is reached" in said
