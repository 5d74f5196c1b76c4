"""How the CPU kernels are compiled: one decorator, one on-disk cache that all workers share.

numba notices an edited file, not an edited helper in another file, and would then serve a stale kernel in silence.
The cache folder therefore carries a digest of the package's sources and of the compiler's version.
"""

from __future__ import annotations

import functools
import hashlib
import os
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
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode())
        digest.update(path.read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "scope_dask" / digest.hexdigest()[:16]


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
