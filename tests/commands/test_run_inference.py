"""run-inference: files, options, models with and without a manifest, missing features, resuming."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from keras_files import network, reference
from prediction_tables import (
    FIELD,
    NAMES,
    PERIOD,
    SEEN,
    feature_table,
    images,
    save_original_network,
    save_xgb_models,
    with_dmdt,
    write_features,
)

from scope_dask.commands import run_inference, scope_inference
from scope_dask.formats import parts_folder, read_table
from scope_dask.inference.models import load_models
from scope_dask.inference.scores import scores

MODELS = "models_xgb/small"
OUT = Path(f"preds_xgb/field_{FIELD}/field_{FIELD}.parquet")
METADATA = {"features_ztf_dataRelease": "DR16", "fourier": "raw"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trained")
    save_xgb_models(root / "small")
    save_xgb_models(root / "strict", ("vnv",), imputation="none")
    return root


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Path) -> Path:
    """Change to a working folder with models and the features of a field in three files."""
    monkeypatch.chdir(tmp_path)
    Path("models_xgb").symlink_to(trained)
    for number, part in enumerate(np.array_split(np.arange(200), [80, 150])):
        write_features(
            field().iloc[part], Path(f"features/field_{FIELD}/field_{FIELD}_iter_{number}.parquet"), **METADATA
        )
    return tmp_path


def field() -> pd.DataFrame:
    return feature_table(200, missing=0.05)


def run(*words: object, models: str = MODELS) -> int:
    return run_inference.main(["--field", str(FIELD), "--paths-models", models, *map(str, words)])


def failed(capsys: pytest.CaptureFixture[str], *words: object, models: str = MODELS, code: int = 2) -> str:
    with pytest.raises(SystemExit, match=str(code)):
        run(*words, models=models)
    return capsys.readouterr().err


def test_a_whole_field_is_one_file(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--whole-field", "--flag-ids", "--write-csv") == 0
    found = read_table(OUT)
    frame = field()
    own = [
        "_id",
        "Gaia_EDR3___id",
        "AllWISE___id",
        "PS1_DR1___id",
        "ra",
        "dec",
        PERIOD,
        "field",
        "ccd",
        "quad",
        "filter",
    ]
    assert list(found.columns) == [*own, "rrlyr_xgb", "vnv_xgb"]
    assert found["_id"].tolist() == frame["_id"].tolist()
    for name in ("Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id"):
        assert found[name].dtype == np.int64
        assert found[name].tolist() == frame[name].fillna(0).tolist()
    for name in ("field", "ccd", "quad", "filter"):
        assert found[name].dtype == np.int64
    expected = scores(frame, load_models(MODELS))
    for name in ("rrlyr_xgb", "vnv_xgb"):
        np.testing.assert_array_equal(found[name], expected[name])
        assert found[name].nunique() > 5
    metadata = found.attrs["scope"]
    assert metadata["features_ztf_dataRelease"] == "DR16"
    assert {"inference_scope_code_version", "inference_dateTime_utc"} <= set(metadata)
    as_csv = read_table(OUT.with_suffix(".csv"))
    assert as_csv["_id"].tolist() == found["_id"].tolist()
    np.testing.assert_array_equal(as_csv["vnv_xgb"].astype("f4"), found["vnv_xgb"])
    meta = json.loads((OUT.parent / "meta.json").read_text())
    assert (meta["field"], meta["total"], len(meta["xgb_models"])) == (FIELD, 200, 2)
    flags = json.loads((OUT.parent / f"field_{FIELD}_flagged.json").read_text())
    lacks = frame[list(SEEN)].isna()
    assert [int(i) for i in flags] == frame["_id"].tolist()
    for row, i in enumerate(frame["_id"]):
        assert set(flags[str(i)]) == set(lacks.columns[lacks.iloc[row]])
    assert max(map(len, flags.values())) > 1
    assert min(map(len, flags.values())) == 0
    assert not parts_folder(OUT).exists()
    assert f"field {FIELD}: 200 light curves in {OUT}" in capsys.readouterr().out


@pytest.mark.parametrize("rows", [7, 64, 100_000])
def test_scores_do_not_depend_on_the_batch_size(workplace: Path, rows: int) -> None:
    assert run("--whole-field", "--batch-size", rows, "--n-workers", 2) == 0
    expected = scores(field(), load_models(MODELS))
    np.testing.assert_array_equal(read_table(OUT)["vnv_xgb"], expected["vnv_xgb"])


def test_what_a_model_cannot_score_is_set_aside_and_shifts_no_other(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = field()
    frame.loc[7, list(SEEN)] = np.nan
    for path in Path(f"features/field_{FIELD}").iterdir():
        path.unlink()
    write_features(frame, Path(f"features/field_{FIELD}/field_{FIELD}.parquet"))
    assert run("--whole-field", models="models_xgb/strict") == 0
    found = read_table(OUT)
    lacks = frame[list(SEEN)].isna().any(axis=1).to_numpy()
    assert found["_id"].tolist() == frame["_id"].tolist()
    np.testing.assert_array_equal(found["vnv_xgb"].isna(), lacks)
    whole = scores(frame[~lacks], load_models("models_xgb/strict"))
    np.testing.assert_array_equal(found["vnv_xgb"][~lacks], whole["vnv_xgb"])
    aside = read_table(f"preds_xgb/set_aside/field_{FIELD}/field_{FIELD}.parquet")
    assert sorted(aside["_id"]) == sorted(frame["_id"][lacks])
    reasons = dict(zip(aside["_id"], aside["reason"], strict=True))
    assert reasons.pop(frame["_id"][7]) == "it has none of the features of the models"
    assert set(reasons.values()) == {"a feature is missing that is not imputed by the models vnv"}
    assert f"without some score: {lacks.sum() - 1}, a feature is missing" in capsys.readouterr().out


def test_columns_of_catalogues_may_be_spelt_with_one_underscore(workplace: Path) -> None:
    save_xgb_models(Path("catalogue"), ("vnv",), features=("AllWISE__w1mpro", *SEEN[1:]))
    frame = field().rename(columns={"skew": "AllWISE__w1mpro"})
    one = frame.rename(columns={"AllWISE__w1mpro": "AllWISE_w1mpro", "Gaia_EDR3___id": "Gaia_EDR3__id"})
    for number, table in enumerate((frame[:80], one[80:150], one[150:])):
        write_features(table, Path(f"features/field_{FIELD}/field_{FIELD}_iter_{number}.parquet"))
    assert run("--whole-field", models="catalogue") == 0
    found = read_table(OUT)
    np.testing.assert_array_equal(found["vnv_xgb"], scores(frame, load_models("catalogue"))["vnv_xgb"])
    assert found["Gaia_EDR3___id"].tolist() == frame["Gaia_EDR3___id"].fillna(0).tolist()


def test_quadrants_with_and_without_a_number(workplace: Path) -> None:
    folder = Path(f"features/field_{FIELD}")
    frames = {(ccd, quad): feature_table(30, seed=ccd, ccd=ccd, quad=quad) for ccd, quad in ((1, 2), (3, 4), (5, 1))}
    write_features(frames[1, 2].iloc[:20], folder / "ccd_01_quad_2_iter_0.parquet")
    write_features(frames[1, 2].iloc[20:], folder / "ccd_01_quad_2_iter_1.parquet")
    write_features(frames[3, 4], folder / "ccd_03_quad_4.parquet")
    write_features(frames[5, 1], Path(f"made/field_{FIELD}/features_field_{FIELD}_ccd_5_quad_1.parquet"))
    assert run("--ccd", 1, "--quad", 2) == 0
    assert run("--ccd", 3, "--quad", 4) == 0
    assert run("--ccd", 5, "--feature-directory", "made", "--feature-file-prefix", "features") == 0
    for (ccd, quad), frame in frames.items():
        found = read_table(OUT.parent / f"ccd_{ccd:02d}_quad_{quad}.parquet")
        assert found["_id"].tolist() == frame["_id"].tolist()
    meta = json.loads((OUT.parent / "meta.json").read_text())
    assert meta["total"] == 90


def test_specific_ids_have_names(workplace: Path) -> None:
    frame = feature_table(9).assign(fritz_name=[f"obj_{k}" for k in range(9)])
    for name in ("specific_ids", "2023-05-21T05-30-43_specific_ids"):
        write_features(frame, Path(f"features/specific_ids/gen_features_{name}.parquet"))
        assert scope_inference.main(["--field", name, "--whole-field", "--paths-models", MODELS]) == 0
        found = read_table(f"preds_xgb/field_{name}/field_{name}.parquet")
        assert found["obj_id"].tolist() == frame["fritz_name"].tolist()


def test_both_kinds_of_models_in_one_pass(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = with_dmdt(feature_table(40))
    write_features(frame, Path(f"dm/field_{FIELD}/field_{FIELD}.parquet"))
    saved = save_original_network(Path("models_dnn/old"))
    words = ("--whole-field", "--feature-directory", "dm", "--feature-stats", "stats.json", "--flag-ids")
    stats = {name: {"min": -3.0, "max": 5.0, "median": 0.5, "mean": 0.5, "std": 1.0} for name in NAMES}
    Path("stats.json").write_text(json.dumps(stats))
    assert run_inference.main(["--field", str(FIELD), "--paths-models", MODELS, str(saved), *words]) == 0
    dnn, xgb = (read_table(f"preds_{kind}/field_{FIELD}/field_{FIELD}.parquet") for kind in ("dnn", "xgb"))
    assert [c for c in dnn if c.endswith(("_dnn", "_xgb"))] == ["vnv_dnn"]
    assert dnn["_id"].tolist() == xgb["_id"].tolist() == frame["_id"].tolist()
    x = (frame[list(NAMES)].to_numpy() + 3.0) / 8.0
    np.testing.assert_allclose(dnn["vnv_dnn"], reference(network(len(NAMES), True), x, images(frame)), atol=1e-6)
    flags = json.loads(Path(f"preds_dnn/field_{FIELD}/field_{FIELD}_flagged.json").read_text())
    assert flags[str(frame["_id"][1])] == ["dmdt"]
    capsys.readouterr()
    assert "the other kind" in failed(capsys, "--whole-field", "--xgb-model", "false")


def test_scaling_of_models_without_a_manifest(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training set, its scaling, other statistics and the rounding each have their effect."""
    frame = with_dmdt(feature_table(40))
    write_features(frame, Path(f"dm/field_{FIELD}/field_{FIELD}.parquet"))
    write_features(with_dmdt(feature_table(60, seed=9)), Path("training.parquet"))
    save_original_network(Path("models_dnn/old"))
    stats = {name: {"min": -3.0, "max": 5.0} for name in NAMES}
    Path("config.yaml").write_text(json.dumps({"feature_stats": stats}))
    base = ["--field", str(FIELD), "--whole-field", "--feature-directory", "dm", "--paths-models", "models_dnn/old"]
    with pytest.raises(SystemExit, match="2"):
        run_inference.main(base)
    assert "name it with --trainingSet" in capsys.readouterr().err
    found = {}
    for words in (
        "--trainingSet training.parquet",
        "--trainingSet training.parquet --scale-features median_std",
        "--trainingSet training.parquet --scale_features none",
        "--trainingSet training.parquet --float-convert-types 64 16",
        "--trainingSet none.parquet --feature-stats config",
    ):
        assert run_inference.main([*base, *words.split()]) == 0
        found[words] = read_table(f"preds_dnn/field_{FIELD}/field_{FIELD}.parquet")["vnv_dnn"].to_numpy()
    values = list(found.values())
    assert all(not np.array_equal(a, b) for k, a in enumerate(values) for b in values[:k])
    np.testing.assert_allclose(values[3], values[0], atol=0.05)
    train = feature_table(60, seed=9)[list(NAMES)].to_numpy()
    x = (frame[list(NAMES)].to_numpy() - train.min(axis=0)) / np.ptp(train, axis=0)
    np.testing.assert_allclose(values[0], reference(network(len(NAMES), True), x, images(frame)), atol=1e-6)


