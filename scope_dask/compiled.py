"""How the CPU kernels are compiled: one decorator, one on-disk cache that all workers share.

numba notices an edited file, not an edited helper in another file, and would then serve a stale kernel in silence.
The cache folder therefore carries a digest of the kernels' sources, of all they import, and of the compiler's version.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np


@functools.cache
def cache_dir() -> Path:
    """Return the folder of the compiled kernels (below ``NUMBA_CACHE_DIR`` where that is set)."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__} {np.__version__}".encode())
    for path in kernel_sources():
        digest.update(path.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "scope_dask" / digest.hexdigest()[:16]


def kernel_sources() -> list[Path]:
    """Return the modules that compile kernels and all modules of the package that these import, sorted."""
    package = Path(__file__).parent
    waiting = [path for path in package.rglob("*.py") if _uses_jit(path.read_text())]
    found = {Path(__file__)}
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path.read_text(), package)
    return sorted(found)


def _uses_jit(source: str) -> bool:
    return re.search(r"^from scope_dask\.compiled import", source, re.MULTILINE) is not None


def _imported(source: str, package: Path) -> list[Path]:
    names = re.findall(r"^from scope_dask\.?([\w.]*) import (.*)", source, re.MULTILINE)
    files = []
    for module, imported in names:
        folder = package.joinpath(*module.split(".")) if module else package
        files += [folder.with_suffix(".py"), *(folder / f"{name.strip()}.py" for name in imported.split(","))]
    return [path for path in files if path.is_file()]


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that compiles a kernel on first call, releases the GIL and caches the result on disk.

    Parameters
    ----------
    **options
        Further options of `numba.njit`. ``error_model="numpy"`` (0/0 is NaN) is always set: without it a float
        division tests for zero and its loop is not vectorised.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(cache_dir())
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate
