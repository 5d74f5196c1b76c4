"""A running Fritz, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import fritz_world
import pytest
from fritz_server import FritzServer

from scope_dask.fritz import Fritz


@pytest.fixture
def server() -> Iterator[FritzServer]:
    with fritz_world.running() as server:
        yield server


@pytest.fixture
def access(server: FritzServer) -> Iterator[Callable[..., Fritz]]:
    """Make a client of the server; see `fritz_world.access`."""
    made: list[Fritz] = []

    def make(**options: Any) -> Fritz:
        made.append(fritz_world.access(server, **options))
        return made[-1]

    yield make
    for fritz in made:
        fritz.close()


@pytest.fixture
def fritz(access: Callable[..., Fritz]) -> Fritz:
    return access()