def test_class_names_rename_or_choose(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--whole-field", "--model-class-names", "vnv") == 0
    assert [c for c in read_table(OUT) if c.endswith("_xgb")] == ["vnv_xgb"]
    paths = sorted(str(p) for p in Path(MODELS).glob("*/*0*.json") if "manifest" not in p.name)
    words = ["--field", str(FIELD), "--whole-field", "--paths-models", *paths, "--model-class-names", "rr", "v"]
    assert run_inference.main(words) == 0
    assert [c for c in read_table(OUT) if c.endswith("_xgb")] == ["rr_xgb", "v_xgb"]
    assert "did you mean 'rrlyr'" in failed(capsys, "--whole-field", "--model-class-names", "rrly")


def test_what_is_there_is_not_scored_again(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--whole-field", "--time-run") == 0
    assert "score and write" in capsys.readouterr().out
    first = OUT.stat().st_mtime_ns
    assert run("--whole-field") == 0
    assert "is there already" in capsys.readouterr().out
    assert OUT.stat().st_mtime_ns == first
    assert run("--whole-field", "--overwrite") == 0
    assert OUT.stat().st_mtime_ns > first
    assert run("--whole-field", "--no-write-metadata") == 0
    assert run("--whole-field", "--no-write-metadata") == 0
    assert pq.read_schema(OUT).metadata.get(b"scope") in (None, b"{}")


def test_an_interrupted_run_goes_on(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A feature file that cannot be read ends the run; when it can, only its partitions are scored."""
    broken = Path(f"features/field_{FIELD}/field_{FIELD}_iter_1.parquet")
    whole = broken.read_bytes()
    stamp = broken.stat().st_mtime_ns
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    # Pages are damaged but for the column of the ids, which are looked at beforehand.
    group = pq.read_metadata(broken).row_group(0)
    start = group.column(1).dictionary_page_offset or group.column(1).data_page_offset
    broken.write_bytes(whole[:start] + bytes(len(whole) - footer - start) + whole[-footer:])
    os.utime(broken, ns=(stamp, stamp))
    message = failed(capsys, "--whole-field", code=1)
    assert "1 of 3 partitions could not be scored" in message
    assert parts_folder(OUT).is_dir()
    assert not OUT.exists()
    broken.write_bytes(whole)
    os.utime(broken, ns=(stamp, stamp))
    assert run("--whole-field") == 0
    expected = scores(field(), load_models(MODELS))
    np.testing.assert_array_equal(read_table(OUT)["vnv_xgb"], expected["vnv_xgb"])
    assert not parts_folder(OUT).exists()


def test_partitions_of_other_models_are_thrown_away(workplace: Path) -> None:
    parts = parts_folder(OUT)
    parts.mkdir(parents=True)
    (parts / "run.json").write_text(json.dumps({"fingerprint": {"xgb": "another"}}))
    assert run("--whole-field") == 0
    assert len(read_table(OUT)) == 200


def test_errors(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in failed(capsys, "--whole-field", models="models_xgb/none")
    assert "get-features" in failed(capsys, "--ccd", 9)
    assert "the CCD is 17" in failed(capsys, "--ccd", 17)
    assert "did you mean 'min_max'" in failed(capsys, "--whole-field", "--scale-features", "minmax")
    assert "--float-convert-types is 32 16" in failed(capsys, "--whole-field", "--float-convert-types", 32, 16)
    assert "--batch-size is 0" in failed(capsys, "--whole-field", "--batch-size", 0)
    path = Path(f"features/field_{FIELD}/field_{FIELD}_iter_3.parquet")
    write_features(field().iloc[:2], path, **METADATA)
    assert "2 light curves are there twice" in failed(capsys, "--whole-field")
    write_features(field().iloc[:2], path, fourier="documented")
    assert "fourier" in failed(capsys, "--whole-field")
    path.unlink()
    write_features(field().drop(columns="skew"), Path(f"features/field_{FIELD}/field_{FIELD}_iter_0.parquet"))
    assert "'skew'" not in failed(capsys, "--whole-field", "--ccd-range", 3)
    assert "needs columns" in failed(capsys, "--whole-field")


def test_dry_run_writes_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--whole-field", "--dry-run", "--flag-ids") == 0
    assert not Path("preds_xgb").exists()
    shown = capsys.readouterr().out
    assert "would read 3 files" in shown
    assert f"would write {OUT} and {OUT.parent}/field_{FIELD}_flagged.json" in shown


def test_the_folder_of_predictions(workplace: Path) -> None:
    Path("config.yaml").write_text(
        "inference: {path_to_preds: elsewhere}\nfeature_generation: {path_to_features: far}\n"
    )
    Path("far").mkdir()
    Path("features").rename("far/features")
    assert run("--whole-field") == 0
    assert len(read_table(f"elsewhere/{OUT}")) == 200


def test_as_a_process(workplace: Path) -> None:
    words = ["--field", str(FIELD), "--whole-field", "--xgb-model", "--paths-models", MODELS, "--verbose", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "scope_dask.commands.run_inference", *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(read_table(OUT)) == 200
