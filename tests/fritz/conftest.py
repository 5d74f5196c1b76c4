"""A running Fritz with groups and taxonomies, and the means to ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fritz_server import TOKEN, FritzServer
from pydantic import SecretStr

from scope_dask.fritz import Fritz, FritzOptions

PHENOMENOLOGICAL, ONTOLOGICAL = 1017, 1015
TREES = {
    PHENOMENOLOGICAL: {
        "class": "phenomenological",
        "subclasses": [
            {"class": "variable", "subclasses": [{"class": "periodic"}, {"class": "eclipsing"}, {"class": "flaring"}]},
            {"class": "non-variable"},
        ],
    },
    ONTOLOGICAL: {
        "class": "ontological",
        "subclasses": [{"class": "Pulsating", "subclasses": [{"class": "RR Lyrae"}]}, {"class": "Eclipsing"}],
    },
}


@pytest.fixture
def server() -> Iterator[FritzServer]:
    server = FritzServer()
    for number, name in ((360, "SCoPe"), (361, "golden")):
        server.add_group(number, name)
    server.add_group(999, "others", mine=False)
    for number, hierarchy in TREES.items():
        kept = {"name": hierarchy["class"], "version": "1.0.0", "isLatest": True, "provenance": None}
        server.state.taxonomies[number] = {"id": number, "hierarchy": hierarchy, **kept}
    yield server
    server.close()


@pytest.fixture
def access(server: FritzServer) -> Iterator[Callable[..., Fritz]]:
    """Make a client of the server: a high limit, few attempts and short pauses unless told otherwise."""
    made: list[Fritz] = []

    def make(**options: Any) -> Fritz:
        quick = {"rate": 2000.0, "burst": 2000.0, "attempts": 3, "backoff": 0.01, "timeout": 5.0}
        given = {"host": "127.0.0.1", "port": server.port, "protocol": "http", "token": SecretStr(TOKEN)}
        made.append(Fritz(FritzOptions(**{**given, **quick, **options})))
        return made[-1]

    yield make
    for fritz in made:
        fritz.close()


@pytest.fixture
def fritz(access: Callable[..., Fritz]) -> Fritz:
    return access()
