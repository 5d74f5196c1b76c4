"""The CUDA sources compile for an H100."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scope_dask.periods.gpu.device import FOLDERS, UNFUSED

NVCC = shutil.which("nvcc") or next((str(p) for p in [Path("/usr/local/cuda/bin/nvcc")] if p.exists()), None)


@pytest.mark.skipif(NVCC is None, reason="there is no nvcc here to compile the CUDA sources with")
@pytest.mark.parametrize("file", sorted(p for folder in FOLDERS for p in folder.glob("*.cu")), ids=lambda p: p.stem)
def test_compiles_for_sm_90(file, tmp_path):
    options = [*(f"-I{folder}" for folder in FOLDERS), *["--fmad=false"] * (file.stem in UNFUSED)]
    command = [NVCC, "-arch=sm_90", "-std=c++17", "-Werror", "all-warnings", "-cubin", *options]
    command += ["-o", str(tmp_path / "out.cubin"), str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.cubin").stat().st_size > 1000
