"""The pipeline on each kind of source, from YAML: planned without reading rows, and run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from curve_tables import curve_table, observed
from hats_files import hats_catalog
from kowalski_sky import TOKEN, lightcurve_frame, running

from scope_dask.conditioning.lightcurves import lightcurves
from scope_dask.errors import OptionError, SourceError
from scope_dask.extraction.features import features
from scope_dask.pipeline import Pipeline
from scope_dask.schema import RAW_LIGHTCURVES
from scope_dask.sources.archive import write_archive

OPTIONS: dict[str, Any] = {
    "lightcurves": {"min_n_lc_points": 20, "min_cadence_minutes": 0},
    "features": {"periods": {"algorithms": ["LS"], "max_freq": 3.0, "top_n_periods": 3}},
}
SKY = ("objra", "objdec")


@pytest.fixture
def pipeline(tmp_path: Path) -> Callable[..., Pipeline]:
    """Make a pipeline from a YAML file with these sources."""

    def make(**sources: Any) -> Pipeline:
        path = tmp_path / "my.yaml"
        path.write_text(yaml.safe_dump({"out": str(tmp_path / "out"), "sources": sources, **OPTIONS}))
        return Pipeline.from_config(path)

    return make


def computed(pipeline: Pipeline) -> pd.DataFrame:
    with dask.config.set(scheduler="synchronous"):
        found = pipeline.tables()["features"].compute()
    return found.sort_values("_id", ignore_index=True)


def expected(raw: pd.DataFrame, pipeline: Pipeline) -> pd.DataFrame:
    return features(lightcurves(raw, pipeline.options.lightcurves), pipeline.options.features)


def same(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    np.testing.assert_array_equal(np.stack(found.pop("dmdt")), np.stack(wanted.pop("dmdt")))
    pd.testing.assert_frame_equal(found, wanted, check_exact=True, check_flags=False)


def curves(n: int = 6) -> pd.DataFrame:
    frame = curve_table([(*observed(60, seed=k), np.zeros(60, int)) for k in range(n)])
    return frame.assign(ra=np.linspace(179.0, 181.0, n), dec=30.0)


def as_ztf(frame: pd.DataFrame) -> pa.Table:
    """Return light curves as ZTF's data releases have them in HATS."""
    lists = {"hmjd": [np.asarray(t) - 2400000.5 for t in frame["hjd"]]}
    lists |= {name: list(frame[name]) for name in ("mag", "magerr", "catflags")}
    nest = pa.StructArray.from_arrays([pa.array(rows) for rows in lists.values()], names=list(lists))
    rc = 4 * (frame["ccd"] - 1) + frame["quad"] - 1
    plain = {"objectid": frame["_id"], "objra": frame["ra"], "objdec": frame["dec"], "filterid": frame["filter"]}
    plain |= {"fieldid": frame["field"], "rcid": rc}
    return pa.table({**{k: pa.array(v) for k, v in plain.items()}, "lightcurve": nest})


def test_hats(tmp_path: Path, pipeline: Callable[..., Pipeline]) -> None:
    frame = curves()
    hats_catalog(tmp_path / "lc", as_ztf(frame), (5,), SKY)
    found = pipeline(hats={"path": str(tmp_path / "lc"), "partition_bytes": "2 KiB"})
    plan = found.plan()
    assert plan.source.rows == 6
    assert plan.partitions == 6
    assert str(plan).startswith(f"sources      HATS catalogue {tmp_path / 'lc'}: 6 light curves, about ")
    raw = found.sources().compute().sort_values("_id", ignore_index=True)
    # HMJD loses half a unit in the last place against HJD; all else is exact.
    np.testing.assert_allclose(np.concatenate(raw["hjd"]), np.concatenate(frame["hjd"]), rtol=1e-15)
    same(computed(found), expected(raw, found))


