"""What importing the package costs, and that it does nothing else."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import scope_dask

HEAVY = (
    "tensorflow",
    "cudf",
    "cupy",
    "matplotlib",
    "lsdb",
    "hats",
    "nested_pandas",
    "dask",
    "distributed",
    "pandas",
    "numpy",
    "numba",
    "xgboost",
)
STAGES = (
    "scope_dask.conditioning.lightcurves",
    "scope_dask.documentation",
    "scope_dask.extraction.features",
    "scope_dask.extraction.statistics",
    "scope_dask.inference.scores",
    "scope_dask.periods.search",
    "scope_dask.pipeline",
    "scope_dask.simulate",
    "scope_dask.sources.archive",
    "scope_dask.sources.hats",
    "scope_dask.sources.lists",
    "scope_dask.sources.nested",
    "scope_dask.sources.rubin",
    "scope_dask.training.xgb",
)
NO_NETWORK = """
import socket
def refuse(*arguments, **options):
    raise AssertionError("a connection is made during import")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
"""
COMPILED = """
import sys
from numba.core.registry import CPUDispatcher
compiled = [f"{module.__name__}.{name}" for module in list(sys.modules.values())
            if module.__name__.startswith("scope_dask")
            for name, value in vars(module).items() if isinstance(value, CPUDispatcher) and value.signatures]
kernels = sum(isinstance(value, CPUDispatcher) for module in list(sys.modules.values())
              if module.__name__.startswith("scope_dask") for value in vars(module).values())
print(kernels, *compiled)
"""


def python(code: str, folder: Path, **environment: str) -> str:
    """Run `code` in a fresh interpreter inside `folder`; return what it prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_nothing_heavy(tmp_path) -> None:
    code = f"import sys, scope_dask; print(*sorted(set(sys.modules) & set({HEAVY})))"
    assert python(code, tmp_path).split() == []


def test_import_costs_at_most_half_as_much_again_as_dask_dataframe(tmp_path) -> None:
    timed = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
    seconds = {
        name: statistics.median(float(python(timed.format(name), tmp_path)) for _ in range(3))
        for name in ("scope_dask", "dask.dataframe")
    }
    assert seconds["scope_dask"] <= 1.5 * seconds["dask.dataframe"]


def test_importing_every_stage_compiles_connects_writes_and_loads_nothing_unneeded(tmp_path) -> None:
    working, home = tmp_path / "working", tmp_path / "home"
    working.mkdir()
    home.mkdir()
    locations = {name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR")}
    imports = "\n".join(f"import {name}" for name in STAGES)
    printed = python(
        f"{NO_NETWORK}\n{imports}\n{COMPILED}\nprint(*sorted(set(sys.modules) & set({HEAVY[:7]})))",
        working,
        DASK_CONFIG=str(home / "dask"),
        NUMBA_CACHE_DIR=str(home / "numba"),
        **locations,
    )
    kernels, loaded = printed.splitlines()
    count, *compiled = kernels.split()
    assert int(count) > 20, "the check for compiled kernels sees none"
    assert compiled == [], "kernels are compiled on their first call, not by an import"
    assert loaded == ""
    assert list(working.iterdir()) == []
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_commands_start_without_what_only_their_work_needs(tmp_path) -> None:
    folder = Path(scope_dask.__file__).parent / "commands"
    names = [f"scope_dask.commands.{path.stem}" for path in sorted(folder.glob("[a-z]*.py"))]
    names += ["scope_dask.user_config.training", "scope_dask.style", "scope_dask.training.options"]
    assert len(names) > 20
    imports = "\n".join(f"import {name}" for name in names)
    unwanted = {*HEAVY, "scipy", "sklearn"} - {"numpy", "pandas"}
    assert python(f"import sys\n{imports}\nprint(*sorted(set(sys.modules) & {unwanted}))", tmp_path).split() == []


def test_public_names_are_loaded_on_first_use() -> None:
    assert len(scope_dask.__all__) <= 20
    for name in scope_dask.__all__:
        assert getattr(scope_dask, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'scope_dask' has no attribute 'lightcurve'"):
        scope_dask.lightcurve  # noqa: B018
