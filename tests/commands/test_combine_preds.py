"""combine-preds: matching, merging, listing, consolidation, skipping."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prediction_tables import FIELD, feature_table

from scope_dask.commands import combine_preds
from scope_dask.formats import read_table, write_table
from scope_dask.predictions.sources import source_numbers

OUT = Path(f"preds_dnn_xgb/field_{FIELD}.parquet")
ROWS = 60


def predictions(kind: str, seed: int, rows: slice = slice(None)) -> pd.DataFrame:
    frame = feature_table(ROWS)[["_id", "ra", "dec", "field", "Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id"]]
    for name in ("Gaia_EDR3___id", "AllWISE___id", "PS1_DR1___id"):
        frame[name] = frame[name].fillna(0).astype("int64")
    rng = np.random.default_rng(seed)
    own = {"dnn": ("vnv", "rrlyr", "ea"), "xgb": ("vnv", "rrlyr", "ew")}[kind]
    for tag in own:
        frame[f"{tag}_{kind}"] = rng.random(ROWS).astype("f4")
    frame.loc[3, f"vnv_{kind}"] = np.nan
    return frame[rows]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with predictions: XGBoost's in another order, and each lacks some light curves."""
    monkeypatch.chdir(tmp_path)
    dnn, xgb = predictions("dnn", 1, slice(0, 50)), predictions("xgb", 2, slice(10, None))
    xgb = xgb.sample(frac=1, random_state=1)
    write_table(dnn, f"preds_dnn/field_{FIELD}/field_{FIELD}.parquet", {"features_ztf_dataRelease": "DR16"})
    write_table(xgb, f"preds_xgb/field_{FIELD}/field_{FIELD}.parquet")
    write_table(predictions("xgb", 3), "preds_xgb/field_297/field_297.parquet")
    return tmp_path


def run(*words: object) -> int:
    return combine_preds.main([str(word) for word in words])


def expected() -> pd.DataFrame:
    """Return both kinds together by pandas."""
    xgb = predictions("xgb", 2, slice(10, None))
    scores = xgb[["_id", *(c for c in xgb if c.endswith("_xgb"))]]
    both = predictions("dnn", 1, slice(0, 50)).merge(scores, on="_id", how="outer")
    return both.set_index("_id")


