"""The wheel works outside the checkout, configurations included; commands end with the right code and one sentence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from scope_dask.commands.scope import scope

ROOT = Path(__file__).parents[1]
EXIT_USAGE = 2


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the package as the wheel has it (what it depends on comes from the environment)."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "out", "build", "dist", "models")
    shutil.copytree(ROOT, source, ignore=ignored)
    shutil.copy(ROOT / ".gitignore", source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    shutil.rmtree(source)
    return folder / "installed"


@pytest.fixture
def run(installed, tmp_path):
    """Run Python outside the checkout, with the installed package before any other."""

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    return start


def test_the_wheel_holds_code_types_configurations_and_licence(installed) -> None:
    assert (installed / "scope_dask" / "py.typed").exists()
    for path in (ROOT / "configs").iterdir():
        assert (installed / "scope_dask" / "configs" / path.name).read_bytes() == path.read_bytes()
    modules = {path.relative_to(installed) for path in (installed / "scope_dask").rglob("*.py")}
    assert modules == {path.relative_to(ROOT) for path in (ROOT / "scope_dask").rglob("*.py")}
    (metadata,) = installed.glob("scope_dask-*.dist-info")
    assert (metadata / "licenses" / "LICENSE").exists()
    assert [path.name for path in installed.iterdir() if path.name not in ("scope_dask", metadata.name)] == []


def test_a_plan_with_a_packaged_configuration(run, installed, tmp_path) -> None:
    where = run("-c", "import scope_dask; print(scope_dask.__file__)")
    assert Path(where.stdout.strip()).is_relative_to(installed)
    done = run("-m", "dask", "scope", "plan", "smoke.yaml")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["sources", "lightcurves", "features", "out"]
    assert list(tmp_path.iterdir()) == [], "a plan writes nothing"


def test_an_unknown_option_in_the_file_ends_with_two_and_one_sentence(run, tmp_path) -> None:
    (tmp_path / "my.yaml").write_text("out: x\nsource: {}\n")
    done = run("-m", "dask", "scope", "run", "my.yaml")
    assert done.returncode == EXIT_USAGE
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: my.yaml: there is no option 'source' (did you mean 'sources'?); there are out, ")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("out: [\n", "Error: the configuration my.yaml is not YAML: "),
        ("out: x\nsources: {archive: {path: nowhere}}\n", "nowhere"),
        ("out: x\nsources: {simulate: {}}\nscores: {models: nowhere}\n", "nowhere"),
        (None, "Error: the configuration my.yaml cannot be read: No such file or directory"),
    ],
    ids=["broken YAML", "absent archive", "absent models", "absent file"],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_wrong_input_ends_with_two_and_one_sentence(tmp_path, monkeypatch, command, content, sentence) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("my.yaml").write_text(content)
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(scope, [command, "my.yaml"])
    signal.signal(signal.SIGTERM, before)
    assert done.exit_code == EXIT_USAGE, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert sentence in line
    assert not Path("x").exists(), "nothing is written"


def test_an_unknown_command_line_option_ends_with_two() -> None:
    done = CliRunner().invoke(scope, ["plan", "smoke.yaml", "--outt", "x"])
    assert done.exit_code == EXIT_USAGE
    assert "No such option" in done.stderr
