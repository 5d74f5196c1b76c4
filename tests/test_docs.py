"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import scope_dask
from scope_dask.documentation import features_page
from scope_dask.periods.options import PeriodOptions
from scope_dask.schema import ALGORITHMS, FOURIER

ROOT = Path(__file__).parents[1]


def test_the_page_of_columns_is_the_one_made_from_the_schema() -> None:
    committed = (ROOT / "docs" / "features.md").read_text(encoding="utf-8")
    assert committed == features_page(), "run `make docs`"


@pytest.mark.parametrize("column", PeriodOptions().schema, ids=lambda column: column.name)
def test_every_feature_has_meaning_formula_and_source_and_is_on_the_page(column) -> None:
    assert column.meaning
    assert column.formula
    assert column.source
    assert not re.search(r"ORIGINAL|COMMANDS|spec/", "".join((column.meaning, column.formula, column.source)))
    name = re.sub(r"^(f1_[A-Za-z0-9]+)_.*", r"\1_ELS_ECE_EAOV", column.name)
    assert f"| `{name}` |" in features_page()


def test_the_page_has_every_algorithm_and_harmonic() -> None:
    page = features_page()
    for name in (*ALGORITHMS, "LS_CE_AOV"):
        assert f"| {name} |" in page
    for name in FOURIER:
        assert f"`f1_{name}_ELS_ECE_EAOV`" in page


def test_the_commands_of_the_readme_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = set(re.findall(r"^make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= commands
    for command in commands:
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_the_public_names_of_the_readme_exist() -> None:
    names = set(re.findall(r"\bsd\.(\w+)", (ROOT / "README.md").read_text()))
    assert {"read_archive", "lightcurves", "features", "scores", "write"} <= names
    assert names <= set(scope_dask.__all__)


@pytest.mark.parametrize("page", ["README.md", "docs/design.md"])
def test_links_lead_to_files(page) -> None:
    path = ROOT / page
    links = [link for link in re.findall(r"\]\(([^)#]+)", path.read_text()) if "://" not in link]
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []
