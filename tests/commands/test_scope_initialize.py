"""scope-initialize: the working folder."""

from __future__ import annotations

import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scope_dask.commands import scope_initialize
from scope_dask.user_config import check_configs, packaged_defaults, read_user_config


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("KOWALSKI_INSTANCE", "GLORIA_INSTANCE", "MELMAN_INSTANCE", "FRITZ"):
        monkeypatch.delenv(f"{name}_TOKEN", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    return tmp_path


FILES = {
    "config.yaml",
    "config.defaults.yaml",
    "gcn_cronjob.py",
    "scope_upload_disagreements.py",
    *(f"tools/{name}" for name in scope_initialize.TOOLS),
}


def made() -> set[str]:
    return {str(path.relative_to("scope")) for path in Path("scope").rglob("*") if path.is_file()}


def test_the_working_folder() -> None:
    assert scope_initialize.main([]) == 0
    assert made() == FILES
    assert check_configs(read_user_config("scope/config.yaml"), packaged_defaults()) == []
    for name, columns in (("ztfid", ["ztf_id", "obj_id"]), ("radec", ["ra", "dec", "obj_id"])):
        rows = list(csv.reader(Path(f"scope/tools/local_scope_{name}.csv").read_text().splitlines()))
        assert rows[0] == columns
        assert len(rows) == 4
        assert all(len(row) == len(columns) and float(row[0]) > 0 for row in rows[1:])


def test_tokens_in_the_configuration_are_for_its_owner_only() -> None:
    scope_initialize.main([])
    assert Path("scope/config.yaml").stat().st_mode & 0o077 == 0


def test_nothing_is_overwritten_and_what_is_missing_is_made(capsys) -> None:
    Path("scope/tools").mkdir(parents=True)
    Path("scope/config.yaml").write_text("fritz: {port: 444}")
    Path("scope/tools/fritz_mapper.json").write_text("{}")
    assert scope_initialize.main([]) == 0
    assert made() == FILES
    assert Path("scope/config.yaml").read_text() == "fritz: {port: 444}"
    assert Path("scope/tools/fritz_mapper.json").read_text() == "{}"
    assert "kept scope/config.yaml" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in Path("scope").rglob("*")}
    assert scope_initialize.main([]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in Path("scope").rglob("*")}


def test_a_dry_run_makes_nothing(capsys) -> None:
    assert scope_initialize.main(["--dry-run"]) == 0
    assert not Path("scope").exists()
    assert capsys.readouterr().out.count("would make") == len(FILES)


@pytest.mark.parametrize("name", scope_initialize.SCRIPTS)
def test_the_scripts_are_executable_and_call_the_command(name) -> None:
    scope_initialize.main([])
    path = Path("scope") / f"{name}.py"
    assert os.access(path, os.X_OK)
    first, second = path.read_text().splitlines()
    assert first == f"#!{sys.executable}"
    assert f"from scope_dask.commands.{name} import main" in second


def test_a_script_runs_by_itself_without_an_environment(folder) -> None:
    path = folder / "run.py"
    path.write_text(scope_initialize.script("scope_initialize"))
    path.chmod(0o755)
    done = subprocess.run([path, "--verbose", "0"], env={}, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert made() == FILES
    shutil.rmtree("scope")
    runpy.run_path(str(path), run_name="__mp_main__")  # as the worker processes of a local cluster do
    assert not Path("scope").exists()


def test_an_interpreter_that_a_shebang_cannot_name(monkeypatch) -> None:
    for interpreter in ("/a folder/python", "/" + "long" * 40):
        monkeypatch.setattr(sys, "executable", interpreter)
        assert scope_initialize.script("x").startswith("#!/usr/bin/env python3\n")


def test_the_mappers() -> None:
    from scope_dask.mapping import packaged_configs

    read = {name: json.loads((packaged_configs() / name).read_text()) for name in scope_initialize.TOOLS[2:]}
    golden, fritz, dnn, xgb = read.values()
    assert (len(golden), len(fritz)) == (55, 45)
    assert golden["eclipsing WD+dM (NN Ser)"] == {"fritz_label": "NN Ser", "taxonomy_id": 1011}
    assert {key for key, entry in golden.items() if entry["fritz_label"] == "None"} == {"nice", "niice"}
    assert {entry["taxonomy_id"] for entry in golden.values()} == {-1, 1011, 1012, 1017}
    assert {entry["taxonomy_id"] for entry in fritz.values()} == {1015, 1017}
    assert dnn == {f"{tag}_dnn": entry for tag, entry in fritz.items()}
    assert xgb == {f"{tag}_xgb": entry for tag, entry in fritz.items()}
    labels = {entry["label"] for entry in packaged_defaults().get("training", "classes").values()}
    assert len(labels - set(golden)) <= 2  # compact binary and cbin apart
