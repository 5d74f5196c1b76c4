"""run-scope-local: lists of ids and positions, from Kowalski and from files, their features and their scores."""

from __future__ import annotations

import re
from pathlib import Path

import generation_sky as sky
import numpy as np
import pandas as pd
import pytest
from prediction_tables import NAMES, save_original_network, save_xgb_models

from scope_dask.commands.run_scope_local import main
from scope_dask.formats import read_table
from scope_dask.inference.models import load_models
from scope_dask.inference.scores import scores

FRAME = sky.light_curves()
QUICK = ["--min-n-lc-points", "30", "--verbose", "0"]
STAMP = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d"


def features(printed: str) -> pd.DataFrame:
    """Return the features of the run that printed its time."""
    stamp = printed.rsplit(maxsplit=1)[-1]
    assert re.fullmatch(STAMP, stamp)
    folder = Path(f"generated_features_{stamp}")
    return read_table(folder / "specific_ids" / f"gen_features_{stamp}_specific_ids.parquet")


def test_ids_with_names(sky_server, cluster, capsys) -> None:
    ids = FRAME["_id"].to_numpy()[[8, 3, 4]]
    Path("ids.csv").write_text("ztfid,OBJ_ID\n" + "".join(f"{i},obj_{k}\n" for k, i in enumerate(ids)) + "77,lost\n")
    assert main(["--path-dataset", "ids.csv", *QUICK, *cluster, "--skipCloseSources"]) == 0
    table = features(capsys.readouterr().out)
    names = {int(i): f"obj_{k}" for k, i in enumerate(ids)}
    assert dict(zip(table["_id"].tolist(), table["fritz_name"], strict=True)) == {
        i: name for i, name in names.items() if i in set(table["_id"])
    }
    sources = read_table("sources.parquet")
    assert sources["ztf_id"].tolist() == sorted(names)
    assert sources["obj_id"].tolist() == [names[i] for i in sorted(names)]
    (aside,) = Path().rglob("set_aside/*.parquet")
    assert read_table(aside)["_id"].tolist() == [77]


