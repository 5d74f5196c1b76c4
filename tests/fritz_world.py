"""Groups and taxonomies for the test Fritz, and the means to ask it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

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


@contextlib.contextmanager
def running() -> Iterator[FritzServer]:
    """Yield a running Fritz with two groups of ours, one of others, and two taxonomies; end it afterwards."""
    server = FritzServer()
    for number, name in ((360, "SCoPe"), (361, "golden")):
        server.add_group(number, name)
    server.add_group(999, "others", mine=False)
    for number, hierarchy in TREES.items():
        kept = {"name": hierarchy["class"], "version": "1.0.0", "isLatest": True, "provenance": None}
        server.state.taxonomies[number] = {"id": number, "hierarchy": hierarchy, **kept}
    try:
        yield server
    finally:
        server.close()


def access(server: FritzServer, **options: Any) -> Fritz:
    """Return a client of the server: a high limit, few attempts and short pauses unless told otherwise."""
    quick = {"rate": 2000.0, "burst": 2000.0, "attempts": 3, "backoff": 0.01, "timeout": 5.0}
    where = {"host": "127.0.0.1", "port": server.port, "protocol": "http", "token": SecretStr(TOKEN)}
    return Fritz(FritzOptions(**{**where, **quick, **options}))
