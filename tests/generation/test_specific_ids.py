"""Lists of specific ids in every format; ids are exact."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from scope_dask.errors import SchemaError, SourceError
from scope_dask.formats import write_table
from scope_dask.generation.specific import read_specific_ids

IDS = [2**60 + 3, 10296001000000, 2**60 + 1]


@pytest.mark.parametrize("column", ["ztf_id", "_id"])
@pytest.mark.parametrize("ending", ["parquet", "h5", "csv"])
def test_tables_of_ids(tmp_path, ending: str, column: str) -> None:
    path = tmp_path / f"ids.{ending}"
    write_table(pd.DataFrame({column: IDS, "fritz_name": ["a", None, "c"]}), path)
    found = read_specific_ids(path)
    assert_array_equal(found.ids, np.array(sorted(IDS)))
    assert found.names == {IDS[0]: "a", IDS[2]: "c"}


def test_a_plain_csv_and_names_of_objects(tmp_path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text(f"ztf_id,obj_id\n{IDS[0]},obj_1\n{IDS[1]},obj_2\n{IDS[0]},obj_3\n")
    found = read_specific_ids(path)
    assert found.ids.tolist() == sorted(IDS[:2])
    assert found.names == {IDS[0]: "obj_1", IDS[1]: "obj_2"}


def test_json_of_an_events_sources(tmp_path) -> None:
    path = tmp_path / "ids.json"
    entry = {"radec_geojson": {"coordinates": [1.0, 2.0]}}
    path.write_text(json.dumps({str(IDS[0]): {"fritz_name": "a", **entry}, str(IDS[1]): entry}))
    found = read_specific_ids(path)
    assert found.ids.tolist() == sorted(IDS[:2])
    assert found.names == {IDS[0]: "a"}


def test_what_is_wrong_is_said(tmp_path) -> None:
    path = tmp_path / "ids.csv"
    path.write_text("oid\n1\n")
    with pytest.raises(SchemaError, match=r"ids.csv has no column ztf_id or _id; it has oid"):
        read_specific_ids(path)
    path.write_text("ztf_id,x\n1.5,a\n2.5,b\n")
    with pytest.raises(SourceError, match=r"ids.csv: ztf_id is float64, expected integers or strings of digits"):
        read_specific_ids(path)
    path.write_text("ztf_id,x\n1,a\n,b\n")
    with pytest.raises(SourceError, match=r"ids.csv: ztf_id: row 2 has no id"):
        read_specific_ids(path)
    broken = tmp_path / "ids.json"
    broken.write_text("[1, 2]")
    with pytest.raises(SourceError, match=r"ids.json cannot be read as JSON of ids to objects"):
        read_specific_ids(broken)
    with pytest.raises(SourceError, match="does not exist"):
        read_specific_ids(tmp_path / "absent.csv")
