"""The kernels compiled for the CPU (emulate.h), and the device that runs them in place of a GPU."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest

from scope_dask.periods.gpu.device import FOLDERS, with_headers

HERE = Path(__file__).parent
EVERY_FOLDER = (*FOLDERS, HERE / "periods" / "gpu")
INCLUDES = [f"-I{folder}" for folder in (HERE, *EVERY_FOLDER)]


def kernel_names(file: Path, compiler: str) -> list[str]:
    """The kernels that a .cu file defines, found after its macros are expanded."""
    command = [compiler, "-E", "-P", "-x", "c++", *INCLUDES, str(file)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.findall(r"__global__ void (?:__launch_bounds__\([^)]*\) )?(\w+)\(", re.sub(r"\s+", " ", text))


@functools.cache
def library(module: str) -> ctypes.CDLL:
    """Compile a .cu file with g++ (once per content) and load it."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not here: the emulated kernels cannot be compiled")
    file = next(p for p in (folder / f"{module}.cu" for folder in EVERY_FOLDER) if p.exists())
    text = (HERE / "emulate.h").read_text() + with_headers(file)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / "scope_dask_emulated"
    folder.mkdir(exist_ok=True)
    target = folder / f"{module}-{digest}.so"
    if not target.exists():
        shim = folder / f"{module}-{digest}-{os.getpid()}.cpp"
        runs = "\n".join(f"EMULATE({name})" for name in kernel_names(file, compiler))
        shim.write_text(f'#include "emulate.h"\n#include "{file.name}"\n{runs}\n')
        partial = target.with_suffix(f".{os.getpid()}")
        flags = ["-std=c++17", "-O2", "-ffp-contract=off", "-fno-strict-aliasing", "-fPIC", "-shared", "-w"]
        command = [compiler, *flags, *INCLUDES, "-o", str(partial), str(shim)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        partial.rename(target)
    return ctypes.CDLL(str(target))


class EmulatedDevice:
    """Runs kernels on NumPy arrays; checks every argument's type against the kernel's declaration."""

    xp = np

    def __init__(self, descending: bool = False) -> None:
        self.descending = descending
        self.launches: list[tuple[str, int, tuple]] = []

    def launch(self, module: str, kernel: str, blocks: int, threads: int, *arguments, shared: int = 0) -> None:
        self.launches.append((kernel, blocks, arguments))
        assert shared <= 40 * 1024  # with what is static, below the 48 KiB of a block
        lib = library(module)
        signature = getattr(lib, f"signature_{kernel}")
        signature.restype = ctypes.c_char_p
        expected = signature().decode().split()
        given = [f"{a.dtype}*" if isinstance(a, np.ndarray) else str(np.dtype(type(a))) for a in arguments]
        assert given == expected, f"{kernel} is called with {given}, declared with {expected}"
        boxes = []
        for a in arguments:
            if isinstance(a, np.ndarray):
                assert a.flags.c_contiguous
                boxes.append(ctypes.c_void_p(a.ctypes.data))
            else:
                boxes.append(np.ctypeslib.as_ctypes_type(a.dtype)(a.item()))
        values = (ctypes.c_void_p * len(boxes))(*[ctypes.addressof(b) for b in boxes])
        getattr(lib, f"run_{kernel}")(ctypes.c_uint(blocks), ctypes.c_uint(threads), int(self.descending), values)

    def streams(self, n: int):
        return [_Stream()] * n

    def to_host(self, array):
        return np.array(array)

    def from_host(self, array):
        return np.ascontiguousarray(array)

    def synchronise(self) -> None:
        pass


class _Stream:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
