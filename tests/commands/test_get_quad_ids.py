"""get-quad-ids and check-quads-for-sources against a test Kowalski."""

from __future__ import annotations

import doctest
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from kowalski_documents import matchfile_id
from kowalski_server import html
from kowalski_sky import FEATURES, LARGE, SOURCES, lightcurve_frame
from processes import started

from scope_dask.commands import _threads, check_quads_for_sources, get_quad_ids
from scope_dask.commands._layout import find_file
from scope_dask.errors import SourceError

FRAME = lightcurve_frame()
ALL = ["--catalog", SOURCES, "--minobs", "0"]


def ids_of(field: int, ccd: int | None = None, quad: int | None = None, least: int = 0) -> list[int]:
    """Return the ids of the sky, by pandas."""
    chosen = FRAME[(FRAME["field"] == field) & (FRAME["hjd"].map(len) >= least)]
    for name, value in (("ccd", ccd), ("quad", quad)):
        chosen = chosen if value is None else chosen[chosen[name] == value]
    return sorted(chosen["_id"].tolist())


def in_file(path: str, dataset: str) -> list[int]:
    with h5py.File(path) as file:
        assert list(file) == [dataset]
        assert file[dataset].dtype == np.int64
        return file[dataset][()].tolist()


def run(*words: str) -> int:
    return get_quad_ids.main([str(word) for word in words])


def test_one_quadrant(workplace, capsys) -> None:
    assert run(*ALL, "--field", 296, "--ccd", 1, "--quad", 2) == 0
    found = in_file("ids/field_296/data_ccd_01_quad_2.h5", "dataset_ccd_1_quad_2_field_296")
    assert found == ids_of(296, 1, 2)
    csv = Path("ids/field_296/data_ccd_1_quad_2_field_296.csv").read_text()
    assert csv == "".join(f"{number}\n" for number in found)
    assert json.loads(Path("ids/field_296/meta.json").read_text()) == {
        "catalog": SOURCES,
        "minobs": 0,
        "field": 296,
        "ccd_range": [1, 1],
        "quad_range": [2, 2],
        "ccd": {"1": {"quad": {"2": 7}}},
        "total": 7,
    }
    assert sorted(p.name for p in Path("ids/field_296").iterdir()) == [
        "data_ccd_01_quad_2.h5",
        "data_ccd_1_quad_2_field_296.csv",
        "meta.json",
    ]
    assert "field 296, CCD 1, quadrant 2: 7 ids" in capsys.readouterr().out


@pytest.mark.parametrize(("skip", "limit"), [(0, 10), (5, 10), (20, 100), (25, 3)])
def test_skip_and_limit_select_rows_of_one_quadrant(workplace, skip, limit, capsys) -> None:
    run(*ALL, "--field", 296, "--ccd", 1, "--quad", 1, "--skip", skip, "--limit", limit, "--verbose", 0)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("Warning: there are no ids of" in shown.err) == (skip == 25)
    found = in_file("ids/field_296/data_ccd_01_quad_1.h5", "dataset_ccd_1_quad_1_field_296")
    assert found == ids_of(296, 1, 1)[skip : skip + limit]


def test_minobs_counts_epochs_of_sources_and_of_features(workplace) -> None:
    run("--catalog", SOURCES, "--field", 296, "--ccd", 1, "--quad", 1, "--minobs", 20)
    found = in_file("ids/field_296/data_ccd_01_quad_1.h5", "dataset_ccd_1_quad_1_field_296")
    assert found == ids_of(296, 1, 1, 20)
    assert 0 < len(found) < 25
    run("--field", 296, "--ccd", 1, "--quad", 1, "--output-dir", "other")
    found = in_file("other/ids/field_296/data_ccd_01_quad_1.h5", "dataset_ccd_1_quad_1_field_296")
    assert found == [matchfile_id(296, 1, 1, 1, k) for k in (2, 3, 4)]


@pytest.mark.parametrize("limit", [1, 4, 7, 10_000])
def test_many_quadrants_whatever_the_page(workplace, limit, capsys) -> None:
    run(*ALL, "--field", 296, "--multi-quads", "--ccd-range", 1, 2, "--quad-range", 1, 3, "--limit", limit, "--verbose")
    files = sorted(p.name for p in Path("ids/field_296").glob("*.h5"))
    assert files == [f"data_ccd_0{c}_quad_{q}.h5" for c in (1, 2) for q in (1, 2, 3)]
    for ccd, quad in ((1, 1), (1, 2), (2, 3)):
        name = f"dataset_ccd_{ccd}_quad_{quad}_field_296"
        assert in_file(f"ids/field_296/data_ccd_0{ccd}_quad_{quad}.h5", name) == ids_of(296, ccd, quad)
    meta = json.loads(Path("ids/field_296/meta.json").read_text())
    assert (meta["ccd_range"], meta["quad_range"], meta["total"]) == ([1, 2], [1, 3], 32)
    assert capsys.readouterr().out.count("\n") == 1
    assert len(list(Path("ids/field_296").glob("*.csv"))) == 6


