"""Catalogues in Parquet files and HATS folders: what is found, what is read, what is refused."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dask.base import tokenize
from hats_files import hats_catalog, hats_collection
from sky_tables import patch, save, separations, sources

from scope_dask.crossmatch import Catalog, LocalCatalog
from scope_dask.errors import OptionError, SourceError

BEYOND_FLOATS = 4_295_806_720_000_000_001


def star_table(ra: np.ndarray, dec: np.ndarray, first: int = 0) -> pa.Table:
    n = len(ra)
    ids = BEYOND_FLOATS + first + 2 * np.arange(n)
    return pa.table({"source_id": ids, "ra": ra, "dec": dec, "phot_g_mean_mag": np.linspace(8, 20, n)})


def check_against_brute_force(catalog: LocalCatalog, table: pa.Table, batch: pd.DataFrame, radius: float) -> None:
    rows, j, table_near = catalog.near(
        batch["ra"].to_numpy(), batch["dec"].to_numpy(), radius, ["_id", "phot_g_mean_mag"]
    )
    assert len(np.unique(j)) == len(table_near), "each row comes once"
    found = table_near.iloc[j]
    near = separations(batch, table["ra"].to_numpy(), table["dec"].to_numpy()) <= radius
    expected = {(int(i), table["source_id"][int(j)].as_py()) for i, j in zip(*np.nonzero(near), strict=True)}
    assert len(expected) > 20
    assert len(rows) == len(found) == len(expected)
    assert set(zip(rows.tolist(), found["_id"].tolist(), strict=True)) == expected
    magnitudes = dict(zip(table["source_id"].to_pylist(), table["phot_g_mean_mag"].to_pylist(), strict=True))
    assert found["phot_g_mean_mag"].tolist() == [magnitudes[i] for i in found["_id"]]


@pytest.mark.parametrize("place", [(80.0, 10.0), (0.001, -1.0), (77.0, 89.99), (10.0, -90.0)])
def test_files_against_brute_force(tmp_path, place) -> None:
    rng = np.random.default_rng(1)
    table = star_table(*patch(rng, *place, 4000, 0.5))
    for start, count in ((0, 700), (700, 1300), (2000, 2000)):
        save(tmp_path / f"{start}.parquet", table.slice(start, count), row_group_size=150)
    catalog = LocalCatalog(tmp_path)
    assert isinstance(catalog, Catalog)
    check_against_brute_force(catalog, table, sources(*patch(rng, *place, 200, 0.5)), 30.0)


@pytest.mark.parametrize("place", [(80.0, 10.0), (0.001, -1.0), (77.0, 89.9), (45.0, -41.8)])
@pytest.mark.parametrize("collection", [False, True])
def test_hats_against_brute_force(tmp_path, place, collection) -> None:
    rng = np.random.default_rng(2)
    table = star_table(*patch(rng, *place, 3000, 3.0))
    root = hats_catalog(tmp_path / "stars", table, orders=(4, 5, 6))
    if collection:
        hats_catalog(tmp_path / "stars_margin", table, orders=(4, 5))
        hats_collection(tmp_path, "stars", "stars_margin")
        root = tmp_path
    batch = sources(*patch(rng, *place, 300, 3.0))
    check_against_brute_force(LocalCatalog(root), table, batch, 120.0)


def test_only_what_is_near_is_read(tmp_path) -> None:
    rng = np.random.default_rng(3)
    near, far = star_table(*patch(rng, 100.0, 20.0, 500, 0.2)), star_table(*patch(rng, 200.0, 20.0, 500, 0.2))
    save(tmp_path / "a.parquet", near)
    broken = save(tmp_path / "b.parquet", far)
    content = bytearray(broken.read_bytes())
    content[4:3000] = bytes(2996)
    broken.write_bytes(content)
    catalog = LocalCatalog(tmp_path)
    rows, _, _ = catalog.near(np.array([100.0]), np.array([20.0]), 300.0, ["phot_g_mean_mag"])
    assert len(rows) > 0
    with pytest.raises(SourceError, match=r"b\.parquet, row group 0: ra, dec cannot be read"):
        catalog.near(np.array([200.0]), np.array([20.0]), 300.0, ["phot_g_mean_mag"])


def test_hats_pixels_far_away_are_not_even_opened(tmp_path) -> None:
    rng = np.random.default_rng(4)
    parts = [star_table(*patch(rng, ra, 20.0, 300, 0.2)) for ra in (100.0, 200.0)]
    root = hats_catalog(tmp_path / "stars", pa.concat_tables(parts), orders=(5,))
    catalog = LocalCatalog(root)
    for file in catalog._files.files:
        if pq.read_table(file.path, partitioning=None)["ra"][0].as_py() > 150:
            Path(file.path).write_bytes(b"not Parquet")
    rows, _, _ = catalog.near(np.array([100.0]), np.array([20.0]), 300.0, ["phot_g_mean_mag"])
    assert len(rows) > 0


def test_hats_without_the_extra(tmp_path, monkeypatch) -> None:
    (tmp_path / "hats.properties").touch()
    monkeypatch.setitem(sys.modules, "hats", None)
    with pytest.raises(SourceError, match=r"is a HATS catalogue: pip install 'scope_dask\[catalog\]' to read it"):
        LocalCatalog(tmp_path)


def test_a_folder_that_only_looks_like_hats(tmp_path) -> None:
    pytest.importorskip("hats")
    (tmp_path / "hats.properties").touch()
    with pytest.raises(SourceError, match="cannot be read as a HATS catalogue: "):
        LocalCatalog(tmp_path)


def test_limits_nulls_and_positions_that_are_missing(tmp_path) -> None:
    ids = pa.array([BEYOND_FLOATS, None, BEYOND_FLOATS + 2, BEYOND_FLOATS + 4])
    dec = [5.0, 5.0, 5.0, None]
    magnitudes = pa.array([10.0, 11.0, None, 9.0])
    save(tmp_path / "a.parquet", {"_id": ids, "ra": [1.0, 1.0, 1.0, 1.0], "dec": dec, "mag": magnitudes})
    catalog = LocalCatalog(tmp_path / "a.parquet")
    at = np.array([1.0]), np.array([5.0])
    rows, j, table = catalog.near(*at, 1.0, ["_id"])
    assert rows.tolist() == [0, 0, 0]
    assert sorted(j) == [0, 1, 2]
    assert table["_id"].dtype == "Int64"
    assert table["_id"].dropna().tolist() == [BEYOND_FLOATS, BEYOND_FLOATS + 2]
    *_, table = catalog.near(*at, 1.0, ["_id"], below={"mag": 11.0})
    assert table["_id"].tolist() == [BEYOND_FLOATS]
    assert list(table.columns) == ["ra", "dec", "_id"]


@pytest.mark.parametrize(
    ("condition", "left"),
    [
        ({}, [0, 1, 2, 3]),
        ({"mag": {"$gt": 10, "$lte": 12}}, [1, 2]),
        ({"mag": {"$gte": 11}, "flag": "a"}, [2]),
        ({"flag": {"$in": ["b", "c"]}}, [1]),
        ({"flag": {"$ne": "a"}}, [1, 3]),
        ({"flag": {"$nin": ["a", "b"]}}, [3]),
        ({"mag": {"$eq": 10.0}}, [0]),
    ],
)
def test_rows_that_meet_a_condition(tmp_path, condition, left) -> None:
    """As MongoDB: what is missing meets no comparison but the negated ones."""
    stars = {"_id": [0, 1, 2, 3], "ra": [1.0] * 4, "dec": [5.0] * 4}
    stars |= {"mag": [10.0, 11.0, 12.0, None], "flag": ["a", "b", "a", None]}
    catalog = LocalCatalog(save(tmp_path / "a.parquet", stars), condition=condition)
    *_, table = catalog.near(np.array([1.0]), np.array([5.0]), 1.0, ["_id"])
    assert sorted(table["_id"]) == left


def test_conditions_that_cannot_be_met(tmp_path) -> None:
    path = save(tmp_path / "a.parquet", {"_id": [0], "ra": [1.0], "dec": [5.0], "mag": [10.0]})
    with pytest.raises(OptionError, match=r"has '\$exist', which a copy in files cannot meet: there are comparisons"):
        LocalCatalog(path, condition={"mag": {"$exist": True}})
    with pytest.raises(OptionError, match=r"has '\$or', which a copy"):
        LocalCatalog(path, condition={"$or": [{"mag": 1}]})
    with pytest.raises(SourceError, match="has no column magnitude"):
        LocalCatalog(path, condition={"magnitude": 1})
    with pytest.raises(OptionError, match=r"filter mag: \{\$gt: 'bright'\} does not fit the column, which is double"):
        LocalCatalog(path, condition={"mag": {"$gt": "bright"}}).near(np.array([1.0]), np.array([5.0]), 1.0, ["_id"])


def test_no_positions_and_nothing_near(tmp_path) -> None:
    catalog = LocalCatalog(save(tmp_path / "a.parquet", star_table(np.array([1.0]), np.array([2.0]))))
    for at in (np.empty(0), np.array([80.0])):
        i, j, table = catalog.near(at, at, 2.0, ["_id", "phot_g_mean_mag"])
        assert i.dtype == j.dtype == np.int64
        assert len(i) == len(j) == len(table) == 0
        assert list(table.columns) == ["ra", "dec", "_id", "phot_g_mean_mag"]


def test_columns_by_other_names(tmp_path) -> None:
    columns = {"objID": [7], "raMean": [1.0], "decMean": [2.0], "dec": [9.0], "source_id": ["J0001"]}
    path = save(tmp_path / "a.parquet", columns)
    catalog = LocalCatalog(path, {"ra": "raMean", "dec": "decMean"})
    *_, table = catalog.near(np.array([1.0]), np.array([2.0]), 2.0, ["_id"])
    assert table["_id"].tolist() == [7], "source_id is text here and no identifier"


def test_a_missing_column_is_one_clear_error(tmp_path) -> None:
    path = save(tmp_path / "a.parquet", {"ra": [1.0], "dec": [2.0], "w1mpr": [3.0]})
    catalog = LocalCatalog(path)
    with pytest.raises(
        SourceError, match=r"a\.parquet has no column w1mpro \(did you mean 'w1mpr'\?\); it has ra, dec"
    ):
        catalog.require(["w1mpro"])
    with pytest.raises(
        SourceError, match=r"no column _id \(_id was looked for as _id, source_id, cntr, objID, objid\)"
    ):
        catalog.near(np.array([1.0]), np.array([2.0]), 2.0, ["_id"])
    with pytest.raises(SourceError, match="no column ra"):
        LocalCatalog(save(tmp_path / "b.parquet", {"x": [1.0], "dec": [2.0]}))
    with pytest.raises(SourceError, match="is not an address that can be read"):
        LocalCatalog("nosuch://bucket/stars")
    with pytest.raises(SourceError, match="nothing matches"):
        LocalCatalog(tmp_path / "absent")


def test_a_catalogue_is_small_in_a_graph_and_notices_change(tmp_path) -> None:
    path = save(tmp_path / "a.parquet", star_table(np.array([1.0]), np.array([2.0])))
    catalog = LocalCatalog(path)
    assert len(pickle.dumps(catalog)) < 1000
    assert tokenize(catalog) == tokenize(LocalCatalog(path))
    save(path, star_table(np.array([1.0, 1.0]), np.array([2.0, 3.0])))
    assert tokenize(catalog) != tokenize(LocalCatalog(path))
    with pytest.raises(SourceError, match=r"a\.parquet has changed since the table was set up"):
        catalog.near(np.array([1.0]), np.array([2.0]), 2.0, ["_id"])