def test_both_kinds_side_by_side(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--write-csv") == 0
    found = read_table(OUT)
    assert found["_id"].tolist()[:50] == predictions("dnn", 1, slice(0, 50))["_id"].tolist()
    assert found["ra"].notna().all()
    indexed = found.set_index("_id").loc[expected().index]
    columns = [c for c in found if c.endswith(("_dnn", "_xgb"))]
    assert len(columns) == 6
    pd.testing.assert_frame_equal(indexed[columns], expected()[columns])
    assert found.attrs["scope"]["features_ztf_dataRelease"] == "DR16"
    pd.testing.assert_frame_equal(read_table(OUT.with_suffix(".csv"))[columns].astype("f4"), found[columns])
    assert len(read_table("preds_dnn_xgb/field_297.parquet")) == ROWS
    assert json.loads(Path("preds_dnn_xgb/fields.json").read_text()) == {"fields": [str(FIELD), "297"]}
    listed = json.loads(Path(f"preds_dnn_xgb/{FIELD}_meta.json").read_text())
    above = indexed[columns] > 0.7
    assert sorted(map(int, listed)) == sorted(indexed.index[above.any(axis=1)])
    for i, classes in listed.items():
        row = above.loc[int(i)]
        assert sorted(classes) == sorted(row.index[row])
        assert classes == pytest.approx(indexed.loc[int(i), list(classes)].to_dict(), abs=1e-6)
    assert f"{FIELD}: 60 rows" in capsys.readouterr().out
    assert run() == 0
    assert "is there already" in capsys.readouterr().out
    assert run("--specific-field", FIELD, "--p-threshold", 1) == 0
    assert json.loads(Path(f"preds_dnn_xgb/{FIELD}_meta.json").read_text()) == {}


@pytest.mark.parametrize("method", ["mean", "max"])
def test_one_score_a_class(workplace: Path, method: str) -> None:
    assert run("--specific-field", FIELD, "--merge-dnn-xgb", "--agg-method", method) == 0
    assert not Path("preds_dnn_xgb/field_297.parquet").exists()
    found = read_table(OUT).set_index("_id").loc[expected().index]
    assert not [c for c in found if c.endswith(("_dnn", "_xgb"))]
    for tag in ("vnv", "rrlyr", "ea", "ew"):
        own = expected()[[c for c in (f"{tag}_dnn", f"{tag}_xgb") if c in expected()]]
        np.testing.assert_allclose(found[tag], getattr(own, method)(axis=1), rtol=1e-6)


def test_one_row_a_source(workplace: Path) -> None:
    assert run("--specific-field", FIELD, "--consolidate", "--agg-method", "max") == 0
    found = read_table(OUT)
    frame = expected().reset_index()
    whole = predictions("dnn", 1)
    number = source_numbers(whole)
    assert len(found) == len(set(number)) == 20
    highest = frame.set_index("_id").loc[whole["_id"], "vnv_dnn"].groupby(number).max()
    np.testing.assert_allclose(found["vnv_dnn"], highest, rtol=1e-6)
    listed = json.loads(Path(f"preds_dnn_xgb/{FIELD}_meta.json").read_text())
    assert set(listed) <= set(found["obj_id"])
    assert (whole.iloc[:, 4:7].eq(0).all(axis=1)).any()  # sources without any identifier are among them


def test_the_sources_of_an_event(workplace: Path) -> None:
    name = "2023-05-21T05-30-43"
    for kind in ("dnn", "xgb"):
        frame = predictions(kind, 4).assign(obj_id=[f"obj_{k // 2}" for k in range(ROWS)])
        write_table(frame, f"preds_{kind}/field_{name}_specific_ids/field_{name}_specific_ids.parquet")
    assert run("--dateobs", "2023-05-21T05:30:43", "--merge-dnn-xgb") == 0
    found = read_table(f"preds_dnn_xgb/{name}/merged_GCN_sources_{name}.parquet")
    assert sorted(found["obj_id"]) == sorted(f"obj_{k}" for k in range(ROWS // 2))
    assert Path(f"preds_dnn_xgb/{name}/{name}_meta.json").is_file()
    tables = [predictions(kind, 4) for kind in ("dnn", "xgb")]
    pairs = [t[f"rrlyr_{k}"].groupby(np.arange(ROWS) // 2).mean() for t, k in zip(tables, ("dnn", "xgb"), strict=True)]
    own = found.set_index("obj_id").loc[[f"obj_{k}" for k in range(ROWS // 2)], "rrlyr"]
    np.testing.assert_allclose(own, (pairs[0] + pairs[1]) / 2, rtol=1e-6)


def test_options(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text("inference: {fields_to_run: [297]}\n")
    assert run("--use-config-fields", "--combined-preds-dirname", "both", "--dnn-directory", "none") == 0
    assert [p.name for p in Path("both").glob("*.parquet")] == ["field_297.parquet"]
    assert run("--doNotSave", "--specific-field", FIELD) == 0
    assert run("--dry-run") == 0
    assert not OUT.exists()
    assert f"would write {OUT}" in capsys.readouterr().out
    for words, message in (
        (("--use-config-fields", "--specific-field", 1), "one of them decides"),
        (("--specific-field", 1), "no predictions of field 1"),
        (("--p-threshold", 2), "--p-threshold is 2.0"),
        (("--agg-method", "median"), "mean"),
        (("--dateobs", "2001-01-01"), "no predictions of 2001-01-01"),
    ):
        with pytest.raises(SystemExit, match="2"):
            run(*words)
        assert message in capsys.readouterr().err


def test_a_row_twice_is_an_error(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = predictions("dnn", 1)
    write_table(pd.concat([frame, frame[:1]]), f"preds_dnn/field_{FIELD}/field_{FIELD}.parquet")
    with pytest.raises(SystemExit, match="2"):
        run("--specific-field", FIELD)
    assert "more than once" in capsys.readouterr().err
    assert not OUT.exists()
