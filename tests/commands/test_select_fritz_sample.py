"""select-fritz-sample: sources, classes, drawing, options."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prediction_tables import FIELD, feature_table, save_xgb_models

from scope_dask.commands import select_fritz_sample
from scope_dask.formats import read_table, write_table
from scope_dask.predictions.sampling import SampleOptions, sample

OUT = Path("AL_datasets_xgb/active_learning_set/active_learning_set.parquet")
ROWS = 600
TAGS = ("vnv", "rrlyr", "ew")


def predictions(seed: int, rows: int = ROWS) -> pd.DataFrame:
    frame = feature_table(rows)[["_id", "ra", "dec", "Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id"]]
    for name in ("Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id"):
        frame[name] = frame[name].fillna(0).astype("int64")
    rng = np.random.default_rng(seed)
    star = np.arange(rows) // 3
    for tag in TAGS:
        frame[f"{tag}_xgb"] = (
            (rng.random(rows // 3 + 1)[star] ** 0.5 + rng.normal(0, 0.01, rows)).clip(0, 1).astype("f4")
        )
    return frame


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with predictions of two fields that share stars."""
    monkeypatch.chdir(tmp_path)
    write_table(predictions(1), f"preds_xgb/field_{FIELD}/field_{FIELD}.parquet")
    write_table(predictions(2, 300).assign(_id=lambda f: f["_id"] + 10**9), "preds_xgb/field_302/field_302.parquet")
    return tmp_path


def run(*words: object) -> int:
    return select_fritz_sample.main(["--algorithm", "xgb", *map(str, words)])


