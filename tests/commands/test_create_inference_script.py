"""create-inference-script: what is in the script, and that it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from prediction_tables import FIELD, feature_table, save_xgb_models, write_features

from scope_dask.commands import create_inference_script
from scope_dask.formats import read_table

GROUP = "it's a group"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_xgb_models(Path("models_xgb") / GROUP)
    older = Path("models_xgb") / GROUP / "vnv" / "vnv.20200101_000000.json"
    older.write_text("not the newest")
    write_features(feature_table(30), Path(f"some features/field_{FIELD}/field_{FIELD}_iter_0.parquet"))
    write_features(feature_table(12), Path("some features/specific_ids/gen_features_a_specific_ids.parquet"))
    return tmp_path


def create(*words: str) -> int:
    base = ["--algorithm", "xgb", "--group-name", GROUP, "--feature-directory", "some features"]
    return create_inference_script.main([*base, *words])


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Call the script as a user does; ``run-inference`` is a script of this interpreter."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    entry = bin_folder / "run-inference"
    entry.write_text(
        f"#!{sys.executable}\nfrom scope_dask.commands.run_inference import main\nraise SystemExit(main())\n"
    )
    entry.chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_script_runs(workplace: Path) -> None:
    assert create("--write-csv") == 0
    done = call(workplace, "./get_all_preds.sh", str(FIELD))
    assert done.returncode == 0, done.stderr
    found = read_table(f"preds_xgb/field_{FIELD}/field_{FIELD}.parquet")
    assert [c for c in found if c.endswith("_xgb")] == ["rrlyr_xgb", "vnv_xgb"]
    assert len(found) == 30
    assert Path(f"preds_xgb/field_{FIELD}/field_{FIELD}.csv").is_file()
    assert Path(f"preds_xgb/field_{FIELD}/field_{FIELD}_flagged.json").is_file()
    done = call(workplace, "./get_all_preds.sh", "a_specific_ids", "--verbose", "0")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert len(read_table("preds_xgb/field_a_specific_ids/field_a_specific_ids.parquet")) == 12
    done = call(workplace, "./get_all_preds.sh")
    assert done.returncode == 2
    assert "usage: ./get_all_preds.sh <field>" in done.stderr


def test_another_python(workplace: Path) -> None:
    words = ("--use-custom-python", "--path-to-python", sys.executable, "--filename", "scripts/own.sh")
    assert create(*words, "--period-suffix", "LS_CE_AOV", "--batch-size", "7", "--scale-features", "none") == 0
    text = Path("scripts/own.sh").read_text()
    assert f"exec {sys.executable} -m scope_dask.commands.run_inference" in text
    assert "--period-suffix LS_CE_AOV --xgb-model" in text
    assert "--batch-size 7" in text
    assert "--scale-features none" in text
    assert "20200101" not in text
    done = call(workplace, "scripts/own.sh", str(FIELD))
    assert done.returncode == 0, done.stderr
    assert "period_LS_CE_AOV" not in read_table(f"preds_xgb/field_{FIELD}/field_{FIELD}.parquet")


def test_it_does_not_overwrite(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("get_all_preds.sh").write_text("mine")
    with pytest.raises(SystemExit, match="2"):
        create()
    assert "get_all_preds.sh is there already" in capsys.readouterr().err
    assert Path("get_all_preds.sh").read_text() == "mine"
    assert create("--filename", "other.sh", "--dry-run") == 0
    assert not Path("other.sh").exists()
    assert '--field "$field"' in capsys.readouterr().out


def test_a_group_without_models(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["--group-name", "none"], "does not exist"),
        (["--algorithm", "dnn"], "models_dnn"),
    ):
        with pytest.raises(SystemExit, match="2"):
            create(*words)
        assert message in capsys.readouterr().err