def test_rubin(tmp_path: Path, pipeline: Callable[..., Pipeline]) -> None:
    rng = np.random.default_rng(1)
    ids, visit = 10**17 + np.arange(4), np.arange(120)
    pd.DataFrame({"objectId": ids, "coord_ra": 53.0 + ids % 5, "coord_dec": -28.0}).to_parquet(
        tmp_path / "Object.parquet"
    )
    bands = np.where(visit % 2, "g", "z")
    times = 60623 + rng.uniform(0, 30, 120)
    pd.DataFrame({"visit": visit, "expMidptMJD": times, "band": bands}).to_parquet(tmp_path / "Visit.parquet")
    forced = pd.DataFrame({"objectId": np.repeat(ids, 120), "visit": np.tile(visit, 4)})
    forced["psfFlux"], forced["psfFluxErr"] = rng.uniform(900, 1100, 480), 10.0
    pq.write_table(pa.Table.from_pandas(forced), tmp_path / "ForcedSource.parquet", row_group_size=100)
    found = pipeline(rubin={"path": str(tmp_path), "bands": ["g", "u"], "partition_bytes": "10 KiB"})
    plan = found.plan()
    assert plan.source.rows == pytest.approx(480, abs=1)
    assert plan.partitions > 1
    assert f"Rubin's tables {tmp_path}: 4" in str(plan)
    assert "forced measurements, about" in str(plan)
    table = computed(found)
    assert table["_id"].tolist() == (8 * ids + 1).tolist()
    same(table, expected(found.sources().compute(), found))


def test_kowalski(tmp_path: Path, pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch) -> None:
    frame = lightcurve_frame()
    monkeypatch.chdir(tmp_path)
    with running(frame) as server:
        monkeypatch.setenv("KOWALSKI_INSTANCE_TOKEN", TOKEN)
        for key, value in (("HOST", "127.0.0.1"), ("PORT", str(server.port)), ("PROTOCOL", "http")):
            monkeypatch.setenv(f"KOWALSKI_INSTANCE_{key}", value)
        found = pipeline(kowalski={"field": 296, "partition_rows": 10, "max_timestamp_hjd": 2460000.0})
        plan = found.plan()
        mine = frame[frame["field"] == 296].reset_index(drop=True)
        assert str(plan).startswith(f"sources      Kowalski: {len(mine)} light curves, {plan.partitions} partitions\n")
        same(computed(found), expected(mine[RAW_LIGHTCURVES.names], found))


@pytest.mark.parametrize("kind", ["ids", "positions"])
@pytest.mark.parametrize("source", ["archive", "hats"])
def test_a_list_of_sources_selects(tmp_path: Path, pipeline: Callable[..., Pipeline], kind: str, source: str) -> None:
    frame = curves()
    write_archive(frame, tmp_path / "archive")
    hats_catalog(tmp_path / "hats", as_ztf(frame), (5,), SKY)
    some = frame.iloc[[1, 4]]
    columns = {"ids": {"ztf_id": some["_id"]}, "positions": {"RA": some["ra"], "DEC": some["dec"]}}[kind]
    pd.DataFrame(columns).to_csv(tmp_path / "list.csv", index=False)
    found = pipeline(**{source: {"path": str(tmp_path / source), "source_list": str(tmp_path / "list.csv")}})
    assert sorted(found.sources().compute()["_id"]) == some["_id"].tolist()


def test_kowalski_is_asked_by_id_only(tmp_path: Path, pipeline: Callable[..., Pipeline]) -> None:
    (tmp_path / "list.csv").write_text("ra,dec\n1,2\n")
    found = pipeline(kowalski={"source_list": str(tmp_path / "list.csv")})
    with pytest.raises(OptionError, match=r"list\.csv has no ids, by which light curves are asked for here"):
        found.sources()


def test_hats_without_the_extra(pipeline: Callable[..., Pipeline], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hats", None)
    with pytest.raises(SourceError, match=r"pip install 'scope_dask\[catalog\]' to read it$"):
        pipeline(hats={"path": "lc"}).plan()