@pytest.mark.parametrize("archive", [False, True], ids=["kowalski", "files"])
def test_positions_take_what_is_around_them(sky_server, sky_paths, cluster, capsys, archive) -> None:
    star = FRAME.iloc[[0, 16]]
    Path("places.csv").write_text("R.A.,Dec.\n" + "".join(f"{r},{d}\n" for r, d in star[["ra", "dec"]].to_numpy()))
    words = ["--source-archive", str(sky_paths["archive"])] if archive else []
    words += ["--save-sources-filepath", "out/found.csv", "--skipCloseSources"]
    assert main(["--path-dataset", "places.csv", *QUICK, *cluster, *words]) == 0
    table = features(capsys.readouterr().out)
    sources = read_table("out/found.csv")
    separation = np.hypot(
        (FRAME["ra"].to_numpy()[:, None] - star["ra"].to_numpy()) * np.cos(np.radians(20.0)),
        FRAME["dec"].to_numpy()[:, None] - star["dec"].to_numpy(),
    )
    assert sources["ztf_id"].tolist() == sorted(FRAME["_id"][(separation < 2 / 3600).any(axis=1)])
    assert len(sources) == 4, "each star in two filters"
    assert sources["obj_id"].nunique() == 2
    assert sources["obj_id"].str.fullmatch(r"ZTFJ\d{6}\.\d\d\+\d{6}\.\d").all()
    assert set(table["_id"]) == set(sources["ztf_id"])
    assert table["fritz_name"].nunique() == 2


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with XGBoost models and a network of SCoPe 0.9.5."""
    root = tmp_path_factory.mktemp("models")
    save_xgb_models(root / "models_xgb" / "small")
    save_original_network(root / "models_dnn" / "old")
    return root


def scored(stamp: str, kind: str) -> pd.DataFrame:
    name = f"field_{stamp}_specific_ids"
    return read_table(Path(f"preds_{kind}", name, f"{name}.parquet"))


def test_the_models_of_the_groups_score_the_features(sky_server, models, cluster, capsys) -> None:
    for kind in ("models_xgb", "models_dnn"):
        Path(kind).symlink_to(models / kind)
    stats = {name: {"min": -3.0, "max": 5.0} for name in NAMES}
    sky.configure(sky_server, feature_stats=stats)
    Path("ids.csv").write_text("ztf_id,obj_id\n" + "".join(f"{i},obj_{k}\n" for k, i in enumerate(FRAME["_id"])))
    words = ["--algorithms", "xgb", "DNN", "--group-names", "small", "old", "--feature-stats", "config", "--write_csv"]
    periods = ["--doCPU", "--max-freq", "1", "--skipCloseSources", "--flag-ids"]
    assert main(["--path-dataset", "ids.csv", *QUICK, *cluster, *periods, *words]) == 0
    shown = capsys.readouterr()
    stamp = shown.out.split()[-1]
    table = features(shown.out)
    expected = scores(table, load_models(["models_xgb/small"]))
    xgb, dnn = scored(stamp, "xgb"), scored(stamp, "dnn")
    assert xgb["_id"].tolist() == dnn["_id"].tolist() == table["_id"].tolist()
    assert xgb["obj_id"].tolist() == table["fritz_name"].tolist()
    np.testing.assert_array_equal(xgb["vnv_xgb"], expected["vnv_xgb"])
    assert list(dnn.columns[-1:]) == ["vnv_dnn"]
    assert dnn["vnv_dnn"].notna().all()
    assert len(list(Path().glob("preds_*/*/*.csv"))) == 2
    assert len(list(Path().glob("preds_*/*/*_flagged.json"))) == 2


def test_models_that_want_other_features_are_named_before_anything_is_asked(sky_server, models, capsys) -> None:
    Path("ids.csv").write_text("ztf_id\n1\n")
    words = ["--path-dataset", "ids.csv", *QUICK, "--paths-models", str(models / "models_xgb" / "small")]
    for more in ([], ["--dry-run"], ["--doCPU", "--period-algorithms", "LS"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, *more])
        assert ended.value.code == 2
        assert "needs columns that the features table does not have" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--path-dataset", "ids.csv", "--algorithms", "xgb", "--group-names", "none"])
    assert "models_xgb/none does not exist" in capsys.readouterr().err
    assert sky_server.queries == []
    assert not list(Path().glob("*features*"))
    assert not Path("sources.parquet").exists()


def test_a_light_curve_near_two_positions_belongs_to_the_nearer(sky_server, cluster, capsys) -> None:
    ra, dec = FRAME[["ra", "dec"]].iloc[0]
    Path("two.csv").write_text(f"ra,dec,name\n{ra},{dec + 4 / 3600},far\n{ra},{dec + 1 / 3600},near\n")
    words = ["--cone-radius-arcsec", "5", "--skipCloseSources"]
    assert main(["--path-dataset", "two.csv", *QUICK, *cluster, *words]) == 0
    assert set(features(capsys.readouterr().out)["fritz_name"]) == {"near"}
    assert read_table("sources.parquet")["ztf_id"].is_unique


def test_nothing_found_is_a_warning_and_empty_files(sky_server, models, cluster, capsys) -> None:
    Path("places.csv").write_text("ra,dec\n10.0,10.0\n")
    words = ["--doCPU", "--paths-models", str(models / "models_xgb" / "small")]
    assert main(["--path-dataset", "places.csv", *QUICK, *cluster, *words]) == 0
    shown = capsys.readouterr()
    assert "none of places.csv has light curves" in shown.err
    assert len(features(shown.out)) == 0
    assert len(scored(shown.out.split()[-1], "xgb")) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--path-dataset is missing"),
        (["--path-dataset", "absent.csv"], "there is no file absent.csv in the working folder, in tools/ or among"),
        (["--path-dataset", "ids.csv", "--algorithms", "xgb", "DNN", "--group-names", "a"], "has 2 names and --group"),
        (["--path-dataset", "ids.csv", "--algorithms", "svm", "--group-names", "a"], "'svm', expected xgb or dnn"),
        (["--path-dataset", "ids.csv", "--save-sources-filepath", "out.txt"], "out.txt is of no known format"),
        (["--path-dataset", "ids.csv", "--batch-size", "0"], "--batch-size is 0, expected 1 or more"),
        (["--path-dataset", "ids.csv", "--filename", "a/b"], "--filename is 'a/b', expected a name without slashes"),
        (["--path-dataset", "bad.csv"], "bad.csv has neither ids (ztf_id, ztfid, ZTFID, _id) nor positions"),
    ],
)
def test_what_is_wrong_is_one_sentence(sky_server, capsys, words, said) -> None:
    Path("ids.csv").write_text("ztf_id\n1\n")
    Path("bad.csv").write_text("x\n1\n")
    with pytest.raises(SystemExit) as ended:
        main([*QUICK, *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert sky_server.queries == []


def test_a_dry_run_and_names_of_groups_that_are_too_many(sky_server, models, capsys) -> None:
    Path("ids.csv").write_text("ztf_id\n1\n")
    Path("models_xgb").symlink_to(models / "models_xgb")
    words = ["--dry-run", "--algorithms", "XGBoost", "--group-names", "small", "b", "--scale_features", "min_max"]
    assert main(["--path-dataset", "ids.csv", "--doCPU", *words]) == 0
    shown = capsys.readouterr()
    assert "--group-names b have no algorithm: not used" in shown.err
    assert "would look up 1 sources in ZTF_sources_20230109" in shown.out
    assert "would write sources.parquet" in shown.out
    assert "would score them with 2 models: models_xgb/small" in shown.out
    assert sky_server.queries == []
    assert not list(Path().glob("generated_features*"))
