"""Lists of ids and positions: spellings, formats, exact ids, and what they select."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pandas as pd
import pytest
from astropy.coordinates import SkyCoord

from scope_dask.errors import SchemaError, SourceError
from scope_dask.formats import write_ids, write_table
from scope_dask.sources import read_archive
from scope_dask.sources.lists import SPELLINGS, position_name, read_list

IDS = [10_487_332_013_333, 2**53 + 1, 2**62 + 3]
FORMATS = ["csv", "h5", "parquet"]


def save(path: Path, **columns: Any) -> Path:
    write_table(pd.DataFrame(columns), path)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_ids_are_exact_in_every_format(tmp_path: Path, suffix: str) -> None:
    found = read_list(save(tmp_path / f"list.{suffix}", ztf_id=IDS, obj_id=["obj_1", "obj_2", "a b"]))
    assert found.ids.tolist() == IDS
    assert found.ids.dtype == np.int64
    assert found.names == ("obj_1", "obj_2", "a b")
    assert found.ra is found.dec is None
    assert found.selection()["ids"] is found.ids


@pytest.mark.parametrize("suffix", FORMATS)
def test_positions_in_every_format(tmp_path: Path, suffix: str) -> None:
    found = read_list(save(tmp_path / f"list.{suffix}", ra=[10.25, 359.5], dec=[-30.125, 89.0]))
    assert found.ids is None
    ra, dec, radius = found.selection(3.0)["near"]
    assert (ra.tolist(), dec.tolist(), radius) == ([10.25, 359.5], [-30.125, 89.0], 3.0)
    assert len(found) == 2


@pytest.mark.parametrize(("meaning", "name"), [(m, n) for m, names in SPELLINGS.items() for n in names])
def test_every_spelling(tmp_path: Path, meaning: str, name: str) -> None:
    columns = {"ztf_id": IDS[0], "ra": 10.0, "dec": 20.0, "obj_id": "x"}
    table = {name if m == meaning else m: [value] for m, value in columns.items()}
    found = read_list(save(tmp_path / "list.csv", **table))
    assert (found.ids[0], found.ra[0], found.dec[0], found.names) == (IDS[0], 10.0, 20.0, ("x",))


def test_files_of_get_quad_ids(tmp_path: Path) -> None:
    write_ids(np.array(IDS), tmp_path / "data_ccd_01_quad_1.h5", "dataset_ccd_1_quad_1_field_296")
    found = read_list(tmp_path / "data_ccd_01_quad_1.h5")
    assert found.ids.tolist() == IDS
    assert found.names[0] == f"ZTF_{IDS[0]}"


def test_names_where_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"ztf_id,name\n{IDS[0]},\n{IDS[1]},star\n")
    assert read_list(path).names == (f"ZTF_{IDS[0]}", "star")
    assert read_list(save(path, ra=[187.70593], dec=[-12.5])).names == (position_name(187.70593, -12.5),)


def test_position_names_are_cut_off_and_never_have_60_seconds() -> None:
    assert position_name(187.70593, 12.39112) == "ZTFJ123049.42+122328.0"
    assert position_name(0.0, -0.001) == "ZTFJ000000.00-000003.6"
    assert position_name(359.999999999, 89.99999999) == "ZTFJ235959.99+895959.9"
    assert position_name(15.0, 0.0) == "ZTFJ010000.00+000000.0"
    rng = np.random.default_rng(0)
    for ra, dec in zip(rng.uniform(0, 360, 300), rng.uniform(-90, 90, 300), strict=True):
        name = position_name(ra, dec)[4:]
        text = f"{name[:2]}:{name[2:4]}:{name[4:9]} {name[9:12]}:{name[12:14]}:{name[14:]}"
        back = SkyCoord(text, unit=(u.hourangle, u.deg))
        assert 0 <= ra - back.ra.deg <= 0.15 / 3600 + 1e-9
        assert 0 <= abs(dec) - abs(back.dec.deg) <= 0.1 / 3600 + 1e-9


WRONG: list[tuple[dict[str, Any], type, str]] = [
    ({"a": [1]}, SchemaError, r"has neither ids \(ztf_id, .*\) nor positions \(ra, dec\); it has a$"),
    ({"ra": [1.0]}, SchemaError, "has no dec beside the other coordinate; it has ra$"),
    ({"ztf_id": [1], "_id": [1]}, SchemaError, "has ztf_id in the columns ztf_id and _id: leave one of them"),
    ({"ztf_id": [1.5e15]}, SourceError, "ztf_id is float64, expected integers"),
    ({"ztf_id": ["ZTF1"]}, SourceError, "ztf_id is .*, expected integers or strings of digits"),
    ({"ra": [1.0, np.nan], "dec": [1.0, 2.0]}, SourceError, r"row 2 has the position nan, 2\.0, expected degrees"),
    ({"ra": [1.0], "dec": [91.0]}, SourceError, r"row 1 has the position 1\.0, 91\.0, expected degrees"),
    ({"ra": ["12:30:49"], "dec": ["1:2:3"]}, SourceError, "ra and dec must be degrees as numbers"),
]


@pytest.mark.parametrize(("columns", "error", "message"), WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, columns: Any, error: type, message: str) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "list.parquet")
    with pytest.raises(error, match=message):
        read_list(tmp_path / "list.parquet")


def test_a_missing_id_is_named(tmp_path: Path) -> None:
    save(tmp_path / "list.csv", ztf_id=pd.array([1, None, 3], dtype="Int64"), note=[1, 2, 3])
    with pytest.raises(SourceError, match=r"ztf_id: row 2 has no id"):
        read_list(tmp_path / "list.csv")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    for suffix in FORMATS:
        with pytest.raises(SourceError, match=rf"list\.{suffix} does not exist"):
            read_list(tmp_path / f"list.{suffix}")


def test_lists_select_light_curves(tmp_path: Path, irsa_file: Callable[..., Path]) -> None:
    archive = irsa_file([4] * 200)
    everything = read_archive(archive).compute()
    some = everything.iloc[[3, 50, 150]]
    by_id = save(tmp_path / "ids.csv", ztf_id=some["_id"].tolist())
    by_place = save(tmp_path / "places.csv", ra=some["ra"].tolist(), dec=some["dec"].tolist())
    for path in (by_id, by_place):
        found = read_archive(archive, **read_list(path).selection()).compute()
        assert found["_id"].tolist() == some["_id"].tolist()
