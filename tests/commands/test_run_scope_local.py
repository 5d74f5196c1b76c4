"""run-scope-local up to the features: lists of ids and positions, from Kowalski and from files."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import dask
import generation_sky as sky
import numpy as np
import pandas as pd
import pytest
import yaml
from distributed import LocalCluster
from kowalski_server import KowalskiServer
from kowalski_sky import TOKEN

from scope_dask.commands.run_scope_local import main
from scope_dask.formats import read_table
from scope_dask.sources.kowalski import disconnect

FRAME = sky.light_curves()
QUICK = ["--min-n-lc-points", "30", "--verbose", "0"]
STAMP = r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d"


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> dict[str, Path]:
    with dask.config.set(scheduler="sync"):
        return sky.save(tmp_path_factory.mktemp("sky"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[str]]:
    with (
        dask.config.set(sky.QUIET),
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as running,
    ):
        yield ["--cluster", running.scheduler_address]


@pytest.fixture
def kowalski(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KowalskiServer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KOWALSKI_INSTANCE_TOKEN", raising=False)
    server = sky.server()
    host = {"token": TOKEN, "host": "127.0.0.1", "port": server.port, "protocol": "http"}
    kowalski = {"hosts": {"kowalski": host}, "collections": {"sources": sky.SOURCES}, "timeout": 20}
    Path("config.yaml").write_text(yaml.safe_dump({"kowalski": kowalski}))
    yield server
    disconnect()
    server.close()


def features(printed: str) -> pd.DataFrame:
    """Return the features of the run that printed its time."""
    stamp = printed.rsplit(maxsplit=1)[-1]
    assert re.fullmatch(STAMP, stamp)
    folder = Path(f"generated_features_{stamp}")
    return read_table(folder / "specific_ids" / f"gen_features_{stamp}_specific_ids.parquet")


def test_ids_with_names(kowalski, cluster, capsys) -> None:
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
def test_positions_take_what_is_around_them(kowalski, paths, cluster, capsys, archive) -> None:
    star = FRAME.iloc[[0, 16]]
    Path("places.csv").write_text("R.A.,Dec.\n" + "".join(f"{r},{d}\n" for r, d in star[["ra", "dec"]].to_numpy()))
    words = ["--source-archive", str(paths["archive"])] if archive else []
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


def test_a_light_curve_near_two_positions_belongs_to_the_nearer(kowalski, cluster, capsys) -> None:
    ra, dec = FRAME[["ra", "dec"]].iloc[0]
    Path("two.csv").write_text(f"ra,dec,name\n{ra},{dec + 4 / 3600},far\n{ra},{dec + 1 / 3600},near\n")
    words = ["--cone-radius-arcsec", "5", "--skipCloseSources"]
    assert main(["--path-dataset", "two.csv", *QUICK, *cluster, *words]) == 0
    assert set(features(capsys.readouterr().out)["fritz_name"]) == {"near"}
    assert read_table("sources.parquet")["ztf_id"].is_unique


def test_nothing_found_is_a_warning_and_an_empty_file(kowalski, cluster, capsys) -> None:
    Path("places.csv").write_text("ra,dec\n10.0,10.0\n")
    assert main(["--path-dataset", "places.csv", *QUICK, *cluster]) == 0
    shown = capsys.readouterr()
    assert "none of places.csv has light curves" in shown.err
    assert len(features(shown.out)) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--path-dataset is missing"),
        (["--path-dataset", "absent.csv"], "there is no file absent.csv in the working folder, in tools/ or among"),
        (["--path-dataset", "ids.csv", "--algorithms", "xgb", "DNN", "--group-names", "a"], "has 2 names and --group"),
        (["--path-dataset", "ids.csv", "--algorithms", "svm", "--group-names", "a"], "'svm', expected xgb or dnn"),
        (["--path-dataset", "ids.csv", "--save-sources-filepath", "out.txt"], "out.txt is of no known format"),
        (["--path-dataset", "bad.csv"], "bad.csv has neither ids (ztf_id, ztfid, ZTFID, _id) nor positions"),
    ],
)
def test_what_is_wrong_is_one_sentence(kowalski, capsys, words, said) -> None:
    Path("ids.csv").write_text("ztf_id\n1\n")
    Path("bad.csv").write_text("x\n1\n")
    with pytest.raises(SystemExit) as ended:
        main([*QUICK, *words])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert kowalski.queries == []


def test_a_dry_run_and_names_of_groups_that_are_too_many(kowalski, capsys) -> None:
    Path("ids.csv").write_text("ztf_id\n1\n")
    words = ["--dry-run", "--algorithms", "XGBoost", "--group-names", "a", "b", "--scale_features", "min_max"]
    assert main(["--path-dataset", "ids.csv", *words]) == 0
    shown = capsys.readouterr()
    assert "--group-names b have no algorithm: not used" in shown.err
    assert "would look up 1 sources in ZTF_sources_20230109" in shown.out
    assert "would write sources.parquet" in shown.out
    assert kowalski.queries == []
    assert not list(Path().glob("generated_features*"))
