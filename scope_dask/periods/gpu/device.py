"""What runs the kernels: a GPU through CuPy. All else sees only the `Device` interface, and arrays in its `xp`."""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scope_dask.errors import RunError

_PACKAGE = Path(__file__).parents[2]
FOLDERS = (_PACKAGE / "periods" / "gpu" / "kernels", _PACKAGE / "extraction" / "gpu" / "kernels")
UNFUSED = ("prepare", "exact", "statistics")  # these round as float64 on the CPU does


class Device(Protocol):
    """Where kernels run and arrays live.

    Attributes
    ----------
    xp : module
        The array library: ``cupy`` (or, emulated, ``numpy``).
    """

    xp: Any

    def launch(self, module: str, kernel: str, blocks: int, threads: int, *arguments: Any, shared: int = 0) -> None:
        """Start a kernel of a ``.cu`` file on the current stream; `shared`: bytes of dynamic shared memory."""

    def streams(self, n: int) -> Sequence[AbstractContextManager[Any]]:
        """Return n streams; entering one makes it current. They start after what was started before."""

    def to_host(self, array: Any) -> np.ndarray:
        """Return a copy of an array on the host."""

    def from_host(self, array: Any) -> Any:
        """Return a contiguous array on the device (the same one if it is there already)."""

    def synchronise(self) -> None:
        """Wait for all streams."""


class CupyDevice:
    """The current CUDA device, through CuPy.

    Raises
    ------
    RunError
        If CuPy is not installed or sees no CUDA device.
    """

    def __init__(self) -> None:
        try:
            import cupy
        except ImportError as error:
            raise RunError("computing on a GPU needs CuPy: install scope_dask[gpu]") from error
        if not cupy.cuda.is_available():
            raise RunError("CuPy finds no CUDA device here; compute on the CPU, or run on a GPU worker")
        self.xp: Any = cupy

    def launch(self, module: str, kernel: str, blocks: int, threads: int, *arguments: Any, shared: int = 0) -> None:
        """Start a kernel on the current stream."""
        if blocks > 0:
            compiled(module, kernel)((blocks,), (threads,), arguments, shared_mem=shared)

    def streams(self, n: int) -> Sequence[AbstractContextManager[Any]]:
        """Return n streams that do not wait for one another."""
        self.xp.cuda.get_current_stream().synchronize()
        return [self.xp.cuda.Stream(non_blocking=True) for _ in range(n)]

    def to_host(self, array: Any) -> np.ndarray:
        """Return a copy on the host."""
        return self.xp.asnumpy(array)

    def from_host(self, array: Any) -> Any:
        """Return a contiguous array on the device."""
        return self.xp.ascontiguousarray(self.xp.asarray(array))

    def synchronise(self) -> None:
        """Wait for all streams of the device."""
        self.xp.cuda.Device().synchronize()


@functools.cache
@functools.cache
def device_here() -> CupyDevice | None:
    """Return the current CUDA device; None where there is no driver, CuPy is not installed or sees none."""
    try:
        ctypes.CDLL("libcuda.so.1")  # absent on most machines: CuPy, which takes a second to import, is not asked
    except OSError:
        return None
    try:
        return CupyDevice()
    except RunError:
        return None


@functools.cache
def compiled(module: str, kernel: str) -> Any:
    """Return a kernel, compiled for the current device on first use (CuPy keeps it on disk)."""
    return _module(module).get_function(kernel)


@functools.cache
def _module(module: str) -> Any:
    import cupy

    options = ("-std=c++17", "--fmad=false") if module in UNFUSED else ("-std=c++17",)
    return cupy.RawModule(code=source(module), options=options, backend="nvrtc")


def source(module: str) -> str:
    """Return the text of a ``.cu`` file with its headers in place.

    CuPy's cache on disk is keyed by the source alone: an edited header would leave it stale.
    """
    return with_headers(_find(f"{module}.cu"))


def with_headers(file: Path) -> str:
    """Return the text of a kernel's file, its headers in place of the lines that include them."""
    text = file.read_text().replace("#pragma once", "")
    return re.sub(r'#include "([^"]+)"', lambda match: with_headers(_find(match[1])), text)


def _find(name: str) -> Path:
    return next(folder / name for folder in FOLDERS if (folder / name).exists())
