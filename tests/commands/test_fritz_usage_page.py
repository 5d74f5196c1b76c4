"""The command lines that docs/usage.md shows of the commands for Fritz, run one after the other in a working folder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import fritz_lines
import gcn_event
import generation_sky as sky
import pandas as pd
import pytest
from kowalski_sky import FEATURES

from scope_dask.formats import write_table

PAGE = (Path(__file__).parents[2] / "docs" / "usage.md").read_text(encoding="utf-8")
COMMANDS = re.compile(
    r"(scope-(download|upload|draft|manage)-\w+(-\w+)?|post-taxonomy|gcn-cronjob|\./scope_upload_disagreements\.py) "
)


def lines() -> list[str]:
    """Return the lines of the page in their order."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if COMMANDS.match(line)]


@pytest.fixture
def prepared(place, tmp_path_factory: pytest.TempPathFactory):
    """What the lines name: files, groups, sources, events, models, catalogues."""
    gcn_event.prepare(place, gcn_event.save_models(tmp_path_factory.mktemp("models")))
    (place.folder / "fritz_mapper.json").unlink()  # that of the package
    for number in (1015, 1017):
        place.fritz.state.taxonomies[number]["hierarchy"] = packaged_tree(number)
    curves = sky.light_curves()
    fritz_lines.prepare(place.fritz, place.folder, curves)
    place.fritz.state.add_source("ZTFJ1234+5678", 5.0, 5.0, (360,))
    place.kowalski.collections[FEATURES] = []
    place.kowalski.collections["ZTF_source_classifications_DR16"] = fritz_lines.scored(curves)
    write_table(pd.DataFrame({"ra": [70.0, 71.0], "dec": 5.0, "vnv": [0.8, 0.1], "rrlyr": 0.0}), "preds.parquet")
    return place


def packaged_tree(number: int) -> dict[str, object]:
    """Return a tree of the classes that the packaged mapper has of a taxonomy."""
    from scope_dask.fritz.mappers import read_mapper

    entries = [entry for entry in read_mapper("fritz_mapper.json").values() if entry.taxonomy_id == number]
    return {"class": "top", "subclasses": [{"class": entry.fritz_label} for entry in entries]}


def test_the_lines_of_the_page(prepared) -> None:
    called = []
    for line in lines():
        command, *words = shlex.split(line)
        module = command.removeprefix("./").removesuffix(".py").replace("-", "_")
        prepared.run(module, *words)
        called.append(module)
    assert len(called) == 15
    assert len(set(called)) == 8
