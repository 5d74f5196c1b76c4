"""How the CPU kernels are compiled: one decorator, one on-disk cache that all workers share.

numba notices an edited file, not an edited helper in another file, and would then serve a stale kernel in silence.
The cache folder of a module therefore carries a digest of its source, of all it imports, and of the compiler's version.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np


@functools.cache
def cache_dir(module: Path) -> Path:
    """Return the folder of a module's compiled kernels (below ``NUMBA_CACHE_DIR`` where that is set)."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {np.__version__}".encode())
    for path in sources_of(module):
        digest.update(path.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "scope_dask" / f"{module.stem}-{digest.hexdigest()[:16]}"


def sources_of(module: Path) -> list[Path]:
    """Return the files of a module of the package and of all modules of the package that it imports, sorted."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return sorted(found)


@functools.cache
def _imported(path: Path) -> list[Path]:
    """Return the files of the package that a file imports itself."""
    names = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    package = Path(__file__).parent
    inside = [name.split(".")[1:] for name in names if name.split(".")[0] == package.name]
    files = [package.joinpath(*parts).with_suffix(".py") for parts in inside if parts]
    return [file for file in files if file.is_file()]


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a kernel on first call, releases the GIL and caches the result on disk.

    Parameters
    ----------
    **options
        Further options of `numba.njit`. ``error_model="numpy"`` (0/0 is NaN) is always set: without it a float
        division tests for zero and its loop is not vectorised.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        folder = cache_dir(Path(inspect.getfile(function)))
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate
