"""The catalogue: one row a source over fields and kinds of models, tiles, cones, classes, resuming."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scope_dask.errors import OptionError, SchemaError, SourceError, UsageError
from scope_dask.formats import parts_folder, write_table
from scope_dask.predictions import catalog as module
from scope_dask.predictions import read_catalog, write_catalog
from scope_dask.predictions.tiling import Tiling

HATS = [pytest.param(False, id="zones"), pytest.param(True, id="hats")]


def stars(n: int = 120, seed: int = 1) -> pd.DataFrame:
    """Return stars near (200, −45), on the edges of zones, on right ascension 0 and at the poles; most have ids."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"ra": rng.uniform(190, 210, n), "dec": rng.uniform(-50, -40, n)})
    part = np.arange(n) % 4
    frame.loc[part == 1, "dec"] = np.round(frame["dec"] / 1.8) * 1.8
    frame.loc[part == 2, ["ra", "dec"]] = np.column_stack([np.zeros(n), rng.uniform(0, 12, n)])[part == 2]
    frame.loc[part == 3, "dec"] = (np.where(rng.random(n) < 0.5, 1, -1) * np.linspace(89, 89.9, n))[part == 3]
    frame.loc[part == 3, "ra"] = rng.uniform(0, 360, n)[part == 3]
    frame.loc[[3, 7], "dec"] = 90.0, -90.0
    frame["Gaia_EDR3___id"] = np.where(rng.random(n) < 0.6, 2**60 + np.arange(n), 0)
    frame["AllWISE___id"] = 0
    frame["PS1_DR1___id"] = np.where(rng.random(n) < 0.5, 2**59 + np.arange(n), 0)
    return frame


def light_curves(seed: int, first: int, field: int) -> pd.DataFrame:
    """Return one light curve of each star, 0.2" from its place, without the scores."""
    rng = np.random.default_rng(seed)
    frame = stars().reset_index(names="star")
    shift = rng.normal(0, 0.2 / 3600, (len(frame), 2))
    frame["dec"] = (frame["dec"] + shift[:, 0]).clip(-90, 90)
    frame["ra"] = (frame["ra"] + shift[:, 1] / np.maximum(np.cos(np.radians(frame["dec"])), 1e-3)) % 360
    for name in ("Gaia_EDR3___id", "PS1_DR1___id"):  # not every light curve has its match
        frame[name] = frame[name].where(rng.random(len(frame)) < 0.8, 0)
    frame.insert(0, "_id", 10**15 + first + np.arange(len(frame)))
    return frame.assign(field=field, period_LS=rng.random(len(frame)))


def with_scores(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    rng = np.random.default_rng(int(frame["_id"][0] % 1000) + len(kind))
    return frame.assign(**{f"{tag}_{kind}": rng.random(len(frame)).astype("f4") for tag in ("vnv", "rrlyr")})


@pytest.fixture(scope="module")
def curves() -> dict[str, pd.DataFrame]:
    first, second = light_curves(1, 0, 301), light_curves(2, 10_000, 302)
    return {
        "a_xgb": with_scores(first, "xgb"),
        "a_dnn": with_scores(first, "dnn"),
        "b_xgb": with_scores(second, "xgb"),
    }


@pytest.fixture(scope="module")
def files(curves: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("predictions")
    for name, frame in curves.items():
        write_table(frame.drop(columns="star"), folder / f"{name}.parquet")
    return sorted(folder.glob("*.parquet"))


@pytest.fixture(scope="module", params=HATS)
def catalog(request: pytest.FixtureRequest, files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param:
        pytest.importorskip("hats")
    path = tmp_path_factory.mktemp("catalog") / "scores"
    made = write_catalog(files, path, hats=request.param)
    assert made.hats == request.param
    assert made.sources == len(stars())
    assert made.without_position == 0
    return path


def expected(curves: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the mean scores by star."""
    whole = pd.concat(curves.values())
    columns = [c for c in whole if c.endswith(("_xgb", "_dnn"))]
    return whole.groupby("star")[columns].mean().assign(_id=whole.groupby("star")["_id"].min()).set_index("_id")


def test_every_source_is_there_once(catalog: Path, curves: dict[str, pd.DataFrame]) -> None:
    found = read_catalog(catalog).set_index("_id")
    wanted = expected(curves)
    assert found.index.is_unique
    assert set(found.index) == set(wanted.index)
    np.testing.assert_allclose(found.loc[wanted.index, list(wanted)], wanted, rtol=2e-6)
    assert set(found["n_lightcurves"]) == {2}
    assert not parts_folder(catalog).exists()
    assert len(list((catalog / "dataset").rglob("*.parquet"))) > 25


@pytest.mark.parametrize(
    "cone",
    [(0.5, 10.0, 20000.0), (123.0, 89.9, 7200.0), (200.0, -45.0, 9000.0), (359.9, 5.0, 3600.0), (10.0, 0.0, 6.5e5)],
)
def test_cones(catalog: Path, cone: tuple[float, float, float]) -> None:
    from astropy.coordinates import SkyCoord

    whole = read_catalog(catalog)
    centre = SkyCoord(*cone[:2], unit="deg")
    inside = centre.separation(SkyCoord(whole["ra"], whole["dec"], unit="deg")).arcsec <= cone[2]
    found = read_catalog(catalog, cone, {"vnv_xgb": 0.5}, ["_id", "rrlyr_dnn"])
    assert list(found.columns) == ["_id", "rrlyr_dnn"]
    assert set(found["_id"]) == set(whole["_id"][inside & (whole["vnv_xgb"] >= 0.5)])
    assert inside.any()


def test_several_classes(catalog: Path) -> None:
    whole = read_catalog(catalog)
    found = read_catalog(catalog, classes={"vnv_xgb": 0.8, "rrlyr_dnn": 0.7})
    wanted = whole[(whole["vnv_xgb"] >= np.float32(0.8)) & (whole["rrlyr_dnn"] >= np.float32(0.7))]
    assert sorted(found["_id"]) == sorted(wanted["_id"])
    assert 0 < len(found) < len(whole)
    assert read_catalog(catalog, (10.0, 0.0, 100.0), {"vnv_xgb": 2.0}).empty


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of lsdb
def test_lsdb_opens_it(files: list[Path], tmp_path: Path) -> None:
    lsdb = pytest.importorskip("lsdb")
    write_catalog(files, tmp_path / "scores", hats=True)
    opened = lsdb.open_catalog(tmp_path / "scores")
    found = opened.cone_search(200.0, -45.0, 36000.0).compute()
    own = read_catalog(tmp_path / "scores", (200.0, -45.0, 36000.0))
    assert sorted(found["_id"]) == sorted(own["_id"])
    assert len(own) > 10


def test_an_interrupted_call_goes_on(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores"
    made: list[int] = []
    make = module._make_tile

    def failing(work: Path, tile: int, *more: Any) -> None:
        if len(made) >= 30:
            raise RuntimeError("the machine goes down")
        made.append(tile)
        make(work, tile, *more)

    monkeypatch.setattr(module, "_make_tile", failing)
    with pytest.raises(RuntimeError, match="goes down"):
        write_catalog(files, path, hats=False)
    assert not path.exists()
    tiles = {f: f.stat().st_mtime_ns for f in (parts_folder(path) / "catalog").rglob("*.parquet")}
    assert len(tiles) > 10
    monkeypatch.setattr(module, "_make_tile", make)
    monkeypatch.setattr(Tiling, "tiles_near", None)  # no file is cut again
    assert write_catalog(files, path, hats=False).sources == len(stars())
    assert len(read_catalog(path)) == len(stars())


def test_errors(files: list[Path], catalog: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        write_catalog(files, catalog)
    with pytest.raises(SourceError, match="does not exist"):
        write_catalog([tmp_path / "none.parquet"], tmp_path / "c")
    with pytest.raises(OptionError, match="did you mean 'mean'"):
        write_catalog(files, tmp_path / "c", statistic="meen")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="5 at most"):
        write_catalog(files, tmp_path / "c", radius_arcsec=6.0)
    write_table(stars().assign(_id=1), tmp_path / "no_scores.parquet")
    with pytest.raises(SchemaError, match="no scores"):
        write_catalog([tmp_path / "no_scores.parquet"], tmp_path / "c")
    with pytest.raises(SourceError, match="is no catalogue"):
        read_catalog(tmp_path)
    with pytest.raises(SchemaError, match="did you mean 'vnv_xgb'"):
        read_catalog(catalog, classes={"vn_xgb": 0.5})
    with pytest.raises(OptionError, match="cone is"):
        read_catalog(catalog, (0.0, 91.0, 5.0))


def test_light_curves_without_a_position_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frame = with_scores(light_curves(1, 0, 301), "xgb").drop(columns="star")
    frame.loc[:4, "ra"] = np.nan
    write_table(frame, tmp_path / "a.parquet")
    assert write_catalog([tmp_path / "a.parquet"], tmp_path / "c", hats=False).without_position == 5
    assert "5 light curves without a position" in caplog.text


def test_queries_are_fast(catalog: Path) -> None:
    start = time.process_time()
    read_catalog(catalog, (200.0, -45.0, 3600.0), {"vnv_xgb": 0.9})
    assert time.process_time() - start < 1.0
