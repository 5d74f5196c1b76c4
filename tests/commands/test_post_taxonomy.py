"""post-taxonomy against a test Fritz."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faulty_http import Fault
from fritz_server import write_then


def test_the_packaged_taxonomy_is_posted_once(place) -> None:
    said = place.run_process("post_taxonomy")
    name = "Scope Phenomenological Taxonomy 1.0.0"
    number = min(place.fritz.state.taxonomies)  # of the service; those of the world are from 1015 on
    assert f"{name} is taxonomy {number}" in said
    kept = place.fritz.state.taxonomies[number]
    assert (kept["name"], kept["version"], kept["provenance"]) == (name[:-6], "1.0.0", "github")
    assert "and was before" in place.run("post_taxonomy")
    assert json.loads(Path("fritzTaxonomies.json").read_text()) == {name: number}
    assert sum(r.method == "POST" for r in place.fritz.requests) == 1


def test_the_packaged_taxonomy_has_the_classes_of_the_mapper() -> None:
    from scope_dask.commands._layout import find_file
    from scope_dask.commands.post_taxonomy import read_hierarchy
    from scope_dask.fritz.mappers import read_mapper
    from scope_dask.fritz.taxonomies import classes_of

    classes = set(classes_of(read_hierarchy(find_file("phenomenological.yaml"))))
    assert {e.fritz_label for e in read_mapper("fritz_mapper.json").values() if e.taxonomy_id == 1017} <= classes


def test_a_taxonomy_with_all_options_and_another_tree_of_its_name(place) -> None:
    Path("tree.yaml").write_text("class: top\nsubclasses:\n  - class: below\n")
    words = ["--taxonomy", "tree.yaml", "--name", "n", "--version", "2", "--provenance", "me", "--group-ids", "360"]
    dry = place.run("post_taxonomy", *words, "--dry-run")
    assert "for groups 360: top, below" in dry
    assert place.fritz.requests == []
    place.run("post_taxonomy", *words)
    body = next(r.body for r in place.fritz.requests if r.method == "POST")
    assert (body["group_ids"], body["provenance"]) == ([360], "me")
    Path("tree.yaml").write_text("class: other\n")
    assert "give another --version" in place.run("post_taxonomy", *words, code=2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "the root is list"),
        ("class: a\nsubclasses: {b: c}", "expected a list"),
        ("class: a\nsubclasses: [{subclasses: []}, 3]", "subclass 1 of a has no class; subclass 2 of a is int"),
        ("class: a\nsubclasses: [{class: b}, {class: b}]", "'b' is there 2 times"),
        ("class: [", "cannot be read"),
    ],
)
def test_trees_that_are_none(place, text, said) -> None:
    Path("tree.yaml").write_text(text)
    assert said in place.run("post_taxonomy", "--taxonomy", "tree.yaml", code=2)
    assert place.fritz.requests == []


def test_a_result_file_of_something_else_is_found_before_anything_is_sent(place) -> None:
    Path("fritzTaxonomies.json").write_text("{torn")
    assert "does not hold names and numbers of taxonomies" in place.run("post_taxonomy", code=2)
    assert place.fritz.requests == []


def test_a_post_whose_answer_is_lost_is_not_repeated(place) -> None:
    place.fritz.fail(write_then(Fault("reset")), when=lambda r: r.method == "POST")
    place.run("post_taxonomy")
    assert len(place.fritz.state.taxonomies) == 3
    assert sum(r.method == "POST" for r in place.fritz.requests) == 1
