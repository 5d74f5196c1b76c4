"""A working folder whose configuration leads to a test Kowalski, and one that leads to a test Fritz as well."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import fritz_world
import generation_sky as sky
import pytest
import yaml
from distributed import LocalCluster
from fritz_server import TOKEN as FRITZ_TOKEN
from fritz_server import FritzServer
from kowalski_server import KowalskiServer
from kowalski_sky import TOKEN, running, write_config
from secrets_search import files_with

from scope_dask.sources.kowalski import disconnect

SECRETS = ("KOWALSKI", "GLORIA", "MELMAN")
SECRET = re.compile(r"_INSTANCE_|FRITZ_|WANDB_API_KEY")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KowalskiServer]:
    """Change to a working folder; yield the server that its configuration leads to."""
    monkeypatch.chdir(tmp_path)
    for name in SECRETS:
        monkeypatch.delenv(f"{name}_INSTANCE_TOKEN", raising=False)
    with running() as server:
        write_config(tmp_path, server)
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[str]]:
    """Yield the option that names a running cluster."""
    with (
        dask.config.set(sky.QUIET),
        LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            processes=False,
            protocol="tcp://",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        ) as started,
    ):
        yield ["--cluster", started.scheduler_address]


@pytest.fixture(scope="module")
def sky_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the files of the light curves and catalogues that `sky_server` has."""
    with dask.config.set(scheduler="sync"):
        return sky.save(tmp_path_factory.mktemp("sky"))


@pytest.fixture
def sky_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KowalskiServer]:
    """Change to a working folder whose configuration leads to a server with light curves and catalogues."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KOWALSKI_INSTANCE_TOKEN", raising=False)
    server = sky.server()
    sky.configure(server)
    yield server
    disconnect()
    server.close()


@dataclass
class FritzPlace:
    """A working folder whose configuration leads to a test Fritz and a test Kowalski.

    Attributes
    ----------
    folder : Path
    fritz : FritzServer
    kowalski : KowalskiServer
    """

    folder: Path
    fritz: FritzServer
    kowalski: KowalskiServer

    def command(self, module: str, *words: object) -> list[str]:
        return [sys.executable, "-m", f"scope_dask.commands.{module}", *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        """Those of this process without the tokens."""
        kept = {name: value for name, value in os.environ.items() if not SECRET.search(name)}
        return kept | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

    def run(self, module: str, *words: object, code: int = 0) -> str:
        """Run a command in this process; check its exit code and that it shows no token; return all it says."""
        command = importlib.import_module(f"scope_dask.commands.{module}")
        said = io.StringIO()
        found = 0
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                found = command.main([str(word) for word in words])
            except SystemExit as end:
                found = int(end.code or 0)
        return self._checked(said.getvalue(), found, code)

    def run_process(self, module: str, *words: object, code: int = 0) -> str:
        """Do the same in a process of its own."""
        done = subprocess.run(
            self.command(module, *words),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return self._checked(done.stdout + done.stderr, done.returncode, code)

    def _checked(self, said: str, found: int, code: int) -> str:
        assert found == code, said
        assert "Traceback" not in said
        assert FRITZ_TOKEN not in said
        assert TOKEN not in said
        return said

    def configure(self, **more: Any) -> None:
        """Write ``config.yaml``: quick attempts and a high limit of requests, unless told otherwise."""
        quick = {"max_attempts": 4, "sleep_time": 0.01, "rate": 2000, "burst": 2000, "timeout": 10}
        place = {"token": FRITZ_TOKEN, "host": "127.0.0.1", "port": self.fritz.port, "protocol": "http"}
        write_config(self.folder, self.kowalski, **{"fritz": {**place, **quick}, **more})

    def fritz_section(self) -> dict[str, Any]:
        """Return ``fritz:`` of ``config.yaml``."""
        return dict(yaml.safe_load((self.folder / "config.yaml").read_text())["fritz"])


@pytest.fixture
def place(workplace: KowalskiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FritzPlace]:
    """Change to a working folder with a Fritz and a Kowalski; no token may be in what is left there."""
    for name in [name for name in os.environ if SECRET.search(name)]:
        monkeypatch.delenv(name)
    with fritz_world.running() as fritz:
        found = FritzPlace(tmp_path, fritz, workplace)
        found.configure()
        yield found
    assert files_with(tmp_path, (FRITZ_TOKEN, TOKEN)) == []
