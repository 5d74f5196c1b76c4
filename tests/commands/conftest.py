"""A working folder whose configuration leads to a test Kowalski."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from kowalski_server import KowalskiServer
from kowalski_sky import TOKEN, running

SECRETS = ("KOWALSKI", "GLORIA", "MELMAN")


def write_config(folder: Path, server: KowalskiServer, **more: object) -> None:
    """Write a ``config.yaml`` that names the server; the pauses between attempts are those of the library."""
    host = {"token": TOKEN, "host": "127.0.0.1", "port": server.port, "protocol": "http"}
    content = {"kowalski": {"hosts": {"kowalski": host}, "timeout": 20}, **more}
    (folder / "config.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KowalskiServer]:
    """Change to a working folder; yield the server that its configuration leads to."""
    monkeypatch.chdir(tmp_path)
    for name in SECRETS:
        monkeypatch.delenv(f"{name}_INSTANCE_TOKEN", raising=False)
    with running() as server:
        write_config(tmp_path, server)
        yield server