def sources() -> pd.DataFrame:
    """Return the mean over fields of the mean over light curves, by star; the stars of feature_table are known."""
    means = [
        predictions(s, n)[[f"{t}_xgb" for t in TAGS]].groupby(np.arange(n) // 3).mean()
        for s, n in ((1, ROWS), (2, 300))
    ]
    return pd.concat(means).groupby(level=0).mean()


def test_all_sources(workplace: Path) -> None:
    assert run("--doAllSources", "--write-csv", "--write-consolidation-results") == 0
    found = read_table(OUT)
    assert len(found) == ROWS // 3
    order = np.argsort(found["ra"].to_numpy())
    for tag in TAGS:
        np.testing.assert_allclose(found[f"{tag}_xgb"].to_numpy()[order], sources()[f"{tag}_xgb"], rtol=1e-5)
    np.testing.assert_allclose(found["nonvar_xgb"], (1 - found["vnv_xgb"].astype(float)).round(2), atol=1e-6)
    assert found["n_lightcurves"].tolist().count(6) == 100
    assert found["obj_id"].str.fullmatch(r"ZTFJ\d{6}\.\d\d[+-]\d{6}\.\d").all()
    assert len(read_table(OUT.with_suffix(".csv"))) == len(found)
    assert len(read_table("AL_datasets_xgb/inference_results_full.parquet")) == 300
    assert len(read_table("AL_datasets_xgb/inference_results_consol.parquet")) == 200


def test_so_many_of_each_class_at_random(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--min-class-examples", 7, "--probability-threshold", 0.8) == 0
    found = read_table(OUT)
    counts = json.loads((OUT.parent / "meta.json").read_text())["counts"]
    columns = [f"{t}_xgb" for t in (*TAGS, "nonvar")]
    assert list(counts) == columns
    assert all(7 <= counts[c] == (found[c] > 0).sum() for c in columns[:3])
    assert found[columns].to_numpy()[found[columns].to_numpy() > 0].min() >= 0.8
    assert (found[columns] > 0).any(axis=1).all()
    first = OUT.read_bytes()
    assert run("--min-class-examples", 7, "--probability-threshold", 0.8) == 0
    assert OUT.read_bytes() == first
    assert run("--min-class-examples", 7, "--probability-threshold", 0.8, "--random-state", 1) == 0
    assert set(read_table(OUT)["obj_id"]) != set(found["obj_id"])
    assert run("--min-class-examples", 7, "--probability-threshold", 0.8, "--include-all-highprob-labels") == 0
    labels = read_table(OUT)
    assert set(labels["obj_id"]) == set(found["obj_id"])
    assert (labels[columns] > 0).sum().sum() > (found[columns] > 0).sum().sum()
    assert "vnv_xgb: " in capsys.readouterr().out


def test_the_highest(workplace: Path) -> None:
    assert run("--min-class-examples", 5, "--select-top-n", "--probability-threshold", 0.5, "--fields", FIELD) == 0
    found = read_table(OUT)
    whole = predictions(1)["ew_xgb"].groupby(np.arange(ROWS) // 3).mean().to_numpy()
    kept = found.loc[found["ew_xgb"] > 0, "ew_xgb"]
    np.testing.assert_allclose(np.sort(kept), np.sort(whole)[-5:], rtol=1e-5)


@pytest.mark.parametrize("statistic", ["median", "max"])
def test_the_statistic_of_light_curves(workplace: Path, statistic: str) -> None:
    assert run("--doAllSources", "--fields", FIELD, "--consolidation-statistic", statistic) == 0
    found = read_table(OUT).sort_values("ra")
    expected = getattr(predictions(1)["ew_xgb"].groupby(np.arange(ROWS) // 3), statistic)()
    np.testing.assert_allclose(found["ew_xgb"], expected, rtol=1e-6)


def test_classes_of_a_group_and_the_training_set(workplace: Path) -> None:
    save_xgb_models(Path("models_xgb/some"), ("rrlyr",))
    frame = predictions(1)
    training = pd.DataFrame({"ztf_id": frame["_id"][:30]})  # ten stars
    write_table(training, "training.parquet")
    Path("config.yaml").write_text("training: {dataset: training.parquet}\n")
    assert run("--group", "some", "--doAllSources", "--fields", FIELD, "--exclude-training-sources") == 0
    found = read_table(OUT)
    assert [c for c in found if c.endswith("_xgb")] == ["rrlyr_xgb"]
    assert len(found) == ROWS // 3 - 10


def test_results_of_an_earlier_call(workplace: Path) -> None:
    words = ("--min-class-examples", 7, "--probability-threshold", 0.8, "--consol-filename", "mine")
    assert run(*words, "--write-consolidation-results") == 0
    first = read_table(OUT)
    Path("preds_xgb").rename("gone")
    assert run(*words, "--read-consolidation-results", "--al-directory", "AL_datasets", "--al-filename", "again") == 0
    pd.testing.assert_frame_equal(read_table("AL_datasets_xgb/again/again.parquet"), first)


def test_errors_and_nothing_saved(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--doNotSave") == 0
    assert run("--dry-run") == 0
    assert not Path("AL_datasets_xgb").exists()
    for words, message in (
        (("--fields", "7"), "no predictions of field 7"),
        (("--group", "none"), "does not exist"),
        (("--min-class-examples", 0), "1 or more"),
        (("--exclude-training-sources",), "is no file"),
        (("--read-consolidation-results",), "does not exist"),
        (("--consolidation-statistic", "min"), "median"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*words)
        assert message in capsys.readouterr().err


def test_drawing_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"obj_id": [f"s{k}" for k in range(400)], **{c: rng.random(400).astype("f4") for c in "abc"}})
    for options in (SampleOptions(10, threshold=0.5), SampleOptions(10, top=True, threshold=0.5)):
        first, counts = sample(frame, list("abc"), options)
        other, _ = sample(frame.sample(frac=1, random_state=2), list("abc"), options)
        pd.testing.assert_frame_equal(
            other.sort_values("obj_id", ignore_index=True), first.sort_values("obj_id", ignore_index=True)
        )
        assert min(counts.values()) >= 10
    few, counts = sample(frame, ["a"], SampleOptions(10_000, threshold=0.99))
    assert counts["a"] == len(few) == (frame["a"] >= 0.99).sum()
