"""The cache of compiled kernels: its folder changes with everything that a kernel depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import scope_dask
from scope_dask import compiled

PACKAGE = Path(scope_dask.__file__).parent


def test_the_sources_of_a_kernel_module_are_all_it_imports() -> None:
    names = {path.relative_to(PACKAGE).as_posix() for path in compiled.sources_of(PACKAGE / "periods" / "folding.py")}
    assert {"periods/folding.py", "periods/bitsliced.py", "periods/peaks.py", "compiled.py"} <= names
    assert "extraction/statistics.py" not in names


def test_a_changed_helper_gives_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "scope_dask"
    package.mkdir()
    (package / "kernel.py").write_text("from scope_dask.helper import (\n    SIZE,\n)\n")
    (package / "helper.py").write_text("SIZE = 1\n")
    monkeypatch.setattr(compiled, "__file__", str(package / "compiled.py"))
    folders = []
    for text in ("SIZE = 1\n", "SIZE = 2\n"):
        (package / "helper.py").write_text(text)
        compiled.cache_dir.cache_clear()
        folders.append(compiled.cache_dir(package / "kernel.py"))
    compiled.cache_dir.cache_clear()
    assert folders[0] != folders[1]
    assert folders[0].name.startswith("kernel-")


def test_the_cache_lies_below_the_folder_that_the_user_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    compiled.cache_dir.cache_clear()
    folder = compiled.cache_dir(PACKAGE / "periods" / "peaks.py")
    compiled.cache_dir.cache_clear()
    assert folder.parent == tmp_path / "scope_dask"


def test_a_kernel_divides_by_zero_as_numpy_does() -> None:
    @compiled.jit()
    def ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a / b

    assert np.isnan(ratio(np.zeros(1), np.zeros(1)))[0]
