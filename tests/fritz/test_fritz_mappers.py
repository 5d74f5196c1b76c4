"""Taxonomy mappers: the packaged ones, the format, and first mappers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fritz_server import FritzServer
from fritz_world import ONTOLOGICAL, PHENOMENOLOGICAL

from scope_dask.errors import SourceError, UsageError
from scope_dask.fritz import Fritz, FritzInputError
from scope_dask.fritz.mappers import (
    PACKAGED,
    Entry,
    MapperError,
    check_mapper,
    draft_mapper,
    read_mapper,
    uploaded,
    write_mapper,
)
from scope_dask.fritz.taxonomies import taxonomies

GOOD = {"variable": {"fritz_label": "variable", "taxonomy_id": 1017}}


def test_the_packaged_mappers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    golden, fritz, dnn, xgb = (read_mapper(name) for name in PACKAGED)
    assert [len(mapper) for mapper in (golden, fritz, dnn, xgb)] == [55, 45, 45, 45]
    assert golden["CV"] == Entry("Cataclysmic", 1011)
    assert golden["extended"] == Entry("extended", 1017)
    assert set(golden) - set(uploaded(golden)) == {"nice", "niice"}
    assert {entry.taxonomy_id for entry in uploaded(golden).values()} == {1011, 1012, 1017}
    assert {entry.taxonomy_id for entry in fritz.values()} == {1015, 1017}
    assert list(dnn.items()) == [(f"{tag}_dnn", entry) for tag, entry in fritz.items()]
    assert list(xgb.items()) == [(f"{tag}_xgb", entry) for tag, entry in fritz.items()]


def test_where_a_mapper_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(read_mapper("fritz_mapper.json")) == 45
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "fritz_mapper.json").write_text(json.dumps(GOOD))
    assert list(read_mapper("fritz_mapper.json")) == ["variable"]
    (tmp_path / "fritz_mapper.json").write_text(json.dumps({**GOOD, "other": GOOD["variable"]}))
    assert list(read_mapper("fritz_mapper.json")) == ["variable", "other"]
    with pytest.raises(SourceError, match=r"there is no file map\.json in the working folder, in tools/ or among the"):
        read_mapper("map.json")
    with pytest.raises(SourceError, match=r"there is no file fritz_mapper\.json in elsewhere"):
        read_mapper("elsewhere/fritz_mapper.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON: "),
        ("[1]", "expected columns and their classes, found list"),
        ("{}", "it has no entries"),
        ('{"a": "variable"}', "'a' has 'variable', expected fritz_label and taxonomy_id"),
        ('{"a": {"fritz_label": "x"}}', "'a' has no taxonomy_id"),
        ('{"a": {}}', "'a' has no fritz_label and no taxonomy_id"),
        ('{"a": {"fritz_label": "x", "taxonomy_id": "1017"}}', "taxonomy_id of 'a' is '1017', expected an integer"),
        ('{"a": {"fritz_label": "x", "taxonomy_id": true}}', "taxonomy_id of 'a' is True, expected an integer"),
        ('{"a": {"fritz_label": " ", "taxonomy_id": 1}}', "fritz_label of 'a' is ' ', expected the name of a class"),
        ('{"a": {"fritz_label": null, "taxonomy_id": 1}}', "fritz_label of 'a' is None, expected the name of a class"),
        ('{"a": {"fritz_label": "x", "taxonomy_id": 1, "id": 2}}', "'a' has 'id', which means nothing"),
        ('{"a": {"fritz_label": "x", "taxonomy_id": 1}, "a": {}}', "'a' is there twice; 'a' has no fritz_label"),
    ],
)
def test_what_is_wrong_with_a_mapper_is_said(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "map.json"
    file.write_text(content)
    with pytest.raises(MapperError, match=r"the taxonomy mapper .*map\.json is not ") as caught:
        read_mapper(file)
    assert said in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_a_mapper_is_written_as_it_was_read(tmp_path: Path) -> None:
    golden = read_mapper(PACKAGED[0])
    write_mapper(golden, tmp_path / "new" / "map.json")
    assert read_mapper(tmp_path / "new" / "map.json") == golden
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["map.json"]


def test_classes_that_the_service_does_not_have_are_listed_at_once(fritz: Fritz) -> None:
    mapper = {
        "a": Entry("variable", PHENOMENOLOGICAL),
        "b": Entry("RR Lyrea", ONTOLOGICAL),
        "c": Entry("variable", ONTOLOGICAL),
        "d": Entry("variable", 1),
        "e": Entry("None", -1),
    }
    with pytest.raises(FritzInputError, match="taxonomies that do not exist") as caught:
        check_mapper(mapper, taxonomies(fritz))
    missing, unknown = caught.value.problems.values()
    assert missing == ("1",)
    assert unknown == ("'RR Lyrea' in 1015 (did you mean 'RR Lyrae'?)", "'variable' in 1015")
    check_mapper({key: mapper[key] for key in "ae"}, taxonomies(fritz))


def test_a_first_mapper_of_a_table(server: FritzServer, fritz: Fritz) -> None:
    columns = ["_id", "ra", "period", "vnv_dnn", "Periodic", "eclipsing", "binary star", "rr_lyrae", "e_xgb", "agn"]
    draft = draft_mapper(columns, taxonomies(fritz))
    assert draft.mapper == {
        "vnv_dnn": Entry("variable", PHENOMENOLOGICAL),
        "Periodic": Entry("periodic", PHENOMENOLOGICAL),
        "eclipsing": Entry("eclipsing", PHENOMENOLOGICAL),
        "binary star": Entry("Eclipsing", ONTOLOGICAL),
        "rr_lyrae": Entry("RR Lyrae", ONTOLOGICAL),
        "e_xgb": Entry("eclipsing", PHENOMENOLOGICAL),
    }
    assert draft.unmatched == ["_id", "ra", "period", "agn"]
    assert draft.ambiguous == {}
    check_mapper(draft.mapper, taxonomies(fritz))


def test_the_latest_taxonomies_come_first_in_a_first_mapper() -> None:
    def taxonomy(number: int, latest: bool, *classes: str) -> dict[str, Any]:
        tree = {"class": "top", "subclasses": [{"class": name} for name in classes]}
        return {"id": number, "isLatest": latest, "hierarchy": tree}

    known = {
        1: taxonomy(1, True, "variable", "blend"),
        2: taxonomy(2, True, "variable"),
        3: taxonomy(3, False, "variable", "flaring"),
    }
    draft = draft_mapper(["variable", "blend", "flaring"], known)
    assert draft.mapper == {
        "variable": Entry("variable", 2),
        "blend": Entry("blend", 1),
        "flaring": Entry("flaring", 3),
    }
    assert draft.ambiguous == {"variable": [2, 1]}


def test_a_first_mapper_finds_all_classes_of_the_packaged_ones() -> None:
    """With taxonomies made of the classes of a packaged mapper, the first mapper is that mapper."""
    for name in PACKAGED[1:]:
        packaged = read_mapper(name)
        trees: dict[int, dict[str, Any]] = {}
        for entry in packaged.values():
            tree = trees.setdefault(entry.taxonomy_id, {"hierarchy": {"class": "top", "subclasses": []}})
            tree["hierarchy"]["subclasses"].append({"class": entry.fritz_label})
        assert draft_mapper([*packaged, "ra", "dec", "period"], trees).mapper == packaged