def test_a_whole_field_is_one_file_in_the_order_of_the_ids(workplace) -> None:
    run(*ALL, "--field", 296, "--whole-field", "--limit", 5)
    assert in_file("ids/field_296/field_296.h5", "dataset_field_296") == ids_of(296)
    assert sorted(p.name for p in Path("ids/field_296").iterdir()) == ["field_296.h5", "meta.json"]
    meta = json.loads(Path("ids/field_296/meta.json").read_text())
    assert meta["total"] == 35
    assert meta["ccd"]["16"]["quad"] == {"1": 0, "2": 0, "3": 0, "4": 3}


def test_ids_beyond_the_integers_of_a_float_are_exact(workplace) -> None:
    run(*ALL, "--field", 900, "--ccd", 2, "--quad", 3)
    found = in_file("ids/field_900/data_ccd_02_quad_3.h5", "dataset_ccd_2_quad_3_field_900")
    assert found == [LARGE, LARGE + 2]


def test_queries_keep_to_the_limit_of_the_service(workplace) -> None:
    workplace.pause = 0.01
    run(*ALL, "--field", 296, "--whole-field", "--limit", 3)
    assert 1 < workplace.peak <= 8


def test_failing_answers_lose_nothing_and_a_dead_service_keeps_what_was_there(workplace, monkeypatch, capsys) -> None:
    import scope_dask.sources.kowalski as package

    patient = package.Kowalski.from_config

    def impatient(config):
        return patient(config, backoff=0.01, attempts=4)

    monkeypatch.setattr(package.Kowalski, "from_config", impatient)
    workplace.fail(html(502), html(503), html(502))
    run(*ALL, "--field", 296, "--multi-quads", "--ccd", 1, "--limit", 3)
    assert in_file("ids/field_296/data_ccd_01_quad_1.h5", "dataset_ccd_1_quad_1_field_296") == ids_of(296, 1, 1)
    before = Path("ids/field_296/meta.json").read_bytes()
    capsys.readouterr()
    is_second = '"ccd": {"$eq": 2}'
    workplace.fail(*[html(502)] * 1000, when=lambda query: is_second in json.dumps(query))
    with pytest.raises(SystemExit) as end:
        run(*ALL, "--field", 296, "--multi-quads", "--ccd-range", 1, 2, "--verbose", 0)
    assert end.value.code == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Error: Kowalski instance kowalski")
    assert shown.count("\n") == 1
    assert in_file("ids/field_296/data_ccd_01_quad_1.h5", "dataset_ccd_1_quad_1_field_296") == ids_of(296, 1, 1)
    assert not list(Path("ids/field_296").glob("data_ccd_02*"))
    assert Path("ids/field_296/meta.json").read_bytes() == before
    assert not list(Path("ids/field_296").glob(".*"))


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "the ranges have 16 CCDs and 4 quadrants: name one by --ccd and --quad"),
        ("--ccd 3", "the ranges have 1 CCDs and 4 quadrants"),
        ("--ccd-range 1 2 --quad 1", "the ranges have 2 CCDs and 1 quadrants"),
        ("--ccd 17 --quad 1", "--ccd-range is 17, expected one number or a first and a last one, from 1 to 16"),
        ("--multi-quads --quad-range 3 2", "--quad-range is 3 2"),
        ("--multi-quads --whole-field", "give one of them"),
        ("--whole-field --ccd 3", "leave out --ccd-range and --quad-range"),
        ("--ccd 1 --quad 1 --limit 0", "--limit is 0, expected 1 or more"),
        ("--ccd 1 --quad 1 --skip -1", "--skip is -1, expected 0 or more"),
        ("--ccd 1 --quad 1 2 3", "--quad-range takes 2 values at most"),
    ],
)
def test_what_is_refused(workplace, line, sentence, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        run(*line.split())
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err
    assert workplace.count() == 0


def test_a_refused_token_is_a_usage_error_without_the_token(workplace, monkeypatch, capsys) -> None:
    monkeypatch.setenv("KOWALSKI_INSTANCE_TOKEN", "hush-hush")
    with pytest.raises(SystemExit) as end:
        run("--ccd", 1, "--quad", 1)
    assert end.value.code == 2
    shown = capsys.readouterr()
    assert "refuses the credentials" in shown.err
    assert "hush" not in shown.err + shown.out


def test_a_dry_run_touches_nothing(workplace, capsys) -> None:
    before = sorted(Path().rglob("*"))
    run("--multi-quads", "--ccd-range", 1, 2, "--dry-run", "--output-dir", "there")
    shown = capsys.readouterr().out
    assert f"ids of {FEATURES} with 20 epochs or more, field 301, 8 quadrants" in shown
    assert "would write there/ids/field_301/data_ccd_02_quad_4.h5" in shown
    assert (sorted(Path().rglob("*")), workplace.queries) == (before, [])


def test_options_that_have_no_use_are_warned_of(workplace, capsys) -> None:
    Path("output.txt").write_text("mine")
    run(*ALL, "--field", 296, "--ccd", 1, "--quad", 2, "--output", "output.txt")
    assert capsys.readouterr().err == "Warning: --output is not used here\n"
    assert Path("output.txt").read_text() == "mine"
    run(*ALL, "--field", 296, "--whole-field", "--skip", 3)
    assert capsys.readouterr().err == "Warning: --skip is not used here\n"
    assert in_file("ids/field_296/field_296.h5", "dataset_field_296") == ids_of(296)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_does_not_wait_for_its_queries(workplace, number) -> None:
    workplace.pause = 60.0
    words = [sys.executable, "-m", get_quad_ids.__name__, *ALL, "--field", "296", "--whole-field"]
    with started(words, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not workplace.queries and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, shown = process.communicate(timeout=30)
    assert process.returncode == 130
    assert shown.startswith("interrupted: ")
    assert shown.count("\n") == 1
    assert not Path("ids").exists()


def check(*words: str) -> int:
    return check_quads_for_sources.main([str(word) for word in words])


def test_quadrants_with_sources(workplace, capsys) -> None:
    assert check("--fields", 296, 487, 297, "--save") == 0
    expected = {"296": {"1": [1, 2], "16": [4]}, "487": {"1": [1]}}
    assert json.loads(Path("catalog_completeness.json").read_text()) == expected
    assert capsys.readouterr().out.splitlines() == [
        "field 296: 3 of 64 quadrants have sources",
        "field 487: 1 of 64 quadrants have sources",
        "field 297: 0 of 64 quadrants have sources",
        f"2 of 3 fields have sources in {SOURCES}",
        "saved as catalog_completeness.json",
    ]
    assert workplace.count() == 3


def test_counts_of_sources_with_enough_epochs(workplace) -> None:
    check("--fields", 296, "--count-sources", "--minobs", 20, "--save", "--filename", "mine.json")
    quadrants = {(c, q): len(ids_of(296, c, q, 20)) for c, q in ((1, 1), (1, 2), (16, 4))}
    expected: dict = {}
    for (ccd, quad), count in quadrants.items():
        if count:
            expected.setdefault(str(ccd), {})[str(quad)] = count
    assert json.loads(Path("mine.json").read_text()) == {"296": expected}


def test_all_fields_are_asked_for_by_default(workplace, capsys) -> None:
    assert check("--catalog", FEATURES) == 0
    assert workplace.count("aggregate") == 2000
    assert capsys.readouterr().out.splitlines() == [
        "field 296: 1 of 64 quadrants have sources",
        f"1 of 2000 fields have sources in {FEATURES}",
    ]
    assert not list(Path().glob("*.json"))


def test_a_dry_run_of_the_check_asks_nothing(workplace, capsys) -> None:
    check("--dry-run", "--save")
    assert "would write catalog_completeness.json" in capsys.readouterr().out
    assert workplace.queries == []


def test_files_are_looked_for_here_then_in_tools_then_in_the_package(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = "fritz_mapper.json"
    assert json.loads(find_file(name).read_text())["vnv"] == {"fritz_label": "variable", "taxonomy_id": 1017}
    Path("tools").mkdir()
    (Path("tools") / name).write_text("{}")
    assert find_file(name) == Path("tools") / name
    Path(name).write_text("{}")
    assert find_file(name) == Path(name)
    with pytest.raises(SourceError, match=r"there is no file other\.json in the working folder, in tools/ or among"):
        find_file("other.json")
    with pytest.raises(SourceError, match=r"there is no file fritz_mapper\.json in elsewhere"):
        find_file(f"elsewhere/{name}")


@pytest.mark.parametrize("module", [_threads, check_quads_for_sources])
def test_the_examples_of_the_docstrings(module) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
