"""dask scope catalog: from what run-inference wrote to sources found by position and score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from clusters import two_workers
from prediction_tables import feature_table, save_xgb_models, write_features

from scope_dask.commands import run_inference
from scope_dask.commands.scope import scope
from scope_dask.formats import read_table

FIELDS = (301, 302)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the predictions of the same stars in two fields, one of them by quadrant."""
    root = tmp_path_factory.mktemp("predicted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        save_xgb_models(Path("models_xgb/small"))
        for number, field in enumerate(FIELDS):
            frame = feature_table(90, seed=3 + number).assign(field=field)
            frame["_id"] += 10**15 * number
            write_features(frame, Path(f"features/field_{field}/ccd_01_quad_1.parquet"))
            how = ["--whole-field"] if number else ["--ccd", "1", "--quad", "1"]
            words = ["--field", str(field), "--paths-models", "models_xgb/small", *how, "--verbose", "0"]
            assert run_inference.main(words) == 0
    return root


@pytest.fixture
def place(predicted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("preds_xgb").symlink_to(predicted / "preds_xgb")
    return tmp_path


def run(*words: Any, code: int = 0) -> str:
    result = CliRunner().invoke(scope, ["catalog", *map(str, words)])
    assert result.exit_code == code, result.output
    return result.output


def light_curves() -> pd.DataFrame:
    return pd.concat([read_table(path) for path in sorted(Path("preds_xgb").glob("field_*/*.parquet"))])


def test_a_catalogue_is_built_and_asked(place: Path) -> None:
    assert "30 sources of 2 files in catalog, a catalogue of" in run("build", "--no-hats")
    whole = light_curves()
    said = run("query", "catalog", "--class", "vnv_xgb", 0.5, "--out", "found.csv")
    found = read_table("found.csv")
    assert said.endswith(f"{len(found)} sources in found.csv\n")
    means = whole.groupby((whole["ra"] * 20).round())["vnv_xgb"].mean()  # 0.05° from star to star
    assert len(found) == (means >= 0.5).sum() > 0
    assert set(found["n_lightcurves"]) == {6}
    one = found.iloc[0]
    said = run("query", "catalog", "--cone", one["ra"], one["dec"], 5, "--column", "_id", "--column", "rrlyr_xgb")
    assert said.splitlines()[0].split() == ["_id", "rrlyr_xgb"]
    assert said.splitlines()[1].split()[0] == str(one["_id"])
    assert said.endswith("1 sources\n")
    assert "30 sources, the first 20 above" in run("query", "catalog")
    assert "0 sources" in run("query", "catalog", "--cone", 10, -45, 5)


def test_options_have_their_effect(place: Path) -> None:
    run("build", "preds_xgb", "--out", "means", "--no-hats")
    run("build", "preds_xgb", "--out", "largest", "--statistic", "max", "--no-hats")
    run("query", "means", "--out", "means.parquet")
    run("query", "largest", "--out", "largest.parquet")
    means, largest = (read_table(f"{name}.parquet").sort_values("_id") for name in ("means", "largest"))
    assert (largest["vnv_xgb"].to_numpy() >= means["vnv_xgb"].to_numpy()).all()
    assert largest["vnv_xgb"].max() == light_curves()["vnv_xgb"].max()
    (file,) = Path("preds_xgb/field_301").glob("*.parquet")
    assert "30 sources of 1 files in means" in run("build", file, "--out", "means", "--overwrite", "--no-hats")


def test_hats(place: Path) -> None:
    pytest.importorskip("hats")
    assert "a HATS catalogue of" in run("build")
    assert Path("catalog/properties").is_file() or Path("catalog/hats.properties").is_file()


def test_the_work_runs_on_a_cluster(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("build", "--out", "here", "--no-hats")
    with two_workers() as client:
        assert "30 sources" in run("build", "--out", "there", "--no-hats", "--cluster", client.scheduler.address)
    for name in ("here", "there"):
        run("query", name, "--out", f"{name}.parquet")
    here, there = (read_table(f"{name}.parquet").sort_values("_id") for name in ("here", "there"))
    np.testing.assert_array_equal(here["vnv_xgb"], there["vnv_xgb"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["build", "gone"], "gone does not exist; expected a folder or a file of predictions"),
        (["build", "."], "there are no predictions in ."),
        (["build", "--statistic", "meen"], "did you mean 'mean'"),
        (["build", "--radius-arcsec", "9"], "radius_arcsec is 9.0"),
        (["query", "gone"], "gone is no catalogue of predictions"),
        (["query", "gone", "--out", "x.txt"], "x.txt is of no known format"),
    ],
)
def test_wrong_usage_is_one_sentence(place: Path, words: list[str], message: str) -> None:
    assert message in run(*words, code=2)
