"""scope-draft-mapper against a test Fritz."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from fritz_world import ONTOLOGICAL, PHENOMENOLOGICAL

from scope_dask.formats import write_table

NAME = "scope_draft_mapper"


@pytest.fixture
def table(place) -> None:
    """Write a table; two taxonomies have the class ``variable``."""
    columns = ["ra", "dec", "vnv", "eclipsing", "rr_lyrae", "note"]
    write_table(pd.DataFrame([[30.0, 10.0, 0.9, 0.1, 0.8, 0.0]], columns=columns), "sample.parquet")
    place.fritz.state.taxonomies[1003] = {"id": 1003, "isLatest": True, "hierarchy": {"class": "variable"}}


def entry(label: str, number: int) -> dict[str, object]:
    return {"fritz_label": label, "taxonomy_id": number}


def test_a_draft_is_a_mapper_that_an_upload_takes(place, table) -> None:
    said = place.run_process(NAME, "--file", "sample.parquet")
    assert json.loads(Path("sample_mapper.json").read_text()) == {
        "vnv": entry("variable", PHENOMENOLOGICAL),
        "eclipsing": entry("eclipsing", PHENOMENOLOGICAL),
        "rr_lyrae": entry("RR Lyrae", ONTOLOGICAL),
    }
    assert "vnv: variable of taxonomy 1017, which is in 1003 as well" in said
    assert "rr_lyrae: RR Lyrae of taxonomy 1015\n" in said
    assert "not in the mapper, as no class has this name: ra, dec, note" in said
    assert {r.method for r in place.fritz.requests} == {"GET"}
    words = ["--file", "sample.parquet", "--group-ids", "360", "--classification", "read"]
    place.run("scope_upload_classification", *words, "--taxonomy-map", "sample_mapper.json")
    posted = place.fritz.state.classifications.values()
    assert sorted(one["classification"] for one in posted) == ["RR Lyrae", "eclipsing", "variable"]


def test_a_mapper_of_some_taxonomies_under_another_name(place, table) -> None:
    place.run(NAME, "--file", "sample.parquet", "--taxonomy-map", "tools/map.json", "--taxonomy_ids", 1003, 1015)
    found = json.loads(Path("tools/map.json").read_text())
    assert found == {
        "vnv": entry("variable", 1003),
        "eclipsing": entry("Eclipsing", ONTOLOGICAL),
        "rr_lyrae": entry("RR Lyrae", ONTOLOGICAL),
    }


def test_a_dry_run_asks_and_writes_nothing(place, table) -> None:
    said = place.run(NAME, "--file", "sample.parquet", "--taxonomy-ids", 1015, "--dry-run")
    assert "for the taxonomies 1015" in said
    assert "would look for classes named ra, dec, vnv, eclipsing, rr_lyrae, note" in said
    assert "would write sample_mapper.json" in said
    assert place.fritz.requests == []
    assert not Path("sample_mapper.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--file is missing"),
        (["--file", "absent.csv"], "absent.csv does not exist"),
        (["--file", "sample.parquet", "--taxonomy-ids", "1015", "7", "8"], "(there are 1003, 1015, 1017): 7, 8"),
        (["--file", "sample.parquet", "--taxonomy-map", "made.json"], "made.json is there already"),
        (["--file", "bare.csv"], "no column of bare.csv is a class of the taxonomies; it has ra, dec"),
    ],
)
def test_wrong_usage(place, table, words, said) -> None:
    Path("made.json").write_text("mine")
    write_table(pd.DataFrame({"ra": [1.0], "dec": [2.0]}), "bare.csv")
    assert said in place.run(NAME, *words, code=2)
    assert Path("made.json").read_text() == "mine"
    assert not Path("bare_mapper.json").exists()
