"""The nearest catalogue sources: against brute force, published matches, and in every degenerate case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sky_tables import patch, save, separations, sources

from scope_dask import tally
from scope_dask.crossmatch import CrossmatchOptions, LocalCatalog, crossmatch
from scope_dask.crossmatch.schema import EXTERNAL_FIELDS, external_schema
from scope_dask.errors import OptionError, SchemaError, SourceError

BEYOND_FLOATS = 4_295_806_720_000_000_001


@dataclass(frozen=True)
class InMemory:
    """A catalogue that gives its whole table for every position, as a remote service might: in any order and type."""

    table: pd.DataFrame

    def require(self, columns: Any) -> None:
        pass

    def near(self, ra: Any, dec: Any, radius_arcsec: float, columns: Any, below: Any = None) -> Any:
        size = len(self.table)
        return np.repeat(np.arange(len(ra)), size), np.tile(np.arange(size), len(ra)), self.table


@pytest.fixture
def gaia(tmp_path) -> LocalCatalog:
    rng = np.random.default_rng(8)
    ra, dec = patch(rng, 0.0, 30.0, 20000, 0.1)
    columns = {"source_id": BEYOND_FLOATS + np.arange(20000), "ra": ra, "dec": dec}
    columns |= {name: rng.normal(size=20000) for name in EXTERNAL_FIELDS["Gaia_EDR3"] if name != "_id"}
    return LocalCatalog(save(tmp_path / "gaia.parquet", columns, row_group_size=1000))


def test_the_nearest_within_the_radius(gaia) -> None:
    table = pq.read_table(gaia.path).to_pandas()
    batch = sources(*patch(np.random.default_rng(9), 0.0, 30.0, 500, 0.11))
    out = crossmatch(batch, {"Gaia_EDR3": gaia}, radius_arcsec=3.0)
    apart = separations(batch, table["ra"], table["dec"])
    best = apart.argmin(axis=1)
    matched = apart.min(axis=1) <= 3.0
    crowded = (apart <= 3.0).sum(axis=1) > 1
    assert matched.any()
    assert crowded.any()
    assert not matched.all()
    assert out["Gaia_EDR3___id"].dtype == "Int64"
    np.testing.assert_array_equal(out["Gaia_EDR3___id"].notna(), matched)
    expected = table["source_id"].to_numpy()[best[matched]]
    np.testing.assert_array_equal(out["Gaia_EDR3___id"][matched].to_numpy(np.int64), expected)
    for name in EXTERNAL_FIELDS["Gaia_EDR3"][1:]:
        values = np.where(matched, table[name].to_numpy()[best], np.nan)
        np.testing.assert_array_equal(out[f"Gaia_EDR3__{name}"], values)


def test_lazily_and_at_once_with_all_columns_kept(gaia) -> None:
    batch = sources(*patch(np.random.default_rng(9), 0.0, 30.0, 90, 0.11)).assign(median=15.5)
    lazy = crossmatch(dd.from_pandas(batch, npartitions=4), {"Gaia_EDR3": gaia})
    expected = crossmatch(batch, {"Gaia_EDR3": gaia})
    names = external_schema({"Gaia_EDR3": EXTERNAL_FIELDS["Gaia_EDR3"]}).names
    assert list(lazy.columns) == ["_id", "ra", "dec", "median", *names]
    with dask.config.set(scheduler="synchronous"):
        pd.testing.assert_frame_equal(lazy.compute(), expected)
    again = crossmatch(dd.from_pandas(batch, npartitions=4), {"Gaia_EDR3": LocalCatalog(gaia.path)})
    assert again._name == lazy._name


def test_no_neighbour_no_position_no_rows(gaia) -> None:
    batch = sources([180.0, np.nan, 0.0], [-30.0, 30.0, np.inf])
    out = crossmatch(batch, {"Gaia_EDR3": gaia})
    assert out.drop(columns=["_id", "ra", "dec"]).isna().all(axis=None)
    (entry,) = tally.history(out)
    reason = "the position is not finite: it matches nothing"
    assert entry["set_aside"] == [(2, reason), (3, reason)]
    empty = crossmatch(batch.iloc[:0], {"Gaia_EDR3": gaia})
    assert len(empty) == 0
    assert dict(empty.dtypes) == dict(out.dtypes)


def test_equal_separations_and_the_order_of_rows_and_sources(gaia) -> None:
    table = pd.DataFrame({"_id": [5, 3, 4], "ra": [10.0] * 3, "dec": [1.0] * 3, "w1mpro": [5.0, 3.0, 4.0]})
    batch = sources([10.0, 10.0, 10.0], [1.0, 1.0, 1.0001])
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        catalog = InMemory(table.iloc[order].reset_index(drop=True))
        out = crossmatch(batch, {"AllWISE": catalog}, fields={"AllWISE": ("_id", "w1mpro")})
        assert out["AllWISE___id"].tolist() == [3, 3, 3]
        assert out["AllWISE__w1mpro"].tolist() == [3.0, 3.0, 3.0]
    batch = sources(*patch(np.random.default_rng(9), 0.0, 30.0, 50, 0.1))
    whole = crossmatch(batch, {"Gaia_EDR3": gaia}).set_index("_id")
    shuffled = crossmatch(batch.sample(30, random_state=1), {"Gaia_EDR3": gaia}).set_index("_id")
    pd.testing.assert_frame_equal(whole.loc[shuffled.index], shuffled)


def test_types_of_a_service_that_answers_documents() -> None:
    table = pd.DataFrame(
        {
            "_id": [str(BEYOND_FLOATS)],
            "ra": [10.0],
            "dec": [1.0],
            "gMeanPSFMag": [-999.0],
            "qualityFlag": pd.array([52], "Int64"),
            "ph_qual": ["AAUX"],
            "own": [2],
        }
    )
    fields = {"PS1_DR1": ("_id", "gMeanPSFMag", "qualityFlag", "ph_qual", "own")}
    out = crossmatch(sources([10.0, 10.0], [1.0, 1.0]), {"PS1_DR1": InMemory(table)}, fields=fields)
    assert out["PS1_DR1___id"].tolist() == [BEYOND_FLOATS] * 2, "an identifier in text is exact"
    assert out["PS1_DR1__gMeanPSFMag"].isna().all(), "-999 stands for a missing value"
    assert out["PS1_DR1__qualityFlag"].tolist() == [52.0, 52.0]
    assert out["PS1_DR1__ph_qual"].tolist() == ["AAUX", "AAUX"]
    assert out["PS1_DR1__own"].dtype == np.float64
    for ids in ([4.5e18], ["J0001"]):
        with pytest.raises(SourceError, match=r"PS1_DR1___id is .*, expected integers or strings of digits"):
            crossmatch(sources([10.0], [1.0]), {"PS1_DR1": InMemory(table.assign(_id=ids))}, fields=fields)


def test_several_catalogues_in_the_order_of_the_fields(gaia, tmp_path) -> None:
    columns = {name: [1.0] for name in EXTERNAL_FIELDS["AllWISE"]}
    columns |= {"_id": [7], "ph_qual": ["AABC"], "ra": [0.0], "dec": [30.0]}
    allwise = LocalCatalog(save(tmp_path / "allwise.parquet", columns))
    out = crossmatch(sources([0.0], [30.0]), {"Gaia_EDR3": gaia, "AllWISE": allwise})
    assert list(out.columns)[3:] == external_schema({k: EXTERNAL_FIELDS[k] for k in ("AllWISE", "Gaia_EDR3")}).names
    assert out["AllWISE__ph_qual"].tolist() == ["AABC"]


def test_what_cannot_be_done_is_said_before_anything_is_computed(gaia) -> None:
    lazy = dd.from_pandas(sources([1.0], [2.0]), npartitions=1)
    with pytest.raises(SourceError, match=r"gaia\.parquet has no columns? ruwe; it has source_id"):
        crossmatch(lazy, {"Gaia_EDR3": gaia}, fields={"Gaia_EDR3": ("_id", "ruwe")})
    with pytest.raises(OptionError, match=r"fields names no columns of the catalogue 'Gaia_DR3' \(did you mean"):
        crossmatch(lazy, {"Gaia_DR3": gaia})
    with pytest.raises(SchemaError, match="stage 'crossmatch' needs the column dec"):
        crossmatch(lazy[["_id", "ra"]], {"Gaia_EDR3": gaia})
    with pytest.raises(OptionError, match="radius_arcsec is 0; it must be a positive number of arcsec"):
        CrossmatchOptions(radius_arcsec=0)


def test_published_matches_of_allwise(shared_data, tmp_path) -> None:
    """The matches that a service gave for these positions, and the separations it gave with them."""
    table = pq.read_table(shared_data / "xmatch" / "allwise_sample.parquet")
    path = save(tmp_path / "allwise.parquet", table.append_column("cntr", pa.array(np.arange(len(table)))))
    stored = pq.read_table(path).to_pandas()
    batch = sources(stored["query_ra"], stored["query_dec"])
    fields = ("_id", *(f"w{k}{e}" for k in range(1, 5) for e in ("mpro", "sigmpro")))
    radius = 1.0001 * stored["sep_arcsec"].max()
    out = crossmatch(batch, {"AllWISE": LocalCatalog(path)}, radius_arcsec=radius, fields={"AllWISE": fields})
    found = out["AllWISE___id"].astype("int64").map(pd.Series(stored.index, index=stored["cntr"]))
    apart = separations_of_pairs(batch, stored.loc[found])
    # A row of the sample is nearer than the service's own answer only where the sample holds two stars close together.
    same = (found.to_numpy() == np.arange(len(batch))) | (
        stored["designation"].to_numpy()[found] == stored["designation"]
    )
    # The catalogue's positions are rounded to 1e-7 deg here: half a step in both coordinates.
    rounding = np.sqrt(2) * 0.5e-7 * 3600
    assert (apart <= stored["sep_arcsec"] + rounding).all()
    np.testing.assert_allclose(apart[same], stored["sep_arcsec"][same], atol=rounding)
    assert same.mean() > 0.99
    for name in fields[1:]:
        np.testing.assert_array_equal(out[f"AllWISE__{name}"], stored[name].to_numpy()[found])


def test_published_matches_of_gaia_and_asassn(shared_data, tmp_path) -> None:
    table = pd.read_parquet(shared_data / "xmatch" / "gaia_asassn_labels.parquet")
    columns = {"source_id": table["gaia_source_id"], "ra": table["gaia_ra"], "dec": table["gaia_dec"]}
    columns |= {"phot_g_mean_mag": table["gaia_phot_g_mean_mag"]}
    catalog = LocalCatalog(save(tmp_path / "gaia.parquet", pa.table(pd.DataFrame(columns))))
    batch = sources(table["asassn_ra"], table["asassn_dec"])
    radius = 1.0001 * table["separation_arcsec"].max()
    fields = {"Gaia_EDR3": ("_id", "phot_g_mean_mag")}
    out = crossmatch(batch, {"Gaia_EDR3": catalog}, radius_arcsec=radius, fields=fields)
    assert out["Gaia_EDR3___id"].tolist() == table["gaia_source_id"].tolist()
    assert out["Gaia_EDR3__phot_g_mean_mag"].tolist() == table["gaia_phot_g_mean_mag"].tolist()


def separations_of_pairs(batch: pd.DataFrame, stars: pd.DataFrame) -> np.ndarray:
    from astropy.coordinates import angular_separation

    ours, theirs = (np.radians(t[["ra", "dec"]].to_numpy()) for t in (batch, stars))
    return np.degrees(angular_separation(ours[:, 0], ours[:, 1], theirs[:, 0], theirs[:, 1])) * 3600
