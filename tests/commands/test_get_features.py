"""get-features against a test Kowalski: layouts, options, imputation, resuming, failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from kowalski_documents import matchfile_id, place
from kowalski_server import Fault, KowalskiServer, html, message
from kowalski_sky import FEATURES, LARGE, write_config

from scope_dask.commands import get_features
from scope_dask.formats import read_table, write_ids, write_table
from scope_dask.training.imputation import fit_imputation
from scope_dask.user_config import packaged_defaults
from scope_dask.user_config.features import feature_names, imputation_strategies

FIELD = 301
QUADRANTS = {(1, 2): 40, (1, 3): 30, (1, 4): 10, (2, 3): 20, (2, 4): 0}
SUFFIX = "ELS_ECE_EAOV"
NAMES = feature_names(packaged_defaults(), "ontological", SUFFIX) or ()
STATED = imputation_strategies(packaged_defaults(), SUFFIX)
MISSING = {f"period_{SUFFIX}": 0.1}  # the other features that are not imputed are there
STRATEGIES = {name: STATED[name] for name in NAMES}


def documents() -> list[dict[str, Any]]:
    """Return documents of a catalogue of features, as SCoPe 0.9.5 puts them there; some values are missing."""
    rng = np.random.default_rng(11)
    made = []
    for (ccd, quad), count in QUADRANTS.items():
        for number in range(count):
            brightness = rng.normal(16, 1.5)
            values: dict[str, Any] = {name: float(brightness + rng.normal(0, 0.3)) for name in NAMES}
            values["n_ztf_alerts"] = int(rng.integers(0, 9))
            for name in NAMES:
                if rng.uniform() < MISSING.get(name, 0.0 if STRATEGIES[name] == "none" else 0.3):
                    values[name] = float("nan") if rng.uniform() < 0.5 else None
            document = {"_id": matchfile_id(FIELD, ccd, quad, 1, number), "field": FIELD, "ccd": ccd, "quad": quad}
            document |= {"n": 50 + number, **place(10.0 + number / 100, 20.0), **values}
            document |= {"AllWISE___id": LARGE + 2 * number if number % 3 else None, "AllWISE__ph_qual": "AAUU"}
            document |= {"dmdt": rng.uniform(size=(26, 26)).tolist()} if number != 5 else {}
            made.append(document)
    return made


DOCUMENTS = documents()
IDS = {place_: sorted(d["_id"] for d in DOCUMENTS if (d["ccd"], d["quad"]) == place_) for place_ in QUADRANTS}
ALL_IDS = sorted(d["_id"] for d in DOCUMENTS)
MISSING_ID = matchfile_id(FIELD, 1, 2, 1, 999)  # has no features


@pytest.fixture
def kowalski(workplace: KowalskiServer) -> KowalskiServer:
    """Give the server the features, and the working folder the files of ids."""
    workplace.collections[FEATURES] = DOCUMENTS
    folder = Path(f"ids/field_{FIELD}")
    for (ccd, quad), ids in IDS.items():
        own = [*ids, MISSING_ID] if (ccd, quad) == (1, 2) else ids
        name = f"dataset_ccd_{ccd}_quad_{quad}_field_{FIELD}"
        write_ids(np.array(own, dtype=np.int64), folder / f"data_ccd_{ccd:02d}_quad_{quad}.h5", name)
    write_ids(np.array(ALL_IDS), folder / f"field_{FIELD}.h5", f"dataset_field_{FIELD}")
    return workplace


def run(*words: object) -> int:
    return get_features.main(["--field", str(FIELD), *map(str, words)])


def written(folder: str = f"features/field_{FIELD}") -> list[str]:
    return sorted(p.name for p in Path(folder).iterdir() if not p.name.startswith("."))


def read(name: str) -> pd.DataFrame:
    return read_table(f"features/field_{FIELD}/{name}")


def expected(ids: list[int], strategies: dict[str, str] | None = None) -> pd.DataFrame:
    """Return the features of light curves by pandas, imputed if wanted."""
    frame = pd.DataFrame([d for d in DOCUMENTS if d["_id"] in set(ids)]).sort_values("_id", ignore_index=True)
    frame = frame.astype(dict.fromkeys(NAMES, float))
    return frame if strategies is None else fit_imputation(frame, strategies).complete(frame)


def assert_alike(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert found["_id"].tolist() == wanted["_id"].tolist()
    numbers = list(NAMES)
    pd.testing.assert_frame_equal(found[numbers].astype(float), wanted[numbers].astype(float), check_exact=True)


def test_whole_field(kowalski: KowalskiServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--whole-field", "--limit-per-query", 17) == 0
    assert written() == ["field_301_iter_0.parquet"]
    found = read("field_301_iter_0.parquet")
    assert_alike(found, expected(ALL_IDS))
    types = {"_id": "int64", "field": "int64", "n": "int64", "n_ztf_alerts": "Int64", "AllWISE___id": "Int64"}
    assert {name: str(found[name].dtype) for name in types} == types
    numbered = {d["_id"]: d for d in DOCUMENTS}
    wanted = [numbered[i]["AllWISE___id"] for i in found["_id"]]
    assert [None if pd.isna(v) else v for v in found["AllWISE___id"]] == wanted
    for number, row in ((0, found["_id"][0]), (30, found["_id"][30])):
        np.testing.assert_array_equal(found["dmdt"][number], np.float32(numbered[row]["dmdt"]).ravel())
    assert found["dmdt"].isna().sum() == sum("dmdt" not in d for d in DOCUMENTS)
    assert found["coordinates"][0]["radec_geojson"]["coordinates"] == [-170.0, 20.0]
    metadata = found.attrs["scope"]
    assert metadata["features_ztf_dataRelease"] == "DR16"
    assert metadata["features_imputed"] is False
    assert pd.Timestamp(metadata["features_download_dateTime_utc"]) <= pd.Timestamp.now("UTC").tz_localize(None)
    assert json.loads(pq.read_schema("features/field_301/field_301_iter_0.parquet").metadata[b"scope"]) == metadata
    assert kowalski.count("find") == -(-len(ALL_IDS) // 17)
    assert "field 301: 100 ids, 100 rows" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "quadrants"),
    [
        (["--ccd-range", 1, 2, "--quad-range", 3, 4], [(1, 3), (1, 4), (2, 3), (2, 4)]),
        (["--ccd-range", 1, "--quad-range", 2], [(1, 2)]),
        (["--ccd", 1, "--quad", 2], [(1, 2)]),
        ([], list(QUADRANTS)),
    ],
)
def test_quadrants(kowalski: KowalskiServer, words: list[object], quadrants: list[tuple[int, int]]) -> None:
    assert run(*words) == 0
    assert written() == [f"ccd_{ccd:02d}_quad_{quad}_iter_0.parquet" for ccd, quad in quadrants]
    for ccd, quad in quadrants:
        found = read(f"ccd_{ccd:02d}_quad_{quad}_iter_0.parquet")
        assert found["_id"].tolist() == IDS[ccd, quad]


def test_start_and_end_suffix_and_csv(kowalski: KowalskiServer) -> None:
    run("--whole-field", "--start", 5, "--end", 28, "--suffix", "part", "--write-csv", "--max-sources", 10)
    names = [f"field_301_part_iter_{i}" for i in range(3)]
    assert written() == sorted(f"{name}{suffix}" for name in names for suffix in (".parquet", ".csv"))
    frames = [read(f"{name}.parquet") for name in names]
    assert [len(frame) for frame in frames] == [10, 10, 3]
    assert pd.concat(frames)["_id"].tolist() == ALL_IDS[5:28]
    for name, frame in zip(names, frames, strict=True):
        pd.testing.assert_frame_equal(read(f"{name}.csv"), frame, check_exact=True)


def test_column_list(kowalski: KowalskiServer, capsys: pytest.CaptureFixture[str]) -> None:
    run("--ccd", 1, "--quad", 2, "--column-list", "median", "AllWISE___id", "medien")
    found = read("ccd_01_quad_2_iter_0.parquet")
    assert found.columns.tolist() == ["_id", "median", "AllWISE___id", "medien"]
    assert "no light curve has medien" in capsys.readouterr().err
    assert kowalski.queries[-1]["query"]["projection"] == {"_id": 1, "median": 1, "AllWISE___id": 1, "medien": 1}


def test_another_catalogue(kowalski: KowalskiServer) -> None:
    kowalski.collections["ZTF_source_features_DR5"] = [{**DOCUMENTS[0], "median": -1.0}]
    run("--ccd", 1, "--quad", 2, "--features-catalog", "ZTF_source_features_DR5")
    found = read("ccd_01_quad_2_iter_0.parquet")
    assert found["median"].tolist() == [-1.0]
    assert found.attrs["scope"]["features_ztf_dataRelease"] == "DR5"


def test_nothing_is_written_without_results(kowalski: KowalskiServer, capsys: pytest.CaptureFixture[str]) -> None:
    run("--ccd", 1, "--quad", 2, "--no-write-results", "--tm")
    shown = capsys.readouterr().out
    assert "40 rows; nothing is written" in shown
    assert shown.count("-->") >= 3
    assert not Path("features").exists()
    run("--ccd", 1, "--quad", 2, "--verbose", 0)
    assert capsys.readouterr().out == ""


def test_dry_run_asks_and_writes_nothing(kowalski: KowalskiServer, capsys: pytest.CaptureFixture[str]) -> None:
    run("--ccd", 1, "--quad", 2, "--limit-per-query", 20, "--write-csv", "--impute-missing-features", "--dry-run")
    shown = capsys.readouterr().out
    assert "41 ids of field 301, CCD 1, quadrant 2 in ZTF_source_features_DR16, 3 queries" in shown
    assert "would write features/field_301/ccd_01_quad_2_iter_0.parquet and features/field_301/ccd_01_quad_2" in shown
    assert f"would impute {len(NAMES)} features by strategies fitted on all these rows" in shown
    assert not Path("features").exists()
    assert kowalski.count() == 0


@pytest.mark.parametrize(("limit", "most"), [(1000, 100_000), (7, 100_000), (13, 9), (100, 1)])
def test_imputation_depends_neither_on_pages_nor_on_files(kowalski: KowalskiServer, limit: int, most: int) -> None:
    run("--whole-field", "--impute-missing-features", "--limit-per-query", limit, "--max-sources", most)
    wanted = expected(ALL_IDS, STRATEGIES)
    assert 80 < len(wanted) < 100
    files = [f"field_301_iter_{i}.parquet" for i in range(-(-len(wanted) // most))]
    assert written() == sorted(files)
    frames = [read(name) for name in files]
    assert {len(frame) for frame in frames[:-1]} <= {most}
    found = pd.concat(frames, ignore_index=True)
    assert_alike(found, wanted)
    assert found["n_ztf_alerts"].dtype == "Int64"
    assert all(frame.attrs["scope"]["features_imputed"] is True for frame in frames)
    assert not found[list(NAMES)].isna().any(axis=None)


def test_imputation_is_fitted_on_all_quadrants_of_the_call(kowalski: KowalskiServer) -> None:
    run("--ccd-range", 1, 2, "--quad-range", 3, 4, "--impute-missing-features")
    quadrants = [(1, 3), (1, 4), (2, 3)]
    wanted = expected([i for place_ in quadrants for i in IDS[place_]], STRATEGIES)
    frames = [read(f"ccd_{ccd:02d}_quad_{quad}_iter_0.parquet") for ccd, quad in quadrants]
    assert_alike(pd.concat(frames, ignore_index=True).sort_values("_id", ignore_index=True), wanted)
    assert len(read("ccd_02_quad_4_iter_0.parquet")) == 0


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".parquet"])
def test_imputation_fitted_on_the_training_set(kowalski: KowalskiServer, suffix: str) -> None:
    training = expected(ALL_IDS)[["_id", *NAMES]]
    training[list(NAMES)] += 1.0
    write_table(training, f"training{suffix}")
    write_config(Path(), kowalski, training={"dataset": f"training{suffix}"})
    run("--ccd", 1, "--quad", 2, "--impute-missing-features", "--no-self-impute")
    fitted = fit_imputation(training, STRATEGIES)
    assert_alike(read("ccd_01_quad_2_iter_0.parquet"), fitted.complete(expected(IDS[1, 2])))


def test_strategies_of_the_users_configuration(kowalski: KowalskiServer, capsys: pytest.CaptureFixture[str]) -> None:
    entries = {
        "median": {"include": True, "dtype": "float", "periodic": False, "impute_strategy": "none"},
        "n_ztf_alerts": {"include": True, "dtype": "Int64", "periodic": False, "impute_strategy": "Mean"},
        "period": {"include": False, "dtype": "float", "periodic": True, "impute_strategy": "none"},
        "unheard": {"include": True, "dtype": "float", "periodic": False, "impute_strategy": "zero"},
    }
    write_config(Path(), kowalski, features={"info": {"period_suffix": SUFFIX}, "ontological": entries})
    run("--ccd", 1, "--quad", 2, "--impute-missing-features")
    found = read("ccd_01_quad_2_iter_0.parquet")
    assert found["_id"].tolist() == IDS[1, 2]
    alerts = expected(IDS[1, 2])["n_ztf_alerts"]
    np.testing.assert_allclose(found["n_ztf_alerts"], alerts.fillna(alerts.mean()), rtol=1e-14)
    assert "1 of 3 features to impute are not among the columns: unheard" in capsys.readouterr().err


def test_same_call_again_and_restart(kowalski: KowalskiServer, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--ccd", 1, "--quad", 2, "--limit-per-query", 10, "--max-sources", 15)
    run(*words)
    asked = kowalski.count()
    assert run(*words) == 0
    assert kowalski.count() == asked
    assert "the features are there already" in capsys.readouterr().out
    run(*words, "--restart")
    assert kowalski.count() == 2 * asked
    Path("features/field_301/ccd_01_quad_2_iter_1.parquet").write_bytes(b"half")
    run(*words)
    assert len(read("ccd_01_quad_2_iter_1.parquet")) == 15


def test_another_request_replaces_the_files(kowalski: KowalskiServer) -> None:
    run("--ccd", 1, "--quad", 2, "--max-sources", 15, "--write-csv")
    assert len(written()) == 6
    Path("features/field_301/ccd_01_quad_2_x_iter_0.parquet").write_bytes(b"another name")
    run("--ccd", 1, "--quad", 2, "--impute-missing-features")
    assert written() == ["ccd_01_quad_2_iter_0.parquet", "ccd_01_quad_2_x_iter_0.parquet"]
    assert read("ccd_01_quad_2_iter_0.parquet").attrs["scope"]["features_imputed"] is True


def test_interrupted_download_goes_on(kowalski: KowalskiServer, capsys: pytest.CaptureFixture[str]) -> None:
    refused = [message(400, "out of memory")] * 50
    kowalski.fail(*refused, when=lambda query: str(ALL_IDS[60]) in json.dumps(query))
    words = ("--whole-field", "--limit-per-query", 10)
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Error: ")
    assert [p.name for p in Path("features/field_301").iterdir()] == [".parts"]
    kept = len(list(Path("features/field_301/.parts").rglob("page-*.parquet")))
    assert kept >= 6
    kowalski.forget_faults()
    before = kowalski.count()
    assert run(*words) == 0
    # A query that was under way when the other failed may have come to its end since.
    assert 1 <= kowalski.count() - before <= 10 - kept
    assert_alike(read("field_301_iter_0.parquet"), expected(ALL_IDS))
    assert list(Path("features/field_301/.parts").rglob("*.parquet")) == []


def test_failing_service_loses_nothing(kowalski: KowalskiServer) -> None:
    kowalski.fail_often(0.1, html(502), Fault("reset"), Fault("broken"), Fault("cut"))
    assert run("--whole-field", "--limit-per-query", 10) == 0
    assert_alike(read("field_301_iter_0.parquet"), expected(ALL_IDS))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--field", 5, "--whole-field"], "there is no file of ids ids/field_5/field_5.h5"),
        (["--field", 5], "there are no files of ids in ids/field_5"),
        (["--ccd", 9, "--quad", 1], "data_ccd_09_quad_1.h5"),
        (["--ccd", 17], "--ccd-range is 17"),
        (["--whole-field", "--quad", 1], "leave out --ccd-range and --quad-range"),
        (["--whole-field", "--start", 100], "--start and --end leave none of them"),
        (["--whole-field", "--start", -1], "--start is -1, expected 0 or more"),
        (["--max-sources", 0], "--max-sources is 0, expected 1 or more"),
        (["--whole-field", "--impute-missing-features", "--no-self-impute"], "needs the training set"),
        (["--whole-fields"], "did you mean --whole-field"),
    ],
)
def test_wrong_usage(
    kowalski: KowalskiServer, words: list[object], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
    assert not Path("features").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("--field 301 --whole-field --impute-missing-features", ["field_301_iter_0.parquet"]),
        (
            "--field 301 --ccd-range 1 2 --quad-range 3 4",
            [f"ccd_0{ccd}_quad_{quad}_iter_0.parquet" for ccd in (1, 2) for quad in (3, 4)],
        ),
    ],
)
def test_documented_lines_as_processes(kowalski: KowalskiServer, line: str, names: list[str]) -> None:
    command = [sys.executable, "-m", "scope_dask.commands.get_features", *line.split()]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, env=os.environ.copy())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert written() == names
